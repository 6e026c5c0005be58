//! What a team would write first: actix-web, one route, one constant answer. Shunt does a table
//! read, a decision and a journal record on top and is measured against this.

use std::net::SocketAddr;

use actix_http::Request;
use actix_web::dev::{Server, fn_service};
use actix_web::http::header;
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};

const TARGET: &str =
    "https://www.example.com/landing/2026/spring/collection?item=0000001&from=short";

/// Serves `/{code}` with one worker until the process is told to stop.
pub fn serve(addr: SocketAddr) -> Result<()> {
    let make = || App::new().route("/{code}", web::get().to(found));
    serve_until_stopped(|| Ok(HttpServer::new(make).workers(1).bind(addr)?.run()), addr)
}

/// Serves the same answer to everything, without router and extensions: what the HTTP
/// implementation costs by itself.
pub fn serve_without_app(addr: SocketAddr) -> Result<()> {
    let make = || fn_service(|_request: Request| async { Ok::<_, Error>(answer()) });
    serve_until_stopped(|| Ok(HttpServer::new(make).workers(1).bind(addr)?.run()), addr)
}

fn serve_until_stopped(
    start: impl FnOnce() -> std::io::Result<Server>,
    addr: SocketAddr,
) -> Result<()> {
    actix_web::rt::System::new().block_on(async {
        let server = start().with_context(|| format!("listen on {addr}"))?;
        server.await.context("serve")
    })
}

async fn found() -> HttpResponse {
    answer()
}

fn answer() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, TARGET)).finish()
}

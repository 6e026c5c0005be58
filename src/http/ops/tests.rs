//! The operations listener, asked in process.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashSet;

use actix_web::test::{TestRequest, call_service, init_service, read_body};
use futures_util::FutureExt as _;

use super::*;
use crate::telemetry::metrics::{ActorLabel, HttpLabels, Outcome, StoreLabels};

fn parts(dependencies: Vec<Dependency>) -> OpsParts {
    OpsParts {
        metrics: Metrics::new(),
        readiness: Readiness::default(),
        dependencies,
        actors: Arc::new(|| {
            std::future::ready(serde_json::json!({ "shards": [{ "mailbox": 0 }] })).boxed_local()
        }),
    }
}

fn dependency(name: &'static str, vital: bool, found: Result<&str, &str>) -> Dependency {
    let found = found.map(str::to_owned).map_err(str::to_owned);
    let check: Check = Arc::new(move || {
        let found = found.clone();
        async move { found }.boxed_local()
    });
    Dependency { name, vital, check }
}

async fn get(parts: &OpsParts, path: &str) -> (u16, String, String) {
    ask(parts, TestRequest::with_uri(path)).await
}

async fn ask(parts: &OpsParts, request: TestRequest) -> (u16, String, String) {
    let parts = parts.clone();
    let app = init_service(App::new().configure(move |config| routes(config, parts))).await;
    let response = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
    (status, content_type, String::from_utf8(read_body(response).await.to_vec()).unwrap())
}

#[actix_web::test]
async fn ready_is_said_between_warm_and_draining_only() {
    let parts = parts(Vec::new());
    assert_eq!(get(&parts, "/readyz").await.0, 503);
    parts.readiness.set_ready();
    assert_eq!(get(&parts, "/readyz").await.0, 200);
    parts.readiness.set_draining();
    assert_eq!(get(&parts, "/readyz").await.0, 503);
    parts.readiness.set_ready();
    assert_eq!(get(&parts, "/readyz").await.0, 503, "there is no way back");
    assert_eq!(get(&parts, "/livez").await.0, 200);
}

#[actix_web::test]
async fn health_tells_every_dependency_and_fails_with_a_vital_one() {
    let store = dependency("store", true, Ok("12 links"));
    let journal = dependency("journal", false, Err("disk is full"));
    let (status, content_type, body) = get(&parts(vec![store.clone(), journal]), "/healthz").await;
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, content_type.as_str()), (200, HEALTH_JSON));
    assert_eq!(health["status"], "warn");
    assert_eq!(health["checks"]["store"][0]["status"], "pass");
    assert_eq!(health["checks"]["store"][0]["output"], "12 links");
    assert_eq!(health["checks"]["journal"][0]["status"], "warn");

    let broken = dependency("journal", true, Err("disk is full"));
    let (status, _, body) = get(&parts(vec![store, broken]), "/healthz").await;
    assert_eq!(status, 503);
    assert!(body.contains("disk is full"));
}

#[actix_web::test]
async fn metrics_carry_the_promised_names_in_the_promised_format() {
    let parts = parts(Vec::new());
    let worker = parts.metrics.worker();
    worker.count(Outcome::Hit);
    worker.observe(1_500, 64);
    worker.accept_click();
    let op = StoreLabels { store: "embedded", op: "fetch", outcome: "ok" };
    parts.metrics.store_duration.get_or_create(&op).observe(0.001);
    let http = HttpLabels { route: "/health".into(), method: "GET".into(), status: 200 };
    parts.metrics.http_requests.get_or_create(&http).inc();
    parts.metrics.mailbox_depth.get_or_create(&ActorLabel { actor: "links-0".into() }).set(3);
    let (status, content_type, text) = get(&parts, "/metrics").await;
    assert_eq!((status, content_type.as_str()), (200, PLAIN_METRICS));
    assert!(text.contains("# TYPE shunt_redirects_total counter\n") && !text.contains("EOF"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let scrape = TestRequest::with_uri("/metrics").insert_header((header::ACCEPT, accept));
    let (status, content_type, text) = ask(&parts, scrape).await;
    assert_eq!((status, content_type.as_str()), (200, OPENMETRICS));
    for line in [
        "shunt_redirects_total{outcome=\"hit\"} 1",
        "shunt_redirects_total{outcome=\"unavailable\"} 0",
        "shunt_redirect_duration_seconds_count 64",
        "shunt_redirect_duration_seconds_bucket{le=\"+Inf\"} 64",
        "shunt_clicks_accepted_total 1",
        "shunt_clicks_counted_total 0",
        "shunt_clicks_dropped_total{reason=\"spool_full\"} 0",
        "shunt_clicks_in_journal 0",
        "shunt_links_in_memory 0",
        "shunt_links_memory_bytes 0",
        "# TYPE shunt_store_duration_seconds histogram",
        "shunt_http_requests_total{route=\"/health\",method=\"GET\",status=\"200\"} 1",
        "shunt_mailbox_depth{actor=\"links-0\"} 3",
        "shunt_build_info{version=",
    ] {
        let found = text.lines().any(|written| written.starts_with(line));
        assert!(found, "{line:?} is missing in\n{text}");
    }
    check_openmetrics(&text);
}

/// The rules of the text format that scrapers stumble over.
fn check_openmetrics(text: &str) {
    assert!(text.ends_with("# EOF\n"), "the last line is the end mark");
    let mut family = String::new();
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} is declared twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(&family), "{line} outside its family {family}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line} ends with no number");
            let end_of_labels = line.rfind('}').map_or(name.len(), |at| at + 1);
            assert!(samples.insert(&line[..end_of_labels]), "{line} is there twice");
        }
    }
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("shunt_redirect_duration_seconds_bucket"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(buckets.is_sorted(), "buckets are cumulative: {buckets:?}");
}

#[actix_web::test]
async fn actors_are_shown_as_they_report() {
    let (status, _, body) = get(&parts(Vec::new()), "/debug/actors").await;
    assert_eq!(status, 200);
    assert_eq!(body, "{\"shards\":[{\"mailbox\":0}]}");
}

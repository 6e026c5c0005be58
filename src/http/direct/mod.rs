//! The direct way: plain visits of links in memory, answered from the bytes of the connection.
//!
//! Every connection belongs to this path. A request that is plain (`GET` or `HEAD` of one code, no
//! query, no body, a served host) and hits is parsed, decided, recorded and answered by one copy of
//! bytes, without a header map, a request or a response object. A request that is anything else is
//! handed over, with its own bytes and no others, to the HTTP implementation, where the front
//! service and the application answer it; then the connection comes back. So this path may always
//! say "not mine", and never has to be lenient.

mod answer;
mod crowd;
mod framing;
mod handover;
mod proxied;
mod refusal;
mod request;
mod watch;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory};
use bytes::{Buf as _, BytesMut};
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::direct::answer::{Answers, Ending};
use crate::http::direct::crowd::Place;
use crate::http::direct::handover::{Ended, cut_off};
use crate::http::direct::proxied::{Opening, read_opening};
use crate::http::direct::watch::{Phase, Watch};
use crate::http::worker::Worker;

pub(crate) use crowd::Crowd;
pub use framing::{Body, Extent};
pub(crate) use handover::Handover;
pub use refusal::Refusal;
pub use request::{Parsed, PlainVisit, parse};
pub(crate) use watch::{Life, Serving};

/// Room for reading; a plain visit takes some hundred bytes.
const READ_BYTES: usize = 8 * 1_024;
/// Room for answers that a connection keeps between two reads.
const OUTPUT_BYTES_KEPT: usize = 8 * 1_024;
/// Answers are sent when they take this much. One read may bring two hundred pipelined visits of
/// links with long destinations, whose answers take megabytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1_024;
/// Reads that are thrown away after the last answer.
const LEAVING_READS_MAX: usize = 128;

/// Makes the service of one worker's connections around the HTTP implementation.
pub(crate) struct DirectFactory<H> {
    pub worker: Rc<Worker>,
    pub http: H,
    pub timeouts: Timeouts,
    pub stopping: GracefulShutdownSignal,
}

/// How long a connection may keep a worker waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Between two requests.
    pub idle: std::time::Duration,
    /// From the first byte of a request's head to its last.
    pub head: std::time::Duration,
    /// For an answer to be taken, beyond what its bytes may take.
    pub send: std::time::Duration,
}

/// The connections of one worker.
pub(crate) struct Direct<H>(Rc<Shared<H>>);

struct Shared<H> {
    worker: Rc<Worker>,
    http: H,
    answers: Answers,
    watch: Rc<Watch>,
}

impl<H> ServiceFactory<TcpStream> for DirectFactory<H>
where
    H: ServiceFactory<(Handover, Option<SocketAddr>), Config = (), Response = ()>,
    H::Service: 'static,
    H::Future: 'static,
{
    type Response = ();
    type Error = ();
    type Config = ();
    type Service = Direct<H::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let http = self.http.new_service(());
        let worker = Rc::clone(&self.worker);
        let (timeouts, stopping) = (self.timeouts, self.stopping.clone());
        Box::pin(async move {
            let http = http.await.map_err(|_| ())?;
            let watch = Rc::new(Watch::new(timeouts));
            let answers = Answers::new(&worker.rules, &worker.safety);
            Watch::start(&watch, stopping);
            Ok(Direct(Rc::new(Shared { worker, http, answers, watch })))
        })
    }
}

impl<H> Service<TcpStream> for Direct<H>
where
    H: Service<(Handover, Option<SocketAddr>), Response = ()> + 'static,
{
    type Response = ();
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<(), ()>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.0.http.poll_ready(context).map_err(|_| ())
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let shared = Rc::clone(&self.0);
        Box::pin(async move {
            if let Ok(connection) = Connection::new(&shared, stream)
                && let Some(_place) = connection.place()
            {
                let life = shared.watch.enter();
                // A connection that breaks is the client's business.
                let _ = connection.serve(&life).await;
            }
            Ok(())
        })
    }
}

/// One connection.
struct Connection<'a, H> {
    shared: &'a Shared<H>,
    stream: TcpStream,
    /// Who is at the other end, or whom a trusted proxy said when it connected.
    peer: SocketAddr,
    /// The peer may tell with each request for whom it asks.
    proxy: bool,
    /// Bytes not yet answered.
    input: BytesMut,
    /// Answers not yet sent.
    output: Vec<u8>,
}

/// What became of the bytes in `input`.
enum Progress {
    /// All complete requests are answered; more bytes are needed.
    Wanting,
    /// There are answers enough to be sent.
    Enough,
    /// The next request is not for this path.
    NotMine(Extent),
    /// The client was told that this answer is the last: the server stops, or what came is no
    /// request.
    Last,
}

impl<'a, H> Connection<'a, H> {
    fn new(shared: &'a Shared<H>, stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let proxy = shared.worker.trusts(peer);
        let input = BytesMut::with_capacity(READ_BYTES);
        Ok(Self { shared, stream, peer, proxy, input, output: Vec::new() })
    }

    /// Its place among those of its client, if there is one left. A proxy speaks for many.
    fn place(&self) -> Option<Place> {
        match self.proxy {
            true => Some(Crowd::uncounted()),
            false => self.shared.worker.crowd.enter(self.peer.ip()),
        }
    }
}

impl<H> Connection<'_, H>
where
    H: Service<(Handover, Option<SocketAddr>), Response = ()>,
{
    /// Answers until one of both sides closes.
    async fn serve(mut self, life: &Rc<Life>) -> io::Result<()> {
        if self.proxy && !self.open(life).await? {
            return Ok(());
        }
        let mut in_head = false;
        loop {
            let progress = self.answer_all();
            let answered = !self.output.is_empty();
            if answered {
                self.write(life).await?;
            }
            match progress {
                Progress::Enough => continue,
                Progress::NotMine(request) => {
                    let Some(back) = self.hand_over(request, life).await? else { return Ok(()) };
                    self = back;
                    in_head = false;
                    if !self.input.is_empty() {
                        continue;
                    }
                    life.wait(Phase::Idle);
                }
                Progress::Last => return self.leave(life).await,
                // The deadline of a head begins with its first byte.
                Progress::Wanting if in_head && !answered => (),
                Progress::Wanting if !self.input.is_empty() => life.wait(Phase::Head),
                Progress::Wanting if answered => life.wait(Phase::Idle),
                // It has only begun.
                Progress::Wanting => (),
            }
            if self.input.is_empty() && self.shared.watch.is_stopping() {
                return Ok(());
            }
            in_head = !self.input.is_empty();
            if self.read(life).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what a trusted proxy says of the client before its first request, if it does. False
    /// when nothing can follow.
    async fn open(&mut self, life: &Life) -> io::Result<bool> {
        loop {
            if self.read(life).await? == 0 {
                return Ok(false);
            }
            match read_opening(&self.input) {
                Opening::Partial => (),
                Opening::Absent => return Ok(true),
                Opening::Malformed => return Ok(false),
                Opening::Told { n_bytes, peer } => {
                    self.input.advance(n_bytes);
                    if let Some(peer) = peer {
                        self.peer = peer;
                        self.proxy = self.shared.worker.trusts(peer);
                    }
                    return Ok(true);
                }
            }
        }
    }

    /// Has the next request answered by the HTTP implementation. Nothing comes back when the
    /// connection ends with it.
    async fn hand_over(self, request: Extent, life: &Rc<Life>) -> io::Result<Option<Self>> {
        let Self { shared, stream, peer, proxy, input, output } = self;
        drop(output);
        let (io, lent) = Handover::new(stream, input, request, Rc::clone(life));
        // In a box: idle connections need no room for it.
        let served = Box::pin(shared.http.call((io, Some(peer)))).await;
        let Some((stream, input, ended)) = lent.take_back() else { return Ok(None) };
        let mut back = Self { shared, stream, peer, proxy, input, output: Vec::new() };
        match ended {
            Ended::Kept if served.is_ok() && request.keeps => Ok(Some(back)),
            Ended::Kept | Ended::Closing => back.leave(life).await.map(|()| None),
            Ended::Broken => Ok(None),
        }
    }

    /// Reads what has come, at least a byte; 0 when the client closed. Fails when the connection
    /// kept waiting too long, or is idle while the server stops.
    async fn read(&mut self, life: &Life) -> io::Result<usize> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let Self { stream, input, .. } = self;
        poll_fn(|context| {
            let read = poll_read(stream, input, context);
            if read.is_pending() && life.is_cut(context) {
                return Poll::Ready(Err(cut_off(stream, life)));
            }
            read
        })
        .await
    }

    /// Sends the answers. Nothing more is read before the client has taken them; fails when it
    /// does not.
    async fn write(&mut self, life: &Life) -> io::Result<()> {
        let Self { stream, output, .. } = self;
        let mut n_sent = 0;
        poll_fn(|context| {
            while n_sent < output.len() {
                match Pin::new(&mut *stream).poll_write(context, &output[n_sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n_bytes)) => {
                        n_sent += n_bytes;
                        life.took(n_bytes);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        life.stall();
                        if life.is_cut(context) {
                            return Poll::Ready(Err(cut_off(stream, life)));
                        }
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        life.took_all();
        output.clear();
        if output.capacity() > OUTPUT_BYTES_KEPT {
            *output = Vec::new();
        }
        Ok(())
    }

    /// Closes after the last answer. What the client sent before it knew is read and thrown away:
    /// a close with unread bytes is a reset, which can destroy answers on their way.
    async fn leave(&mut self, life: &Life) -> io::Result<()> {
        self.stream.shutdown().await?;
        life.wait(Phase::Leaving);
        for _ in 0..LEAVING_READS_MAX {
            self.input.clear();
            if self.read(life).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Answers every complete request, or one when the server stops, or as many as make enough
    /// answers to be sent.
    fn answer_all(&mut self) -> Progress {
        let Shared { worker, answers, watch, .. } = self.shared;
        let end = Ending { date: watch.date(), last: watch.is_stopping() };
        while !self.input.is_empty() {
            if self.output.len() >= OUTPUT_BYTES_MAX {
                return Progress::Enough;
            }
            let visit = match parse(&self.input) {
                Parsed::Visit(visit) => visit,
                Parsed::Partial => return Progress::Wanting,
                Parsed::Other(request) => return Progress::NotMine(request),
                Parsed::Refused(refusal) => {
                    let id = worker.new_request_id();
                    refusal.write(&mut self.output, &worker.safety, (&id, &end.date));
                    return Progress::Last;
                }
            };
            let Some(domain) = worker.hosts.exact(visit.headers.host) else {
                return Progress::NotMine(visit.extent);
            };
            let started = worker.sample();
            let address = match self.proxy {
                false => self.peer.ip().to_canonical(),
                true => worker.client_of(self.peer, &visit),
            };
            let output = &mut self.output;
            let click = visit.click(address);
            let hit = worker.hit(
                (domain, visit.code),
                click,
                || address,
                |target, measured| {
                    let made;
                    let id = match visit.request_id {
                        Some(id) => id,
                        None => {
                            made = worker.new_request_id();
                            &made
                        }
                    };
                    answers.write(output, (target, measured), id, &end);
                    Some(())
                },
            );
            if hit.is_none() {
                return Progress::NotMine(visit.extent);
            }
            if let Some(started) = started {
                worker.observe_sample(started);
            }
            let n_bytes = visit.extent.head;
            self.input.advance(n_bytes);
            if end.last {
                return Progress::Last;
            }
        }
        Progress::Wanting
    }
}

/// Reads into the spare room of `input`, which is not cleared before.
fn poll_read(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(input)).poll(context)
}

//! A connection whose first bytes were read already. The HTTP implementation has no deadline for
//! the head of a later request, for a body that nobody reads, or for answers that nobody takes: the
//! bytes that pass here tell the watch, which cuts such connections. It also mixes up pipelined
//! requests: what it remembers of the one it reads (version, `HEAD`, `close`) decides how the one
//! before is answered. So it gets one head at a time, and the next when that is answered.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http::direct::watch::{Life, Phase};

/// Gives the bytes that were read first, then what the socket brings.
pub(crate) struct Handover {
    read_before: BytesMut,
    stream: TcpStream,
    life: Rc<Life>,
    heads: Heads,
    /// A head ended, and more has come already.
    paused: bool,
}

/// Finds where heads end.
#[derive(Default)]
struct Heads {
    /// Whether a line with something in it has passed.
    begun: bool,
    /// Bytes of the line so far, but for carriage returns.
    n_line_bytes: usize,
}

impl Heads {
    /// How many of these bytes go to the end of a head, or all.
    fn end(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.n_line_bytes == 0 && self.begun => {
                    self.begun = false;
                    return at + 1;
                }
                b'\n' => {
                    self.begun |= self.n_line_bytes > 0;
                    self.n_line_bytes = 0;
                }
                b'\r' => (),
                _ => self.n_line_bytes += 1,
            }
        }
        bytes.len()
    }
}

impl Handover {
    pub(super) fn new(read_before: BytesMut, stream: TcpStream, life: Rc<Life>) -> Self {
        // What was read is the beginning of a request at least.
        life.wait(Phase::Head);
        Self { read_before, stream, life, heads: Heads::default(), paused: false }
    }

    /// What the watch knows of this connection.
    pub(crate) fn life(&self) -> Rc<Life> {
        Rc::clone(&self.life)
    }

    /// The end of a wait, if it has to end.
    fn wait<T>(&self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.life.is_cut(context) {
            return Poll::Pending;
        }
        Poll::Ready(Err(cut_off(&self.stream, &self.life)))
    }
}

/// Why a connection ends that the watch cut.
pub(super) fn cut_off(stream: &TcpStream, life: &Life) -> io::Error {
    if life.is_stalled() {
        // A reset gives the kernel's memory back at once; a close would go on offering the answers
        // for minutes. Should it not be possible, the close still ends it.
        let _ = stream.set_zero_linger();
    }
    io::ErrorKind::TimedOut.into()
}

impl AsyncRead for Handover {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.life.holds_requests() {
            return self.wait(context);
        }
        if std::mem::take(&mut self.paused) {
            // What was read is looked at first; then this is asked again.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = &mut *self;
        if this.read_before.is_empty() {
            let before = room.filled().len();
            let read = Pin::new(&mut this.stream).poll_read(context, room);
            if read.is_pending() {
                return this.wait(context);
            }
            let fresh = &room.filled()[before..];
            if fresh.is_empty() {
                return read;
            }
            let n_bytes = this.heads.end(fresh);
            this.read_before.extend_from_slice(&fresh[n_bytes..]);
            room.set_filled(before + n_bytes);
        } else {
            let n_bytes = room.remaining().min(this.read_before.len());
            let n_bytes = this.heads.end(&this.read_before[..n_bytes]);
            room.put_slice(&this.read_before[..n_bytes]);
            this.read_before.advance(n_bytes);
            if this.read_before.is_empty() {
                this.read_before = BytesMut::new();
            }
        }
        this.paused = !this.read_before.is_empty();
        this.life.heard();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handover {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        match sent {
            Poll::Ready(Ok(n_bytes)) => self.life.took(n_bytes),
            Poll::Ready(Err(_)) => (),
            Poll::Pending => {
                self.life.stall();
                return self.wait(context);
            }
        }
        sent
    }

    /// Called when everything was written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.life.took_all();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

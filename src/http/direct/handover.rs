//! One request on its way through the HTTP implementation. It is given the bytes of that request
//! and no others, and when the answer is sent, the end of the stream: then the connection comes
//! back, with what the client has sent since. So what two requests are can never be mixed up, and
//! an idle connection keeps no buffers of an implementation that may be done with it.
//!
//! The HTTP implementation has no deadline for a body that nobody reads, or for answers that
//! nobody takes: the bytes that pass here tell the watch, which cuts such connections.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http::direct::framing::Extent;
use crate::http::direct::watch::{Life, Phase};
use crate::http::direct::{READ_BYTES, poll_read};

/// The connection, as the HTTP implementation sees it.
pub(crate) struct Handover(Rc<RefCell<Passing>>);

/// Holds the connection while it is handed over.
pub(super) struct Lent(Rc<RefCell<Passing>>);

/// A connection that is handed over.
struct Passing {
    stream: TcpStream,
    /// Read and not yet given.
    input: BytesMut,
    /// What of the request was not given yet.
    left: Extent,
    life: Rc<Life>,
    end: Ended,
}

/// How the HTTP implementation is done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It broke, or was cut off.
    Broken,
    /// The next request may come.
    Kept,
    /// The client was told, or has closed.
    Closing,
}

impl Handover {
    /// Hands one request over, which begins with `input`.
    pub(super) fn new(
        stream: TcpStream,
        input: BytesMut,
        request: Extent,
        life: Rc<Life>,
    ) -> (Self, Lent) {
        life.wait(Phase::Head);
        let passing = Passing { stream, input, left: request, life, end: Ended::Broken };
        let passing = Rc::new(RefCell::new(passing));
        (Self(Rc::clone(&passing)), Lent(passing))
    }

    /// What the watch knows of this connection.
    pub(crate) fn life(&self) -> Rc<Life> {
        Rc::clone(&self.0.borrow().life)
    }
}

impl Lent {
    /// The connection, what was read of it, and how it goes on. Nothing while it is in use.
    pub(super) fn take_back(self) -> Option<(TcpStream, BytesMut, Ended)> {
        let Passing { stream, input, end, .. } = Rc::into_inner(self.0)?.into_inner();
        Some((stream, input, end))
    }
}

impl Passing {
    /// The end of a wait, if it has to end.
    fn wait<T>(&self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.life.is_cut(context) {
            return Poll::Pending;
        }
        Poll::Ready(Err(cut_off(&self.stream, &self.life)))
    }

    /// Whether the client has closed its side; wakes when it does. Requests that it sent ahead hide
    /// that, then a write tells.
    fn has_hung_up(&self, context: &mut Context<'_>) -> bool {
        let mut byte = [0];
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(n_bytes)) => n_bytes == 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Gives what has come of the request; nothing stands for the end.
    fn give(&mut self, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left.is_over() {
            if !self.life.is_answered() {
                if self.life.is_endless() && self.has_hung_up(context) {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                return self.wait(context);
            }
            self.end = Ended::Kept;
            return Poll::Ready(Ok(()));
        }
        if self.input.is_empty() {
            self.input.reserve(READ_BYTES);
            let read = poll_read(&mut self.stream, &mut self.input, context);
            if read.is_pending() {
                return self.wait(context);
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let n_bytes = room.remaining().min(self.input.len());
        let n_bytes = self.left.take(&self.input[..n_bytes]);
        // Nothing when the body is broken: then it never becomes whole.
        room.put_slice(&self.input[..n_bytes]);
        self.input.advance(n_bytes);
        Poll::Ready(Ok(()))
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
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().give(context, room)
    }
}

impl AsyncWrite for Handover {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let passing = &mut *self.0.borrow_mut();
        let sent = Pin::new(&mut passing.stream).poll_write(context, bytes);
        match sent {
            Poll::Ready(Ok(n_bytes)) => passing.life.took(n_bytes),
            Poll::Ready(Err(_)) => (),
            Poll::Pending => {
                passing.life.stall();
                return passing.wait(context);
            }
        }
        sent
    }

    /// Called when everything was written.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let passing = &mut *self.0.borrow_mut();
        passing.life.took_all();
        Pin::new(&mut passing.stream).poll_flush(context)
    }

    /// Called when the HTTP implementation is done: at the end of the stream that it was given
    /// after its answer, or before, when it told the client that the connection ends.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let passing = &mut *self.0.borrow_mut();
        if passing.end != Ended::Kept {
            passing.end = Ended::Closing;
        }
        Poll::Ready(Ok(()))
    }
}

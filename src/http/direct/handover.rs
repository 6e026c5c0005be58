//! A connection whose first bytes were read already. The HTTP implementation has no deadline for
//! the head of a later request, for a body that nobody reads, or for answers that nobody takes: the
//! bytes that pass here tell the watch, which cuts such connections.

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
}

impl Handover {
    pub(super) fn new(read_before: BytesMut, stream: TcpStream, life: Rc<Life>) -> Self {
        // What was read is the beginning of a request at least.
        life.wait(Phase::Head);
        Self { read_before, stream, life }
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
        if self.read_before.is_empty() {
            let before = room.filled().len();
            let read = Pin::new(&mut self.stream).poll_read(context, room);
            if read.is_pending() {
                return self.wait(context);
            }
            if room.filled().len() > before {
                self.life.heard();
            }
            return read;
        }
        let n_bytes = room.remaining().min(self.read_before.len());
        room.put_slice(&self.read_before[..n_bytes]);
        self.read_before.advance(n_bytes);
        if self.read_before.is_empty() {
            self.read_before = BytesMut::new();
        }
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

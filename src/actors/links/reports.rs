//! Reports of tasks, as a stream for the context of the shard that started them.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc::UnboundedReceiver;

use super::messages::Settled;

pub(super) struct Reports(pub(super) Rc<RefCell<UnboundedReceiver<Settled>>>);

impl Stream for Reports {
    type Item = Settled;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Settled>> {
        self.0.borrow_mut().poll_recv(task)
    }
}

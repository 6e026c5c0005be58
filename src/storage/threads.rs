//! Threads of a driver's own, so that a slow database takes none of anybody else's.

use tokio::runtime::{self, Handle, Runtime};

/// A runtime that may be dropped anywhere. Connections are served by the one they are made on.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// Errors: the system's.
    pub(super) fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("there until it is dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last owner may be a task, which must not wait for threads.
            runtime.shutdown_background();
        }
    }
}

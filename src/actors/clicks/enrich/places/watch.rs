//! The watch: a thread that looks whether a database was replaced.
//!
//! Reading and checking a file takes up to seconds, which no counter and no request may wait for.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Places;

/// How often the files are looked at. Providers publish once a day at most; this is for operators
/// who wait for their new file to serve.
const GEOIP_LOOK_EVERY: Duration = Duration::from_secs(10);

/// Keeps the databases up to date until it is ended.
pub struct Watch {
    places: Arc<Places>,
    /// None where there is no file to look at.
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Fails when the system gives no thread.
    pub fn start(places: Arc<Places>) -> io::Result<Self> {
        Self::start_every(places, GEOIP_LOOK_EVERY)
    }

    pub(super) fn start_every(places: Arc<Places>, every: Duration) -> io::Result<Self> {
        let watched = Arc::clone(&places);
        let thread = thread::Builder::new().name("geoip".to_owned());
        let start = || thread.spawn(move || run(&watched, every));
        let thread = (!places.is_empty()).then(start).transpose()?;
        Ok(Self { places, thread })
    }

    /// Ends the thread and waits for it; a check of a file that is under way is given up. What
    /// serves goes on to serve.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.places.end();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that looks at the GeoIP databases had panicked");
            }
        }
    }
}

fn run(places: &Places, every: Duration) {
    // The first look was at the start.
    thread::park_timeout(every);
    while !places.ended() {
        places.refresh();
        thread::park_timeout(every);
    }
}

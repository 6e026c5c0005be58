//! What the drills that break the disk have in common: a server whose every answer is noted while
//! somebody does something to it, and the questions afterwards.

use std::fs;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::kill::{clicks, hot_links, owner_key};
use super::ledger::{Ledger, Promised};
use super::load::{Asking, check_targets};
use super::watch::{Creations, Watch};
use crate::api::Api;
use crate::client::{self, Load, Pace};
use crate::metrics::Scrape;
use crate::process::pause;
use crate::say;
use crate::shunt::{Shunt, ShuntSpec};

const N_CREATORS: usize = 2;
pub const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long the journal may take to empty itself when nothing is wrong any more.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// A redirect that takes longer hangs: it waits for the disk.
const REDIRECT_WITHIN: Duration = Duration::from_secs(5);

/// Journal segments of the server under test: small, so that they come and go.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// One in use, three spare, and one that is wiped and waits to be used again.
const SEGMENTS_PER_WORKER: u64 = 5;

/// What both drills can be told.
#[derive(Args, Clone, Debug)]
pub struct TrialArgs {
    /// Seconds that each fault lasts
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds in which a fault must be told, and everything be well again after it
    #[arg(long, default_value_t = 5.0)]
    pub recover_seconds: f64,
    /// Connections that ask for redirects
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl TrialArgs {
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub fn recover_span(&self) -> Duration {
        Duration::from_secs_f64(self.recover_seconds)
    }
}

/// A lie that the checker has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Canary {
    /// A redirect is noted as answered that never was
    Click,
    /// A link is noted as created that never was
    Link,
    /// The disk does not fail at all, so links are created that the drill takes for lost
    Durable,
}

/// A server, and what is known of it.
pub struct Trial {
    pub spec: ShuntSpec,
    pub ledger: Ledger,
    pub connections: usize,
    seed: u64,
    key: String,
    running: Option<Shunt>,
    /// Redirects answered by the process that runs now.
    answered: u64,
    /// How many clicks may be missing: those that earlier processes dropped, up to those that were
    /// in no journal when a process was killed.
    missing: RangeInclusive<u64>,
    n_loads: usize,
}

impl Trial {
    /// Starts on an empty folder and creates the links that every load asks for.
    pub fn prepare(spec: ShuntSpec, arguments: &TrialArgs) -> Result<Self> {
        let running = spec.start(START_WITHIN)?;
        let key = owner_key(&spec.log)?;
        let ledger = hot_links(running.public, &key)?;
        Ok(Self {
            spec,
            ledger,
            connections: arguments.connections,
            seed: arguments.seed,
            key,
            running: Some(running),
            answered: 0,
            missing: 0..=0,
            n_loads: 0,
        })
    }

    pub fn running(&mut self) -> Result<&mut Shunt> {
        self.running.as_mut().context("the server is not running")
    }

    /// Redirects and creations until `script` has ended. Every redirect must be answered with the
    /// right target, every creation with a link or with the refusal of the contract.
    pub fn under_load<T: Send>(
        &mut self,
        script: impl FnOnce(&Watch<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        self.n_loads += 1;
        let round = self.n_loads;
        let shunt = self.running.as_ref().context("the server is not running")?;
        let load = load(shunt, self.connections);
        let creations = Creations::default();
        let stop = AtomicBool::new(false);
        let acked_before = sum(&self.ledger);
        let mut asking =
            Asking::new(&mut self.ledger, creations.made(), round, self.seed + round as u64);
        let watch = Watch::new(shunt, &creations);
        let (played, done) = thread::scope(|scope| {
            for number in 0..N_CREATORS {
                let (creations, key, stop) = (&creations, &self.key, &stop);
                let folder = format!("https://www.example.com/drill/{round}/{number}");
                scope.spawn(move || creations.create_until(stop, shunt.public, key, &folder));
            }
            let director = scope.spawn(|| {
                let done = script(&watch);
                stop.store(true, Ordering::Relaxed);
                done
            });
            let played = client::run(&load, &mut asking, &stop);
            let done = director.join().map_err(|_| anyhow::anyhow!("the script panicked"));
            stop.store(true, Ordering::Relaxed);
            (played, done)
        });
        asking.take_new_links();
        let tally = played.context("the load")?;
        self.ledger.deviations.add_all(creations.into_deviations());
        self.answered += sum(&self.ledger) - acked_before;
        let slowest = Duration::from_nanos(tally.latency.max());
        if tally.n_errors > 0 {
            let text = format!("{} redirects were not answered", tally.n_errors);
            self.ledger.deviations.add(text);
        }
        if slowest > REDIRECT_WITHIN {
            self.ledger.deviations.add(format!("a redirect took {slowest:?}"));
        }
        say(&format!(
            "{:>9} redirects, {:.0}/s, the slowest {:.1} ms, {} errors",
            tally.n_requests,
            tally.rps(),
            slowest.as_secs_f64() * 1e3,
            tally.n_errors
        ))?;
        done?
    }

    /// Lies for a canary, after the first load.
    pub fn lie(&mut self, canary: Option<Canary>) {
        match canary {
            Some(Canary::Click) => self.ledger.links[0].n_acked += 1,
            Some(Canary::Link) => {
                let never = "https://www.example.com/never".to_owned();
                self.ledger.links.push(Promised::new("never-made".into(), never));
            }
            Some(Canary::Durable) | None => (),
        }
    }

    /// With nothing under way: the journal empties itself and gives its space back, the accounts
    /// close, no click is missing but those the server said it dropped.
    pub fn check_accounts(&mut self) -> Result<()> {
        let answered = self.answered as f64;
        let bytes_max = (self.spec.workers as u64 * SEGMENTS_PER_WORKER * SEGMENT_BYTES) as f64;
        let drained =
            self.running()?.wait_for_metrics(DRAIN_WITHIN, "empty its journal", |scrape| {
                scrape.total("shunt_clicks_in_journal") == 0.0
                    && scrape.total("shunt_journal_bytes") <= bytes_max
            });
        let scrape = match drained {
            Ok(scrape) => scrape,
            Err(error) => {
                self.ledger.deviations.add(format!("{error:#}"));
                self.running()?.metrics()?
            }
        };
        let books = Books::of(&scrape);
        if books.accepted != answered || !books.close() {
            self.ledger.deviations.add(format!("answered {answered}, but {books}"));
        }
        self.check_clicks(books.dropped as u64)?;
        say(&format!("          {books}"))
    }

    /// No link has too many clicks; those missing are the `dropped` ones and those
    /// of earlier processes. Answers how many are missing.
    fn check_clicks(&mut self, dropped: u64) -> Result<u64> {
        let allowed = self.missing.start() + dropped..=self.missing.end() + dropped;
        let deadline = Instant::now() + DRAIN_WITHIN;
        let mut api = Api::with_key(self.running()?.public, &self.key);
        let n_links = self.ledger.links.len();
        loop {
            let mut missing = 0;
            for link in &self.ledger.links[..n_links] {
                let n_counted = clicks(&mut api, &link.code)?;
                if n_counted > link.n_acked {
                    let (code, acked) = (&link.code, link.n_acked);
                    let text = format!("/{code}: answered {acked}, counted {n_counted}");
                    self.ledger.deviations.add(text);
                }
                missing += link.n_acked.saturating_sub(n_counted);
            }
            if allowed.contains(&missing) {
                return Ok(missing);
            }
            if Instant::now() > deadline {
                let text = format!("{missing} clicks are missing, dropped were {allowed:?}");
                self.ledger.deviations.add(text);
                return Ok(missing);
            }
            pause(Duration::from_millis(200));
        }
    }

    /// kill -9, with nothing under way. What was in memory only may be lost from now on.
    pub fn kill(&mut self) -> Result<()> {
        let shunt = self.running.take().context("the server is not running")?;
        let books = Books::of(&shunt.metrics()?);
        say(&format!("          killed: {books}"))?;
        let (dropped, unjournaled) = (books.dropped as u64, books.unjournaled as u64);
        let (low, high) = (self.missing.start() + dropped, self.missing.end() + dropped);
        self.missing = low..=high + unjournaled;
        self.answered = 0;
        shunt.server.kill()
    }

    /// Starts it again; every link whose 201 arrived must lead where it was promised to lead.
    pub fn restart(&mut self) -> Result<()> {
        let started = Instant::now();
        self.running = Some(self.spec.start(START_WITHIN).context("restart")?);
        let ready_after = started.elapsed();
        self.check_links()?;
        let missing = self.check_clicks(0)?;
        self.missing = missing..=missing;
        say(&format!(
            "          restarted in {} ms, {} links looked at",
            ready_after.as_millis(),
            self.ledger.links.len()
        ))
    }

    pub fn check_links(&mut self) -> Result<()> {
        let public = self.running()?.public;
        let all = 0..self.ledger.links.len();
        check_targets(&mut self.ledger, public, all)
    }

    /// Says how it went, after a stop in good order.
    pub fn verdict(mut self, outcome: Result<()>) -> Result<ExitCode> {
        if let Err(error) = outcome {
            // With a promise broken already, what fails after it is a consequence.
            if self.ledger.deviations.n == 0 {
                return Err(error);
            }
            self.ledger.deviations.add(format!("and then: {error:#}"));
        }
        if let Some(shunt) = self.running.take() {
            let status = shunt.server.terminate(STOP_WITHIN)?;
            if !status.success() {
                self.ledger.deviations.add(format!("SIGTERM ends with {status}"));
            }
        }
        let log = fs::read_to_string(&self.spec.log).unwrap_or_default();
        for line in log.lines().filter(|line| line.contains("panicked at")) {
            self.ledger.deviations.add(format!("the server panicked: {line}"));
        }
        let deviations = &self.ledger.deviations;
        say(&format!("\n{} links, {} deviations", self.ledger.links.len(), deviations.n))?;
        for example in &deviations.examples {
            say(&format!("  {example}"))?;
        }
        Ok(match deviations.n {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// What the server says of its clicks.
struct Books {
    accepted: f64,
    counted: f64,
    in_journal: f64,
    dropped: f64,
    unjournaled: f64,
}

impl Books {
    fn of(scrape: &Scrape) -> Self {
        Self {
            accepted: scrape.total("shunt_clicks_accepted_total"),
            counted: scrape.total("shunt_clicks_counted_total"),
            in_journal: scrape.total("shunt_clicks_in_journal"),
            dropped: scrape.total("shunt_clicks_dropped_total"),
            unjournaled: scrape.total("shunt_clicks_unjournaled_total"),
        }
    }

    /// accepted = counted + in the journal + dropped.
    fn close(&self) -> bool {
        self.accepted == self.counted + self.in_journal + self.dropped
    }
}

impl std::fmt::Display for Books {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accepted, counted, in_journal, dropped, unjournaled } = self;
        write!(
            out,
            "accepted {accepted}, counted {counted}, in journal {in_journal}, dropped {dropped}, \
             for a while in memory only {unjournaled}"
        )
    }
}

fn load(shunt: &Shunt, connections: usize) -> Load {
    Load {
        addr: shunt.public,
        connections,
        depth: 1,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        // The script decides when it ends.
        duration: Duration::from_secs(3_600),
        reconnect: false,
        spin: false,
    }
}

fn sum(ledger: &Ledger) -> u64 {
    ledger.links.iter().map(|link| link.n_acked).sum()
}

//! `drill kill`: kill -9 at random moments under load, and again and again while the journal is
//! counted. Afterwards every link whose 201 arrived resolves, the clicks counted are the redirects
//! answered, up to those in flight at the kill, and the statistics tell the same.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::ledger::{Ledger, Promised};
use super::load::{Asking, Creator, check_targets};
use crate::api::Api;
use crate::client::{self, Load, Pace};
use crate::metrics::Scrape;
use crate::process::pause;
use crate::rng::Rng;
use crate::say;
use crate::shunt::{Shunt, ShuntSpec, remove_folder};

/// Links that every round asks for; the other half of the load goes to the newest.
pub const N_HOT: usize = 32;
const N_CREATORS: usize = 2;
/// Older links that are looked at again after each round; all of them at the end.
const N_OLD_SAMPLE: usize = 200;
const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// So often that chunks are stored and folded all the time.
const FLUSH_INTERVAL: &str = "20ms";
/// Single clicks of one page.
const EVENTS_COMPLETE_MAX: u64 = 100;
/// A nested kill comes at the latest so long after the start: while the journal is read, counted,
/// flushed and folded.
const NESTED_AFTER_MAX: Duration = Duration::from_millis(400);

#[derive(Args, Clone, Debug)]
pub struct KillArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill")]
    pub work: PathBuf,
    /// Kills
    #[arg(long, default_value_t = 100)]
    pub rounds: usize,
    /// Longest time under load before a kill; each round takes a random part of it
    #[arg(long, default_value_t = 1.5)]
    pub seconds: f64,
    /// Connections that ask for redirects
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Further kills after each, at random moments of the start that follows
    #[arg(long, default_value_t = 0)]
    pub nested: usize,
    /// Longest wait for clicks to appear in the statistics
    #[arg(long, default_value_t = 15.0)]
    pub drain_seconds: f64,
    /// Decides the moments and the codes; the same seed repeats the drill
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Breaks a promise on purpose; the drill must then end with 1
    #[arg(long, num_args = 0..=1, default_missing_value = "click")]
    pub canary: Option<Canary>,
}

/// A lie that the checker has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Canary {
    /// A redirect is noted as answered that never was
    Click,
    /// A link is noted as created that never was
    Link,
    /// The journal is deleted between kill and restart
    Journal,
}

pub fn run(arguments: &KillArgs) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "a drill needs at least one round");
    let mut drill = Drill::prepare(arguments)?;
    say("round | lived ms | links | answered | in flight | ready ms | deviations")?;
    if let Err(error) = drill.all_rounds() {
        // With a promise broken already, what fails after it is a consequence.
        if drill.ledger.deviations.n == 0 {
            return Err(error);
        }
        drill.ledger.deviations.add(format!("and then: {error:#}"));
    }
    drill.verdict()
}

struct Drill<'a> {
    arguments: &'a KillArgs,
    spec: ShuntSpec,
    key: String,
    running: Option<Shunt>,
    rng: Rng,
    ledger: Ledger,
}

impl<'a> Drill<'a> {
    /// Starts on an empty folder and creates the links that every round asks for.
    fn prepare(arguments: &'a KillArgs) -> Result<Self> {
        remove_folder(&arguments.work)?;
        fs::create_dir_all(&arguments.work).context("make the work folder")?;
        let work = arguments.work.canonicalize()?;
        let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &work.join("data"));
        spec.workers = 2;
        let often = ("SHUNT_CLICKS__FLUSH_INTERVAL".to_owned(), FLUSH_INTERVAL.to_owned());
        spec.environment.push(often);
        let running = spec.start(START_WITHIN)?;
        let key = owner_key(&spec.log)?;
        let ledger = hot_links(running.public, &key)?;
        let rng = Rng::new(arguments.seed);
        Ok(Self { arguments, spec, key, running: Some(running), rng, ledger })
    }

    fn all_rounds(&mut self) -> Result<()> {
        for round in 1..=self.arguments.rounds {
            self.round(round)?;
        }
        self.calm_round()
    }

    fn running(&mut self) -> Result<&mut Shunt> {
        self.running.as_mut().context("the server is not running")
    }

    /// Load, kill, restart, check.
    fn round(&mut self, round: usize) -> Result<()> {
        let n_links_before = self.ledger.links.len();
        let (acked_before, in_flight_before) = self.sums();
        let deviations_before = self.ledger.deviations.n;
        let lives = Duration::from_secs_f64(self.arguments.seconds * (0.05 + self.rng.unit()));
        self.load(round, lives, true)?;
        self.tell_lies(round, n_links_before)?;
        for _ in 0..self.arguments.nested {
            let dies_after = NESTED_AFTER_MAX.mul_f64(self.rng.unit());
            let shunt = self.spec.spawn().context("start between two kills")?;
            pause(dies_after);
            shunt.server.kill()?;
        }

        let started = Instant::now();
        self.running = Some(self.spec.start(START_WITHIN).context("restart after the kill")?);
        let ready_after = started.elapsed();
        self.check_links(n_links_before)?;
        self.check_clicks(round)?;

        let (acked, in_flight) = self.sums();
        say(&format!(
            "{round:5} | {:8} | {:5} | {:8} | {:9} | {:8} | {}",
            lives.as_millis(),
            self.ledger.links.len() - n_links_before,
            acked - acked_before,
            in_flight - in_flight_before,
            ready_after.as_millis(),
            self.ledger.deviations.n - deviations_before,
        ))
    }

    /// Redirects and creations for `lives` long; then a kill, or a quiet end.
    fn load(&mut self, round: usize, lives: Duration, kill: bool) -> Result<()> {
        let shunt = self.running.take().context("the server is not running")?;
        let public = shunt.public;
        let created = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        let seed = self.rng.draw();
        let mut asking = Asking::new(&mut self.ledger, &created, round, seed);
        let load = Load {
            addr: public,
            connections: self.arguments.connections,
            depth: 1,
            pace: Pace::Closed,
            warmup: Duration::ZERO,
            // Somebody else decides when it ends.
            duration: Duration::from_secs(3_600),
            reconnect: false,
            spin: false,
        };
        let (key, created, stop) = (&self.key, &created, &stop);
        let left = thread::scope(|scope| -> Result<Option<Shunt>> {
            for number in 0..if kill { N_CREATORS } else { 0 } {
                let creator = Creator { public, key, round, number };
                scope.spawn(move || creator.create_until(stop, created));
            }
            let killer = scope.spawn(move || {
                pause(lives);
                let left = if kill {
                    shunt.server.kill()?;
                    None
                } else {
                    Some(shunt)
                };
                stop.store(true, Ordering::Relaxed);
                anyhow::Ok(left)
            });
            let played = client::run(&load, &mut asking, stop);
            let left = killer.join().map_err(|_| anyhow::anyhow!("the killer panicked"))??;
            // A kill before the first connection is a round without load.
            if !kill {
                played?;
            }
            Ok(left)
        })?;
        asking.take_new_links();
        self.running = left;
        Ok(())
    }

    fn tell_lies(&mut self, round: usize, n_links_before: usize) -> Result<()> {
        if round != 1 {
            return Ok(());
        }
        match self.arguments.canary {
            None => (),
            Some(Canary::Click) => {
                self.ledger.links[0].n_acked += {
                    let link = &mut self.ledger.links[0];
                    link.touched_in = round;
                    link.n_in_flight + 1
                }
            }
            Some(Canary::Link) => {
                let never = "https://www.example.com/never".to_owned();
                self.ledger.links.insert(n_links_before, Promised::new("never-made".into(), never));
            }
            Some(Canary::Journal) => {
                let journal = find_folder(&self.spec.data, "journal")
                    .context("there is no journal folder to delete")?;
                remove_folder(&journal)?;
            }
        }
        Ok(())
    }

    /// Every link of this round and some older ones lead where they were promised to lead.
    fn check_links(&mut self, n_links_before: usize) -> Result<()> {
        let n_older = N_OLD_SAMPLE.min(n_links_before);
        let older: Vec<usize> = (0..n_older).map(|_| self.rng.below(n_links_before)).collect();
        let newer = n_links_before..self.ledger.links.len();
        let public = self.running()?.public;
        check_targets(&mut self.ledger, public, older.into_iter().chain(newer))
    }

    /// The clicks of every link asked for in this round fit what was observed.
    fn check_clicks(&mut self, round: usize) -> Result<()> {
        let links = self.ledger.links.iter().enumerate();
        let touched = links.filter(|(_, link)| link.touched_in == round);
        let mut open: Vec<usize> = touched.map(|(index, _)| index).collect();
        let deadline = Instant::now() + Duration::from_secs_f64(self.arguments.drain_seconds);
        let mut api = Api::with_key(self.running()?.public, &self.key.clone());
        loop {
            let mut late = Vec::new();
            for index in open {
                let link = &self.ledger.links[index];
                let n_counted = clicks(&mut api, &link.code)?;
                if link.fits(n_counted) {
                    continue;
                }
                if n_counted < link.n_acked && Instant::now() < deadline {
                    late.push(index);
                    continue;
                }
                self.ledger.deviations.add(format!(
                    "/{}: answered {}, in flight {}, counted {n_counted}",
                    link.code, link.n_acked, link.n_in_flight,
                ));
            }
            if late.is_empty() {
                break;
            }
            open = late;
            pause(Duration::from_millis(50));
        }
        let scrape = self.running()?.metrics()?;
        self.check_identity(&scrape);
        Ok(())
    }

    /// accepted = counted + in the journal + dropped, and nothing dropped.
    fn check_identity(&mut self, scrape: &Scrape) {
        let accepted = scrape.total("shunt_clicks_accepted_total");
        let counted = scrape.total("shunt_clicks_counted_total");
        let in_journal = scrape.total("shunt_clicks_in_journal");
        let dropped = scrape.total("shunt_clicks_dropped_total");
        if accepted != counted + in_journal + dropped || dropped > 0.0 {
            self.ledger.deviations.add(format!(
                "identity: accepted {accepted}, counted {counted}, in journal {in_journal}, \
                 dropped {dropped}"
            ));
        }
    }

    /// Without a kill nothing is in flight, and the counts must be exact: in the process that
    /// served, and again after it stopped in good order and another one started.
    fn calm_round(&mut self) -> Result<()> {
        let round = self.arguments.rounds + 1;
        let before = self.settled_clicks()?;
        let (acked_before, _) = self.sums();
        let accepted_before = self.running()?.metrics()?.total("shunt_clicks_accepted_total");
        let noted: Vec<u64> = self.ledger.links.iter().map(|link| link.n_acked).collect();
        self.load(round, Duration::from_secs_f64(self.arguments.seconds), false)?;
        let (acked, _) = self.sums();

        // From here on what the server said is exact, so nothing is in flight any more.
        for ((link, n_before), n_noted) in self.ledger.links.iter_mut().zip(before).zip(noted) {
            link.n_acked = n_before + (link.n_acked - n_noted);
            link.n_in_flight = 0;
            link.touched_in = round;
        }
        self.check_clicks(round)?;
        let drain = Duration::from_secs_f64(self.arguments.drain_seconds);
        let drained = self.running()?.wait_for_metrics(drain, "drain its journal", |scrape| {
            scrape.total("shunt_clicks_in_journal") == 0.0
        });
        let accepted = match drained {
            Ok(scrape) => {
                self.check_identity(&scrape);
                scrape.total("shunt_clicks_accepted_total") - accepted_before
            }
            Err(error) => {
                self.ledger.deviations.add(format!("{error:#}"));
                self.running()?.metrics()?.total("shunt_clicks_accepted_total") - accepted_before
            }
        };
        let answered = acked - acked_before;
        if accepted != answered as f64 {
            let text = format!("calm: answered {answered}, accepted {accepted}");
            self.ledger.deviations.add(text);
        }

        let shunt = self.running.take().context("the server is not running")?;
        let status = shunt.server.terminate(STOP_WITHIN)?;
        if !status.success() {
            self.ledger.deviations.add(format!("SIGTERM ends with {status}"));
        }
        self.running = Some(self.spec.start(START_WITHIN).context("restart after SIGTERM")?);
        self.check_clicks(round)?;
        self.check_statistics()?;
        let (public, all) = (self.running()?.public, 0..self.ledger.links.len());
        check_targets(&mut self.ledger, public, all)?;
        self.check_store()?;
        say(&format!(" calm | {answered} answered, {accepted} accepted, stopped and restarted"))
    }

    /// Statistics tell of each link what the link itself does: in their summary, in the sum of
    /// their series, and, where single clicks are few enough to be kept, in their number.
    fn check_statistics(&mut self) -> Result<()> {
        let mut api = Api::with_key(self.running()?.public, &self.key.clone());
        let codes: Vec<String> = self.ledger.links.iter().map(|link| link.code.clone()).collect();
        for code in codes {
            let n_clicks = clicks(&mut api, &code)?;
            let stats = fetch(&mut api, &format!("/api/v1/links/{code}/stats"))?;
            let summary = stats["summary"]["clicks"].as_u64().unwrap_or(0);
            let buckets = stats["timeseries"].as_array().map_or(&[][..], Vec::as_slice);
            let series: u64 = buckets.iter().filter_map(|bucket| bucket["clicks"].as_u64()).sum();
            let mut told = vec![summary, series];
            if n_clicks <= EVENTS_COMPLETE_MAX {
                let page = format!("/api/v1/links/{code}/clicks?limit=100");
                let events = fetch(&mut api, &page)?;
                told.push(events["data"].as_array().map_or(0, Vec::len) as u64);
            }
            if told.iter().any(|told| *told != n_clicks) {
                let text = format!("/{code}: {n_clicks} clicks, the statistics tell {told:?}");
                self.ledger.deviations.add(text);
            }
        }
        Ok(())
    }

    /// `shunt verify` finds nothing wrong once the server has stopped.
    fn check_store(&mut self) -> Result<()> {
        let shunt = self.running.take().context("the server is not running")?;
        shunt.server.terminate(STOP_WITHIN)?;
        let report = self.spec.command().arg("verify").output().context("run `shunt verify`")?;
        if !report.status.success() {
            let text = String::from_utf8_lossy(&report.stdout).into_owned();
            self.ledger.deviations.add(format!("shunt verify: {text}"));
        }
        Ok(())
    }

    /// Clicks of all links, once they no longer change.
    fn settled_clicks(&mut self) -> Result<Vec<u64>> {
        let mut api = Api::with_key(self.running()?.public, &self.key.clone());
        let deadline = Instant::now() + Duration::from_secs_f64(self.arguments.drain_seconds);
        let mut last = Vec::new();
        loop {
            let links = self.ledger.links.iter();
            let now = links.map(|link| clicks(&mut api, &link.code)).collect::<Result<Vec<_>>>()?;
            if now == last || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
            pause(Duration::from_secs(1));
        }
    }

    fn sums(&self) -> (u64, u64) {
        let links = &self.ledger.links;
        (
            links.iter().map(|link| link.n_acked).sum(),
            links.iter().map(|link| link.n_in_flight).sum(),
        )
    }

    fn verdict(mut self) -> Result<ExitCode> {
        if let Some(shunt) = self.running.take() {
            shunt.server.terminate(STOP_WITHIN)?;
        }
        let deviations = &self.ledger.deviations;
        say(&format!(
            "\n{} kills, {} links, {} deviations",
            self.arguments.rounds,
            self.ledger.links.len(),
            deviations.n
        ))?;
        for example in &deviations.examples {
            say(&format!("  {example}"))?;
        }
        Ok(if deviations.n == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Creates the links that every load asks for.
pub fn hot_links(public: SocketAddr, key: &str) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let mut api = Api::with_key(public, key);
    for n in 0..N_HOT {
        ledger.links.push(create(&mut api, &format!("https://www.example.com/drill/hot/{n}"))?);
    }
    Ok(ledger)
}

/// Creates one link through the API.
pub fn create(api: &mut Api, destination: &str) -> Result<Promised> {
    let body = serde_json::json!({ "destination": destination }).to_string();
    let reply = api.post("/api/v1/links", &body)?;
    ensure!(reply.status == 201, "create answers {}: {}", reply.status, reply.body);
    let link: Value = serde_json::from_str(&reply.body).context("understand the link")?;
    let code = link["code"].as_str().context("the created link has no code")?;
    Ok(Promised::new(code.to_owned(), destination.to_owned()))
}

/// What the API answers, which must be a 200.
pub fn fetch(api: &mut Api, path: &str) -> Result<Value> {
    let reply = api.get(path)?;
    ensure!(reply.status == 200, "GET {path} answers {}: {}", reply.status, reply.body);
    serde_json::from_str(&reply.body).context("understand the answer")
}

/// Clicks of a link as the API tells them; zero when it knows no such link.
pub fn clicks(api: &mut Api, code: &str) -> Result<u64> {
    let reply = api.get(&format!("/api/v1/links/{code}"))?;
    if reply.status == 404 {
        // A lost link has lost its clicks too; the check of targets names it.
        return Ok(0);
    }
    ensure!(reply.status == 200, "GET of a link answers {}: {}", reply.status, reply.body);
    let link: Value = serde_json::from_str(&reply.body).context("understand the link")?;
    link["clicks"].as_u64().context("the link has no clicks")
}

/// The key that a first start prints once.
pub fn owner_key(log: &Path) -> Result<String> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let after = text.split("owner API key: ").nth(1);
    match after.and_then(|rest| rest.split_whitespace().next()) {
        Some(key) if key.starts_with("shunt_") => Ok(key.to_owned()),
        _ => bail!("the first start printed no owner API key, see {}", log.display()),
    }
}

/// The first folder below `root` whose name contains `part`.
fn find_folder(root: &Path, part: &str) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(root).ok()?.flatten().collect();
    let folders: Vec<_> = entries.iter().map(|e| e.path()).filter(|path| path.is_dir()).collect();
    let named = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(part))
    };
    folders
        .iter()
        .find(named)
        .cloned()
        .or_else(|| folders.iter().find_map(|folder| find_folder(folder, part)))
}

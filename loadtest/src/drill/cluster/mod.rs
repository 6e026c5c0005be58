//! `drill cluster`: three nodes on a database and a Redis of their own, under load, while one of
//! them all fails. Redirects of links in memory go on as ever, changes arrive in time, clicks are
//! counted to the last one, and all is well again without anybody's help.

pub mod ask;
pub mod backing;
pub mod edits;
pub mod fleet;
pub mod ledger;
pub mod proxy;
pub mod report;
pub mod scenario;
pub mod sockets;
pub mod stage;
pub mod strangers;
pub mod trial;
pub mod visitors;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::backing::{Database, Ports, Redis};
use self::fleet::Fleet;
use self::ledger::Ledger;
use self::report::{Bars, Figures};
use self::scenario::{Scenario, World};
use self::stage::{N_NODES, Stage};
use self::strangers::ColdLinks;
use self::trial::Plan;
use super::ledger::Deviations;
use crate::api::Api;
use crate::facts;
use crate::say;
use crate::shunt::remove_folder;
use crate::stats::table;

const SHORT_SECONDS: f64 = 3.0;
const SHORT_QUIET_SECONDS: f64 = 1.0;

#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// What goes wrong, in this order; everything when none is named
    pub scenarios: Vec<Scenario>,
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for everything; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-cluster")]
    pub work: PathBuf,
    /// Seconds that each fault lasts
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Seconds before each fault, and after it, that it is held against
    #[arg(long, default_value_t = 15.0)]
    pub quiet_seconds: f64,
    /// Faults of few seconds, as the tests run them
    #[arg(long)]
    pub short: bool,
    /// Redirects per second, of all nodes together
    #[arg(long, default_value_t = 600.0)]
    pub rate: f64,
    /// What p50 and p90 of redirects may be multiplied by
    #[arg(long, default_value_t = 1.2)]
    pub ratio_max: f64,
    /// Share of loads and writes that may take too long with the database there
    #[arg(long, default_value_t = 0.0)]
    pub overdue_max: f64,
    /// Milliseconds that a refusal may take while the database is gone
    #[arg(long, default_value_t = 200)]
    pub refused_ms_max: u64,
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
    /// A change is noted as made that never was
    Stale,
}

impl ClusterArgs {
    fn bars(&self) -> Bars {
        Bars { ratio_max: self.ratio_max, overdue_max: self.overdue_max }
    }

    fn plan(&self) -> Plan {
        let (fault, quiet) = match self.short {
            true => (SHORT_SECONDS, SHORT_QUIET_SECONDS),
            false => (self.seconds, self.quiet_seconds),
        };
        Plan {
            quiet: Duration::from_secs_f64(quiet),
            fault: Duration::from_secs_f64(fault),
            visitors: 4,
            rate: self.rate,
            cold_rate: 3.0,
            create_rate: 2.0,
            refused_within: Duration::from_millis(self.refused_ms_max),
            seed: self.seed,
            lies: false,
        }
    }
}

pub fn run(arguments: &ClusterArgs) -> Result<ExitCode> {
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        named => named,
    };
    for fact in facts::machine() {
        say(&fact)?;
    }
    let began = Instant::now();
    let mut drill = Drill::prepare(arguments)?;
    say(&format!("everything runs after {:.1} s", began.elapsed().as_secs_f64()))?;
    let (mut rows, mut deviations) = (Vec::new(), Deviations::default());
    let mut quiet_edits = Vec::new();
    say(&format!("{} | took", report::HEAD.join(" | ")))?;
    for (number, scenario) in scenarios.iter().enumerate() {
        let canary = arguments.canary.filter(|_| number == 0);
        let began = Instant::now();
        let rest = &scenarios[number..];
        let n_trials = rest.iter().take_while(|scenario| !scenario.replaces_nodes()).count();
        drill.get_ready(n_trials.max(1) as u32)?;
        let (figures, found) = drill.trial(*scenario, canary)?;
        let seconds = began.elapsed().as_secs_f64();
        let row = figures.row(*scenario, found.n);
        say(&format!("{} | {seconds:.1} s", row.join(" | ")))?;
        rows.push(row);
        quiet_edits.extend(figures.quiet_edits);
        deviations.n += found.n - found.examples.len() as u64;
        for example in found.examples {
            let example = format!("{}: {example}", scenario.name());
            say(&format!("  {example}"))?;
            deviations.add(example);
        }
    }
    for panic in drill.world.fleet.panics() {
        deviations.add(panic);
    }
    say(&format!("\n{}", table(&report::HEAD, &rows)))?;
    say(&report::edits_line(&quiet_edits))?;
    say(&format!("{} deviations", deviations.n))?;
    Ok(if deviations.n == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Drill<'a> {
    arguments: &'a ClusterArgs,
    world: World,
    ledger: Ledger,
    cold: ColdLinks,
    /// Whether a node has loaded all links since the last import.
    are_new: bool,
}

impl<'a> Drill<'a> {
    /// Starts everything in an empty folder, and makes the links that are asked for.
    fn prepare(arguments: &'a ClusterArgs) -> Result<Self> {
        remove_folder(&arguments.work)?;
        fs::create_dir_all(&arguments.work).context("make the work folder")?;
        let work = arguments.work.canonicalize()?;
        let mut ports = Ports::default();
        let redis = Redis::start(&work, &mut ports)?;
        let database = Database::start(&work, &mut ports)?;
        let binary = arguments.shunt.canonicalize().context("find the server under test")?;
        let mut fleet = Fleet::start(&binary, &work, (&database, &redis), &mut ports)?;
        let key = fleet.key.clone();
        let ledger = Ledger::new(fleet.node(0)?, &key)?;
        let world = World { database, redis, fleet };
        Ok(Self { arguments, world, ledger, cold: ColdLinks::default(), are_new: true })
    }

    /// Every node has in memory what it is to have there, and nothing of what it is not.
    fn get_ready(&mut self, n_trials: u32) -> Result<()> {
        let plan = self.arguments.plan();
        if !self.are_new && self.cold.n_left() >= plan.n_cold() {
            return Ok(());
        }
        for at in 0..N_NODES {
            self.world.fleet.wait_until_warm(at)?;
            self.ledger.warm(self.world.fleet.node(at)?)?;
        }
        self.cold = self.world.fleet.import(plan.n_cold_of(n_trials) * N_NODES as u64)?;
        self.are_new = false;
        Ok(())
    }

    fn trial(
        &mut self,
        scenario: Scenario,
        canary: Option<Canary>,
    ) -> Result<(Figures, Deviations)> {
        let plan = Plan { lies: canary == Some(Canary::Stale), ..self.arguments.plan() };
        let before = self.world.fleet.processes();
        let stage = Stage::new(self.world.fleet.stations());
        let stage_and_world = (&stage, &mut self.world);
        let played = trial::run(scenario, &plan, stage_and_world, (&self.ledger, &self.cold));
        let mut deviations = stage.into_deviations();
        let mut record = played.with_context(|| {
            let seen = deviations.examples.join("\n");
            format!("{}, after these deviations:\n{seen}\n", scenario.name())
        })?;
        let figures = Figures::of(&record, &plan);
        figures.judge(scenario, (&plan, &self.arguments.bars()), &mut deviations);
        if !scenario.replaces_nodes() {
            report::judge_processes(&before, &self.world.fleet.processes(), &mut deviations);
        }
        self.ledger.take(&mut record);
        if canary == Some(Canary::Click) {
            let link = &mut self.ledger.hot[0];
            link.n_acked += link.n_in_flight + 1;
        }
        self.are_new |= scenario.replaces_nodes();
        self.check(&mut deviations)?;
        Ok((figures, deviations))
    }

    /// With nothing under way: what was answered holds.
    fn check(&mut self, deviations: &mut Deviations) -> Result<()> {
        let fleet = &mut self.world.fleet;
        let key = fleet.key.clone();
        let mut apis = Vec::new();
        for at in 0..N_NODES {
            apis.push(Api::with_key(fleet.node(at)?.public, &key));
        }
        self.ledger.check_links(&mut apis, deviations)?;
        self.ledger.check_clicks(&mut apis, deviations)?;
        for at in 0..N_NODES {
            ledger::check_accounts(&fleet.node(at)?.metrics()?, at, deviations);
        }
        Ok(())
    }
}

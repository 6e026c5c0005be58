//! One scenario from start to end: quiet, broken, well again by itself, quiet.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ask::{Asked, Client};
use super::edits::{Editor, Edits};
use super::ledger::Ledger;
use super::scenario::{Scenario, World};
use super::stage::{N_NODES, Phase, Stage};
use super::strangers::{ColdLinks, Created, Met, Stranger, create, leads_to};
use super::visitors::{Seen, Visitor};
use crate::api::Api;
use crate::process::pause;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest time until what was broken is there again, and all is well.
const MEND_MAX: Duration = Duration::from_secs(40);
const MEND_USUALLY: Duration = Duration::from_secs(10);
const EDIT_EVERY: Duration = Duration::from_millis(50);

/// How a trial is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub quiet: Duration,
    pub fault: Duration,
    /// Visitors of each node, and redirects of all together in a second.
    pub visitors: usize,
    pub rate: f64,
    /// Codes that are in no memory, and creations, per second and node.
    pub cold_rate: f64,
    pub create_rate: f64,
    pub refused_within: Duration,
    pub seed: u64,
    pub lies: bool,
}

impl Plan {
    /// Links that a node may be asked for in a trial that takes long to mend.
    pub fn n_cold(&self) -> u64 {
        self.n_cold_in(self.span() + MEND_MAX)
    }

    /// Links that a node is likely to be asked for in so many trials.
    pub fn n_cold_of(&self, n_trials: u32) -> u64 {
        self.n_cold() + self.n_cold_in((self.span() + MEND_USUALLY) * n_trials)
    }

    fn n_cold_in(&self, span: Duration) -> u64 {
        (span.as_secs_f64() * self.cold_rate) as u64
    }

    fn span(&self) -> Duration {
        self.quiet * 2 + self.fault
    }
}

/// What was seen in a trial.
pub struct Record {
    pub seen: Vec<Seen>,
    pub strangers: Vec<Met>,
    pub edits: Vec<Edits>,
    pub recovered_in: Duration,
    /// From the start of mending until what was broken was there again.
    pub mended_in: Duration,
    /// Connections that Redis was asked for while it was broken.
    pub n_redis_connections: u64,
}

pub fn run(
    scenario: Scenario,
    plan: &Plan,
    (stage, world): (&Stage, &mut World),
    (ledger, cold): (&Ledger, &ColdLinks),
) -> Result<Record> {
    let key = world.fleet.key.clone();
    let every = |per_second: f64| Duration::from_secs_f64(1.0 / per_second);
    let n_visitors = plan.visitors * N_NODES;
    let stranger = |node, per_second| Stranger {
        stage,
        cold,
        node,
        key: &key,
        every: every(per_second),
        refused_within: plan.refused_within,
    };
    let editors = ledger.edited.iter().enumerate().map(|(number, links)| Editor {
        stage,
        key: &key,
        links,
        every: EDIT_EVERY,
        asks_all: number == 0,
        lies: number == 0 && plan.lies,
    });
    thread::scope(|scope| {
        let balancer = scope.spawn(|| stage.balance());
        let visitors: Vec<_> = (0..n_visitors)
            .map(|number| Visitor {
                stage,
                links: &ledger.hot,
                home: number % N_NODES,
                every: every(plan.rate / n_visitors as f64),
                seed: plan.seed + number as u64,
            })
            .map(|visitor| scope.spawn(move || visitor.visit()))
            .collect();
        let mut strangers = Vec::new();
        for node in 0..N_NODES {
            let (looker, creator) =
                (stranger(node, plan.cold_rate), stranger(node, plan.create_rate));
            strangers.push(scope.spawn(move || looker.look_for_links()));
            strangers.push(scope.spawn(move || creator.create()));
        }
        let editing: Vec<_> = editors.map(|editor| scope.spawn(move || editor.edit())).collect();
        let played = play(scenario, plan, stage, world, cold);
        stage.end();
        let panicked = |_| anyhow::anyhow!("a thread of the drill panicked");
        let seen = visitors.into_iter().map(|thread| thread.join().map_err(panicked));
        let seen = seen.collect::<Result<_>>()?;
        let strangers = strangers.into_iter().map(|thread| thread.join().map_err(panicked));
        let strangers = strangers.collect::<Result<_>>()?;
        let edits = editing.into_iter().map(|thread| thread.join().map_err(panicked));
        let edits = edits.collect::<Result<_>>()?;
        balancer.join().map_err(panicked)?;
        let (mended_in, recovered_in, n_redis_connections) = played?;
        Ok(Record { seen, strangers, edits, recovered_in, mended_in, n_redis_connections })
    })
}

/// What happens while everybody asks. Answers how long mending and recovering took, and how
/// often Redis was connected to.
fn play(
    scenario: Scenario,
    plan: &Plan,
    stage: &Stage,
    world: &mut World,
    cold: &ColdLinks,
) -> Result<(Duration, Duration, u64)> {
    // Connections are made, links are loaded where they were not asked for yet.
    pause(Duration::from_millis(300));
    stage.begin(Phase::Quiet);
    pause(plan.quiet);
    let before = world.redis.wire.n_accepted();
    stage.begin(Phase::Fault);
    scenario.break_it(stage, world).context("break it")?;
    scenario.hold(plan.fault, stage, world)?;
    let n_connections = world.redis.wire.n_accepted() - before;
    stage.begin(Phase::Rest);
    let began = Instant::now();
    scenario.mend(stage, world).context("mend it")?;
    let (mended_in, key) = (began.elapsed(), world.fleet.key.as_str());
    let mended = Instant::now();
    thread::scope(|scope| {
        for at in 0..N_NODES {
            scope.spawn(move || recover(at, scenario, stage, key, cold));
        }
    });
    let recovered_in = mended.elapsed();
    stage.begin(Phase::Quiet);
    pause(plan.quiet);
    stage.begin(Phase::Rest);
    Ok((mended_in, recovered_in, n_connections))
}

/// Waits until a node does all that it is there for, without anybody's help.
fn recover(at: usize, scenario: Scenario, stage: &Stage, key: &str, cold: &ColdLinks) {
    let (node, within) = (&stage.nodes[at], scenario.recovery_max());
    let (mut client, began) = (Client::new(node.public, key), Instant::now());
    loop {
        let missing = match is_well(at, stage, &mut client, cold) {
            Ok(()) => break,
            Err(missing) => missing,
        };
        if began.elapsed() > within {
            stage.deviate(format!("node {at} is not well {within:?} later: {missing}"));
            break;
        }
        pause(LOOK_EVERY);
    }
    node.lacks_store(false);
}

/// Whether it creates, changes, loads what it never heard of, and calls itself well.
fn is_well(at: usize, stage: &Stage, client: &mut Client, cold: &ColdLinks) -> Result<(), String> {
    let made = match create(client, "https://www.example.com/after") {
        Created::Made(link, _) => link,
        failed => return Err(format!("a creation ends with {failed}")),
    };
    let body = json!({ "title": "After the fault" }).to_string();
    match client.ask("PATCH", &format!("/api/v1/links/{}", made.code), &body) {
        Asked::Answered(reply, _) if reply.status == 200 => (),
        failed => return Err(format!("a change ends with {failed}")),
    }
    let link = cold.take(at).ok_or("there are too few links that nobody has asked for")?;
    // Not to be counted: this is nobody's visit.
    match client.ask("HEAD", &format!("/{}", link.code), "") {
        Asked::Answered(reply, _) if leads_to(&reply, &link.destination) => (),
        failed => return Err(format!("a link in the database ends with {failed}")),
    }
    let health =
        Api::ops(stage.nodes[at].ops).get("/healthz").map_err(|error| format!("{error:#}"))?;
    let body: Value = serde_json::from_str(&health.body).unwrap_or_default();
    match body["status"].as_str() {
        Some("pass") => Ok(()),
        _ => Err(format!("/healthz says {}", health.body)),
    }
}

//! `run`: one workload against one server, its result as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::client::{self, Load, Pace, Tally};
use crate::plan::Plan;
use crate::tape::{Tape, TapeSpec, read_lines};

/// What `run` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    pub requests: u64,
    pub seconds: f64,
    pub rps: f64,
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that were due and could not be sent (open loop); their wait is in the latency.
    pub unsent: u64,
    pub errors: u64,
    /// Answers whose `Location` is not the expected one.
    pub wrong_targets: u64,
    /// Share of its core that the client used; near 1 the client is the limit, not the server.
    pub client_busy: f64,
    pub latency_us: Latency,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(tally: &Tally) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| micros(tally.latency.value_at_quantile(quantile));
        Self {
            min: micros(tally.latency.min()),
            mean: tally.latency.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(tally.latency.max()),
        }
    }
}

/// Plays `plan` against the server at `addr`.
pub fn run(addr: SocketAddr, plan: &Plan, spin: bool) -> Result<Report> {
    let codes = plan.codes.as_deref().context("no file with codes was named")?;
    let lines = |path: Option<&Path>| path.map_or(Ok(Vec::new()), read_lines);
    let tape = Tape::render(
        &read_lines(codes)?,
        &TapeSpec {
            addresses: false,
            host: plan.host.clone().unwrap_or_else(|| addr.to_string()),
            n_requests: plan.tape_requests,
            zipf: plan.zipf,
            seed: plan.seed,
            user_agents: lines(plan.user_agents.as_deref())?,
            referrers: lines(plan.referrers.as_deref())?,
        },
    )?;
    let targets = lines(plan.targets.as_deref())?;
    let mut player = tape.player(&targets);
    let tally = client::run(&load(addr, plan, spin), &mut player, &AtomicBool::new(false))?;
    Ok(Report {
        requests: tally.n_requests,
        seconds: tally.seconds,
        rps: tally.rps(),
        statuses: tally
            .statuses
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(status, n)| (status as u16, *n))
            .collect(),
        unsent: tally.n_unsent,
        errors: tally.n_errors,
        wrong_targets: player.n_wrong_targets,
        client_busy: tally.client_busy,
        latency_us: Latency::of(&tally),
    })
}

fn load(addr: SocketAddr, plan: &Plan, spin: bool) -> Load {
    Load {
        addr,
        connections: plan.connections,
        depth: plan.depth,
        pace: plan.rate.map_or(Pace::Closed, Pace::Open),
        warmup: Duration::from_secs_f64(plan.warmup_seconds.max(0.0)),
        duration: Duration::from_secs_f64(plan.seconds.max(0.0)),
        reconnect: true,
        spin,
    }
}

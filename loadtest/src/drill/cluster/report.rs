//! What a trial came to: its row of the table, and what in it breaks a promise.

use std::time::Duration;

use super::scenario::Scenario;
use super::stage::N_NODES;
use super::trial::{Plan, Record};
use crate::drill::ledger::Deviations;

pub const HEAD: [&str; 10] = [
    "scenario",
    "redirects",
    "p50 µs, ratio",
    "p90 µs, ratio",
    "cold: found, refused, slowest",
    "created, refused, slowest",
    "changes seen, quiet: p50, p99",
    "changes seen, broken: p50, max",
    "there after, well after",
    "deviations",
];

/// What a node may open anew: connections to what was gone, and of clients who come back.
const DESCRIPTORS_MAX: usize = 64;
/// Connections to Redis that a node may try in a second.
const CONNECTS_MAX: f64 = 4.0;

/// A write may wait so long for a database that says nothing.
const WRITE_MAX: Duration = Duration::from_secs(15);

/// What may be, and depends on the machine.
#[derive(Clone, Copy, Debug)]
pub struct Bars {
    /// Latency beside a fault, in that of all being well.
    pub ratio_max: f64,
    /// Loads and writes that took too long, in those that did not.
    pub overdue_max: f64,
}

/// Figures of one trial.
pub struct Figures {
    n_redirects: usize,
    p50: Pair,
    p90: Pair,
    n_found: u64,
    n_refused: u64,
    n_overdue: u64,
    slowest_refusal: Duration,
    n_created: u64,
    n_not_created: u64,
    slowest_creation: Duration,
    pub quiet_edits: Vec<Duration>,
    fault_edits: Vec<Duration>,
    n_refused_edits: u64,
    connects_per_second: f64,
    mended_in: Duration,
    recovered_in: Duration,
}

/// A latency when all is well, and beside the fault.
struct Pair {
    quiet: u64,
    fault: u64,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.fault as f64 / self.quiet.max(1) as f64
    }

    fn cell(&self) -> String {
        format!("{} → {}, {:.2}", self.quiet / 1_000, self.fault / 1_000, self.ratio())
    }
}

impl Figures {
    pub fn of(record: &Record, plan: &Plan) -> Self {
        let quiet: Vec<u64> = record.seen.iter().flat_map(|seen| seen.quiet.clone()).collect();
        let fault: Vec<u64> = record.seen.iter().flat_map(|seen| seen.fault.clone()).collect();
        let pair = |share| Pair { quiet: at(&quiet, share), fault: at(&fault, share) };
        let (met, edits) = (&record.strangers, &record.edits);
        let sum = |of: fn(&super::strangers::Met) -> u64| met.iter().map(of).sum();
        let most = |of: fn(&super::strangers::Met) -> Duration| {
            met.iter().map(of).max().unwrap_or_default()
        };
        Self {
            n_redirects: record.seen.iter().flat_map(|seen| &seen.answered).sum::<u64>() as usize,
            p50: pair(0.5),
            p90: pair(0.9),
            n_found: sum(|met| met.n_found),
            n_refused: sum(|met| met.n_refused),
            n_overdue: sum(|met| met.n_overdue)
                + edits.iter().map(|edits| edits.n_overdue).sum::<u64>(),
            slowest_refusal: most(|met| met.slowest_refusal),
            n_created: sum(|met| met.n_created),
            n_not_created: sum(|met| met.n_not_created),
            slowest_creation: most(|met| met.slowest_creation),
            quiet_edits: edits.iter().flat_map(|edits| edits.quiet.clone()).collect(),
            fault_edits: edits.iter().flat_map(|edits| edits.fault.clone()).collect(),
            n_refused_edits: edits.iter().map(|edits| edits.n_refused).sum(),
            connects_per_second: record.n_redis_connections as f64
                / plan.fault.as_secs_f64()
                / N_NODES as f64,
            mended_in: record.mended_in,
            recovered_in: record.recovered_in,
        }
    }

    /// That something was tried is part of the result.
    pub fn judge(
        &self,
        scenario: Scenario,
        (plan, bars): (&Plan, &Bars),
        deviations: &mut Deviations,
    ) {
        for (name, pair) in [("p50", &self.p50), ("p90", &self.p90)] {
            if pair.quiet == 0 || pair.fault == 0 || pair.ratio() > bars.ratio_max {
                let (cell, bar) = (pair.cell(), bars.ratio_max);
                deviations.add(format!("{name} is {cell} times as long, not {bar}"));
            }
        }
        let n_overdue = self.n_overdue;
        if n_overdue as f64 > bars.overdue_max * (self.n_found + self.n_created) as f64 {
            deviations.add(format!(
                "{n_overdue} were told to come back later by nodes that had the database"
            ));
        }
        if self.n_found == 0 || self.n_created == 0 || self.quiet_edits.is_empty() {
            deviations.add("nothing was loaded, created or changed".to_owned());
        }
        let n_without = scenario.without_store().len();
        if n_without < N_NODES && self.fault_edits.is_empty() {
            deviations.add("nothing was changed meanwhile".to_owned());
        }
        if n_without > 0 && self.n_refused == 0 {
            deviations.add("no visitor was told to come back later".to_owned());
        }
        let n_writes = self.n_not_created.min(self.n_refused_edits);
        if n_without > 0 && plan.fault > WRITE_MAX && n_writes == 0 {
            deviations.add("no creator or editor was told to come back later".to_owned());
        }
        if self.connects_per_second > CONNECTS_MAX {
            let per_second = self.connects_per_second;
            deviations.add(format!("each node connected to Redis {per_second:.1} times a second"));
        }
    }

    pub fn row(&self, scenario: Scenario, n_deviations: u64) -> Vec<String> {
        let (quiet, fault) = (nanos(&self.quiet_edits), nanos(&self.fault_edits));
        let seconds = |span: Duration| format!("{:.1} s", span.as_secs_f64());
        vec![
            scenario.name(),
            self.n_redirects.to_string(),
            self.p50.cell(),
            self.p90.cell(),
            format!("{}, {}, {}", self.n_found, self.n_refused, millis(self.slowest_refusal)),
            format!(
                "{}, {}, {}",
                self.n_created,
                self.n_not_created,
                millis(self.slowest_creation)
            ),
            format!("{}: {}, {}", quiet.len(), span(&quiet, 0.5), span(&quiet, 0.99)),
            format!("{}: {}, {}", fault.len(), span(&fault, 0.5), span(&fault, 1.0)),
            format!("{}, {}", seconds(self.mended_in), seconds(self.recovered_in)),
            n_deviations.to_string(),
        ]
    }
}

/// Processes that should still be the same ones, with what they have open.
pub fn judge_processes(
    before: &[(u32, usize)],
    after: &[(u32, usize)],
    deviations: &mut Deviations,
) {
    for ((process, n_before), (_, n_after)) in before.iter().zip(after) {
        if *n_after == 0 || *n_after > n_before + DESCRIPTORS_MAX {
            deviations.add(format!("process {process} had {n_before} descriptors, now {n_after}"));
        }
    }
}

/// How long changes took to be seen when all was well, over all trials.
pub fn edits_line(spans: &[Duration]) -> String {
    let all = nanos(spans);
    let (p50, p99, most) = (span(&all, 0.5), span(&all, 0.99), span(&all, 1.0));
    format!(
        "changes seen by another node when all is well: {}; p50 {p50}, p99 {p99}, max {most}",
        all.len()
    )
}

fn nanos(spans: &[Duration]) -> Vec<u64> {
    spans.iter().map(|span| span.as_nanos() as u64).collect()
}

fn span(nanos: &[u64], share: f64) -> String {
    millis(Duration::from_nanos(at(nanos, share)))
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

/// The value below which this share of all lies; zero when there is none.
fn at(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_found_in_any_order_and_nothing_has_none() {
        let values = [30, 10, 20];
        assert_eq!([0.0, 0.5, 1.0].map(|share| at(&values, share)), [10, 20, 30]);
        assert_eq!(at(&[], 0.5), 0);
    }

    #[test]
    fn a_process_that_is_gone_or_opens_more_and_more_is_told() {
        let told = |after| {
            let mut deviations = Deviations::default();
            judge_processes(&[(1, 50)], &[(1, after)], &mut deviations);
            deviations.n
        };
        assert_eq!([50, 50 + DESCRIPTORS_MAX, 51 + DESCRIPTORS_MAX, 0].map(told), [0, 0, 1, 1]);
    }
}

//! What was acknowledged, what was answered and what was heard of it, held against each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A change that somebody was told is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) link: usize,
    /// Rises with every change of the link.
    pub(crate) serial: u32,
    /// The version that this made of the link.
    pub(crate) version: u32,
    /// Which node was told.
    pub(crate) node: usize,
    pub(crate) at: Instant,
}

/// An answer of a node to a visitor. Those of one node and link do not overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) link: usize,
    pub(crate) serial: u32,
    pub(crate) node: usize,
    pub(crate) asked: Instant,
}

/// What a feed told of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) link: usize,
    pub(crate) version: u32,
    pub(crate) at: Instant,
}

/// Nodes that are watched.
pub(crate) const NODES: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) answered: Vec<Answered>,
    pub(crate) heard: Vec<Heard>,
}

impl Ledger {
    /// Everything that is not as it was promised, when changes must be served and heard of within
    /// `bound`.
    pub(crate) fn offences(&self, bound: Duration) -> Vec<String> {
        let stale = self.answered.iter().filter_map(|answer| {
            let age = self.age(answer);
            (age > bound).then(|| format!("{age:?} out of date: {answer:?}"))
        });
        let mut newest = BTreeMap::new();
        let back = self.answered.iter().filter_map(|answer| {
            let before = newest.insert((answer.node, answer.link), answer.serial);
            let before = before.filter(|before| *before > answer.serial)?;
            Some(format!("back from {before}: {answer:?}"))
        });
        let unheard = self.acknowledged.iter().filter_map(|change| {
            let heard = self.heard_after(change);
            let in_time = heard.is_some_and(|after| after <= bound);
            (!in_time).then(|| format!("heard after {heard:?}: {change:?}"))
        });
        stale.chain(unheard).chain(back).collect()
    }

    /// For how long it was known to somebody that the answer is out of date, when it was asked for.
    fn age(&self, answer: &Answered) -> Duration {
        let newer = self.acknowledged.iter().filter(|change| {
            change.link == answer.link && change.serial > answer.serial && change.at <= answer.asked
        });
        newer.map(|change| answer.asked - change.at).max().unwrap_or_default()
    }

    /// Whether every change was heard of, sooner or later.
    pub(crate) fn all_is_heard_of(&self) -> bool {
        self.acknowledged.iter().all(|change| self.heard_after(change).is_some())
    }

    /// How long after it was acknowledged a change, or a later one, was heard of.
    fn heard_after(&self, change: &Acknowledged) -> Option<Duration> {
        let mut heard = self
            .heard
            .iter()
            .filter(|heard| heard.link == change.link && heard.version >= change.version);
        heard.next().map(|heard| heard.at.saturating_duration_since(change.at))
    }

    /// How long after they were acknowledged changes between two moments were first served by the
    /// other nodes: half of them, 99 of a hundred, all of them.
    pub(crate) fn served_after(&self, from: Instant, until: Instant) -> [Duration; 3] {
        let mut after = Vec::new();
        for change in self.acknowledged.iter().filter(|one| (from..until).contains(&one.at)) {
            for node in (0..NODES).filter(|node| *node != change.node) {
                let served = self.answered.iter().find(|answer| {
                    answer.node == node
                        && answer.link == change.link
                        && answer.serial >= change.serial
                });
                let served = served.expect("all is served in the end");
                after.push(served.asked.saturating_duration_since(change.at));
            }
        }
        after.sort_unstable();
        let at = |share: usize| after[(after.len() - 1) * share / 100];
        [at(50), at(99), at(100)]
    }
}

#[test]
fn the_ledger_finds_what_is_stale_and_what_goes_back_and_what_nobody_heard_of() {
    let begun = Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let change = |serial, millis| Acknowledged {
        link: 0,
        serial,
        version: serial + 1,
        node: 0,
        at: at(millis),
    };
    let answer = |serial, millis| Answered { link: 0, serial, node: 1, asked: at(millis) };
    let heard = Heard { link: 0, version: 3, at: at(1_100) };
    let acknowledged = vec![change(1, 0), change(2, 1_000)];
    let mut ledger = Ledger { acknowledged, answered: Vec::new(), heard: vec![heard] };
    let bound = Duration::from_millis(1_500);
    ledger.answered.extend([answer(0, 1_500), answer(1, 1_600), answer(1, 2_500)]);
    assert_eq!(ledger.offences(bound), Vec::<String>::new());
    ledger.answered.push(answer(1, 2_501));
    assert_eq!(ledger.offences(bound).len(), 1, "known for longer than the bound");
    ledger.answered.extend([answer(2, 2_502), answer(1, 2_502)]);
    assert_eq!(ledger.offences(bound).len(), 3, "stale again, and back");
    ledger.acknowledged.push(change(3, 2_600));
    assert_eq!(ledger.offences(bound).len(), 4, "nobody heard of it");
    ledger.acknowledged.pop();
    ledger.answered.push(Answered { node: 2, ..answer(2, 1_700) });
    let [half, _, all] = ledger.served_after(at(1), at(9_999)).map(|after| after.as_millis());
    assert_eq!((half, all), (700, 1_502));
}

//! Many who want the same code on several nodes at once: one gets it, and everybody agrees on who.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, join3};
use reqwest::Method;
use serde_json::json;

use crate::cluster::{
    self, SOON, Shared, finish, finish_after_trouble, installation, some_at_once, visit,
};
use crate::harness::TestApp;
use crate::services::services;
use crate::wire::{Loss, Weather, Wire};

/// Races that are run at the same time.
const AT_ONCE: usize = 16;
/// Longer than a statement is waited for.
const SILENCE: Duration = Duration::from_secs(6);

/// What became of a race: the answer of each node, by its number in the race.
struct Race {
    alias: String,
    answers: [u16; 3],
}

impl Race {
    async fn run(nodes: &[TestApp; 3], alias: String) -> Self {
        let claim = async |n: usize| {
            let body = json!({"alias": alias, "destination": to(&alias, n)});
            nodes[n].api(Method::POST, "/links", Some(body)).await.status()
        };
        let (a, b, c) = join3(claim(0), claim(1), claim(2)).await;
        Self { alias, answers: [a, b, c] }
    }

    fn n(&self, status: u16) -> usize {
        self.answers.iter().filter(|answer| **answer == status).count()
    }

    /// Where the alias leads according to whoever was told that it is theirs.
    fn winner(&self) -> Option<String> {
        let winner = self.answers.iter().position(|answer| *answer == 201)?;
        Some(to(&self.alias, winner))
    }

    /// One has it, the others were refused, and all nodes lead to the one who has it.
    async fn check_clear(&self, nodes: &[TestApp; 3]) {
        assert_eq!((self.n(201), self.n(409)), (1, 2), "{} {:?}", self.alias, self.answers);
        let led = join_all(nodes.iter().map(|node| visit(node, &self.alias))).await;
        assert!(led.iter().all(|led| *led == self.winner()), "{} {led:?}", self.alias);
    }

    /// Whatever was answered, all nodes agree in the end, and nobody was told what is not so.
    async fn check_settled(&self, nodes: &[TestApp; 3]) -> Option<String> {
        let begun = Instant::now();
        let led = loop {
            let led = join_all(nodes.iter().map(|node| visit(node, &self.alias))).await;
            if led.iter().all(|one| *one == led[0]) {
                break led.into_iter().next().flatten();
            }
            assert!(begun.elapsed() < SOON, "nodes disagree on {}: {led:?}", self.alias);
            tokio::task::yield_now().await;
        };
        let told = format!("{} leads to {led:?} after {:?}", self.alias, self.answers);
        let known = |status: &u16| matches!(status, 201 | 409 | 503);
        assert!(self.answers.iter().all(known) && self.n(201) < 2, "{told}");
        if let Some(winner) = self.winner() {
            assert_eq!(led, Some(winner), "{told}");
        }
        match &led {
            Some(led) => {
                // If none was told that it won, it is one who was told nothing.
                let won = (0..3).find(|n| to(&self.alias, *n) == *led).expect("one of the three");
                assert!(matches!(self.answers[won], 201 | 503), "{told}");
            }
            None => assert_eq!(self.n(409), 0, "taken by nobody: {told}"),
        }
        led
    }
}

fn to(alias: &str, n: usize) -> String {
    format!("https://shop.example/{alias}/{n}")
}

async fn race_all(nodes: &[TestApp; 3], name: &str, n_races: usize) -> Vec<Race> {
    let aliases = (0..n_races).map(|n| format!("{name}-{n}"));
    some_at_once(aliases, AT_ONCE, |alias| Race::run(nodes, alias)).await
}

/// Looks twice: what all agree on stays so.
async fn check_all_settled(nodes: &[TestApp; 3], races: &[Race]) -> usize {
    let look = || some_at_once(races, AT_ONCE, async |race| race.check_settled(nodes).await);
    let (mut first, mut second) = (look().await, look().await);
    first.sort();
    second.sort();
    assert_eq!(first, second);
    first.iter().flatten().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_races_each_has_one_winner() {
    const RACES: usize = 1_000;
    let installation = installation().await;
    let nodes = installation.three(&Shared::database_and_redis()).await;
    let begun = Instant::now();
    let races = race_all(&nodes, "race", RACES).await;
    some_at_once(&races, AT_ONCE, async |race| race.check_clear(&nodes).await).await;
    let by_node = (0..3).map(|n| races.iter().filter(|race| race.answers[n] == 201).count());
    let by_node: Vec<usize> = by_node.collect();
    cluster::tell(&format!("{RACES} races in {:?}, won by node: {by_node:?}", begun.elapsed()));
    assert!(by_node.iter().all(|n| *n > 0), "no races: one node won all");
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_on_a_database_that_is_late_or_silent_have_at_most_one_winner() {
    let installation = installation().await;
    let wires = join_all((0..3).map(|_| Wire::to(&services().cql))).await;
    let node = async |n: usize| {
        let shared = Shared { cql: &wires[n].address, ..Shared::database_and_redis() };
        installation.node(&shared).await
    };
    let (a, b, c) = tokio::join!(node(0), node(1), node(2));
    let nodes = [a, b, c];
    let turn = |weather| wires.iter().for_each(|wire| wire.turn(weather));

    turn(Weather::Late(Duration::from_millis(120)));
    let late = race_all(&nodes, "late", 40).await;
    turn(Weather::Fair);
    for race in &late {
        race.check_clear(&nodes).await;
    }

    // Some statements are never run, of others nobody hears that they were.
    [13, 17, 19].into_iter().zip(&wires).for_each(|(n, wire)| wire.lose(Loss::Every(n)));
    let lossy = race_all(&nodes, "lossy", 60).await;
    assert!(wires.iter().all(Wire::mend), "nothing was lost");
    let n_unknown = lossy.iter().filter(|race| race.n(503) > 0).count();
    let n_there = check_all_settled(&nodes, &lossy).await;
    cluster::tell(&format!("of {} lossy races, {n_unknown} unknown, {n_there} won", lossy.len()));
    assert!((1..lossy.len()).contains(&n_unknown), "{n_unknown} outcomes were unknown");

    let fall_silent = async {
        // In the midst of what a claim writes.
        while wires.iter().any(|wire| wire.n_statements() < 40) {
            tokio::task::yield_now().await;
        }
        turn(Weather::Silent);
        tokio::time::sleep(SILENCE).await;
        turn(Weather::Fair);
    };
    wires.iter().for_each(|wire| wire.lose(Loss::Answer(u32::MAX)));
    let (silent, ()) = tokio::join!(race_all(&nodes, "silent", AT_ONCE), fall_silent);
    let n_unknown = silent.iter().filter(|race| race.n(503) > 0).count();
    let n_there = check_all_settled(&nodes, &silent).await;
    cluster::tell(&format!("of {} silent races, {n_unknown} unknown, {n_there} won", silent.len()));
    assert!(n_unknown > 0, "the database answered");
    finish_after_trouble(nodes).await;
}

//! What was promised over all trials, and whether every click of it is counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::edits::{Edited, Edits};
use super::stage::N_NODES;
use super::strangers::Met;
use super::trial::Record;
use super::visitors::Seen;
use crate::api::{Api, Reply};
use crate::drill::kill::{clicks, create, fetch};
use crate::drill::ledger::{Deviations, Promised};
use crate::metrics::Scrape;
use crate::process::pause;
use crate::shunt::Shunt;

/// Links that every node has in memory.
const N_HOT: usize = 32;
/// Who changes links all the time, and how many each.
const N_EDITORS: usize = 2;
const N_EDITED: usize = 5;
/// How long clicks may take to be counted when all is well.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);

pub struct Ledger {
    pub hot: Vec<Promised>,
    /// Of each editor.
    pub edited: Vec<Vec<Edited>>,
    /// Links of the last trial that were asked for once.
    visited: Vec<Promised>,
    /// Links that were created in the last trial.
    created: Vec<Promised>,
}

impl Ledger {
    pub fn new(shunt: &Shunt, key: &str) -> Result<Self> {
        let mut api = Api::with_key(shunt.public, key);
        let hot = (0..N_HOT)
            .map(|n| create(&mut api, &format!("https://www.example.com/hot/{n}")))
            .collect::<Result<_>>()?;
        let mut edited = vec![Vec::new(); N_EDITORS];
        for number in 0..N_EDITORS * N_EDITED {
            let link = create(&mut api, &Edited::target(0))?;
            edited[number % N_EDITORS].push(Edited::new(&link));
        }
        Ok(Self { hot, edited, visited: Vec::new(), created: Vec::new() })
    }

    /// Has every node load what is to be in its memory. Not counted, as nobody's visit.
    pub fn warm(&self, shunt: &Shunt) -> Result<()> {
        let mut api = Api::with_key(shunt.public, "");
        let edited = self.edited.iter().flatten().map(|link| &link.code);
        for code in self.hot.iter().map(|link| &link.code).chain(edited) {
            api.head(&format!("/{code}"))?;
        }
        Ok(())
    }

    pub fn take(&mut self, record: &mut Record) {
        for Seen { answered, lost, .. } in &record.seen {
            for (link, (n_answered, n_lost)) in self.hot.iter_mut().zip(answered.iter().zip(lost)) {
                link.n_acked += n_answered;
                link.n_in_flight += n_lost;
            }
        }
        let edits = record.edits.iter_mut();
        self.edited = edits.map(|Edits { links, .. }| std::mem::take(links)).collect();
        (self.visited, self.created) = Default::default();
        for Met { visited, created, .. } in &mut record.strangers {
            self.visited.append(visited);
            self.created.append(created);
        }
    }

    /// Every redirect that was answered is counted once, and no other; as every node tells it.
    pub fn check_clicks(&self, apis: &mut [Api], deviations: &mut Deviations) -> Result<()> {
        let edited = self.edited.iter().flatten().map(Edited::as_promised);
        let all: Vec<Promised> =
            self.hot.iter().chain(&self.visited).cloned().chain(edited).collect();
        let deadline = Instant::now() + COUNTED_WITHIN;
        let mut open: Vec<(usize, &Promised)> = all.iter().enumerate().collect();
        while !open.is_empty() {
            let is_late = Instant::now() > deadline;
            let mut waiting = Vec::new();
            for (number, link) in open {
                let told = match clicks(&mut apis[number % N_NODES], &link.code) {
                    Ok(n_counted) if link.fits(n_counted) => continue,
                    Ok(n_counted) if n_counted > link.n_acked => n_counted.to_string(),
                    _ if !is_late => {
                        waiting.push((number, link));
                        continue;
                    }
                    Ok(n_counted) => n_counted.to_string(),
                    // A slow machine may refuse once, and not all the time.
                    Err(error) => format!("{error:#}"),
                };
                deviations.add(format!(
                    "/{}: answered {}, in flight {}, counted {told}",
                    link.code, link.n_acked, link.n_in_flight,
                ));
            }
            open = waiting;
            pause(Duration::from_millis(50));
        }
        self.check_statistics(apis, deviations)
    }

    /// Statistics tell of the links of all trials what the links do.
    fn check_statistics(&self, apis: &mut [Api], deviations: &mut Deviations) -> Result<()> {
        for (number, link) in self.hot.iter().enumerate() {
            let path = format!("/api/v1/links/{}/stats", link.code);
            let told = patiently(|| fetch(&mut apis[number % N_NODES], &path))?;
            let told = told["summary"]["clicks"].as_u64().context("statistics have no clicks")?;
            if !link.fits(told) {
                let (code, n) = (&link.code, link.n_acked);
                deviations.add(format!("/{code}: answered {n}, the statistics tell {told}"));
            }
        }
        Ok(())
    }

    /// Links that were created lead where they should, also on nodes that did not create them,
    /// and changed ones to their last change.
    pub fn check_links(&self, apis: &mut [Api], deviations: &mut Deviations) -> Result<()> {
        for (number, link) in self.created.iter().enumerate() {
            let api = &mut apis[number % N_NODES];
            let reply = patiently(|| settled(api, &link.code))?;
            if reply.status != 302 || reply.location.as_deref() != Some(&link.destination) {
                let (code, status) = (&link.code, reply.status);
                deviations.add(format!("/{code} was created and is answered {status}"));
            }
        }
        for link in self.edited.iter().flatten() {
            for (node, api) in apis.iter_mut().enumerate() {
                let reply = patiently(|| settled(api, &link.code))?;
                let version = link.version(reply.location.as_deref());
                if version.is_none_or(|version| version < link.answered) {
                    let (code, now) = (&link.code, reply.location);
                    let text = format!("node {node}: /{code} is old for good: {now:?}");
                    deviations.add(text);
                }
            }
        }
        Ok(())
    }
}

/// Where a link leads, once the node can say so.
fn settled(api: &mut Api, code: &str) -> Result<Reply> {
    let reply = api.head(&format!("/{code}"))?;
    ensure!(reply.status != 503, "/{code} is answered 503");
    Ok(reply)
}

/// A slow machine may refuse once, and not all the time.
fn patiently<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => pause(Duration::from_millis(50)),
            asked => return asked,
        }
    }
}

/// accepted = counted + in the journal + dropped, and nothing dropped.
pub fn check_accounts(scrape: &Scrape, node: usize, deviations: &mut Deviations) {
    let [accepted, counted, in_journal, dropped] = [
        "shunt_clicks_accepted_total",
        "shunt_clicks_counted_total",
        "shunt_clicks_in_journal",
        "shunt_clicks_dropped_total",
    ]
    .map(|name| scrape.total(name));
    if accepted != counted + in_journal + dropped || dropped > 0.0 {
        deviations.add(format!(
            "node {node}: accepted {accepted}, counted {counted}, in journal {in_journal}, \
             dropped {dropped}"
        ));
    }
}

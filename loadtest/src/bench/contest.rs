//! Servers measured in turns within one run, so that what the machine does meanwhile happens to
//! all of them. The servers share one core, the load has another; whoever is not measured is
//! paused, and what it left undone it has to do in its own next turn.

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::entrants::{Entrant, Kind, Stage};
use super::prepare;
use crate::client::{self, Load, Pace};
use crate::facts;
use crate::process::{pause, pin_here};
use crate::say;
use crate::shunt::HOST;
use crate::stats::{Spread, table};
use crate::tape::{Tape, TapeSpec, read_lines};

#[derive(Args, Clone, Debug)]
pub struct ContestArgs {
    /// The server under test; without it only the reference servers are measured
    #[arg(long)]
    pub shunt: Option<PathBuf>,
    /// Folder for links, stores and logs
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Links that are served
    #[arg(long, default_value_t = 1_000_000)]
    pub links: u64,
    /// Turns per server
    #[arg(long, default_value_t = 16)]
    pub rounds: usize,
    /// Measured seconds per turn
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Seconds per turn before that
    #[arg(long, default_value_t = 0.7)]
    pub warmup_seconds: f64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Exponent of the Zipf distribution over the codes
    #[arg(long, default_value_t = 1.0)]
    pub zipf: f64,
    /// Core for the servers
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core for the load
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Servers to measure, by name, separated by commas; all when absent
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Draw user agents from the lines of this file
    #[arg(long)]
    pub user_agents: Option<PathBuf>,
    /// Give Shunt this database of places, and let every request come from another address
    #[arg(long)]
    pub geoip: Option<PathBuf>,
    /// Compare Shunt with this many links to Shunt with --links instead
    #[arg(long)]
    pub against_links: Option<u64>,
    /// End with 1 when a bar is missed
    #[arg(long)]
    pub strict: bool,
}

/// What one server did in one turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    rps: f64,
    /// Processor time of the server per request, in microseconds.
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    client_busy: f64,
}

struct Contestant {
    kind: Kind,
    entrant: Entrant,
    tape: Rc<Tape>,
    turns: Vec<Turn>,
}

/// A ratio that has to be reached.
struct Bar {
    against: Kind,
    now: f64,
    end: f64,
}

const BARS: [Bar; 6] = [
    Bar { against: Kind::ShuntUncounted, now: 0.90, end: 0.95 },
    Bar { against: Kind::Bare, now: 0.95, end: 1.4 },
    Bar { against: Kind::Canned, now: 0.52, end: 0.8 },
    Bar { against: Kind::Nginx, now: 1.15, end: 1.7 },
    Bar { against: Kind::NginxLog, now: 1.2, end: 1.7 },
    Bar { against: Kind::Haproxy, now: 1.4, end: 2.0 },
];
/// Time for a server that was paused to find out how late it is.
const AFTER_RESUME: Duration = Duration::from_millis(500);
/// How much slower many links may be than few: now, and in the end.
const SCALE_BARS: (f64, f64) = (0.85, 0.90);

pub fn run(arguments: &ContestArgs) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "a contest needs at least one round");
    ensure!(arguments.server_core != arguments.load_core, "server and load need a core each");
    std::fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let arguments = &ContestArgs { work: arguments.work.canonicalize()?, ..arguments.clone() };
    for fact in facts::machine() {
        say(&fact)?;
    }
    say(&format!(
        "plan: {} links, Zipf s = {}, {} connections, {} rounds of {} s, server on core {}, load \
         on core {}\n",
        arguments.links,
        arguments.zipf,
        arguments.connections,
        arguments.rounds,
        arguments.seconds,
        arguments.server_core,
        arguments.load_core,
    ))?;

    let mut contestants = match arguments.against_links {
        Some(few) => line_up_scale(arguments, few)?,
        None => line_up(arguments)?,
    };
    pin_here(arguments.load_core)?;
    for contestant in &contestants {
        contestant.entrant.server.pause(true);
    }
    for round in 0..arguments.rounds {
        for turn in 0..contestants.len() {
            // Everybody goes first as often as the others.
            let index = (round + turn) % contestants.len();
            measure(&mut contestants[index], arguments, round)?;
        }
    }

    say(&table_of_servers(&contestants))?;
    let met = if arguments.against_links.is_some() {
        compare_scale(&contestants)?
    } else {
        compare(&contestants)?
    };
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line_up(arguments: &ContestArgs) -> Result<Vec<Contestant>> {
    let tape = Rc::new(tape(arguments, arguments.links)?);
    let stage = stage(arguments, arguments.links);
    let files = prepare::link_files(&arguments.work, arguments.links)?;
    let wanted = |kind: &Kind| arguments.only.is_empty() || arguments.only.contains(kind);
    let mut contestants = Vec::new();
    for kind in Kind::ALL.into_iter().filter(wanted) {
        if kind.is_shunt() && arguments.shunt.is_none() {
            ensure!(arguments.only.is_empty(), "{} needs --shunt", kind.label());
            continue;
        }
        let entrant = stage.start(kind, &files)?;
        contestants.push(Contestant { kind, entrant, tape: Rc::clone(&tape), turns: Vec::new() });
    }
    Ok(contestants)
}

/// Shunt twice: with few links, then with many.
fn line_up_scale(arguments: &ContestArgs, few: u64) -> Result<Vec<Contestant>> {
    let mut contestants = Vec::new();
    for n_links in [few, arguments.links] {
        let files = prepare::link_files(&arguments.work, n_links)?;
        let mut entrant = stage(arguments, n_links).start(Kind::Shunt, &files)?;
        entrant.label = format!("Shunt, {n_links} links");
        let tape = Rc::new(tape(arguments, n_links)?);
        contestants.push(Contestant { kind: Kind::Shunt, entrant, tape, turns: Vec::new() });
    }
    Ok(contestants)
}

fn stage(arguments: &ContestArgs, n_links: u64) -> Stage {
    Stage {
        work: arguments.work.clone(),
        core: arguments.server_core,
        shunt: arguments.shunt.clone(),
        n_links,
        geoip: arguments.geoip.clone(),
    }
}

fn tape(arguments: &ContestArgs, n_links: u64) -> Result<Tape> {
    let files = prepare::link_files(&arguments.work, n_links)?;
    let pool = |text: &str| text.lines().map(str::to_owned).collect();
    let user_agents = match &arguments.user_agents {
        Some(file) => read_lines(file)?,
        None => pool(include_str!("../../pools/user_agents.txt")),
    };
    Tape::render(
        &read_lines(&files.codes)?,
        &TapeSpec {
            host: HOST.to_owned(),
            n_requests: 1 << 21,
            zipf: arguments.zipf,
            seed: 1,
            user_agents,
            addresses: arguments.geoip.is_some(),
            referrers: pool(include_str!("../../pools/referrers.txt")),
        },
    )
}

fn measure(contestant: &mut Contestant, arguments: &ContestArgs, round: usize) -> Result<()> {
    let server = &contestant.entrant.server;
    let load = Load {
        addr: contestant.entrant.addr,
        connections: arguments.connections,
        depth: 1,
        pace: Pace::Closed,
        warmup: Duration::from_secs_f64(arguments.warmup_seconds),
        duration: Duration::from_secs_f64(arguments.seconds),
        reconnect: false,
        spin: false,
    };
    // Each turn plays another part of the tape, the same one for every server.
    let part = contestant.tape.n_requests() / arguments.rounds.max(1);
    let mut player = contestant.tape.player_from(round * part);
    server.pause(false);
    // Timers that ran out meanwhile fire first: a server that still believes in the time of its
    // last turn would close new connections as too slow.
    pause(AFTER_RESUME);
    let cpu_before = facts::cpu_of(server.pid());
    let tally = client::run(&load, &mut player, &AtomicBool::new(false))
        .with_context(|| format!("measure {}", contestant.entrant.label))?;
    let cpu = facts::cpu_of(server.pid()) - cpu_before;
    server.pause(true);

    if tally.n_errors > 0 || tally.n_status(302) != tally.n_requests || tally.n_requests == 0 {
        bail!(
            "{}: {} answers, {} of them 302, {} errors: this is no measurement",
            contestant.entrant.label,
            tally.n_requests,
            tally.n_status(302),
            tally.n_errors
        );
    }
    // Processor time includes the warm-up, so it is spread over the requests of both.
    let share = arguments.seconds / (arguments.seconds + arguments.warmup_seconds);
    contestant.turns.push(Turn {
        rps: tally.rps(),
        cpu_us: cpu * share * 1e6 / tally.n_requests as f64,
        p50_us: tally.latency.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: tally.latency.value_at_quantile(0.99) as f64 / 1e3,
        client_busy: tally.client_busy,
    });
    Ok(())
}

fn table_of_servers(contestants: &[Contestant]) -> String {
    let rows: Vec<Vec<String>> = contestants
        .iter()
        .map(|contestant| {
            let median = |pick: fn(&Turn) -> f64| {
                let values: Vec<f64> = contestant.turns.iter().map(pick).collect();
                Spread::of(&values).map_or(0.0, |spread| spread.median)
            };
            vec![
                contestant.entrant.label.clone(),
                format!("{:.0}", median(|turn| turn.rps)),
                format!("{:.2}", median(|turn| turn.cpu_us)),
                format!("{:.0}", median(|turn| turn.p50_us)),
                format!("{:.0}", median(|turn| turn.p99_us)),
                format!("{:.2}", median(|turn| turn.client_busy)),
            ]
        })
        .collect();
    let head =
        ["server", "requests/s", "server CPU µs/request", "p50 µs", "p99 µs", "load core busy"];
    table(&head, &rows)
}

/// Prints Shunt's ratios to everybody else; true when every bar is met.
fn compare(contestants: &[Contestant]) -> Result<bool> {
    let mut all_met = true;
    for subject in contestants {
        if !subject.kind.is_shunt() && subject.kind != Kind::Bare {
            continue;
        }
        let mut rows = Vec::new();
        for other in contestants.iter().filter(|other| other.kind != subject.kind) {
            let spread = ratios(subject, other)?;
            let bar =
                BARS.iter().find(|bar| subject.kind == Kind::Shunt && bar.against == other.kind);
            let met = bar.is_none_or(|bar| spread.0.median >= bar.now);
            all_met &= met;
            let mut row = vec![other.entrant.label.clone()];
            row.extend(spread_cells(&spread));
            row.extend(match bar {
                Some(bar) => [format!("≥ {}", bar.now), verdict(met), format!("≥ {}", bar.end)],
                None => [String::new(), String::new(), String::new()],
            });
            rows.push(row);
        }
        let against = format!("{} against", subject.entrant.label);
        let head = [&against, "ratio", "quartiles", "min..max", "by CPU", "bar", "", "in the end"];
        say(&table(&head, &rows))?;
    }
    Ok(all_met)
}

fn compare_scale(contestants: &[Contestant]) -> Result<bool> {
    let [few, many] = contestants else { bail!("two stores are compared, no more, no fewer") };
    let spread = ratios(many, few)?;
    let met = spread.0.median >= SCALE_BARS.0;
    let mut row = vec![format!("{} against {}", many.entrant.label, few.entrant.label)];
    row.extend(spread_cells(&spread));
    row.extend([format!("≥ {}", SCALE_BARS.0), verdict(met), format!("≥ {}", SCALE_BARS.1)]);
    say(&table(
        &["", "ratio", "quartiles", "min..max", "by CPU", "bar", "", "in the end"],
        &[row],
    ))?;
    Ok(met)
}

/// Ratios of throughput, and of requests per second of server processor time, round by round.
fn ratios(subject: &Contestant, other: &Contestant) -> Result<(Spread, Spread)> {
    let of = |pick: fn(&Turn, &Turn) -> f64| {
        let turns = subject.turns.iter().zip(&other.turns);
        let ratios: Vec<f64> = turns.map(|(subject, other)| pick(subject, other)).collect();
        Spread::of(&ratios).context("no round was measured")
    };
    let throughput = of(|subject, other| subject.rps / other.rps)?;
    let by_processor = of(|subject, other| other.cpu_us / subject.cpu_us)?;
    Ok((throughput, by_processor))
}

fn spread_cells((spread, by_processor): &(Spread, Spread)) -> [String; 4] {
    [
        format!("{:.3}", spread.median),
        format!("{:.3}..{:.3}", spread.low, spread.high),
        format!("{:.3}..{:.3}", spread.min, spread.max),
        format!("{:.3}", by_processor.median),
    ]
}

fn verdict(met: bool) -> String {
    if met { "met" } else { "MISSED" }.to_owned()
}

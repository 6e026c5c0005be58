//! User instructions and allocations per hit, by callgrind: figures that do not depend on what
//! else the machine does. The whole server process counts, background threads included.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::entrants::reference;
use super::prepare;
use crate::answer::Answer;
use crate::callgrind::Profile;
use crate::client::{self, Load, Pace, Workload};
use crate::process::{Server, free_addr};
use crate::say;
use crate::shunt::{HOST, ShuntSpec, copy_folder, remove_folder};
use crate::stats::table;
use crate::tape::{Player, Tape, TapeSpec, read_lines};

const START_WITHIN: Duration = Duration::from_secs(180);
/// A hit does the same whatever the size of the table, and few links start fast.
const N_LINKS: u64 = 1_000;
const INSTRUCTIONS_MAX: f64 = 6_800.0;
/// Every way into the allocators that a process can have.
const ALLOCATIONS: [&str; 14] = [
    "mi_malloc",
    "mi_malloc_aligned",
    "mi_zalloc",
    "mi_zalloc_aligned",
    "mi_calloc",
    "mi_realloc",
    "mi_realloc_aligned",
    "malloc",
    "calloc",
    "realloc",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
    "mi_new",
];

#[derive(Args, Clone, Debug)]
pub struct InstructionsArgs {
    /// The server under test; without it only the reference servers are measured
    #[arg(long)]
    pub shunt: Option<PathBuf>,
    /// Folder for links, stores, profiles and logs
    #[arg(long, default_value = "target/bench")]
    pub work: PathBuf,
    /// Requests that are measured, after half as many to warm up
    #[arg(long, default_value_t = 40_000)]
    pub requests: u64,
    /// Send the headers of browsers too; a plain request has `Host` only
    #[arg(long)]
    pub browser: bool,
    /// Also measure Shunt on the CQL database at this `host:port`, in a keyspace of its own
    #[arg(long)]
    pub cql: Option<String>,
    /// There, with the Redis at this URL beside it
    #[arg(long, requires = "cql")]
    pub redis: Option<String>,
    /// Also append the figures to this file
    #[arg(long)]
    pub append: Option<PathBuf>,
    /// End with 1 when a bar is missed
    #[arg(long)]
    pub strict: bool,
}

/// Costs per request.
#[derive(Clone, Debug, Default)]
struct Cost {
    label: String,
    instructions: f64,
    /// Of these, on the threads that answer requests.
    worker: f64,
    memset: f64,
    allocations: f64,
}

pub fn run(arguments: &InstructionsArgs) -> Result<ExitCode> {
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let files = prepare::link_files(&work, N_LINKS)?;
    let pool = |text: &str| match arguments.browser {
        true => text.lines().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    let tape = Tape::render(
        &read_lines(&files.codes)?,
        &TapeSpec {
            host: HOST.to_owned(),
            n_requests: 1 << 16,
            zipf: 1.0,
            seed: 1,
            user_agents: pool(include_str!("../../pools/user_agents.txt")),
            referrers: pool(include_str!("../../pools/referrers.txt")),
            addresses: false,
        },
    )?;
    let bench = Bench { n: arguments.requests, tape, work: work.clone() };

    let mut costs = Vec::new();
    for (name, label) in [("bare", "bare actix-web"), ("service", "actix-http service")] {
        let addr = free_addr()?;
        let profile = work.join(format!("callgrind.{name}"));
        let plain = reference(name, addr)?;
        let mut words = under_callgrind(&profile).into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(plain.get_program()).args(plain.get_args());
        let mut server = Server::start(name, &command, None, &profile.with_extension("log"))?;
        server.wait_until_accepting(addr, START_WITHIN)?;
        costs.push(bench.measure(label, Profiled { server, addr, profile })?);
    }
    if let Some(shunt) = &arguments.shunt {
        let binary = shunt.canonicalize()?;
        for counting in [true, false] {
            let data = work.join("data-instructions");
            remove_folder(&data)?;
            copy_folder(&prepare::store(&work, N_LINKS, &binary)?, &data)?;
            let spec = ShuntSpec { counting, ..ShuntSpec::new(&binary, &data) };
            let label = if counting { "Shunt, counting" } else { "Shunt, not counting" };
            costs.push(bench.measure_shunt(label, &format!("shunt-{counting}"), spec)?);
        }
        if let Some(cql) = &arguments.cql {
            let spec = one_of_several(&binary, &work, (cql, arguments.redis.as_deref()))?;
            spec.run(&["migrate"])?;
            spec.import(&files.csv, |_| ())?;
            let label = "Shunt, counting, one of several nodes";
            costs.push(bench.measure_shunt(label, "shunt-node", spec)?);
        }
    }

    let text = describe(
        &costs,
        if arguments.browser { "per browser's request" } else { "per plain request" },
    );
    say(&format!("{text}\nbar: Shunt, counting ≤ {INSTRUCTIONS_MAX} without memset"))?;
    if let Some(path) = &arguments.append {
        super::append(path, &text)?;
    }
    let shunt = costs.iter().find(|cost| cost.label == "Shunt, counting");
    let met = shunt.is_none_or(|cost| cost.instructions - cost.memset <= INSTRUCTIONS_MAX);
    Ok(if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A node on a database, in a keyspace that nobody had before.
fn one_of_several(
    binary: &Path,
    work: &Path,
    (cql, redis): (&str, Option<&str>),
) -> Result<ShuntSpec> {
    let data = work.join("data-node");
    remove_folder(&data)?;
    let mut spec = ShuntSpec::new(binary, &data);
    let mut set = |name: &str, text: String| spec.environment.push((name.to_owned(), text));
    set("SHUNT_STORAGE__CQL", format!("[\"{cql}\"]"));
    set("SHUNT_STORAGE__KEYSPACE", format!("bench_{}", std::process::id()));
    set("SHUNT_STORAGE__REPLICATION", "1".to_owned());
    if let Some(url) = redis {
        set("SHUNT_REDIS__URL", url.to_owned());
    }
    Ok(spec)
}

fn describe(costs: &[Cost], first: &str) -> String {
    let own = costs.iter().find(|cost| cost.label == "actix-http service");
    let own = own.map_or(0.0, |cost| cost.allocations);
    let rows: Vec<Vec<String>> = costs
        .iter()
        .map(|cost| {
            vec![
                cost.label.clone(),
                format!("{:.0}", cost.instructions - cost.memset),
                format!("{:.0}", cost.worker),
                format!("{:.0}", cost.memset),
                format!("{:.2}", cost.allocations),
                format!("{:+.2}", cost.allocations - own),
            ]
        })
        .collect();
    let head = [
        first,
        "user instructions",
        "on workers",
        "memset besides",
        "allocations",
        "beyond the actix-http service",
    ];
    table(&head, &rows)
}

/// A server that runs under callgrind.
struct Profiled {
    server: Server,
    addr: SocketAddr,
    /// Where callgrind writes.
    profile: PathBuf,
}

struct Bench {
    n: u64,
    tape: Tape,
    work: PathBuf,
}

impl Bench {
    /// Starts Shunt under callgrind and measures it when it has all links in memory.
    fn measure_shunt(&self, label: &str, name: &str, mut spec: ShuntSpec) -> Result<Cost> {
        let profile = self.work.join(format!("callgrind.{name}"));
        spec.under = under_callgrind(&profile);
        let mut running = spec.start(START_WITHIN)?;
        running.wait_for_metrics(START_WITHIN, "load every link", |scrape| {
            scrape.total("shunt_links_in_memory") >= N_LINKS as f64
        })?;
        let (server, addr) = (running.server, running.public);
        self.measure(label, Profiled { server, addr, profile })
    }

    /// Warms up, sets the counters to zero, plays the requests, reads the counters.
    fn measure(&self, label: &str, profiled: Profiled) -> Result<Cost> {
        let Profiled { server, addr, profile } = profiled;
        let pid = server.pid();
        self.play(addr, self.n / 2)?;
        self.control("--zero", pid)?;
        self.play(addr, self.n)?;
        self.control("--dump", pid)?;
        let mut cost = Cost { label: label.to_owned(), ..Cost::default() };
        let per_request = |sum: u64| sum as f64 / self.n as f64;
        for dump in dumps(&profile)? {
            let text =
                fs::read_to_string(&dump).with_context(|| format!("read {}", dump.display()))?;
            let thread = Profile::parse(&text);
            let instructions = per_request(thread.instructions_of(|_| true));
            let memset = per_request(thread.instructions_of(|name| name.contains("memset")));
            if thread.instructions_of(is_answering) > 0 {
                cost.worker += instructions - memset;
            }
            cost.instructions += instructions;
            cost.memset += memset;
            cost.allocations += per_request(thread.calls_of(&ALLOCATIONS));
        }
        server.kill()?;
        Ok(cost)
    }

    fn play(&self, addr: SocketAddr, n: u64) -> Result<()> {
        let load = Load {
            addr,
            connections: 64,
            depth: 1,
            pace: Pace::Closed,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(600),
            reconnect: false,
            spin: false,
        };
        let mut limited = Limited { player: self.tape.player(&[]), left: n };
        let tally = client::run(&load, &mut limited, &AtomicBool::new(false))?;
        ensure!(tally.n_status(302) == n, "{} of {n} answers are 302", tally.n_status(302));
        Ok(())
    }

    fn control(&self, what: &str, pid: u32) -> Result<()> {
        let output = Command::new("callgrind_control")
            .args([what, &pid.to_string()])
            .current_dir(&self.work)
            .output()
            .context("run callgrind_control")?;
        ensure!(output.status.success(), "callgrind_control {what}: {output:?}");
        Ok(())
    }
}

/// So many requests of a tape.
struct Limited<'a> {
    player: Player<'a>,
    left: u64,
}

impl Workload for Limited<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        self.player.next(out)
    }

    fn answered(&mut self, token: u32, answer: &Answer<'_>) {
        self.player.answered(token, answer);
    }
}

/// What the first dump on demand wrote, a file per thread.
fn dumps(profile: &Path) -> Result<Vec<PathBuf>> {
    let name = profile.file_name().context("a profile has a name")?.to_string_lossy();
    let prefix = format!("{name}.1-");
    let folder = profile.parent().context("a profile has a folder")?;
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let named = entries.iter().map(fs::DirEntry::path).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    });
    Ok(named.collect())
}

/// Functions that only threads run that answer requests.
fn is_answering(function: &str) -> bool {
    ["http::direct", "h1::dispatcher", "http::front"].iter().any(|name| function.contains(name))
}

fn under_callgrind(profile: &Path) -> Vec<String> {
    // A dump of an earlier run must not be taken for one of this run.
    dumps(profile).into_iter().flatten().for_each(|dump| drop(fs::remove_file(dump)));
    vec![
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--separate-threads=yes".to_owned(),
        format!("--callgrind-out-file={}", profile.display()),
    ]
}

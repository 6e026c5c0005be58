//! Load, reference servers and drills for Shunt. Everything here talks HTTP to a server process
//! and knows nothing of its insides.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use shunt_loadtest::plan::Plan;
use shunt_loadtest::{bare, bench, canned, drill, links, process, run, say};

// The allocator that Shunt uses too, so that bare actix-web is not beaten by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "shunt-loadtest", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays one workload and prints its result as JSON
    Run(RunArgs),
    /// Serves canned bytes of a redirect: one thread, no parsing
    Canned {
        #[arg(long, default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
    /// Serves a constant redirect from a bare actix-web route, one worker
    Bare {
        #[arg(long, default_value = "127.0.0.1:8082")]
        listen: SocketAddr,
    },
    /// Serves the same from an actix-http service without an App, one worker
    Service {
        #[arg(long, default_value = "127.0.0.1:8083")]
        listen: SocketAddr,
    },
    /// Writes links as CSV, as nginx map and as HAProxy map, with their codes in order of heat
    Links {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        links: u64,
        /// Folder to write into
        folder: PathBuf,
    },
    /// Alternates servers in one run and prints ratios with their spread
    Bench(bench::contest::ContestArgs),
    /// Measures start and import
    Start(bench::start::StartArgs),
    /// Measures how many links per second the API makes on one core
    Creates(bench::creates::CreatesArgs),
    /// Measures what it costs to know who calls the API
    Callers(bench::callers::CallersArgs),
    /// Measures bytes per link
    Memory(bench::memory::MemoryArgs),
    /// Measures instructions and allocations per hit under callgrind
    Instructions(bench::instructions::InstructionsArgs),
    /// Kills the server at random moments and holds it to its promises
    DrillKill(drill::kill::KillArgs),
    /// Lets the file system of the store run full and gives the space back
    DrillDisk(drill::disk::DiskArgs),
    /// Lets the disk refuse to write and to write through
    DrillEio(drill::eio::EioArgs),
    /// Tries unknown codes and looks for store reads and growing memory
    DrillUnknown(drill::unknown::UnknownArgs),
    /// Drill: how long a click takes to be in the statistics under load
    DrillFresh(drill::fresh::FreshArgs),
    /// Keeps idle and slow connections beside visitors, and looks at deadlines and memory
    DrillSlow(drill::slow::SlowArgs),
    /// Lets a thousand people log in at once beside visitors, and looks at latency and memory
    DrillLogins(drill::logins::LoginsArgs),
    /// Takes a database, a Redis or a node away from three nodes under load, and looks at them
    DrillCluster(drill::cluster::ClusterArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Server to ask
    addr: SocketAddr,
    /// A plan file; the other options override it
    #[arg(long)]
    plan: Option<PathBuf>,
    /// File with one code per line, the hottest first
    #[arg(long)]
    codes: Option<PathBuf>,
    /// File with the expected targets in the order of the codes
    #[arg(long)]
    targets: Option<PathBuf>,
    /// File with one user agent per line
    #[arg(long)]
    user_agents: Option<PathBuf>,
    /// File with one referrer per line
    #[arg(long)]
    referrers: Option<PathBuf>,
    /// Keep-alive connections [default: 64]
    #[arg(long)]
    connections: Option<usize>,
    /// Requests in flight per connection [default: 1]
    #[arg(long)]
    depth: Option<usize>,
    /// Seconds that count [default: 10]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before that [default: 1]
    #[arg(long)]
    warmup_seconds: Option<f64>,
    /// Requests per second at fixed moments; without it, as fast as answers come
    #[arg(long)]
    rate: Option<f64>,
    /// Exponent of the Zipf distribution over the codes [default: 1]
    #[arg(long)]
    zipf: Option<f64>,
    /// Value of the Host header [default: the address]
    #[arg(long)]
    host: Option<String>,
    /// Never sleep while waiting for answers
    #[arg(long)]
    spin: bool,
    /// Core to run on
    #[arg(long)]
    core: Option<usize>,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when even stderr is gone.
            let _ = writeln!(io::stderr(), "shunt-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Run(arguments) => run_plan(arguments)?,
        Command::Canned { listen } => canned::serve(listen)?,
        Command::Bare { listen } => bare::serve(listen)?,
        Command::Service { listen } => bare::serve_without_app(listen)?,
        Command::Links { links, folder } => {
            let files = links::write(links, &folder)?;
            say(&format!("{}", files.csv.display()))?;
        }
        Command::Bench(arguments) => return bench::contest::run(&arguments),
        Command::Start(arguments) => return bench::start::run(&arguments),
        Command::Creates(arguments) => return bench::creates::run(&arguments),
        Command::Callers(arguments) => return bench::callers::run(&arguments),
        Command::Memory(arguments) => return bench::memory::run(&arguments),
        Command::Instructions(arguments) => return bench::instructions::run(&arguments),
        Command::DrillKill(arguments) => return drill::kill::run(&arguments),
        Command::DrillDisk(arguments) => return drill::disk::run(&arguments),
        Command::DrillEio(arguments) => return drill::eio::run(&arguments),
        Command::DrillUnknown(arguments) => return drill::unknown::run(&arguments),
        Command::DrillFresh(arguments) => return drill::fresh::run(&arguments),
        Command::DrillSlow(arguments) => return drill::slow::run(&arguments),
        Command::DrillLogins(arguments) => return drill::logins::run(&arguments),
        Command::DrillCluster(arguments) => return drill::cluster::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_plan(arguments: RunArgs) -> Result<()> {
    let mut plan = match &arguments.plan {
        Some(path) => Plan::read(path)?,
        None => Plan::default(),
    };
    plan.codes = arguments.codes.or(plan.codes);
    plan.targets = arguments.targets.or(plan.targets);
    plan.user_agents = arguments.user_agents.or(plan.user_agents);
    plan.referrers = arguments.referrers.or(plan.referrers);
    plan.connections = arguments.connections.unwrap_or(plan.connections);
    plan.depth = arguments.depth.unwrap_or(plan.depth);
    plan.seconds = arguments.seconds.unwrap_or(plan.seconds);
    plan.warmup_seconds = arguments.warmup_seconds.unwrap_or(plan.warmup_seconds);
    plan.rate = arguments.rate.or(plan.rate);
    plan.zipf = arguments.zipf.unwrap_or(plan.zipf);
    plan.host = arguments.host.or(plan.host);
    if let Some(core) = arguments.core {
        process::pin_here(core)?;
    }
    let report = run::run(arguments.addr, &plan, arguments.spin)?;
    say(&serde_json::to_string_pretty(&report).context("print the result")?)
}

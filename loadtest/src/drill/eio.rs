//! `drill eio`: the disk refuses to write, or to write through, under load.
//!
//! A library preloaded into the server lets the calls fail, on the files it is told to. Redirects
//! never notice; a journal segment that cannot be written through is given up and its clicks reach
//! the store all the same; nothing is called durable that is not; all is well when the disk is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::trial::{Canary, SEGMENT_BYTES, Trial, TrialArgs};
use super::watch::Watch;
use crate::say;
use crate::shunt::{ShuntSpec, remove_folder};

/// The library, compiled when the drill begins.
const SHIM: &str = include_str!("../../shim/refuse.c");

#[derive(Args, Clone, Debug)]
pub struct EioArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the store and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-eio")]
    pub work: PathBuf,
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Breaks a promise on purpose; the drill must then end with 1
    #[arg(long, num_args = 0..=1, default_missing_value = "durable")]
    pub canary: Option<Canary>,
}

/// What fails, and what that means.
struct Fault {
    name: &'static str,
    /// What the library reads: the calls, and a part of the paths.
    flag: &'static str,
    /// Whether links can still be promised. If not, not one may be.
    links: bool,
    /// Whether `/healthz` has something to tell of the journal.
    journal: bool,
}

const FAULTS: [Fault; 5] = [
    Fault { name: "msync of segments", flag: "sync .seg", links: true, journal: true },
    Fault { name: "all of the journal", flag: "sync /journal", links: true, journal: true },
    Fault { name: "fsync of the store", flag: "sync shunt.db", links: false, journal: true },
    Fault { name: "every write", flag: "write", links: false, journal: true },
    Fault { name: "short writes", flag: "short", links: true, journal: false },
];

pub fn run(arguments: &EioArgs) -> Result<ExitCode> {
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let (data, flag) = (work.join("data"), work.join("flag"));
    let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &data);
    spec.log = work.join("shunt.log");
    let size = ("SHUNT_CLICKS__SEGMENT_SIZE".to_owned(), format!("{}KiB", SEGMENT_BYTES >> 10));
    spec.environment = vec![size];
    if arguments.canary != Some(Canary::Durable) {
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        spec.environment.extend([
            ("LD_PRELOAD".to_owned(), path(&compile(&work)?)?),
            ("DRILL_FOLDER".to_owned(), path(&data)?),
            ("DRILL_FLAG".to_owned(), path(&flag)?),
        ]);
    }
    let mut trial = Trial::prepare(spec, &arguments.trial)?;
    let outcome = all_faults(&mut trial, &flag, arguments);
    trial.verdict(outcome)
}

fn all_faults(trial: &mut Trial, flag: &Path, arguments: &EioArgs) -> Result<()> {
    // A canary sings in the first round or not at all; that one tries only what promises nothing.
    let durable = arguments.canary == Some(Canary::Durable);
    let faults = FAULTS.iter().filter(|fault| !durable || !fault.links);
    for (number, fault) in faults.enumerate() {
        say(&format!("{}:", fault.name))?;
        trial.under_load(|watch| fail(watch, fault, flag, arguments))?;
        if number == 0 {
            trial.lie(arguments.canary);
        }
        trial.check_accounts()?;
        if arguments.canary.is_some() {
            return trial.check_links();
        }
    }
    trial.check_links()?;
    for fault in FAULTS.iter().filter(|fault| !fault.links) {
        say(&format!("{}, then kill -9:", fault.name))?;
        trial.under_load(|watch| {
            set(watch, fault, flag, arguments)?;
            watch.hold(arguments.trial.span())
        })?;
        trial.kill()?;
        fs::remove_file(flag).context("end the fault")?;
        trial.restart()?;
    }
    trial.under_load(|watch| watch.hold(Duration::from_secs(1)))?;
    trial.check_accounts()?;
    trial.check_links()
}

/// Calm, a fault, calm again.
fn fail(watch: &Watch<'_>, fault: &Fault, flag: &Path, arguments: &EioArgs) -> Result<()> {
    watch.hold(Duration::from_millis(500))?;
    set(watch, fault, flag, arguments)?;
    watch.hold(arguments.trial.span())?;
    // While the fault lasts, so that whatever was answered was answered by a failing disk.
    let creations = watch.creations();
    fs::remove_file(flag).context("end the fault")?;
    if !fault.links && creations.n_made > 0 {
        let made = creations.n_made;
        watch.deviate(format!("{}: {made} links were promised all the same", fault.name));
    }
    if fault.links && creations.n_made == 0 {
        watch.deviate(format!("{}: no link was made, nothing stood in the way", fault.name));
    }
    let took = watch.recover(arguments.trial.recover_span())?;
    say(&format!(
        "          failing: {} links made, {} refused; well {} ms after",
        creations.n_made,
        creations.n_refused,
        took.unwrap_or_default().as_millis(),
    ))
}

/// Lets the disk fail and waits until `/healthz` tells, if it has to.
fn set(watch: &Watch<'_>, fault: &Fault, flag: &Path, arguments: &EioArgs) -> Result<()> {
    // As a whole or not at all: the library may read it at any moment.
    let draft = flag.with_extension("new");
    fs::write(&draft, fault.flag)?;
    fs::rename(&draft, flag)?;
    watch.begin();
    let within = arguments.trial.recover_span();
    let felt = watch.wait(within, || {
        let told = !fault.journal || watch.health()?.journal != "pass";
        let creations = watch.creations();
        Ok(told && creations.n_made + creations.n_refused > 0)
    })?;
    if felt.is_none() {
        let health = watch.health()?;
        watch.deviate(format!("{}: /healthz does not tell: {health:?}", fault.name));
    }
    Ok(())
}

/// Compiles the library into `work`.
fn compile(work: &Path) -> Result<PathBuf> {
    let (source, library) = (work.join("refuse.c"), work.join("refuse.so"));
    fs::write(&source, SHIM)?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let status = cc.status().context("run cc")?;
    ensure!(status.success(), "cc ended with {status}");
    Ok(library)
}

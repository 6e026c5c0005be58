//! `drill disk`: the file system of the store runs full under load, and gets its space back.
//!
//! Redirects never notice. Creations are refused as the contract says, clicks go the way of
//! retreat and every one dropped is counted, the probes tell, and everything is well again by
//! itself when there is space. Run it in a mount namespace of its own, as `scripts/drill` does.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::load::check_targets;
use super::trial::{Canary, SEGMENT_BYTES, START_WITHIN, Trial, TrialArgs};
use super::watch::Watch;
use crate::process::pause;
use crate::say;
use crate::shunt::{ShuntSpec, remove_folder};

/// How long a full disk may take to be felt by both the store and the journal.
const FELT_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct DiskArgs {
    /// The server under test
    #[arg(long)]
    pub shunt: PathBuf,
    /// Folder for the file system and the log; what an earlier drill left there is removed
    #[arg(long, default_value = "target/drill-disk")]
    pub work: PathBuf,
    /// What the store lies on
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    pub file_system: FileSystem,
    /// Its size
    #[arg(long, default_value_t = 192)]
    pub size_mib: u64,
    /// How often it runs full, before the kill
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Breaks a promise on purpose; the drill must then end with 1
    #[arg(long, num_args = 0..=1, default_missing_value = "click")]
    pub canary: Option<Canary>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileSystem {
    /// In a file that is mounted as a disk; needs root
    Ext4,
    /// In memory; needs root, or a user namespace
    Tmpfs,
}

pub fn run(arguments: &DiskArgs) -> Result<ExitCode> {
    remove_folder(&arguments.work)?;
    fs::create_dir_all(&arguments.work).context("make the work folder")?;
    let work = arguments.work.canonicalize()?;
    let disk = Disk::mount(&work, arguments.file_system, arguments.size_mib)?;
    let mut spec = ShuntSpec::new(&arguments.shunt.canonicalize()?, &disk.folder.join("data"));
    // The log must have room, or the drill would be blind.
    spec.log = work.join("shunt.log");
    spec.workers = 1;
    let setting = |name: &str, text: &str| (format!("SHUNT_CLICKS__{name}"), text.to_owned());
    spec.environment = vec![
        setting("SEGMENT_SIZE", &format!("{}KiB", SEGMENT_BYTES >> 10)),
        setting("SPOOL_MAX", "64MiB"),
        // Nothing stays free, so that the journal and the store both meet the end of the disk.
        setting("FREE_DISK_MIN", "0%"),
        // Slow enough that the clicks kept in memory find its bound too.
        setting("READ_INTERVAL", "1s"),
    ];
    let mut trial = Trial::prepare(spec, &arguments.trial)?;
    let outcome = all_rounds(&mut trial, &disk, arguments);
    trial.verdict(outcome)
}

fn all_rounds(trial: &mut Trial, disk: &Disk, arguments: &DiskArgs) -> Result<()> {
    for round in 1..=arguments.rounds {
        trial.under_load(|watch| starve(watch, disk, arguments))?;
        if round == 1 {
            trial.lie(arguments.canary);
        }
        trial.check_accounts()?;
    }
    trial.check_links()?;
    kill_while_full(trial, disk, arguments)
}

/// Calm, full, calm again.
fn starve(watch: &Watch<'_>, disk: &Disk, arguments: &DiskArgs) -> Result<()> {
    watch.hold(Duration::from_secs(1))?;
    let filler = fill(watch, disk)?;
    watch.hold(arguments.trial.span())?;
    let creations = watch.creations();
    filler.rest()?.remove()?;
    let took = watch.recover(arguments.trial.recover_span())?;
    watch.hold(Duration::from_secs(1))?;
    say(&format!(
        "          full: {} links made, {} refused; well {} ms after space returned",
        creations.n_made,
        creations.n_refused,
        took.unwrap_or_default().as_millis(),
    ))
}

/// Takes all the space and waits until the store, the journal and `/healthz` show it.
fn fill(watch: &Watch<'_>, disk: &Disk) -> Result<Filler> {
    let filler = Filler::start(&disk.folder)?;
    watch.begin();
    let felt = watch.wait(FELT_WITHIN, || {
        let refused = watch.creations().n_refused > 0;
        let health = watch.health()?;
        Ok(refused && health.journal != "pass" && health.status != "pass")
    })?;
    ensure!(
        felt.is_some(),
        "the full disk was not felt in {FELT_WITHIN:?}: {:?}, {:?}",
        watch.creations(),
        watch.health()?
    );
    Ok(filler)
}

/// kill -9 on a full disk, a start on a full disk, and one with space again.
fn kill_while_full(trial: &mut Trial, disk: &Disk, arguments: &DiskArgs) -> Result<()> {
    let span = arguments.trial.span();
    let filler = trial.under_load(|watch| {
        let filler = fill(watch, disk)?;
        watch.hold(span)?;
        Ok(filler)
    })?;
    // Nobody is there to take what the process gives back while it starts: SQLite makes its shared
    // memory anew, in the space that the old one had.
    let filling = filler.rest()?;
    trial.kill()?;
    // The journal is read again, links are served; what needs the disk waits for it.
    let mut shunt = trial.spec.spawn()?;
    match shunt.wait_until_ready(START_WITHIN) {
        Ok(()) => {
            let all = 0..trial.ledger.links.len();
            check_targets(&mut trial.ledger, shunt.public, all)?;
            say("          started on the full disk, every link was there")?;
        }
        Err(error) => {
            let log = fs::read_to_string(&trial.spec.log).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            let text = format!("no start on a full disk: {error:#}; it said {last:?}");
            trial.ledger.deviations.add(text);
        }
    }
    // HEAD is not counted, so this process owes no click.
    shunt.server.kill()?;
    filling.remove()?;
    trial.restart()?;
    trial.under_load(|watch| watch.hold(Duration::from_secs(1)))?;
    trial.check_accounts()?;
    trial.check_links()
}

/// A small file system that is unmounted when dropped.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(work: &Path, kind: FileSystem, size_mib: u64) -> Result<Self> {
        let folder = work.join("disk");
        fs::create_dir_all(&folder)?;
        match kind {
            FileSystem::Ext4 => {
                let image = work.join("disk.img");
                File::create(&image)?.set_len(size_mib << 20)?;
                // No blocks for root only, as the server may be root. Blocks of a page: SQLite
                // takes space for its shared memory page by page, and a hole in it is a SIGBUS.
                let options = ["-q", "-F", "-m", "0", "-b", "4096"];
                succeed(Command::new("mkfs.ext4").args(options).arg(&image))?;
                succeed(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder))?;
            }
            FileSystem::Tmpfs => {
                let options = format!("size={size_mib}m");
                let mut mount = Command::new("mount");
                mount.args(["-t", "tmpfs", "-o", &options, "shunt-drill"]).arg(&folder);
                succeed(&mut mount)?;
            }
        }
        Ok(Self { folder })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may hold it. The mount namespace ends anyway.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Takes all the space there is, and whatever is given back, until it is stopped.
struct Filler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
    file: PathBuf,
}

impl Filler {
    fn start(folder: &Path) -> Result<Self> {
        let file = folder.join("filler");
        let mut out = File::create(&file).context("begin to fill the disk")?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let bytes = vec![0xA5; 1 << 20];
            let mut len = bytes.len();
            while !told.load(Ordering::Relaxed) {
                match out.write(&bytes[..len]) {
                    Ok(_) => (),
                    Err(error) if error.kind() == ErrorKind::StorageFull && len > 1_024 => {
                        len /= 4;
                    }
                    Err(error) if error.kind() == ErrorKind::StorageFull => {
                        len = 64 * 1_024;
                        pause(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
            Ok(())
        });
        Ok(Self { stop, thread, file })
    }

    /// Takes no more, but gives nothing back.
    fn rest(self) -> Result<Filling> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the filler panicked"))??;
        Ok(Filling { file: self.file })
    }
}

/// The file that takes all the space.
struct Filling {
    file: PathBuf,
}

impl Filling {
    /// Gives all the space back.
    fn remove(self) -> Result<()> {
        fs::remove_file(&self.file).context("give the space back")
    }
}

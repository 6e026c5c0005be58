//! Child processes that a measurement starts, pins to a core, pauses and always stops again.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::facts;

const POLL_EVERY: Duration = Duration::from_millis(2);
/// How long a dropped server may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A server process. Dropping it stops it and its children, and kills what does not stop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts `command` on `core` (any core when `None`); its output goes to `log`.
    pub fn start(name: &str, command: &Command, core: Option<usize>, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("write {}", log.display()))?;
        let mut pinned = pinned(command, core);
        let child = pinned
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {name} ({command:?})"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something accepts on `addr`; fails when the process ends before that.
    pub fn wait_until_accepting(&mut self, addr: SocketAddr, within: Duration) -> Result<()> {
        self.wait_until(within, "accept", || TcpStream::connect(addr).is_ok())
    }

    /// Waits until `done` says so; fails when the process ends before that.
    pub fn wait_until(
        &mut self,
        within: Duration,
        what: &str,
        mut done: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !done() {
            if let Some(status) = self.child.try_wait().context("look after a child")? {
                bail!("{} ended with {status} before it would {what}", self.name);
            }
            ensure!(Instant::now() < deadline, "{} did not {what} in {within:?}", self.name);
            pause(POLL_EVERY);
        }
        Ok(())
    }

    /// Stops the process and its children where they are, or lets them go on.
    pub fn pause(&self, paused: bool) {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        for pid in facts::family(self.pid()) {
            signal_to(pid, signal);
        }
    }

    /// Kills the process at once, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait for a killed child")?;
        Ok(())
    }

    /// Asks the process to stop and waits for it.
    pub fn terminate(mut self, within: Duration) -> Result<ExitStatus> {
        signal_to(self.pid(), Signal::TERM);
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().context("look after a child")? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} did not stop in {within:?}", self.name);
            pause(POLL_EVERY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let family = facts::family(self.pid());
        for pid in &family {
            signal_to(*pid, Signal::CONT);
        }
        // A parent that is asked to stop stops its own children; who is killed cannot.
        signal_to(self.pid(), Signal::TERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            pause(POLL_EVERY);
        }
        for pid in family {
            signal_to(pid, Signal::KILL);
        }
        // The child is gone or going; there is nobody left to tell about a failure.
        let _ = self.child.wait();
    }
}

/// Waits between two looks at another process: it has no event to wait for.
#[expect(clippy::disallowed_methods, reason = "the one place that polls other processes")]
pub fn pause(span: Duration) {
    thread::sleep(span);
}

/// The same command, bound to one core with everything it starts.
pub fn pinned(command: &Command, core: Option<usize>) -> Command {
    let mut pinned = match core {
        Some(core) => {
            let mut taskset = Command::new("taskset");
            taskset.arg("--cpu-list").arg(core.to_string()).arg(command.get_program());
            taskset
        }
        None => Command::new(command.get_program()),
    };
    pinned.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        pinned.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(key, value),
            None => pinned.env_remove(key),
        };
    }
    pinned
}

/// Binds the calling thread to one core.
pub fn pin_here(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("bind to core {core}"))
}

/// A loopback address nobody listens on at this moment.
pub fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    listener.local_addr().context("look for a free port")
}

fn signal_to(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A process that is gone needs no signal.
        let _ = kill_process(pid, signal);
    }
}

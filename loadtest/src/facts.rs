//! What the figures were measured on, and what a process used.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One line per fact, for the head of every report.
pub fn machine() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = field(&cpu_info, "model name").unwrap_or("unknown processor");
    let n_cores = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory_kib =
        field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    let virtualised =
        if cpu_info.contains(" hypervisor") { "virtual machine" } else { "bare metal" };
    vec![
        format!("processor: {model}, {n_cores} cores, {virtualised}"),
        format!("memory: {:.1} GiB", memory_kib.unwrap_or(0) as f64 / f64::from(1 << 20)),
        format!("kernel: {}", kernel.trim()),
        format!("load average before: {}", read("/proc/loadavg").trim()),
        format!("nginx: {}", first_line("nginx", &["-v"])),
        format!("haproxy: {}", first_line("haproxy", &["-v"])),
        format!("rustc: {}", first_line("rustc", &["--version"])),
        format!("commit: {}", first_line("git", &["describe", "--always", "--dirty"])),
    ]
}

/// Resident memory of a process now and at its highest, in bytes.
pub fn memory_of(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name| Some(field(&status, name)?.split(' ').next()?.parse::<u64>().ok()? * 1_024);
    Some((bytes("VmRSS")?, bytes("VmHWM")?))
}

/// Processor time of a process and its children that still run, in seconds.
pub fn cpu_of(pid: u32) -> f64 {
    let nanos: u64 = family(pid).into_iter().map(cpu_nanos_of).sum();
    nanos as f64 / 1e9
}

/// Processor time of the threads that a process has now. The scheduler's own figure: the ticks of
/// `stat` would be too coarse for turns of some seconds.
fn cpu_nanos_of(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum()
}

/// A process and its direct children.
pub fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

/// Bytes of all files below a folder.
pub fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_vanished) => 0,
    });
    sizes.sum()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "not installed".to_owned();
    };
    // nginx tells its version on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

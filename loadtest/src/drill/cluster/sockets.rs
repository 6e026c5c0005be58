//! Which process is at the other end of a connection on this machine, as `/proc` tells.

use std::fs;
use std::net::SocketAddr;

/// The process that connected from `client` to `server`, if it can still be found.
pub fn owner(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode_of(&table, client, server)?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|process: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        let mut targets =
            descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| target.as_os_str() == link.as_str())
    })
}

/// Descriptors that a process has open.
pub fn n_descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// The socket with these ends, in the kernel's table of them.
fn inode_of(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<&str> {
    let (local, remote) = (as_listed(local)?, as_listed(remote)?);
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_it =
            columns.get(1) == Some(&local.as_str()) && columns.get(2) == Some(&remote.as_str());
        if is_it { columns.get(9).copied() } else { None }
    })
}

/// As the table has an address: the bytes of a word of this machine, and the port.
fn as_listed(addr: SocketAddr) -> Option<String> {
    let SocketAddr::V4(addr) = addr else { return None };
    let word = u32::from_ne_bytes(addr.ip().octets());
    Some(format!("{word:08X}:{:04X}", addr.port()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_known_as_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let from = client.local_addr().unwrap();
        assert_eq!(owner(from, addr), Some(std::process::id()));
        let other = SocketAddr::new(from.ip(), from.port() ^ 1);
        assert_eq!(owner(other, SocketAddr::new(addr.ip(), 1)), None);
        assert!(n_descriptors(std::process::id()) > 2);
    }
}

//! Hosts that no link may lead to: those of the settings, and those of a list in a file.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::actors::links::LinksConfig;
use crate::domain::destination::{BadHost, BlockedHosts};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bad lines that are named; more are counted.
const NAMED_MAX: usize = 20;

/// Why the hosts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlockedHostsError {
    #[error("`links.blocked_hosts` cannot be used: {0}")]
    Entry(#[from] BadHost),
    #[error("`links.blocked_hosts_file` cannot be read: {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("`links.blocked_hosts_file`: {} has more than {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("`links.blocked_hosts_file`: {}, {lines}", path.display())]
    BadLines { path: PathBuf, lines: String },
}

/// All hosts that `config` blocks. Reads the file.
pub fn read(config: &LinksConfig) -> Result<BlockedHosts, BlockedHostsError> {
    let mut hosts = BlockedHosts::default();
    for entry in &config.blocked_hosts {
        hosts.add(entry)?;
    }
    if let Some(path) = &config.blocked_hosts_file {
        let text = text_of(path, FILE_BYTES_MAX)?;
        add_lines(&mut hosts, &text)
            .map_err(|lines| BlockedHostsError::BadLines { path: path.clone(), lines })?;
    }
    Ok(hosts)
}

fn text_of(path: &Path, max: u64) -> Result<Vec<u8>, BlockedHostsError> {
    let unreadable = |error| BlockedHostsError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    let n_read = file.take(max + 1).read_to_end(&mut text).map_err(unreadable)?;
    if n_read as u64 > max {
        return Err(BlockedHostsError::TooLarge { path: path.to_owned(), max });
    }
    Ok(text)
}

/// Adds one host per line. The error names every bad line, up to a bound, in one line of words.
fn add_lines(hosts: &mut BlockedHosts, text: &[u8]) -> Result<(), String> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let (mut words, mut n_bad) = (String::new(), 0);
    for (number, line) in (1_u64..).zip(text.split(|byte| *byte == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        if let Err(bad) = hosts.add(entry) {
            n_bad += 1;
            if n_bad <= NAMED_MAX {
                let comma = if n_bad > 1 { ", " } else { "" };
                let _ = write!(words, "{comma}line {number}: {bad}");
            }
        }
    }
    match n_bad {
        0 => return Ok(()),
        1..=NAMED_MAX => (),
        _ => {
            let _ = write!(words, ", and {} more bad lines", n_bad - NAMED_MAX);
        }
    }
    Err(words)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::destination::{Destination, DestinationError, DestinationPolicy};

    fn of_text(text: &[u8]) -> Result<BlockedHosts, String> {
        let mut hosts = BlockedHosts::default();
        add_lines(&mut hosts, text).map(|()| hosts)
    }

    #[track_caller]
    fn assert_blocks(hosts: BlockedHosts, blocked: &[&str], open: &[&str]) {
        let policy = DestinationPolicy { blocked: Arc::new(hosts), ..Default::default() };
        let parse = |host: &str| Destination::parse(&format!("https://{host}/"), &policy);
        for host in blocked {
            assert_eq!(parse(host), Err(DestinationError::Blocked), "{host}");
        }
        for host in open {
            assert!(parse(host).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let text = "\u{feff}# Hosts\r\nfirst.example\r\n\n# all of it\n  bücher.example\t# a shop\n\
                    \x20  \n#192.0.2.8\n192.0.2.7\nlast.example";
        let hosts = of_text(text.as_bytes()).unwrap();
        let blocked =
            ["first.example", "www.first.example", "bücher.example", "192.0.2.7", "last.example"];
        assert_blocks(hosts, &blocked, &["192.0.2.8", "all.example", "shop.example"]);
    }

    #[test]
    fn every_bad_line_is_named_by_its_number_up_to_a_bound() {
        let text = b"good.example\nhttp://bad.example\n\n*.bad.example\nb\xff.example\n";
        let words = of_text(text).unwrap_err();
        let expected = "line 2: \"http://bad.example\" is more than a host; leave out scheme, \
                        user name, port and path, line 4: \"*.bad.example\" has a wildcard; a name \
                        blocks everything below it without one, line 5: \"b\u{fffd}.example\" is \
                        neither a host name nor an address";
        assert_eq!(words, expected);
        let words = of_text("a b\n".repeat(NAMED_MAX).as_bytes()).unwrap_err();
        assert!(words.contains("line 20: ") && !words.contains("more bad"), "{words}");
        let words = of_text("a b\n".repeat(1_000).as_bytes()).unwrap_err();
        assert!(!words.contains("line 21: "), "{words}");
        assert!(words.ends_with(", and 980 more bad lines"), "{words}");
    }

    #[test]
    fn a_list_of_a_hundred_thousand_hosts_is_none_too_long() {
        let text: String = (0..100_000).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "host-{n}.example");
            text
        });
        let hosts = of_text(text.as_bytes()).unwrap();
        let blocked = ["host-0.example", "www.host-99999.example", "a.b.c.host-50000.example."];
        assert_blocks(hosts, &blocked, &["example", "host-100000.example", "host.example"]);
    }

    #[test]
    fn the_settings_and_the_file_add_up_and_a_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.txt");
        let config = LinksConfig {
            blocked_hosts: vec!["set.example".to_owned()],
            blocked_hosts_file: Some(path.clone()),
            ..LinksConfig::default()
        };
        let absent = read(&config).unwrap_err().to_string();
        std::fs::write(&path, "listed.example\nwith space.example\n").unwrap();
        let bad = read(&config).unwrap_err().to_string();
        assert!(bad.contains("line 2: \"with space.example\""), "{bad}");
        assert!(text_of(&path, 34).is_ok());
        let large = text_of(&path, 33).unwrap_err().to_string();
        for text in [absent, bad, large] {
            let named = text.contains("`links.blocked_hosts_file`") && text.contains("hosts.txt");
            assert!(named && !text.contains('\n'), "{text}");
        }
        std::fs::write(&path, "listed.example\n").unwrap();
        let hosts = read(&config).unwrap();
        assert_blocks(hosts, &["set.example", "listed.example"], &["example.com"]);
        let bare = LinksConfig { blocked_hosts_file: None, ..config };
        assert_blocks(read(&bare).unwrap(), &["set.example"], &["listed.example"]);
    }
}

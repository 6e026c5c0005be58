//! Requests rendered before the clock starts, so that sending one is a copy.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::answer::Answer;
use crate::client::Workload;
use crate::rng::Rng;
use crate::zipf::Zipf;

/// What the requests on a tape look like.
#[derive(Clone, Debug)]
pub struct TapeSpec {
    /// Value of `Host`.
    pub host: String,
    /// Requests on the tape, at least one; it is played again from the start when it ends.
    pub n_requests: usize,
    /// Exponent of the distribution over the codes, whose first is the hottest.
    pub zipf: f64,
    pub seed: u64,
    /// Drawn uniformly per request; empty: no such header.
    pub user_agents: Vec<String>,
    pub referrers: Vec<String>,
    /// Send each request in the name of an IPv4 address, drawn from all public ones.
    pub addresses: bool,
}

/// A sequence of requests, each with the rank of its code.
#[derive(Debug)]
pub struct Tape {
    bytes: Vec<u8>,
    /// End of each request in `bytes`, and the rank of its code.
    entries: Vec<(usize, u32)>,
}

/// Plays a tape for ever, and compares targets when it is given them.
#[derive(Debug)]
pub struct Player<'a> {
    tape: &'a Tape,
    at: usize,
    /// Expected `Location` by rank; empty: not compared.
    targets: &'a [String],
    pub n_wrong_targets: u64,
}

impl Tape {
    pub fn render(codes: &[String], spec: &TapeSpec) -> Result<Self> {
        ensure!(!codes.is_empty(), "there are no codes to ask for");
        ensure!(spec.n_requests > 0, "a tape needs at least one request");
        let zipf = Zipf::new(codes.len(), spec.zipf);
        let mut rng = Rng::new(spec.seed);
        let mut bytes = Vec::with_capacity(spec.n_requests * 80);
        let mut entries = Vec::with_capacity(spec.n_requests);
        for _ in 0..spec.n_requests {
            let rank = zipf.draw(&mut rng);
            render_get(&mut bytes, &codes[rank], &spec.host);
            if let Some(agent) = pick(&spec.user_agents, &mut rng) {
                header(&mut bytes, "User-Agent", agent);
            }
            if let Some(referrer) = pick(&spec.referrers, &mut rng) {
                header(&mut bytes, "Referer", referrer);
            }
            if spec.addresses {
                header(&mut bytes, "X-Forwarded-For", &public_address(&mut rng).to_string());
            }
            bytes.extend_from_slice(b"\r\n");
            entries.push((bytes.len(), rank as u32));
        }
        Ok(Self { bytes, entries })
    }

    pub fn player<'a>(&'a self, targets: &'a [String]) -> Player<'a> {
        Player { tape: self, at: 0, targets, n_wrong_targets: 0 }
    }

    /// As [`Tape::player`], from the middle, so that repeated runs do not repeat requests.
    pub fn player_from(&self, at: usize) -> Player<'_> {
        Player { tape: self, at: at % self.entries.len(), targets: &[], n_wrong_targets: 0 }
    }

    pub fn n_requests(&self) -> usize {
        self.entries.len()
    }
}

impl Workload for Player<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let start = match self.at {
            0 => 0,
            at => self.tape.entries[at - 1].0,
        };
        let (end, rank) = self.tape.entries[self.at];
        out.extend_from_slice(&self.tape.bytes[start..end]);
        self.at = if self.at + 1 == self.tape.entries.len() { 0 } else { self.at + 1 };
        Some(rank)
    }

    fn answered(&mut self, rank: u32, answer: &Answer<'_>) {
        if let Some(expected) = self.targets.get(rank as usize)
            && answer.location != Some(expected.as_bytes())
        {
            self.n_wrong_targets += 1;
        }
    }
}

/// Appends the request line and `Host`; the caller adds headers and the empty line.
pub fn render_get(out: &mut Vec<u8>, code: &str, host: &str) {
    out.extend_from_slice(b"GET /");
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    header(out, "Host", host);
}

/// Appends one header line.
pub fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The lines of a file, empty ones left out.
pub fn read_lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// An address that is not set apart for private, local or other special use, roughly.
fn public_address(rng: &mut Rng) -> Ipv4Addr {
    loop {
        let address = Ipv4Addr::from(rng.draw() as u32);
        let first = address.octets()[0];
        if !matches!(first, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..) {
            return address;
        }
    }
}

fn pick<'a>(pool: &'a [String], rng: &mut Rng) -> Option<&'a str> {
    if pool.is_empty() { None } else { Some(&pool[rng.below(pool.len())]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TapeSpec {
        TapeSpec {
            host: "short.example".to_owned(),
            n_requests: 3,
            zipf: 1.0,
            seed: 1,
            user_agents: vec!["Browser/1".to_owned()],
            referrers: Vec::new(),
            addresses: false,
        }
    }

    #[test]
    fn a_tape_plays_whole_requests_round_and_round() -> Result<()> {
        let tape = Tape::render(&["spring".to_owned()], &spec())?;
        let mut player = tape.player(&[]);
        for _ in 0..7 {
            let mut out = Vec::new();
            assert_eq!(player.next(&mut out), Some(0));
            let expected = "GET /spring HTTP/1.1\r\nHost: short.example\r\n\
                User-Agent: Browser/1\r\n\r\n";
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        Ok(())
    }

    #[test]
    fn a_wrong_target_is_counted() -> Result<()> {
        let tape = Tape::render(&["spring".to_owned()], &spec())?;
        let targets = ["https://a.example/".to_owned()];
        let mut player = tape.player(&targets);
        let answer = |location| Answer { status: 302, location: Some(location), closes: false };
        player.answered(0, &answer(b"https://a.example/".as_slice()));
        assert_eq!(player.n_wrong_targets, 0);
        player.answered(0, &answer(b"https://b.example/".as_slice()));
        assert_eq!(player.n_wrong_targets, 1);
        Ok(())
    }
}

//! Streams of requests, made from a seed: what each deserves is known where a rule says so.

/// One stream: some requests, of which only the last may end the connection.
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) fates: Vec<Fate>,
}

/// What a request deserves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// This answer, and the connection goes on.
    Kept(u16),
    /// This answer, after which the connection may end or not: it depends on how much of a body
    /// that nobody wants has arrived.
    Loose(u16),
    /// This answer, and nothing after it.
    Closed(u16),
    /// No rule says: only that it does not depend on how the bytes arrive.
    Unknown,
}

use Fate::{Closed, Kept, Loose, Unknown};

impl Case {
    pub(super) fn new(seed: u64, host: &str) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED);
        let mut case = Self { seed, bytes: Vec::new(), fates: Vec::new() };
        for _ in 0..1 + dice.below(3) {
            let (bytes, fate) = dice.request(host);
            case.bytes.extend_from_slice(&bytes);
            case.fates.push(fate);
            if !matches!(fate, Kept(_)) {
                break;
            }
        }
        case
    }

    /// Answers that are certain, if not all are.
    pub(super) fn loose_from(&self) -> Option<usize> {
        matches!(self.fates.last(), Some(Loose(_))).then_some(self.fates.len())
    }

    /// The stream, readable.
    pub(super) fn text(&self) -> String {
        let start = &self.bytes[..self.bytes.len().min(400)];
        let (seed, n_bytes) = (self.seed, self.bytes.len());
        format!("seed {seed}, {n_bytes} bytes, {:?}\n{}", self.fates, start.escape_ascii())
    }
}

struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn request(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let host = format!("Host: {host}\r\n");
        match self.below(10) {
            0..=2 => self.plain(&host),
            3 | 4 => self.with_body(&host),
            5 => self.odd_line(&host),
            6 => self.odd_header(&host),
            7 => self.bad_length(&host),
            8 => self.damaged(&host),
            _ => self.large(&host),
        }
    }

    /// Well-formed requests without a body.
    fn plain(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let (line, status) = self.one_of(&[
            ("GET /spring", 302),
            ("HEAD /spring", 302),
            ("GET /spring?a=b", 302),
            ("GET /nowhere", 404),
            ("HEAD /nowhere", 404),
            ("GET /health", 200),
            ("GET /api/v1/links", 401),
            ("TRACE /spring", 405),
            ("BREW /spring", 405),
        ]);
        let before = self.one_of(&["", "", "", "\r\n", "\r\n\r\n", "\n"]);
        let mut text = format!("{before}{line} HTTP/1.1\r\n{host}");
        for _ in 0..self.below(4) {
            text.push_str(self.one_of(&[
                "User-Agent: probe/1\r\n",
                "accept-LANGUAGE:\t de \t\r\n",
                "X-Empty:\r\n",
                "Connection: keep-alive\r\n",
                "Connection: Keep-Alive, TE\r\n",
                "Keep-Alive: timeout=5\r\n",
                "X-Request-Id: abc\r\n",
                "X-Forwarded-Host: other.example\r\n",
                "Cookie: a=\"b\"; c\r\n",
                "Content-Length: 0\r\n",
                "Referer: \u{e9}\r\n",
            ]));
        }
        if text.matches("Content-Length").count() > 1 {
            return (format!("{text}\r\n").into_bytes(), Closed(400));
        }
        if before == "\n" {
            return (format!("{text}\r\n").into_bytes(), Closed(400));
        }
        if self.below(8) == 0 {
            let more = self.one_of(&[
                "Connection: close\r\n",
                "Connection: x, CLOSE\r\n",
                "connection: keep-alive, close\r\n",
            ]);
            return (format!("{text}{more}\r\n").into_bytes(), Closed(status));
        }
        (format!("{text}\r\n").into_bytes(), Kept(status))
    }

    /// Bodies, most of them for somebody who does not read them.
    fn with_body(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let chunked = "Transfer-Encoding: chunked\r\n";
        let smuggled = "GET /spring HTTP/1.1\r\nHost: a\r\n\r\n";
        let length = smuggled.len();
        let (text, fate) = match self.below(12) {
            0 => (
                format!("GET /spring HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"),
                Loose(302),
            ),
            1 => (
                format!(
                    "GET /nowhere HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{smuggled}"
                ),
                Loose(404),
            ),
            2 => (
                format!("POST /api/v1/links HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\n{{}}"),
                Loose(401),
            ),
            3 => (
                format!("GET /spring HTTP/1.1\r\n{host}{chunked}\r\n5\r\nhello\r\n0\r\n\r\n"),
                Kept(302),
            ),
            4 => (
                format!(
                    "GET /nowhere HTTP/1.1\r\n{host}{chunked}\r\n\
                     {length:x}\r\n{smuggled}\r\n0\r\n\r\n"
                ),
                Kept(404),
            ),
            5 => (
                format!(
                    "POST /api/v1/links HTTP/1.1\r\n{host}{chunked}\r\n2;a=b\r\n{{}}\r\n0\r\n\r\n"
                ),
                Kept(401),
            ),
            6 => (
                format!("GET /spring HTTP/1.1\r\n{host}{chunked}\r\n0\r\nX-Trailer: a\r\n\r\n"),
                Unknown,
            ),
            7 => {
                let size = self.one_of(&["zz", "-1", "5 5", "", "0x5", "FFFFFFFFFFFFFFFFF", "5\n"]);
                let text = format!(
                    "GET /spring HTTP/1.1\r\n{host}{chunked}\r\n{size}\r\nhello\r\n0\r\n\r\n"
                );
                (text, Unknown)
            }
            8 => {
                let text =
                    format!("GET /spring HTTP/1.1\r\n{host}{chunked}\r\n3\r\nhello\r\n0\r\n\r\n");
                (text, Unknown)
            }
            9 => (
                format!(
                    "POST /api/v1/links HTTP/1.1\r\n{host}Expect: 100-continue\r\n\
                     Content-Length: 2\r\n\r\n{{}}"
                ),
                Loose(100),
            ),
            10 => (format!("GET /spring HTTP/1.1\r\n{host}Expect: 100-continue\r\n\r\n"), Unknown),
            _ => (format!("GET /spring HTTP/1.1\r\n{host}Expect: 200-ok\r\n\r\n"), Kept(302)),
        };
        (text.into_bytes(), fate)
    }

    /// Request lines that few clients send.
    fn odd_line(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let name = host.trim_start_matches("Host: ").trim_end();
        let absolute = format!("GET http://{name}/spring HTTP/1.1");
        let authority = format!("CONNECT {name} HTTP/1.1");
        let (line, fate): (&[u8], Fate) = match self.below(22) {
            0 => (absolute.as_bytes(), Unknown),
            1 => (authority.as_bytes(), Unknown),
            2 => (b"OPTIONS * HTTP/1.1", Unknown),
            3 => (b"GET /%73pring HTTP/1.1", Unknown),
            4 => (b"GET /spring%00 HTTP/1.1", Unknown),
            5 => (b"GET /spring%zz HTTP/1.1", Unknown),
            6 => (b"GET /spring/ HTTP/1.1", Unknown),
            7 => (b"GET //spring HTTP/1.1", Unknown),
            8 => (b"GET /./spring HTTP/1.1", Unknown),
            9 => (b"GET /spring#part HTTP/1.1", Unknown),
            10 => ("GET /spr\u{fc}ng HTTP/1.1".as_bytes(), Unknown),
            11 => (b"GET /spr\xff\xfeng HTTP/1.1", Unknown),
            12 => (b"GET spring HTTP/1.1", Unknown),
            13 => (b"GET /spring", Closed(400)),
            14 => (b"GET /spring HTTP/1.2", Closed(400)),
            15 => (b"GET /spring HTTP/2.0", Closed(400)),
            16 => (b"GET /spring http/1.1", Closed(400)),
            17 => (b"GET  /spring HTTP/1.1", Unknown),
            18 => (b"GET\t/spring HTTP/1.1", Closed(400)),
            19 => (b"GET /spr\0ing HTTP/1.1", Closed(400)),
            20 => (b"G\x80T /spring HTTP/1.1", Closed(400)),
            _ => (b"PRI * HTTP/2.0\r\n\r\nSM", Closed(400)),
        };
        ([line, b"\r\n", host.as_bytes(), b"\r\n"].concat(), fate)
    }

    /// Header lines that no client should send, and some that change what a connection is.
    fn odd_header(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let (line, fate): (&[u8], Fate) = match self.below(16) {
            0 => (b"Host: other.example\r\n", Closed(400)),
            1 => (b"X-A: 1\r\n folded\r\n", Closed(400)),
            2 => (b"X-A: 1\r\n\tfolded\r\n", Closed(400)),
            3 => (b"X-A : 1\r\n", Closed(400)),
            4 => (b"X\0A: 1\r\n", Closed(400)),
            5 => (b"X-A: 1\0\r\n", Closed(400)),
            6 => (b"X-A: 1\rX-B: 2\r\n", Closed(400)),
            7 => (b"X-A\r\n", Closed(400)),
            8 => (b": 1\r\n", Closed(400)),
            9 => (b"X-A: 1\n", Closed(400)),
            10 => (b"X-\xc3\xa9: 1\r\n", Closed(400)),
            11 => (b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: Upgrade\r\n", Unknown),
            12 => (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", Unknown),
            13 => (b"Upgrade: h2c\r\n", Kept(302)),
            14 => {
                let text = "GET /spring HTTP/1.1\r\nX-A: 1\r\n\r\n";
                return (text.as_bytes().to_vec(), Closed(400));
            }
            _ => {
                let text = format!("GET /spring HTTP/1.1\n{}\n", host.replace('\r', ""));
                return (text.into_bytes(), Closed(400));
            }
        };
        let mut bytes = format!("GET /spring HTTP/1.1\r\n{host}").into_bytes();
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
        (bytes, fate)
    }

    /// Lengths that two readers could understand in two ways: all are refused.
    fn bad_length(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let lines = self.one_of(&[
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
        ]);
        let method = self.one_of(&["GET /spring", "POST /api/v1/links", "HEAD /nowhere"]);
        let body = self.one_of(&["", "hello", "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"]);
        let text = format!("{method} HTTP/1.1\r\n{host}{lines}\r\n{body}");
        (text.into_bytes(), Closed(400))
    }

    /// A well-formed request with one byte replaced, left out or put in, or of version 1.0.
    fn damaged(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let (mut bytes, _) = self.plain(host);
        let at = self.below(bytes.len());
        let byte = self.one_of(b"\0\t\n\r :;,/%\x7f\x80\xffAz0?");
        match self.below(5) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at),
            _ => {
                let (more, fate) = self.one_of(&[
                    ("", Closed(302)),
                    ("Connection: keep-alive\r\n", Kept(302)),
                    ("Transfer-Encoding: chunked\r\n", Closed(400)),
                ]);
                let text = format!("GET /spring HTTP/1.0\r\n{host}{more}\r\n");
                return (text.into_bytes(), fate);
            }
        }
        (bytes, Unknown)
    }

    /// Heads at and beyond their limits.
    fn large(&mut self, host: &str) -> (Vec<u8>, Fate) {
        let (text, fate) = match self.below(7) {
            0 => (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(51)), Kept(404)),
            1 => (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(8_191)), Kept(404)),
            2 => (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(8_192)), Kept(414)),
            3 => {
                let filling = format!("X-Filling: {}\r\n", "b".repeat(1_000)).repeat(17);
                (format!("GET /spring HTTP/1.1\r\n{host}{filling}\r\n"), Kept(431))
            }
            4 => {
                let filling = format!("X-Filling: {}\r\n", "b".repeat(900)).repeat(17);
                (format!("GET /spring HTTP/1.1\r\n{host}{filling}\r\n"), Kept(302))
            }
            5 => (
                format!("GET /spring HTTP/1.1\r\n{host}{}\r\n", "X-A: 1\r\n".repeat(60)),
                Kept(302),
            ),
            _ => (
                format!("GET /spring HTTP/1.1\r\n{host}{}\r\n", "X-A: 1\r\n".repeat(120)),
                Closed(431),
            ),
        };
        (text.into_bytes(), fate)
    }
}

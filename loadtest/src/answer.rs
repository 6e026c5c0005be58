//! Reading HTTP/1.1 answers with as little work as a load client can get away with: the status,
//! where the body ends, `Location`, and whether the connection stays open.

use std::ops::Range;

/// Longest head of an answer. A longer one counts as malformed.
const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// The head of one complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub status: u16,
    pub location: Option<&'a [u8]>,
    pub closes: bool,
}

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The first `used` bytes are one complete answer; `body` is where its body lies.
    Complete { answer: Answer<'a>, body: Range<usize>, used: usize },
    /// More bytes are needed.
    Partial,
    /// Not an answer this client understands, chunked ones included.
    Malformed,
}

/// Parses one answer to a GET from the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    parse_answer(bytes, true)
}

/// Parses one answer to a HEAD, which has no body whatever its headers say.
pub fn parse_bodiless(bytes: &[u8]) -> Parsed<'_> {
    parse_answer(bytes, false)
}

fn parse_answer(bytes: &[u8], has_body: bool) -> Parsed<'_> {
    let Some(mut at) = line_end(bytes, 0) else { return partial_or_malformed(bytes) };
    let Some(status) = status_of(&bytes[..at]) else { return Parsed::Malformed };

    let mut answer = Answer { status, location: None, closes: false };
    let mut n_body_bytes = 0;
    loop {
        let Some(end) = line_end(bytes, at) else { return partial_or_malformed(bytes) };
        let line = trim_line(&bytes[at..end]);
        at = end;
        if line.is_empty() {
            break;
        }
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length") {
                    let Some(n) = decimal(value) else { return Parsed::Malformed };
                    n_body_bytes = n;
                } else if let Some(value) = value_of(line, b"connection") {
                    answer.closes = value.eq_ignore_ascii_case(b"close");
                }
            }
            b'l' | b'L' => answer.location = value_of(line, b"location").or(answer.location),
            b't' | b'T' if value_of(line, b"transfer-encoding").is_some() => {
                return Parsed::Malformed;
            }
            _ => (),
        }
    }

    if !has_body || status < 200 || status == 204 || status == 304 {
        n_body_bytes = 0;
    }
    let Some(used) = at.checked_add(n_body_bytes) else { return Parsed::Malformed };
    if bytes.len() < used {
        return Parsed::Partial;
    }
    Parsed::Complete { answer, body: at..used, used }
}

fn partial_or_malformed(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() > HEAD_BYTES_MAX { Parsed::Malformed } else { Parsed::Partial }
}

/// Position after the next line feed.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', &bytes[from..]).map(|found| from + found + 1)
}

fn trim_line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    let status = decimal(digits)?;
    (100..600).contains(&status).then_some(status as u16)
}

/// The value of `line` if its field name is `name` (lower case), without surrounding blanks.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    field.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &[u8] = b"HTTP/1.1 302 Found\r\nServer: x\r\nLOCATION: https://a.example/\r\n\
        content-length: 5\r\n\r\nhello";

    fn complete(bytes: &[u8]) -> (Answer<'_>, usize) {
        match parse(bytes) {
            Parsed::Complete { answer, used, .. } => (answer, used),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_its_head_and_its_body() {
        let (answer, used) = complete(FOUND);
        assert_eq!(answer.status, 302);
        assert_eq!(answer.location, Some(b"https://a.example/".as_slice()));
        assert!(!answer.closes);
        assert_eq!(used, FOUND.len());
    }

    #[test]
    fn every_shorter_piece_of_an_answer_is_partial() {
        for cut in 0..FOUND.len() {
            assert_eq!(parse(&FOUND[..cut]), Parsed::Partial, "cut at {cut}");
        }
    }

    #[test]
    fn the_next_answer_is_left_alone() {
        let two = [FOUND, b"HTTP/1.1 404 Not Found\r\n\r\n"].concat();
        let (_, used) = complete(&two);
        let (second, _) = complete(&two[used..]);
        assert_eq!(second.status, 404);
    }

    #[test]
    fn an_answer_to_head_ends_with_its_head() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n";
        assert_eq!(parse(head), Parsed::Partial);
        assert!(matches!(parse_bodiless(head), Parsed::Complete { .. }));
    }

    #[test]
    fn a_closing_connection_is_noticed() {
        let (answer, _) = complete(b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n");
        assert!(answer.closes);
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for bytes in [
            b"SMTP ready\r\n\r\n".as_slice(),
            b"HTTP/1.1 2xx Odd\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(parse(bytes), Parsed::Malformed);
        }
    }
}

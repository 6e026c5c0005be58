//! Where a request ends: after its head, or after a body of a known length or in chunks
//! (RFC 9112, sections 6 and 7.1). Counts bytes only; what they say is for others to read.

/// How far a request goes, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the head.
    pub head: usize,
    pub body: Body,
    /// Whether the client means to use the connection again.
    pub keeps: bool,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Bytes to come; zero is no body.
    Length(u64),
    Chunked(Chunks),
}

/// A place in a body that comes in chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    /// Size of the chunk as far as it is read, then bytes of it to come.
    left: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    FirstDigit,
    Digits,
    AfterDigits,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
    Over,
    /// What came is no such body: nobody can tell where it ends.
    Broken,
}

impl Extent {
    /// How many of `bytes`, the next that came, belong to the request.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let n_head = self.head.min(bytes.len());
        self.head -= n_head;
        n_head + self.body.take(&bytes[n_head..])
    }

    /// True when everything was taken.
    pub(super) const fn is_over(&self) -> bool {
        self.head == 0
            && match &self.body {
                Body::Length(left) => *left == 0,
                Body::Chunked(chunks) => matches!(chunks.place, Place::Over),
            }
    }
}

impl Body {
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => take_some(left, bytes.len()),
            Self::Chunked(chunks) => chunks.take(bytes),
        }
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut n_taken = 0;
        while n_taken < bytes.len() && !matches!(self.place, Place::Over | Place::Broken) {
            if self.place == Place::Data {
                n_taken += take_some(&mut self.left, bytes.len() - n_taken);
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.place = self.step(bytes[n_taken]);
                n_taken += usize::from(self.place != Place::Broken);
            }
        }
        n_taken
    }

    fn step(&mut self, byte: u8) -> Place {
        use Place::{
            AfterDigits, Broken, Data, DataCr, DataLf, Digits, Extension, FirstDigit, LastLf,
            LineStart, Over, SizeLf, Trailer, TrailerLf,
        };
        match (self.place, byte) {
            (FirstDigit | Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (Digits | AfterDigits, b' ' | b'\t') => AfterDigits,
            (Digits | AfterDigits, b';') => Extension,
            (Digits | AfterDigits | Extension, b'\r') => SizeLf,
            (Extension, b'\t' | b' '..=b'~' | 0x80..) => Extension,
            (SizeLf, b'\n') if self.left == 0 => LineStart,
            (SizeLf, b'\n') => Data,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => FirstDigit,
            (LineStart, b'\r') => LastLf,
            (LineStart | Trailer, b'\t' | b' '..=b'~' | 0x80..) => Trailer,
            (Trailer, b'\r') => TrailerLf,
            (TrailerLf, b'\n') => LineStart,
            (LastLf, b'\n') => Over,
            _ => Broken,
        }
    }

    fn digit(&mut self, byte: u8) -> Place {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        let before = if self.place == Place::FirstDigit { 0 } else { self.left };
        match before.checked_mul(16) {
            Some(size) => {
                self.left = size + u64::from(digit);
                Place::Digits
            }
            None => Place::Broken,
        }
    }
}

/// Takes what is left, at most `n_bytes`.
fn take_some(left: &mut u64, n_bytes: usize) -> usize {
    let n_taken = usize::try_from(*left).unwrap_or(usize::MAX).min(n_bytes);
    *left -= n_taken as u64;
    n_taken
}

#[cfg(test)]
mod tests {
    use actix_http::h1::{Codec, Message};
    use bytes::BytesMut;
    use proptest::prelude::*;
    use tokio_util::codec::Decoder as _;

    use super::*;

    fn chunked(body: &[u8]) -> (usize, Extent) {
        let mut left = behind(0, Body::Chunked(Chunks::default()));
        (left.take(body), left)
    }

    fn behind(head: usize, body: Body) -> Extent {
        Extent { head, body, keeps: true }
    }

    fn is_broken(left: &Extent) -> bool {
        matches!(left.body, Body::Chunked(Chunks { place: Place::Broken, .. }))
    }

    #[test]
    fn a_length_is_counted_behind_the_head() {
        let mut left = behind(3, Body::Length(4));
        assert_eq!(left.take(b"he"), 2);
        assert_eq!(left.take(b"ada"), 3);
        assert!(!left.is_over());
        assert_eq!(left.take(b"bcd"), 2);
        assert!(left.is_over());
        assert_eq!(left.take(b"next"), 0);
        assert!(behind(0, Body::Length(0)).is_over());
    }

    #[test]
    fn chunks_end_with_the_empty_line_after_the_last() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a ;x=\"y z\"\r\n0\r\n\r\n56789\r\n000\r\n\r\n",
            "5\t\r\n\r\n\r\n\n\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
        ] {
            let behind = format!("{body}GET / HTTP/1.1\r\n");
            let (n_bytes, left) = chunked(behind.as_bytes());
            assert_eq!(n_bytes, body.len(), "{body:?}");
            assert!(left.is_over() && !is_broken(&left), "{body:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_broken() {
        for body in [
            "",
            "zz",
            "-1",
            "5 5",
            "0x5",
            "5\n",
            "FFFFFFFFFFFFFFFFF",
            "5;a\n",
            "5;\0",
            "3\r\nhello",
            "5\r\rhello",
            "5\r\nhello\n",
            "0\r\nX: 1\n",
            "0\r\nX: \0",
            "0\r\n\r\r",
            "0\r\n\n",
        ] {
            let (_, left) = chunked(format!("{body}\n\r\n\r\n").as_bytes());
            assert!(is_broken(&left) && !left.is_over(), "{body:?}");
        }
    }

    /// Where actix-http sees the end of a request with this body; nothing when it sees none.
    fn end_in_actix(body: &str) -> Option<usize> {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut bytes = BytesMut::from(format!("{head}{body}").as_str());
        let mut codec = actix_rt::System::new().block_on(async { Codec::default() });
        loop {
            match codec.decode(&mut bytes).ok()?? {
                Message::Chunk(None) => return Some(body.len() - bytes.len()),
                Message::Chunk(Some(_)) | Message::Item(_) => (),
            }
        }
    }

    /// Bodies in chunks, most of them well formed, and something behind them.
    fn nearly_chunked() -> impl Strategy<Value = String> {
        let line_end = || prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
        let extension = prop::sample::select(vec!["", "", "", ";a=b", " ", "\t;x=\"y\""]);
        let amiss = prop_oneof![20 => Just(0), 1 => Just(1)];
        let chunk = ("[a\r\n0]{1,20}", extension, amiss, line_end(), line_end()).prop_map(
            |(data, extension, amiss, first, second)| {
                format!("{:x}{extension}{first}{data}{second}", data.len() + amiss)
            },
        );
        let last = prop::sample::select(vec!["0", "00", "0;a", "0", ""]);
        let trailer = prop::sample::select(vec!["", "", "X: 1\r\n", "X\n", "X: 1\r\nY:\r\n"]);
        let behind = prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "\r\n", "0\r\n\r\n"]);
        let chunks = prop::collection::vec(chunk, 0..4).prop_map(|chunks| chunks.concat());
        (chunks, last, line_end(), trailer, line_end(), behind)
            .prop_map(|(chunks, a, b, c, d, e)| [&chunks, a, b, c, d, e].concat())
    }

    proptest! {
        #[test]
        fn a_body_ends_where_actix_sees_its_end_or_is_refused(body in nearly_chunked()) {
            let (n_bytes, left) = chunked(body.as_bytes());
            let end = end_in_actix(&body);
            prop_assert!(!left.is_over() || end == Some(n_bytes), "{:?}", body);
            prop_assert!(end.is_none_or(|end| n_bytes <= end), "{:?}", body);
        }

        #[test]
        fn pieces_count_like_the_whole(
            bytes in "(([0-9a-f]{1,2}|[ ;x0-9])(\r\n|\n)?[a\r\n]{0,9}){0,6}",
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = bytes.as_bytes();
            let (n_bytes, whole) = chunked(bytes);
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let (mut n_pieces, mut pieces) = chunked(first);
            if n_pieces == first.len() {
                n_pieces += pieces.take(second);
            }
            prop_assert_eq!((n_pieces, pieces), (n_bytes, whole));
        }
    }
}

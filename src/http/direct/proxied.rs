//! What a trusted proxy says of its client before the first request: the PROXY protocol, versions
//! 1 and 2 (HAProxy, `doc/proxy-protocol.txt`).

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};

/// How the text of version 1 begins, and how long it is at most, its line end included.
const V1_PREFIX: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
/// Longest opening of version 2 that is taken; it may carry some hundred bytes of extensions.
const V2_BYTES_MAX: usize = 4 * 1_024;

/// How a connection from a trusted proxy begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// With a request.
    Absent,
    Partial,
    /// The client is `peer`; nothing when the proxy asks for itself.
    Told {
        n_bytes: usize,
        peer: Option<SocketAddr>,
    },
    /// With something that is neither.
    Malformed,
}

/// Reads the start of a connection.
pub(super) fn read_opening(bytes: &[u8]) -> Opening {
    let is_partial = if begins_alike(bytes, V1_PREFIX) {
        bytes.len() < V1_BYTES_MAX && !bytes.contains(&b'\n')
    } else if begins_alike(bytes, v2::PROTOCOL_PREFIX) {
        bytes.len() < V2_BYTES_MAX && v2::Header::try_from(bytes).is_incomplete()
    } else {
        return Opening::Absent;
    };
    if is_partial {
        return Opening::Partial;
    }
    let parsed = HeaderResult::parse(bytes);
    match parsed {
        HeaderResult::V1(Ok(header)) => {
            let peer = match header.addresses {
                v1::Addresses::Tcp4(told) => Some((told.source_address, told.source_port).into()),
                v1::Addresses::Tcp6(told) => Some((told.source_address, told.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Opening::Told { n_bytes: header.header.len(), peer }
        }
        HeaderResult::V2(Ok(header)) => {
            let peer = match (header.command, header.addresses) {
                (v2::Command::Local, _) => None,
                (_, v2::Addresses::IPv4(told)) => {
                    Some((told.source_address, told.source_port).into())
                }
                (_, v2::Addresses::IPv6(told)) => {
                    Some((told.source_address, told.source_port).into())
                }
                (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
            };
            Opening::Told { n_bytes: header.len(), peer }
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Opening::Malformed,
    }
}

/// True when `bytes` may go on to be, or are, something with this prefix.
fn begins_alike(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn told(n_bytes: usize, peer: &str) -> Opening {
        Opening::Told { n_bytes, peer: Some(peer.parse().unwrap()) }
    }

    /// Version 2, of a TCP connection over IPv4, with `extra` bytes of extensions.
    fn binary(command: u8, extra: usize) -> Vec<u8> {
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([command, 0x11]);
        bytes.extend((12 + extra as u16).to_be_bytes());
        bytes.extend([203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0, 80]);
        bytes.resize(bytes.len() + extra, 0);
        bytes
    }

    #[test]
    fn both_versions_tell_the_client() {
        let text = b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 80\r\nGET /";
        assert_eq!(read_opening(text), told(text.len() - 5, "203.0.113.9:4660"));
        let text = b"PROXY TCP6 2001:db8::1 fd00::1 4660 80\r\n";
        assert_eq!(read_opening(text), told(text.len(), "[2001:db8::1]:4660"));
        let mut bytes = binary(0x21, 0);
        bytes.extend(b"GET /spring");
        assert_eq!(read_opening(&bytes), told(28, "203.0.113.9:4660"));
    }

    #[test]
    fn a_proxy_may_ask_for_itself() {
        let text = b"PROXY UNKNOWN\r\n";
        assert_eq!(read_opening(text), Opening::Told { n_bytes: text.len(), peer: None });
        assert_eq!(read_opening(&binary(0x20, 0)), Opening::Told { n_bytes: 28, peer: None });
    }

    #[test]
    fn requests_are_told_from_openings() {
        for request in ["GET /a HTTP/1.1\r\n", "PROPFIND / HTTP/1.1\r\n", "\r\nGET / HTTP/1.1\r\n"]
        {
            assert_eq!(read_opening(request.as_bytes()), Opening::Absent, "{request:?}");
        }
    }

    #[test]
    fn an_opening_is_partial_until_it_is_whole_and_never_endless() {
        for whole in [b"PROXY TCP4 1.2.3.4 10.0.0.1 4660 80\r\n".to_vec(), binary(0x21, 30)] {
            for end in 0..whole.len() {
                assert_eq!(read_opening(&whole[..end]), Opening::Partial, "{end}");
            }
            assert!(matches!(read_opening(&whole), Opening::Told { .. }));
        }
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; V1_BYTES_MAX]].concat();
        assert_eq!(read_opening(&endless), Opening::Malformed);
        assert_eq!(read_opening(b"PROXY TCP4 1.2.3.4.5 a b c\r\n"), Opening::Malformed);
    }
}

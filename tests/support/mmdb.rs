//! Writes MaxMind databases with chosen content, for tests and benchmarks. Needs nothing but `std`,
//! so that unit tests, API tests and benchmarks include it by path.
#![allow(dead_code, reason = "each of its users needs another part")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
const SEPARATOR_BYTES: usize = 16;
/// Where IPv4 networks lie in a tree of IPv6 addresses: below `::/96`.
const V4_DEPTH: u8 = 96;

/// A database in the making: which networks have which record.
pub(crate) struct Mmdb {
    kind: String,
    description: Vec<(String, Value)>,
    v6: bool,
    record_bits: u16,
    nodes: Vec<[Slot; 2]>,
    data: Vec<u8>,
    /// Where each encoded record begins; equal records are written once.
    offsets: HashMap<Vec<u8>, usize>,
}

/// What a record holds.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Short(u16),
    Number(u32),
    Long(u64),
    Double(f64),
    Map(Vec<(String, Value)>),
    List(Vec<Value>),
}

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    /// Where the record begins in the data section.
    Record(usize),
}

impl Mmdb {
    /// An empty database of IPv4 and IPv6 addresses with nodes of 28 bits.
    pub(crate) fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            description: Vec::new(),
            v6: true,
            record_bits: 28,
            nodes: vec![[Slot::Empty; 2]],
            data: Vec::new(),
            offsets: HashMap::new(),
        }
    }

    /// For IPv4 addresses only. Call it before networks are added.
    pub(crate) fn v4_only(mut self) -> Self {
        self.v6 = false;
        self
    }

    /// Bits of one record in a node: 24, 28 or 32.
    pub(crate) fn record_bits(mut self, bits: u16) -> Self {
        self.record_bits = bits;
        self
    }

    pub(crate) fn described(mut self, english: &str) -> Self {
        self.description.push(("en".to_owned(), text(english)));
        self
    }

    /// Gives a network such as `127.0.0.0/8` a record; later networks lie over earlier ones.
    pub(crate) fn with(mut self, network: &str, record: &Value) -> Self {
        let offset = self.record(record);
        let (address, length) = network.split_once('/').expect("a network has a length");
        let length: u8 = length.parse().expect("the length is a number");
        let (bits, depth) = match address.parse().expect("the network has an address") {
            IpAddr::V4(v4) if self.v6 => (u128::from(u32::from(v4)), V4_DEPTH + length),
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << V4_DEPTH, length),
            IpAddr::V6(v6) => (u128::from(v6), length),
        };
        self.insert(bits, depth, Slot::Record(offset));
        self
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for node in &self.nodes {
            self.write_node(node.map(|slot| self.number(slot)), &mut out);
        }
        out.extend([0; SEPARATOR_BYTES]);
        out.extend(&self.data);
        out.extend(MARKER);
        encode(&self.metadata(), &mut out);
        out
    }

    /// Puts the file in place at once, as an operator should.
    pub(crate) fn write(&self, path: &Path) {
        let beside = path.with_extension("new");
        std::fs::write(&beside, self.bytes()).expect("the folder of the database is writable");
        std::fs::rename(&beside, path).expect("the file beside was written just now");
    }

    fn record(&mut self, record: &Value) -> usize {
        let mut encoded = Vec::new();
        encode(record, &mut encoded);
        let next = self.data.len();
        let offset = *self.offsets.entry(encoded.clone()).or_insert(next);
        if offset == next {
            self.data.extend(encoded);
        }
        offset
    }

    fn insert(&mut self, bits: u128, depth: u8, slot: Slot) {
        assert!(depth > 0, "write the whole address space as its two halves");
        let mut node = 0;
        for level in 0..depth - 1 {
            let side = side(bits, level);
            node = match self.nodes[node][side] {
                Slot::Node(below) => below,
                // What lay here lies on both sides of the new node.
                above => {
                    self.nodes.push([above; 2]);
                    self.nodes[node][side] = Slot::Node(self.nodes.len() - 1);
                    self.nodes.len() - 1
                }
            };
        }
        self.nodes[node][side(bits, depth - 1)] = slot;
    }

    fn number(&self, slot: Slot) -> u32 {
        let number = match slot {
            Slot::Empty => self.nodes.len(),
            Slot::Node(node) => node,
            Slot::Record(offset) => self.nodes.len() + SEPARATOR_BYTES + offset,
        };
        u32::try_from(number).expect("a database of tests is small")
    }

    fn write_node(&self, [left, right]: [u32; 2], out: &mut Vec<u8>) {
        let (left_bytes, right_bytes) = (left.to_be_bytes(), right.to_be_bytes());
        match self.record_bits {
            24 => out.extend(left_bytes[1..].iter().chain(&right_bytes[1..])),
            28 => {
                out.extend(&left_bytes[1..]);
                out.push(left_bytes[0] << 4 | right_bytes[0]);
                out.extend(&right_bytes[1..]);
            }
            _ => out.extend(left_bytes.iter().chain(&right_bytes)),
        }
    }

    fn metadata(&self) -> Value {
        let nodes = u32::try_from(self.nodes.len()).expect("a database of tests is small");
        map(&[
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1_770_000_000)),
            ("database_type", text(&self.kind)),
            ("description", Value::Map(self.description.clone())),
            ("ip_version", Value::Short(if self.v6 { 6 } else { 4 })),
            ("languages", Value::List(vec![text("en")])),
            ("node_count", Value::Number(nodes)),
            ("record_size", Value::Short(self.record_bits)),
        ])
    }
}

/// A record as ip-location-db writes them; empty texts stand for what is not known.
pub(crate) fn flat(country: &str, region: &str, city: &str) -> Value {
    map(&[
        ("city", text(city)),
        ("country_code", text(country)),
        ("latitude", Value::Double(52.52)),
        ("state1", text(region)),
        ("state2", text("")),
    ])
}

/// A record as MaxMind and DB-IP write them.
pub(crate) fn nested(continent: &str, country: &str, region: &str, city: &str) -> Value {
    let named =
        |name: &str| map(&[("names", map(&[("de", text("Anderswo")), ("en", text(name))]))]);
    let mut entries = Vec::new();
    for (key, value) in [
        ("city", (city, named(city))),
        ("continent", (continent, map(&[("code", text(continent))]))),
        ("country", (country, map(&[("iso_code", text(country))]))),
        ("subdivisions", (region, Value::List(vec![named(region), named("a part of it")]))),
    ] {
        if !value.0.is_empty() {
            entries.push((key, value.1));
        }
    }
    map(&entries)
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

/// The bit of an address that chooses the way down from a node of this level.
fn side(bits: u128, level: u8) -> usize {
    usize::from(bits << level >> 127 == 1)
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Double(number) => {
            control(3, 8, out);
            out.extend(number.to_be_bytes());
        }
        Value::Short(number) => {
            control(5, 2, out);
            out.extend(number.to_be_bytes());
        }
        Value::Number(number) => {
            control(6, 4, out);
            out.extend(number.to_be_bytes());
        }
        Value::Long(number) => {
            control(9, 8, out);
            out.extend(number.to_be_bytes());
        }
        Value::Map(entries) => {
            control(7, entries.len(), out);
            for (key, value) in entries {
                encode(&text(key), out);
                encode(value, out);
            }
        }
        Value::List(items) => {
            control(11, items.len(), out);
            items.iter().for_each(|item| encode(item, out));
        }
    }
}

/// Type and size before a value. Types above 7 need a byte of their own, sizes above 28 one or two.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (size_bits, more) = match size {
        0..29 => (size as u8, Vec::new()),
        29..285 => (29, vec![(size - 29) as u8]),
        _ => {
            (30, u16::try_from(size - 285).expect("values of tests are short").to_be_bytes().into())
        }
    };
    if kind > 7 {
        out.extend([size_bits, kind - 7]);
    } else {
        out.push(kind << 5 | size_bits);
    }
    out.extend(more);
}

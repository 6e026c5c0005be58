//! Whatever a disk makes of a journal segment: no panic, no endless search, no record from outside
//! the bytes; and of a segment that was written, exactly the records before the first damage.

#![no_main]

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shunt::actors::clicks::journal::{Record, Scanned, header, scan};
use shunt::actors::clicks::{ClickSink, ClickSinkParts, ClicksConfig, FreeDisk};
use shunt::app::SystemClock;
use shunt::domain::click::{ClickFlags, RawClick, SegmentId};
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::domain::units::Size;
use shunt::storage::memory::MemoryStore;
use shunt::telemetry::metrics::Metrics;

const CLICKS: u64 = 40;
const HEADER_BYTES: usize = 4_096;

/// A segment as the journal writes it.
struct Written {
    segment: SegmentId,
    bytes: Vec<u8>,
    /// What is checked of each record.
    records: Vec<Range<usize>>,
}

static WRITTEN: LazyLock<Written> = LazyLock::new(write);

// An even first byte: the rest are the bytes of a file. Odd: damage to a segment, as pairs of
// bytes for a place, a byte that is put there; the pair 0xFFFF cuts the file at the place before.
fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    if kind & 1 == 0 {
        let segment = header(rest).map_or(SegmentId(1), |header| header.segment);
        check(rest, segment);
    } else {
        check_damaged(rest);
    }
});

fn check_damaged(edits: &[u8]) {
    let Written { segment, bytes, records } = &*WRITTEN;
    let end = records.last().map_or(HEADER_BYTES, |last| last.end);
    let mut changed = bytes.clone();
    let mut place = HEADER_BYTES;
    // More edits than these could hit upon a checksum that fits.
    for edit in edits.as_chunks::<3>().0.iter().take(6) {
        let [low, high, byte] = *edit;
        let to = usize::from(u16::from_le_bytes([low, high]));
        if to == usize::from(u16::MAX) {
            changed.truncate(place);
        }
        place = HEADER_BYTES + to % (end - HEADER_BYTES);
        if let Some(old) = changed.get_mut(place) {
            *old = byte;
        }
    }
    let same = |range: &&Range<usize>| changed.get((*range).clone()) == bytes.get((*range).clone());
    let intact = records.iter().take_while(same).count();
    let scanned = check(&changed, *segment);
    assert_eq!(scanned.records, intact as u64);
    let lost = scanned.damage.map_or(0, |damage| damage.lost);
    assert!(scanned.records + lost <= CLICKS);
}

/// What holds for any bytes.
fn check(bytes: &[u8], segment: SegmentId) -> Scanned {
    let mut n_bytes = 0;
    let scanned = scan_all(bytes, segment, |record| {
        n_bytes += record.user_agent.len()
            + record.referrer.len()
            + record.language.len()
            + record.query.len();
    });
    assert!(n_bytes <= bytes.len());
    if let Some(damage) = scanned.damage {
        assert!(damage.lost >= 1);
        assert_eq!(damage.offset, scanned.end);
    }
    let other = SegmentId(segment.0 ^ 1);
    assert!(scanned.records == 0 || scan_all(bytes, other, |_| ()).records == 0);
    scanned
}

fn scan_all(bytes: &[u8], segment: SegmentId, mut each: impl FnMut(Record<'_>)) -> Scanned {
    let mut records = 0;
    let scanned = scan(bytes, segment, |record| {
        records += 1;
        each(record);
    });
    assert_eq!(scanned.records, records);
    scanned
}

/// Records clicks through a sink, and takes the file while it is in use.
fn write() -> Written {
    let home = tempfile::TempDir::new().expect("a folder for the journal can be made");
    let folder = home.path().join("journal");
    let bytes = actix::System::new().block_on(async {
        let metrics = Metrics::new();
        let config = ClicksConfig {
            segment_size: Size(64 << 10),
            free_disk_min: FreeDisk::Percent(0),
            ..ClicksConfig::default()
        };
        let sink = ClickSink::start(ClickSinkParts {
            config,
            folder: folder.clone(),
            node: 0,
            store: MemoryStore::new().clicks,
            metrics: Arc::clone(&metrics),
            clock: Arc::new(SystemClock),
            keys: Vec::new(),
        })
        .expect("a journal can be opened");
        let lane = sink.lane(metrics.worker()).expect("clicks are counted");
        (0..CLICKS).for_each(|n| lane.record(&click(n)));
        // Records get their checksums behind the writer; until then bytes may change unseen.
        loop {
            let mut files = fs::read_dir(&folder).expect("the folder can be listed");
            let sealed = files.find_map(|file| {
                let bytes = fs::read(file.ok()?.path()).ok()?;
                let segment = header(&bytes)?.segment;
                let whole = scan(&bytes, segment, |_| ()).records == CLICKS;
                (whole && records(&bytes).iter().all(|range| is_sealed(&bytes, range)))
                    .then_some(bytes)
            });
            if let Some(bytes) = sealed {
                break bytes;
            }
            actix::clock::sleep(Duration::from_millis(5)).await;
        }
    });
    let segment = header(&bytes).expect("a segment has a header").segment;
    let records = records(&bytes);
    Written { segment, bytes, records }
}

/// Where the records are.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut records, mut at) = (Vec::new(), HEADER_BYTES);
    while records.len() < CLICKS as usize {
        let frame = bytes[at..].first_chunk::<4>().expect("the record is there");
        let end = at + 8 + u32::from_le_bytes(*frame) as usize;
        records.push(at..end);
        at = end.next_multiple_of(8);
    }
    records
}

fn is_sealed(bytes: &[u8], record: &Range<usize>) -> bool {
    bytes[record.start + 4..record.start + 8] != [0; 4]
}

fn click(n: u64) -> RawClick<'static> {
    let pool = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    RawClick {
        at: Timestamp(1_770_000_000_000 + n as i64),
        version: 1,
        link: Id(n),
        address: IpAddr::V6(Ipv6Addr::LOCALHOST),
        flags: if n % 5 == 0 { ClickFlags::PRIVATE } else { ClickFlags::default() },
        user_agent: &pool[..n as usize],
        referrer: b"",
        language: b"en",
        query: b"",
    }
}

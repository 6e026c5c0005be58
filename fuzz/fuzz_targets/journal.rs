//! Whatever a disk makes of a journal segment: no panic, no endless search, no record from
//! outside the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shunt::actors::clicks::journal::{header, scan};
use shunt::domain::click::SegmentId;

fuzz_target!(|input: &[u8]| {
    let segment = header(input).map_or(SegmentId(1), |header| header.segment);
    let mut records = 0;
    let mut bytes = 0;
    let scanned = scan(input, segment, |record| {
        records += 1;
        bytes += record.user_agent.len()
            + record.referrer.len()
            + record.language.len()
            + record.query.len();
    });
    assert_eq!(scanned.records, records);
    assert!(bytes <= input.len());
    if let Some(damage) = scanned.damage {
        assert!(damage.lost >= 1);
        assert_eq!(damage.offset, scanned.end);
    }
});

//! Figures, on demand: `cargo test --profile quick --lib clicks::tests::speed -- --ignored --nocapture`.

use super::*;
use crate::actors::clicks::journal::scan;
use crate::actors::clicks::journal::segment::SegmentWriter;
use crate::actors::clicks::journal::spool::Spool;
use crate::actors::clicks::tally::Tally;

const CLICKS: u64 = 300_000;

#[test]
#[ignore = "measures, proves nothing"]
fn figures() {
    let (_home, journal) = folder();
    let large = ClicksConfig { segment_size: Size::mib(64), ..config() };
    let (spool, _) = Spool::open(&journal, &large, START).unwrap();
    let segment = Arc::new(spool.prepare(START).unwrap());
    segment.prefault(64 << 20);
    let mut writer = SegmentWriter::open(Arc::clone(&segment)).unwrap();
    let begun = Instant::now();
    (0..CLICKS).for_each(|n| assert!(writer.append(&click(n))));
    let write = begun.elapsed();
    let size = segment.written() as u64 / CLICKS;

    let bytes = std::fs::read(segment.path()).unwrap();
    for (name, links) in [("all different", CLICKS), ("1,000", 1_000)] {
        let begun = Instant::now();
        let mut tally = Tally::default();
        scan(&bytes, segment.id(), |record| tally.add(record.at, Id(record.link.0 % links)));
        let replay = begun.elapsed();
        let rate = CLICKS as f64 / replay.as_secs_f64() / 1e6;
        report(&format!("replay, links {name}: {rate:.2} M records/s"));
    }
    report(&format!("record: {:.0} ns, {size} bytes", write.as_nanos() as f64 / CLICKS as f64));
}

#[expect(clippy::print_stdout, reason = "figures are for the person who asked for them")]
fn report(line: &str) {
    println!("{line}");
}

//! Ids under clocks that misbehave.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use proptest::prelude::*;

use super::*;

const NEVER_RAN: Timestamp = Timestamp(0);
/// A time in 2026.
const NOON: i64 = EPOCH_MS + 40_000_000_000;
const PER_MS: u64 = 1 << SEQUENCE_BITS;

/// A clock that tests set.
struct HandClock(AtomicI64);

impl HandClock {
    fn at(millis: i64) -> Self {
        Self(AtomicI64::new(millis))
    }

    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// The next id while no time passes but what the clock says.
fn take(generator: &IdGenerator, clock: &HandClock) -> Result<Id, IdError> {
    generator.next(clock, Duration::ZERO)
}

/// Takes ids until the generator refuses.
fn drain(generator: &IdGenerator, clock: &HandClock) -> (Vec<Id>, IdError) {
    let mut ids = Vec::new();
    loop {
        match take(generator, clock) {
            Ok(id) => ids.push(id),
            Err(error) => return (ids, error),
        }
    }
}

#[test]
fn an_id_carries_time_node_and_sequence() {
    let generator = IdGenerator::new(513, NEVER_RAN);
    let clock = HandClock::at(NOON);
    let (first, second) = (take(&generator, &clock).unwrap(), take(&generator, &clock).unwrap());
    assert_eq!(first.created_at(), Timestamp(NOON));
    assert_eq!(first.0 >> SEQUENCE_BITS & 1_023, 513);
    assert_eq!(first.0 & SEQUENCE_MASK, 0);
    assert_eq!(second.0, first.0 + 1);
    assert_eq!(generator.newest(), Timestamp(NOON));
}

#[test]
fn a_full_millisecond_borrows_from_the_next_ones_up_to_the_bound() {
    let generator = IdGenerator::new(0, NEVER_RAN);
    let clock = HandClock::at(NOON);
    let (ids, error) = drain(&generator, &clock);
    assert_eq!(ids.len() as u64, PER_MS * (AHEAD_MAX_MS + 1));
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert_eq!(ids[PER_MS as usize].created_at(), Timestamp(NOON + 1));
    assert_eq!(error, IdError::Exhausted);
    clock.set(NOON + 1);
    assert!(take(&generator, &clock).unwrap() > ids[ids.len() - 1]);
}

#[test]
fn ids_go_on_from_the_last_one_when_the_clock_is_set_back() {
    for step in [1, AHEAD_MAX_MS as i64, 3_600_000, 86_400_000, NOON] {
        let generator = IdGenerator::new(3, NEVER_RAN);
        let clock = HandClock::at(NOON);
        let before = take(&generator, &clock).unwrap();
        clock.set(NOON - step);
        assert_eq!(take(&generator, &clock).unwrap().0, before.0 + 1, "{step} ms back");
        clock.set(NOON + 1);
        assert_eq!(take(&generator, &clock).unwrap().created_at(), Timestamp(NOON + 1));
    }
}

#[test]
fn ids_ahead_of_the_clock_spend_no_more_time_than_passes() {
    let generator = IdGenerator::new(3, NEVER_RAN);
    let clock = HandClock::at(NOON);
    clock.set(NOON - 3_600_000);
    let generator_of_before = IdGenerator::new(3, Timestamp(NOON));
    for (generator, began) in [(generator, NOON - 3_600_000), (generator_of_before, NOON)] {
        for uptime_ms in [0, 1, 250] {
            let uptime = Duration::from_millis(uptime_ms);
            while generator.next(&clock, uptime).is_ok() {}
            let limit = began + (uptime_ms + AHEAD_MAX_MS) as i64;
            assert_eq!(generator.newest(), Timestamp(limit), "after {uptime:?}");
            // However often the clock is set forth and back, nothing is won.
            clock.set(NOON - 7_200_000);
            assert_eq!(generator.next(&clock, uptime), Err(IdError::Exhausted));
            clock.set(NOON - 3_600_000);
            assert_eq!(generator.next(&clock, uptime), Err(IdError::Exhausted));
        }
    }
}

#[test]
fn no_id_of_an_earlier_process_comes_again_even_in_the_millisecond_of_the_mark() {
    let clock = HandClock::at(NOON);
    let earlier = IdGenerator::new(1, NEVER_RAN);
    let mut ids: HashSet<Id> = (0..100).map(|_| take(&earlier, &clock).unwrap()).collect();
    let later = IdGenerator::new(1, earlier.newest());
    assert!((0..100).all(|_| ids.insert(take(&later, &clock).unwrap())));
}

#[test]
fn a_quick_restart_goes_on_after_a_mark_that_was_written_ahead() {
    let clock = HandClock::at(NOON);
    let mark = Timestamp(NOON + 10_000);
    let generator = IdGenerator::new(1, mark);
    assert_eq!(generator.newest(), mark);
    let first = take(&generator, &clock).unwrap();
    assert_eq!(first.created_at(), mark.plus_millis(1));
    let (ids, error) = drain(&generator, &clock);
    assert_eq!(ids.len() as u64 + 1, PER_MS * AHEAD_MAX_MS);
    assert_eq!(error, IdError::Exhausted);
    assert!(generator.newest() <= mark.plus_millis(AHEAD_MAX_MS as i64));
}

#[test]
fn ids_go_on_after_a_mark_however_far_it_is_in_the_future() {
    let clock = HandClock::at(NOON);
    let mark = Timestamp(NOON + 86_400_000);
    let generator = IdGenerator::new(1, mark);
    assert_eq!(take(&generator, &clock).unwrap().created_at(), mark.plus_millis(1));
}

#[test]
fn times_after_those_that_ids_can_tell_are_refused() {
    let last = EPOCH_MS + MILLIS_END as i64 - 1;
    let generator = IdGenerator::new(0, NEVER_RAN);
    for millis in [last + 1, i64::MAX] {
        assert_eq!(take(&generator, &HandClock::at(millis)), Err(IdError::OutOfRange), "{millis}");
        // A mark up there leaves no ids: to begin again would repeat them.
        let used_up = IdGenerator::new(0, Timestamp(millis));
        assert_eq!(take(&used_up, &HandClock::at(NOON)), Err(IdError::OutOfRange), "{millis}");
    }
    let clock = HandClock::at(last);
    let (ids, error) = drain(&generator, &clock);
    assert_eq!((ids.len() as u64, error), (PER_MS, IdError::OutOfRange));
    assert!(ids.iter().all(|id| id.0 < 1 << 63));
}

#[test]
fn times_before_those_that_ids_can_tell_do_not_stop_them() {
    for millis in [i64::MIN, -1, 0, EPOCH_MS - 1] {
        let generator = IdGenerator::new(0, Timestamp(NOON));
        let id = take(&generator, &HandClock::at(millis)).unwrap();
        assert_eq!(id.created_at(), Timestamp(NOON + 1), "{millis}");
        let fresh = IdGenerator::new(0, NEVER_RAN);
        assert_eq!(take(&fresh, &HandClock::at(millis)), Ok(Id(1)), "{millis}");
    }
}

#[test]
fn zero_is_never_given_out() {
    let generator = IdGenerator::new(0, NEVER_RAN);
    assert_eq!(take(&generator, &HandClock::at(EPOCH_MS)), Ok(Id(1)));
}

#[test]
#[should_panic(expected = "10 bits")]
fn a_node_number_that_does_not_fit_is_a_bug() {
    IdGenerator::new(NODES_MAX, NEVER_RAN);
}

#[test]
fn threads_never_share_an_id() {
    let generator = Arc::new(IdGenerator::new(7, NEVER_RAN));
    let clock = Arc::new(HandClock::at(NOON));
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let (generator, clock) = (Arc::clone(&generator), Arc::clone(&clock));
            std::thread::spawn(move || {
                (0..10_000).map(|_| take(&generator, &clock).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let ids: Vec<Vec<Id>> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
    assert!(ids.iter().all(|ids| ids.is_sorted_by(|a, b| a < b)));
    let different: HashSet<Id> = ids.into_iter().flatten().collect();
    assert_eq!(different.len(), 40_000);
}

#[test]
fn ids_are_read_from_digits_alone() {
    assert_eq!("123".parse(), Ok(Id(123)));
    assert_eq!(u64::MAX.to_string().parse(), Ok(Id(u64::MAX)));
    for text in ["", "+1", "-1", " 1", "1 ", "0x1", "18446744073709551616", "1.0"] {
        assert!(text.parse::<Id>().is_err(), "{text:?}");
    }
}

/// What happens to a generator between two ids.
#[derive(Clone, Debug)]
enum Event {
    Take(usize),
    /// The clock goes wrong by so much.
    MoveClock(i64),
    /// So many milliseconds really pass.
    Pass(u32),
    /// Killed and started again; the mark was persisted this far ahead of the newest id.
    Restart(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_usize..60_000).prop_map(Event::Take),
        2 => (0_u32..50).prop_map(Event::Pass),
        2 => (-20_i64..50).prop_map(Event::MoveClock),
        1 => (-5_000_i64..5_000).prop_map(Event::MoveClock),
        1 => (-90_000_000_i64..90_000_000).prop_map(Event::MoveClock),
        1 => (0_i64..3_000).prop_map(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ids_rise_strictly_and_never_run_away_through_clock_jumps_and_restarts(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let clock = HandClock::at(NOON);
        let mut generator = IdGenerator::new(9, NEVER_RAN);
        let (mut newest, mut uptime) = (Id(0), Duration::ZERO);
        // The furthest that the clock, a mark and what passed since allow ids to be.
        let mut furthest = NOON;
        for event in events {
            match event {
                Event::Take(n_ids) => {
                    for id in (0..n_ids).map_while(|_| generator.next(&clock, uptime).ok()) {
                        prop_assert!(id > newest);
                        prop_assert_eq!(id.0 >> SEQUENCE_BITS & 1_023, 9);
                        newest = id;
                    }
                    prop_assert!(newest.created_at().0 <= furthest + AHEAD_MAX_MS as i64);
                }
                Event::MoveClock(by) => clock.set(clock.now().as_millis() + by),
                Event::Pass(millis) => {
                    clock.set(clock.now().as_millis() + i64::from(millis));
                    uptime += Duration::from_millis(millis.into());
                    furthest += i64::from(millis);
                }
                Event::Restart(ahead) => {
                    let mark = generator.newest().plus_millis(ahead);
                    generator = IdGenerator::new(9, mark);
                    uptime = Duration::ZERO;
                    furthest = furthest.max(mark.0);
                }
            }
            furthest = furthest.max(clock.now().as_millis());
        }
    }
}

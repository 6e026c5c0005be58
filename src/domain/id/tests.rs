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

/// Takes ids until the generator refuses.
fn drain(generator: &IdGenerator, clock: &HandClock) -> (Vec<Id>, IdError) {
    let mut ids = Vec::new();
    loop {
        match generator.next(clock) {
            Ok(id) => ids.push(id),
            Err(error) => return (ids, error),
        }
    }
}

#[test]
fn an_id_carries_time_node_and_sequence() {
    let generator = IdGenerator::new(513, NEVER_RAN);
    let clock = HandClock::at(NOON);
    let (first, second) = (generator.next(&clock).unwrap(), generator.next(&clock).unwrap());
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
    assert!(generator.next(&clock).unwrap() > ids[ids.len() - 1]);
}

#[test]
fn a_small_step_back_of_the_clock_goes_unnoticed() {
    let generator = IdGenerator::new(3, NEVER_RAN);
    let clock = HandClock::at(NOON);
    let before = generator.next(&clock).unwrap();
    clock.set(NOON - AHEAD_MAX_MS as i64);
    assert_eq!(generator.next(&clock).unwrap().0, before.0 + 1);
}

#[test]
fn a_large_step_back_makes_ids_wait_until_the_clock_has_caught_up() {
    let generator = IdGenerator::new(3, NEVER_RAN);
    let clock = HandClock::at(NOON);
    let before = generator.next(&clock).unwrap();
    clock.set(NOON - 3_600_000);
    assert_eq!(generator.next(&clock), Err(IdError::ClockBehind { behind_ms: 3_600_000 }));
    clock.set(NOON);
    assert!(generator.next(&clock).unwrap() > before);
}

#[test]
fn no_id_of_an_earlier_process_comes_again_even_in_the_millisecond_of_the_mark() {
    let clock = HandClock::at(NOON);
    let earlier = IdGenerator::new(1, NEVER_RAN);
    let mut ids: HashSet<Id> = (0..100).map(|_| earlier.next(&clock).unwrap()).collect();
    let later = IdGenerator::new(1, earlier.newest());
    assert!((0..100).all(|_| ids.insert(later.next(&clock).unwrap())));
}

#[test]
fn a_quick_restart_goes_on_after_a_mark_that_was_written_ahead() {
    let clock = HandClock::at(NOON);
    let mark = Timestamp(NOON + 10_000);
    let generator = IdGenerator::new(1, mark);
    assert_eq!(generator.newest(), mark);
    let first = generator.next(&clock).unwrap();
    assert_eq!(first.created_at(), mark.plus_millis(1));
    let (ids, error) = drain(&generator, &clock);
    assert_eq!(ids.len() as u64 + 1, PER_MS * AHEAD_MAX_MS);
    assert_eq!(error, IdError::Exhausted);
    assert!(generator.newest() <= mark.plus_millis(AHEAD_MAX_MS as i64));
}

#[test]
fn a_mark_far_in_the_future_makes_ids_wait() {
    let clock = HandClock::at(NOON);
    let generator = IdGenerator::new(1, Timestamp(NOON + 3_600_000));
    assert_eq!(generator.next(&clock), Err(IdError::ClockBehind { behind_ms: 3_600_000 }));
}

#[test]
fn times_that_ids_cannot_tell_are_refused() {
    let last = EPOCH_MS + (1 << MILLIS_BITS) - 1;
    let generator = IdGenerator::new(0, NEVER_RAN);
    for millis in [i64::MIN, -1, 0, EPOCH_MS - 1, last + 1, i64::MAX] {
        assert_eq!(generator.next(&HandClock::at(millis)), Err(IdError::OutOfRange), "{millis}");
    }
    let clock = HandClock::at(last);
    let (ids, error) = drain(&generator, &clock);
    assert_eq!((ids.len() as u64, error), (PER_MS, IdError::OutOfRange));
    assert!(ids.iter().all(|id| id.0 < 1 << 63));
}

#[test]
fn zero_is_never_given_out() {
    let generator = IdGenerator::new(0, NEVER_RAN);
    assert_eq!(generator.next(&HandClock::at(EPOCH_MS)), Ok(Id(1)));
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
                (0..10_000).map(|_| generator.next(&*clock).unwrap()).collect::<Vec<_>>()
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
    MoveClock(i64),
    /// Killed and started again; the mark was persisted this far ahead of the newest id.
    Restart(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_usize..10_000).prop_map(Event::Take),
        2 => (-20_i64..50).prop_map(Event::MoveClock),
        1 => (-5_000_i64..5_000).prop_map(Event::MoveClock),
        1 => (0_i64..3_000).prop_map(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ids_rise_strictly_through_clock_jumps_and_restarts(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let clock = HandClock::at(NOON);
        let mut generator = IdGenerator::new(9, NEVER_RAN);
        let mut newest = Id(0);
        for event in events {
            match event {
                Event::Take(n_ids) => {
                    for id in (0..n_ids).map_while(|_| generator.next(&clock).ok()) {
                        prop_assert!(id > newest);
                        prop_assert_eq!(id.0 >> SEQUENCE_BITS & 1_023, 9);
                        newest = id;
                    }
                }
                Event::MoveClock(by) => clock.set(clock.now().as_millis() + by),
                Event::Restart(ahead) => {
                    generator = IdGenerator::new(9, generator.newest().plus_millis(ahead));
                }
            }
        }
    }
}

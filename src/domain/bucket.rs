//! Token buckets: so many per window, all of them at once or one by one.
//!
//! A bucket holds `n` tokens and refills evenly, `n` per window. What is kept of it is only when
//! it will be full again, so a bucket that was left alone for long needs no keeping at all. All
//! arithmetic is in whole units of a millisecond's `n`-th part, in which a token takes `window`
//! units to come back: nothing is rounded, and a bucket never gives more than it may.

/// How much a bucket holds, and how long it takes to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens of a full bucket. At least one.
    pub n: u32,
    /// Milliseconds from empty to full. At least one.
    pub window_ms: u32,
}

/// State of one bucket; the default is a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// First millisecond at which the bucket is full again.
    full_at_ms: u64,
    /// How much earlier than that it is full, in `n`-ths of a millisecond; less than one.
    early: u32,
}

/// What a bucket answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// Whole tokens left afterwards.
    pub remaining: u32,
    /// Until the bucket is full, if nothing more is taken.
    pub reset_after_ms: u64,
    /// Until the same request would be allowed: 0 if it was. More than a full bucket holds is never
    /// allowed; then this tells when the bucket is full.
    pub retry_after_ms: u64,
}

impl Quota {
    pub const fn new(n: u32, window_ms: u32) -> Self {
        Self { n, window_ms }
    }

    pub const fn per_minute(n: u32) -> Self {
        Self::new(n, 60_000)
    }

    pub const fn per_hour(n: u32) -> Self {
        Self::new(n, 3_600_000)
    }

    /// What a bucket answers that was kept elsewhere: whether `cost` tokens were allowed, and how
    /// many units it owes now.
    pub fn after(self, allowed: bool, debt: u64, cost: u32) -> Verdict {
        let units = u64::from(cost) * u64::from(self.window_ms);
        let debt = debt.min(self.capacity());
        match allowed {
            true => Verdict { allowed: true, retry_after_ms: 0, ..self.verdict(debt, 0) },
            false => Verdict { allowed: false, ..self.verdict(debt, units) },
        }
    }

    /// Units of a full bucket.
    fn capacity(self) -> u64 {
        u64::from(self.n) * u64::from(self.window_ms)
    }

    /// What a bucket answers that owes so many units.
    fn verdict(self, debt: u64, cost: u64) -> Verdict {
        let free = self.capacity() - debt;
        let window = u64::from(self.window_ms).max(1);
        let missing = cost.saturating_sub(free).min(debt);
        Verdict {
            allowed: cost <= free,
            remaining: u32::try_from(free / window).unwrap_or(u32::MAX),
            reset_after_ms: self.millis(debt),
            retry_after_ms: self.millis(missing),
        }
    }

    /// Milliseconds, rounded up, in which so many units come back.
    fn millis(self, units: u64) -> u64 {
        units.div_ceil(u64::from(self.n).max(1))
    }
}

impl Bucket {
    /// Takes `cost` tokens, or none if there are not that many. A clock that went back makes the
    /// bucket no emptier than empty.
    pub fn take(&mut self, quota: Quota, cost: u32, now_ms: u64) -> Verdict {
        let debt = self.debt(quota, now_ms);
        let units = u64::from(cost) * u64::from(quota.window_ms);
        let refused_or_free = quota.verdict(debt, units);
        if !refused_or_free.allowed || cost == 0 {
            return refused_or_free;
        }
        self.owe(quota, debt + units, now_ms);
        Verdict { allowed: true, retry_after_ms: 0, ..quota.verdict(debt + units, 0) }
    }

    /// What `take` would answer, without taking anything.
    pub fn peek(mut self, quota: Quota, cost: u32, now_ms: u64) -> Verdict {
        self.take(quota, cost, now_ms)
    }

    /// Gives `cost` tokens back that were taken for nothing.
    pub fn put_back(&mut self, quota: Quota, cost: u32, now_ms: u64) -> Verdict {
        let units = u64::from(cost) * u64::from(quota.window_ms);
        let debt = self.debt(quota, now_ms).saturating_sub(units);
        self.owe(quota, debt, now_ms);
        quota.verdict(debt, 0)
    }

    /// True when nothing is missing: a bucket like this one need not be kept.
    pub fn is_full(&self, now_ms: u64) -> bool {
        self.full_at_ms <= now_ms
    }

    /// When it is full again.
    pub fn full_at_ms(&self) -> u64 {
        self.full_at_ms
    }

    /// Units that are missing.
    fn debt(&self, quota: Quota, now_ms: u64) -> u64 {
        let millis = self.full_at_ms.saturating_sub(now_ms);
        // More than a window is what another quota or another clock left.
        if millis > u64::from(quota.window_ms) {
            return quota.capacity();
        }
        (millis * u64::from(quota.n)).saturating_sub(u64::from(self.early)).min(quota.capacity())
    }

    fn owe(&mut self, quota: Quota, debt: u64, now_ms: u64) {
        let millis = quota.millis(debt);
        let early = millis * u64::from(quota.n) - debt;
        self.full_at_ms = now_ms.saturating_add(millis);
        self.early = u32::try_from(early).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIVE: Quota = Quota::per_minute(5);

    #[test]
    fn a_full_bucket_gives_all_it_has_and_then_one_by_one() {
        let mut bucket = Bucket::default();
        for left in (0..5).rev() {
            let verdict = bucket.take(FIVE, 1, 0);
            assert!(verdict.allowed);
            assert_eq!(verdict.remaining, left);
        }
        let refused = bucket.take(FIVE, 1, 0);
        assert_eq!((refused.allowed, refused.remaining), (false, 0));
        assert_eq!((refused.retry_after_ms, refused.reset_after_ms), (12_000, 60_000));
        assert!(!bucket.take(FIVE, 1, 11_999).allowed);
        assert!(bucket.take(FIVE, 1, 12_000).allowed);
        assert!(!bucket.take(FIVE, 1, 12_000).allowed);
    }

    #[test]
    fn more_than_a_bucket_holds_is_never_given() {
        let mut bucket = Bucket::default();
        for now_ms in [0, 60_000, 1 << 50] {
            let verdict = bucket.take(FIVE, 6, now_ms);
            assert_eq!((verdict.allowed, verdict.remaining), (false, 5));
            assert_eq!(verdict.retry_after_ms, 0, "it is as full as it gets");
        }
        assert!(bucket.take(FIVE, 5, 1 << 50).allowed);
        assert_eq!(bucket.take(FIVE, 6, 1 << 50).retry_after_ms, 60_000);
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_for_longer_than_a_window() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(FIVE, 5, 1_000_000_000).allowed);
        assert_eq!(bucket.peek(FIVE, 1, 0).retry_after_ms, 12_000);
        assert_eq!(bucket.take(FIVE, 1, 0).reset_after_ms, 60_000);
        assert!(!bucket.take(FIVE, 1, 1_000_000_000).allowed);
    }

    #[test]
    fn what_is_put_back_can_be_taken_again_and_no_more() {
        let mut bucket = Bucket::default();
        bucket.take(FIVE, 4, 0);
        assert_eq!(bucket.put_back(FIVE, 3, 0).remaining, 4);
        assert_eq!(bucket.put_back(FIVE, 9, 0).remaining, 5);
        assert!(bucket.is_full(0));
        assert!(bucket.take(FIVE, 5, 0).allowed && !bucket.take(FIVE, 1, 0).allowed);
    }

    #[test]
    fn looking_takes_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(FIVE, 2, 0);
        let before = bucket;
        assert_eq!(bucket.peek(FIVE, 3, 5).remaining, 0);
        assert_eq!(bucket.take(FIVE, 0, 5).remaining, 3);
        assert!(!bucket.take(FIVE, 4, 5).allowed);
        assert_eq!(bucket, before);
    }

    fn quotas() -> impl Strategy<Value = Quota> {
        let n = prop_oneof![1_u32..20, 1_u32..2_000_000, Just(u32::MAX)];
        (n, 1_u32..100_000_000).prop_map(|(n, window_ms)| Quota { n, window_ms })
    }

    /// Times that pass, and what is asked for after each.
    fn requests() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let wait = prop_oneof![Just(0), 0_u64..50, 0_u64..100_000, 0_u64..200_000_000];
        prop::collection::vec((wait, prop_oneof![0_u32..4, any::<u32>()]), 1..60)
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_gives_more_than_a_bucket_and_what_came_back(
            quota in quotas(), requests in requests(),
        ) {
            let (mut bucket, mut now_ms) = (Bucket::default(), 0);
            let mut given: Vec<(u64, u64)> = Vec::new();
            for (wait, cost) in requests {
                now_ms += wait;
                if bucket.take(quota, cost, now_ms).allowed {
                    given.push((now_ms, u64::from(cost)));
                }
            }
            for (index, (from, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (until, cost) in &given[index..] {
                    sum += cost;
                    let n = u128::from(quota.n);
                    let back = n * u128::from(until - from) / u128::from(quota.window_ms);
                    prop_assert!(u128::from(sum) <= n + back, "{sum} from {from} to {until}");
                }
            }
        }

        #[test]
        fn verdicts_tell_the_truth(quota in quotas(), requests in requests()) {
            let (mut bucket, mut now_ms) = (Bucket::default(), 0);
            for (wait, cost) in requests {
                now_ms += wait;
                let before = bucket.peek(quota, 0, now_ms).remaining;
                let verdict = bucket.take(quota, cost, now_ms);
                prop_assert_eq!(verdict.allowed, cost <= before);
                let taken = if verdict.allowed { cost } else { 0 };
                prop_assert_eq!(verdict.remaining, before - taken);
                prop_assert!(verdict.reset_after_ms <= u64::from(quota.window_ms));
                prop_assert!(bucket.is_full(now_ms + verdict.reset_after_ms));
                if verdict.reset_after_ms > 0 {
                    let almost = bucket.peek(quota, quota.n, now_ms + verdict.reset_after_ms - 1);
                    prop_assert!(!almost.allowed);
                }
                prop_assert_eq!(verdict.retry_after_ms == 0, verdict.allowed || before == quota.n);
                if !verdict.allowed && cost <= quota.n {
                    let retry_at = now_ms + verdict.retry_after_ms;
                    prop_assert!(bucket.peek(quota, cost, retry_at).allowed);
                    prop_assert!(!bucket.peek(quota, cost, retry_at - 1).allowed);
                }
            }
        }

        #[test]
        fn what_is_put_back_at_once_was_never_taken(
            quota in quotas(), requests in requests(), cost in 1_u32..1_000,
        ) {
            let (mut bucket, mut now_ms) = (Bucket::default(), 0);
            for (wait, cost) in requests {
                now_ms += wait;
                bucket.take(quota, cost, now_ms);
            }
            let before = bucket.peek(quota, 0, now_ms);
            if bucket.take(quota, cost, now_ms).allowed {
                prop_assert_eq!(bucket.put_back(quota, cost, now_ms), before);
            }
        }

        #[test]
        fn any_clock_keeps_waits_within_the_window(
            quota in quotas(), times in prop::collection::vec(any::<u64>(), 1..30), cost: u32,
        ) {
            let mut bucket = Bucket::default();
            for now_ms in times {
                let verdict = bucket.take(quota, cost, now_ms);
                prop_assert!(verdict.retry_after_ms <= u64::from(quota.window_ms));
                prop_assert!(verdict.remaining <= quota.n);
            }
        }
    }
}

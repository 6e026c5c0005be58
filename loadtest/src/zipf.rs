//! Zipf-distributed ranks: the k-th most wanted link is asked for in proportion to 1 / k^s.

use crate::rng::Rng;

/// Draws ranks from 0 (the hottest) to n - 1 by inverting the exact distribution.
#[derive(Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// `n` ranks, at least one; `s` from 0 (uniform) upwards.
    pub fn new(n: usize, s: f64) -> Self {
        assert!(n > 0, "a distribution needs at least one rank");
        let mut sum = 0.0;
        let cumulative = (1..=n)
            .map(|k| {
                sum += (k as f64).powf(-s);
                sum
            })
            .collect();
        Self { cumulative }
    }

    pub fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let wanted = rng.unit() * total;
        self.cumulative.partition_point(|below| *below <= wanted).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(n: usize, s: f64, draws: usize) -> Vec<f64> {
        let zipf = Zipf::new(n, s);
        let mut rng = Rng::new(7);
        let mut hits = vec![0_u32; n];
        for _ in 0..draws {
            hits[zipf.draw(&mut rng)] += 1;
        }
        hits.iter().map(|n_hits| f64::from(*n_hits) / draws as f64).collect()
    }

    #[test]
    fn ranks_are_drawn_in_proportion_to_their_weight() {
        let n = 1_000;
        let harmonic: f64 = (1..=n).map(|k| 1.0 / k as f64).sum();
        let seen = shares(n, 1.0, 1_000_000);
        for rank in [0, 1, 9, 99] {
            let expected = 1.0 / (rank + 1) as f64 / harmonic;
            let ratio = seen[rank] / expected;
            assert!((0.9..1.1).contains(&ratio), "rank {rank}: {ratio}");
        }
    }

    #[test]
    fn an_exponent_of_zero_is_uniform() {
        for share in shares(10, 0.0, 100_000) {
            assert!((0.09..0.11).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_ranks() {
        let zipf = Zipf::new(50, 1.0);
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| zipf.draw(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}

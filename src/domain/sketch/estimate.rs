//! From registers to a number: the improved raw estimator of Otmar Ertl, "New cardinality
//! estimation algorithms for HyperLogLog sketches", arXiv:1702.01284.
//!
//! It needs no table of measured corrections and no switch between small and large counts: two
//! series replace the registers that are still empty and those that can grow no more. The second
//! is also all the correction that 32-bit prefixes need. That two visitors share a prefix shows
//! only in how often registers are full, and the series takes full registers at that chance; a
//! correction for lost prefixes on top of it would count them twice.

use super::registers::{RANK_BITS, RANK_MAX, REGISTERS};

/// 1 / (2 ln 2), the constant of the raw estimator for many registers.
const ALPHA: f64 = 0.5 / std::f64::consts::LN_2;
/// Largest answer. Were all registers but one full, some 2^35 visitors would be the estimate; when
/// all are, it is infinite.
const ESTIMATE_MAX: f64 = (1_u64 << 36) as f64;

/// The number of visitors, given how many registers hold each rank from 0 to [`RANK_MAX`].
pub(super) fn from_histogram(n_registers: impl Fn(usize) -> u32) -> u64 {
    let registers = REGISTERS as f64;
    let share = |rank: usize| f64::from(n_registers(rank)) / registers;

    let mut sum = tau(1.0 - share(usize::from(RANK_MAX)));
    for rank in (1..=RANK_BITS as usize).rev() {
        sum = 0.5 * (sum + share(rank));
    }
    sum += sigma(share(0));
    (ALPHA * registers / sum).min(ESTIMATE_MAX).round() as u64
}

/// x + Σ x^(2^k) 2^(k-1) over k from 1: what empty registers weigh. Infinite when all are empty.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        let last = sum;
        power *= power;
        sum += power * weight;
        weight *= 2.0;
        if sum <= last {
            return sum;
        }
    }
}

/// (1 - x - Σ (1 - x^(2^-k))^2 2^-k over k from 1) / 3: what full registers weigh.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        let last = sum;
        root = root.sqrt();
        weight *= 0.5;
        sum -= (1.0 - root).powi(2) * weight;
        if sum >= last {
            return sum / 3.0;
        }
    }
}

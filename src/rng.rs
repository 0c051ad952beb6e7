//! Draws that depend on what they are for, never on who asked before: hash(seed, cell, entity, purpose, n).
//!
//! Adding a scenario, a host or a thread changes nobody else's draws. Only integer arithmetic, IEEE basic
//! operations and `libm` (software) functions are used, so that every platform draws the same.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// Mixes two words into one; the finaliser of SplitMix64 over a multiply-xor.
#[inline]
pub const fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A purpose named in code, hashed at compile time where it is a literal: `purpose("host.name")`.
#[inline(always)]
pub const fn purpose(name: &str) -> u64 {
    let b = name.as_bytes();
    let (mut h, mut i) = (0xcbf2_9ce4_8422_2325u64, 0);
    while i < b.len() {
        h = (h ^ b[i] as u64).wrapping_mul(0x0000_0100_0000_01B3);
        i += 1;
    }
    h
}

/// A named stream of draws: a key and a counter, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    key: u64,
    n: u64,
}

impl Rng {
    /// The stream of a key.
    pub const fn new(key: u64) -> Rng {
        Rng { key, n: 0 }
    }
    /// The stream for an entity and a purpose under a seed.
    pub const fn of(seed: u64, entity: u64, purpose: u64) -> Rng {
        Rng::new(mix(mix(seed, entity), purpose))
    }
    /// A stream of its own below this one; does not advance this one.
    pub const fn fork(&self, purpose: u64) -> Rng {
        Rng::new(mix(self.key, purpose))
    }
    /// The next 64 bits.
    #[inline]
    pub fn u64(&mut self) -> u64 {
        self.n = self.n.wrapping_add(1);
        mix(self.key, self.n)
    }
    /// Uniform in 0..n (0 for n = 0); the bias is below 2^-32 for n < 2^32.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((self.u64() as u128 * n as u128) >> 64) as u64
    }
    /// Uniform in lo..=hi.
    #[inline]
    pub fn range(&mut self, lo: i64, hi: i64) -> i64 {
        if hi <= lo { lo } else { lo + self.below((hi - lo) as u64 + 1) as i64 }
    }
    /// Uniform in [0, 1).
    #[inline]
    pub fn f64(&mut self) -> f64 {
        (self.u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
    /// True with probability p.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.f64() < p
    }
    /// Exponential with that mean.
    pub fn exponential(&mut self, mean: Span) -> Span {
        Span((-libm::log(1.0 - self.f64()) * mean.0 as f64) as i64)
    }
    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.f64(), self.f64());
        libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
    }
    /// Log-normal by its median and 99th percentile.
    pub fn lognormal(&mut self, median: f64, p99: f64) -> f64 {
        const Z99: f64 = 2.326_347_874_040_841;
        let sigma = libm::log(p99 / median) / Z99;
        median * libm::exp(sigma * self.normal())
    }
    /// Index drawn by cumulative weights (ascending; the last is the total).
    #[inline]
    pub fn weighted(&mut self, cumulative: &[u32]) -> usize {
        let x = self.below(*cumulative.last().unwrap_or(&0) as u64) as u32;
        cumulative.partition_point(|c| *c <= x).min(cumulative.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_draws_never_change() {
        let mut r = Rng::of(7, 3, purpose("test"));
        let got: Vec<u64> = (0..4).map(|_| r.below(1000)).collect();
        assert_eq!(got, [506, 791, 280, 655]);
    }

    #[test]
    fn weights_are_met() {
        let mut r = Rng::new(1);
        let mut n = [0u32; 3];
        for _ in 0..100_000 {
            n[r.weighted(&[10, 10, 40])] += 1;
        }
        assert_eq!(n[1], 0);
        assert!((24_000..26_000).contains(&n[0]), "{n:?}");
    }

    #[test]
    fn lognormal_meets_its_quantiles() {
        let mut r = Rng::new(5);
        let mut v: Vec<f64> = (0..100_000).map(|_| r.lognormal(3.0, 40.0)).collect();
        v.sort_by(f64::total_cmp);
        assert!((v[50_000] - 3.0).abs() < 0.1, "{}", v[50_000]);
        assert!((v[99_000] - 40.0).abs() < 3.0, "{}", v[99_000]);
    }
}

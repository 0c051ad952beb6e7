//! Poisson draws by exact methods on `libm` only, so that every platform draws the same.

use crate::rng::Rng;

/// A draw with that mean. Small means by multiplying uniforms, others by Hörmann's transformed rejection (PTRS,
/// "The transformed rejection method for generating Poisson random variables", 1993): constant time at any mean.
pub fn draw(rng: &mut Rng, mean: f64) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    if mean < 10.0 {
        let limit = libm::exp(-mean);
        let (mut n, mut product) = (0, 1.0 - rng.f64());
        while product > limit {
            n += 1;
            product *= 1.0 - rng.f64();
        }
        return n;
    }
    let b = 0.931 + 2.53 * libm::sqrt(mean);
    let a = -0.059 + 0.02483 * b;
    let inv_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let v_r = 0.9277 - 3.6224 / (b - 2.0);
    let log_mean = libm::log(mean);
    loop {
        let (u, v) = (rng.f64() - 0.5, 1.0 - rng.f64());
        let us = 0.5 - libm::fabs(u);
        let k = libm::floor((2.0 * a / us + b) * u + mean + 0.43);
        if us >= 0.07 && v <= v_r {
            return k as u64;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let accept = libm::log(v) + libm::log(inv_alpha) - libm::log(a / (us * us) + b);
        if accept <= k * log_mean - mean - libm::lgamma(k + 1.0) {
            return k as u64;
        }
    }
}

/// The key of the draws of the n-th curve of a rate.
pub fn key(seed: u64, n: usize) -> u64 {
    crate::rng::mix(crate::rng::mix(seed, crate::rng::purpose("schedule.poisson")), n as u64)
}

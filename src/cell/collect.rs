//! From writing to release: how collection brings records of a host to the streams.
//!
//! Collection is first in, first out per host and source: a record never overtakes one that was written before it.
//! The part of the delay that all hosts share is a fixed number of slices, the *lead* of the source: fill looks so far
//! ahead, so that a stream is as exact at its late release as one that is collected at once.

use crate::rng::{Rng, mix, purpose};
use crate::time::{SLICE, Span, Time};

/// How collection delays records of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Collect {
    /// As fast as collection can: a few milliseconds, constant on a host.
    Lab,
    /// As in production: a delay within these bounds, and machines that are away for a while.
    Product { least: Span, most: Span },
}

/// How much faster than it was written a backlog is delivered once the machine is back.
const CATCH_UP: i64 = 200;

impl Collect {
    /// Slices by which every record is late: one number for all cells, which make up for each other's bursts in one second.
    pub fn lead(self, seed: u64, feed: usize) -> i64 {
        match self {
            Collect::Lab => 0,
            Collect::Product { least, most } => {
                let mut rng = Rng::of(seed, feed as u64, purpose("collection"));
                rng.range(least.0, most.0) / SLICE.0
            }
        }
    }

    /// The longest lead that there can be, in slices.
    pub fn lead_max(self) -> i64 {
        match self {
            Collect::Lab => 0,
            Collect::Product { most, .. } => most.0 / SLICE.0,
        }
    }
}

/// What a host's agent takes beyond the lead: a few milliseconds, always the same.
pub fn agent_delay(host: u64) -> Span {
    Span::us(900 + (mix(host, purpose("lab")) % 4_000) as i64)
}

/// A stretch of time in which a mobile machine reaches no collector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Away {
    /// It leaves.
    pub from: Time,
    /// It is back.
    pub to: Time,
}

/// When a mobile machine is away on a local day that begins at `midnight`: on its way to or from work, on a trip, or not
/// at all. What it writes meanwhile waits on its disk.
pub fn away(seed: u64, host: u64, midnight: Time) -> Option<Away> {
    let day = midnight.second().div_euclid(86_400) as u64;
    let mut rng = Rng::of(seed, host, purpose("away") ^ mix(day, 0));
    let (hour, spread, minutes) = match rng.below(20) {
        0..6 => (7.3, 1.6, (18, 70)),
        6..12 => (16.8, 2.4, (18, 70)),
        12..15 => (9.5, 4.0, (45, 240)),
        _ => return None,
    };
    let from = midnight + Span(((hour + spread * rng.f64()) * 3.6e12) as i64);
    let long = Span((rng.range(minutes.0 * 60, minutes.1 * 60) as f64 * 1e9 * (0.9 + 0.2 * rng.f64())) as i64);
    Some(Away { from, to: from + long })
}

/// When what was written at `t` leaves the machine.
pub fn leaves(away: Option<Away>, t: Time) -> Time {
    let Some(Away { from, to }) = away.filter(|a| t >= a.from) else { return t };
    if t < to {
        return to + Span((t - from).0 / CATCH_UP);
    }
    // what is written while the backlog goes out stands behind it
    let end = to + Span((to - from).0 / CATCH_UP);
    t.max(end + Span((t - to).0 / CATCH_UP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_overtakes_and_nothing_leaves_before_it_is_written(
            host in 0u64..5_000,
            day in 20_000i64..21_000,
            times in prop::collection::vec(0i64..86_400_000, 2..200),
        ) {
            let midnight = Time(day * 86_400_000_000_000);
            let a = away(7, host, midnight);
            let mut times: Vec<Time> = times.iter().map(|ms| midnight + Span::ms(*ms)).collect();
            times.sort();
            let out: Vec<Time> = times.iter().map(|t| leaves(a, *t)).collect();
            prop_assert!(out.windows(2).all(|w| w[0] <= w[1]));
            prop_assert!(out.iter().zip(&times).all(|(o, t)| o >= t));
            if let Some(a) = a {
                prop_assert!(times.iter().zip(&out).all(|(t, o)| *t < a.from || *t >= a.to || *o >= a.to));
                // the day's trip is over, backlog and all, before the day is
                prop_assert_eq!(leaves(Some(a), midnight + Span::s(86_399)), midnight + Span::s(86_399));
            }
        }
    }

    #[test]
    fn machines_are_away_on_most_days_and_at_different_times() {
        let all: Vec<_> = (0..1_000).filter_map(|h| away(7, h, Time(20_500 * 86_400_000_000_000))).collect();
        assert!((700..800).contains(&all.len()), "{}", all.len());
        let firsts: std::collections::BTreeSet<i64> = all.iter().map(|a| a.from.second() / 60).collect();
        assert!(firsts.len() > 200, "{}", firsts.len());
    }

    #[test]
    fn a_lead_is_the_sources_own_and_within_its_bounds() {
        let c = Collect::Product { least: Span::s(20), most: Span::s(75) };
        let all: std::collections::BTreeSet<i64> = (0..64).map(|feed| c.lead(7, feed)).collect();
        assert!(all.len() > 50 && all.iter().all(|l| (2_000..=7_500).contains(l)), "{all:?}");
        assert_eq!((Collect::Lab.lead(7, 2), c.lead_max()), (0, 7_500));
    }
}

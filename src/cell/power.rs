//! `scale: hosts`: whole hosts sleep and wake with the schedules, so that the mix of events and the size of records stay
//! what they are.
//!
//! Every host has a place in a fixed order in which roles are mixed as in the whole; so many of that order are awake
//! as the rate needs. Domain controllers never sleep: their load follows that of the hosts they serve.

use crate::cell::{Cell, Plan};
use crate::schedule::Schedule;

/// How whole hosts follow schedules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Power {
    /// Streams that scale; the one that needs the fewest hosts decides, so that life exceeds none.
    pub curves: Vec<PowerCurve>,
    /// Place of each host of the atlas in the order in which they wake, 0 to 1; none: it never sleeps.
    pub ranks: Vec<Option<f32>>,
}

/// The share of hosts that a rate needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PowerCurve {
    /// The stream.
    pub stream: usize,
    /// Lowest rate of the schedule in its unit per second, and the share of hosts that makes its natural part then.
    pub low: (f64, f64),
    /// The same of the highest.
    pub high: (f64, f64),
}

impl PowerCurve {
    /// Share of hosts for a rate: on the line between the two points, beyond them in proportion.
    pub fn share(&self, rate: f64) -> f64 {
        let ((r0, s0), (r1, s1)) = (self.low, self.high);
        let share = if rate >= r1 {
            s1 * rate / r1.max(1e-9)
        } else if rate <= r0 {
            s0 * rate / r0.max(1e-9)
        } else {
            s0 + (s1 - s0) * (rate - r0) / (r1 - r0)
        };
        share.clamp(0.0, 1.0)
    }
}

/// Slices between two looks at the schedules: a second.
const EVERY: i64 = 100;

impl Power {
    /// Share of the population that is awake for rates, in the order of the streams.
    pub fn share(&self, rate: impl Fn(usize) -> Option<f64>) -> f64 {
        let shares = self.curves.iter().filter_map(|c| Some(c.share(rate(c.stream)?)));
        shares.fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.min(b)))).unwrap_or(1.0)
    }
}

impl Cell {
    /// Wakes hosts and sends them to sleep.
    pub(super) fn power(&mut self, plan: &Plan, slice: i64, schedules: &[Option<Schedule>]) {
        let Some(power) = &plan.power else { return };
        if slice % EVERY != 0 && self.powered {
            return;
        }
        self.powered = true;
        // before the run begins the schedules say nothing: it begins as it goes on
        let now = crate::time::Time::of_slice(slice).max(plan.start);
        let share = power.share(|s| schedules[s].as_ref().map(|x| x.rate(now).per_second()));
        for host in 0..self.state.hosts.len() as u32 {
            match power.ranks[self.state.host_id(host).0 as usize] {
                Some(rank) => self.state.set_awake(host, (rank as f64) < share),
                None => self.state.hosts[host as usize].load = share as f32,
            }
        }
    }

    /// Hosts that are awake.
    pub fn awake(&self) -> usize {
        self.state.hosts.iter().filter(|h| h.up()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_through_its_points_and_never_beyond_all() {
        let c = PowerCurve { stream: 0, low: (100.0, 0.2), high: (1_000.0, 0.8) };
        assert_eq!((c.share(100.0), c.share(1_000.0), c.share(0.0)), (0.2, 0.8, 0.0));
        assert!((c.share(550.0) - 0.5).abs() < 1e-9 && (c.share(50.0) - 0.1).abs() < 1e-9);
        assert_eq!(c.share(5_000.0), 1.0);
        let constant = PowerCurve { stream: 0, low: (100.0, 0.5), high: (100.0, 0.5) };
        assert_eq!((constant.share(10.0), constant.share(100.0), constant.share(300.0)), (0.05, 0.5, 1.0));
    }

    #[test]
    fn the_stream_that_needs_the_fewest_decides() {
        let c = |stream, share| PowerCurve { stream, low: (10.0, share), high: (10.0, share) };
        let p = Power { curves: vec![c(0, 0.5), c(2, 0.25)], ranks: vec![] };
        assert_eq!(p.share(|_| Some(10.0)), 0.25);
        assert_eq!(p.share(|s| (s == 0).then_some(20.0)), 1.0);
        assert_eq!(p.share(|_| None), 1.0);
    }
}

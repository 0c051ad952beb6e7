//! Caps: quotas of a sink and of its deliveries, as a cluster's administrator would set them.
//!
//! A cap holds what has passed the door before the sink sees it, so a cap below the rate is a slow sink and nothing
//! else: the door fills up, and `on_slow` says what follows.

use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Offer;
use crate::schedule::{Rate, Unit};
use crate::yaml::{Node, Problems};

/// Seconds that may pass at once after a rest.
const BURST_SECONDS: f64 = 0.1;
/// Governor counts in whole nanoseconds per cell; below this many cells a second that is exact to a thousandth.
const CELLS_PER_SECOND: f64 = 1e6;

/// Reads a cap: a rate that is constant and above zero.
pub fn from_node(node: &Node, p: &mut Problems) -> Option<Rate> {
    match node.text(p, "cap").map(Rate::parse)? {
        Ok(r) if r.per_day_milli > 0 => Some(r),
        Ok(_) => {
            p.at(node, "a cap of zero lets nothing pass");
            None
        }
        Err(e) => {
            p.at(node, format!("cap {e}"));
            None
        }
    }
}

/// The quotas of a sink.
#[derive(Debug, Default)]
pub struct Caps {
    sink: Option<Limit<DefaultClock>>,
    deliveries: Vec<Option<Limit<DefaultClock>>>,
}

/// What an offer still has to be charged with before it passes.
#[derive(Debug, Default)]
pub struct Charge {
    delivery: u64,
    sink: u64,
}

impl Caps {
    /// Of a sink and its deliveries, in their order.
    pub fn new(sink: Option<Rate>, deliveries: impl Iterator<Item = Option<Rate>>) -> Caps {
        let limit = |rate| Limit::new(rate, DefaultClock::default());
        Caps { sink: sink.map(limit), deliveries: deliveries.map(|d| d.map(limit)).collect() }
    }
    /// What an offer is to be charged with.
    pub fn charge(&mut self, offer: &Offer) -> Charge {
        let delivery = self.deliveries.get_mut(offer.delivery).and_then(Option::as_mut);
        Charge {
            delivery: delivery.map_or(0, |l| l.cells_of(offer)),
            sink: self.sink.as_mut().map_or(0, |l| l.cells_of(offer)),
        }
    }
    /// Whether an offer may pass now.
    pub fn try_pass(&self, offer: &Offer, charge: &mut Charge) -> bool {
        let delivery = self.deliveries.get(offer.delivery).and_then(Option::as_ref);
        delivery.is_none_or(|l| l.take(&mut charge.delivery).is_none())
            && self.sink.as_ref().is_none_or(|l| l.take(&mut charge.sink).is_none())
    }
    /// Waits until an offer may pass. Cancel safe: what was charged already is taken off the charge.
    pub async fn pass(&self, offer: &Offer, charge: &mut Charge) {
        if let Some(l) = self.deliveries.get(offer.delivery).and_then(Option::as_ref) {
            l.pass(&mut charge.delivery).await;
        }
        if let Some(l) = &self.sink {
            l.pass(&mut charge.sink).await;
        }
    }
}

#[derive(Debug)]
struct Limit<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    unit: Unit,
    /// Records or bytes per cell, and what is left over of the last ones.
    grain: u64,
    carried: u64,
    burst: u32,
}

impl<C: Clock + Clone> Limit<C> {
    fn new(rate: Rate, clock: C) -> Limit<C> {
        let per_second = rate.per_second().max(1e-6);
        let grain = (per_second / CELLS_PER_SECOND).ceil().max(1.0);
        let cells = per_second / grain;
        let burst = ((cells * BURST_SECONDS) as u32).max(1);
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / cells)).expect("a period above zero");
        let quota = quota.allow_burst(burst.try_into().expect("at least one"));
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Limit { limiter, clock, unit: rate.unit, grain: grain as u64, carried: 0, burst }
    }
    fn cells_of(&mut self, offer: &Offer) -> u64 {
        let n = match self.unit {
            Unit::Records => offer.batch.records(),
            Unit::Bytes => offer.batch.bytes.len() as u64,
        };
        self.carried += n;
        let cells = self.carried / self.grain;
        self.carried %= self.grain;
        cells
    }
    /// Charges what may pass now; how long to wait for more.
    fn take(&self, left: &mut u64) -> Option<Duration> {
        while *left > 0 {
            let n = (*left).min(self.burst as u64) as u32;
            match self.limiter.check_n(n.try_into().ok()?) {
                Ok(Ok(())) => *left -= n as u64,
                Ok(Err(not)) => return Some(not.wait_time_from(self.clock.now())),
                // never asked for more than a burst
                Err(_) => return None,
            }
        }
        None
    }
    async fn pass(&self, left: &mut u64) {
        while let Some(wait) = self.take(left) {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Message};
    use futures::FutureExt;
    use governor::clock::FakeRelativeClock;
    use std::sync::Arc;

    fn offer(records: usize, bytes: usize) -> Offer {
        let m = Message { records: 1, ..Message::default() };
        let batch = Batch { bytes: vec![b'x'; bytes], messages: vec![m; records], ..Batch::default() };
        Offer { delivery: 0, batch: Arc::new(batch) }
    }

    /// What passes in ten seconds by a fake clock when there is always more.
    fn passed_in_ten_seconds(rate: &str, records: usize, bytes: usize) -> u64 {
        let clock = FakeRelativeClock::default();
        let mut l = Limit::new(Rate::parse(rate).unwrap(), clock.clone());
        let o = offer(records, bytes);
        let (mut passed, mut at) = (0, Duration::ZERO);
        loop {
            let mut left = l.cells_of(&o);
            while let Some(wait) = l.take(&mut left) {
                clock.advance(wait);
                at += wait;
            }
            if at > Duration::from_secs(10) {
                return passed;
            }
            passed += if l.unit == Unit::Records { records } else { bytes } as u64;
        }
    }

    #[test]
    fn a_cap_holds_to_a_hundredth_and_a_burst() {
        for (rate, records, bytes, per_second) in [
            ("1k/s", 7, 0, 1_000.0),
            ("2/s", 1, 0, 2.0),
            ("90/min", 1, 0, 1.5),
            ("3M/s", 4_000, 0, 3e6),
            ("40MB/s", 0, 300_000, 40e6),
            ("300MB/s", 0, 1_000_000, 300e6),
            ("10kB/s", 0, 100_000, 10e3),
        ] {
            let passed = passed_in_ten_seconds(rate, records, bytes) as f64;
            let (want, slack) = (10.0 * per_second, per_second * BURST_SECONDS + records.max(bytes) as f64);
            assert!((passed - want).abs() <= want * 0.01 + slack, "{rate}: {passed} of {want}");
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_not_charged_twice() {
        let mut caps = Caps::new(Some(Rate::parse("1/h").unwrap()), [Some(Rate::parse("1M/s").unwrap())].into_iter());
        let o = offer(3, 0);
        let mut charge = caps.charge(&o);
        for _ in 0..3 {
            assert!(caps.pass(&o, &mut charge).now_or_never().is_none());
            assert!(!caps.try_pass(&o, &mut charge));
            // the delivery's three are charged, and the one record an hour that the sink lets pass
            assert_eq!((charge.delivery, charge.sink), (0, 2));
        }
    }

    #[test]
    fn without_caps_nothing_is_charged() {
        let charge = Caps::default().charge(&offer(3, 9));
        assert_eq!((charge.delivery, charge.sink), (0, 0));
    }
}

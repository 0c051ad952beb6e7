//! Accounts: the counted fate of every record. Pure counting; a record is in flight until a receipt says otherwise.
//!
//! Per stream `scheduled = generated + owed` (owed is negative after an overshoot); per delivery
//! `generated = delivered + dropped + in_flight + unknown`. Both hold at every moment because `owed` and
//! `in_flight` are what is missing, and [`Delivery::receipt`] refuses to settle more than is in flight.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// How a record's delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The destination has it and said so.
    Delivered,
    /// It was refused at the door or given up: the destination does not have it.
    Dropped,
    /// A connection broke before an answer: the destination may have it.
    Unknown,
}

/// The account of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    scheduled: AtomicU64,
    generated: AtomicU64,
    attack: AtomicU64,
    fill: AtomicU64,
    bytes: AtomicU64,
}

/// The account of a delivery (stream x sink).
#[derive(Debug, Default)]
pub struct Delivery {
    generated: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    unknown: AtomicU64,
    bytes: AtomicU64,
    lag_ns_max: AtomicI64,
}

/// A consistent reading of a stream's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StreamReading {
    /// Records that the schedule asked for so far.
    pub scheduled: u64,
    /// Records made.
    pub generated: u64,
    /// Of these, attack records.
    pub attack: u64,
    /// Of these, records made by fill.
    pub fill: u64,
    /// Bytes made, first delivery, uncompressed.
    pub bytes: u64,
    /// scheduled - generated; negative after an overshoot.
    pub owed: i64,
}

/// A consistent reading of a delivery's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeliveryReading {
    /// Records offered to the sink.
    pub generated: u64,
    /// Records acknowledged.
    pub delivered: u64,
    /// Records refused or given up.
    pub dropped: u64,
    /// Records that a broken connection left unanswered.
    pub unknown: u64,
    /// Records without an answer yet.
    pub in_flight: u64,
    /// Payload bytes acknowledged.
    pub bytes: u64,
}

impl Stream {
    /// The schedule has come to ask for `n` records in all.
    pub fn schedule_to(&self, n: u64) {
        self.scheduled.store(n, Relaxed);
    }
    /// Records were made.
    pub fn generate(&self, records: u64, attack: u64, fill: u64, bytes: u64) {
        self.generated.fetch_add(records, Relaxed);
        self.attack.fetch_add(attack, Relaxed);
        self.fill.fetch_add(fill, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
    /// The account now.
    pub fn read(&self) -> StreamReading {
        let (scheduled, generated) = (self.scheduled.load(Relaxed), self.generated.load(Relaxed));
        StreamReading {
            scheduled,
            generated,
            attack: self.attack.load(Relaxed),
            fill: self.fill.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            owed: scheduled as i64 - generated as i64,
        }
    }
}

impl Delivery {
    /// Records come to the sink's door.
    pub fn offer(&self, records: u64) {
        self.generated.fetch_add(records, Relaxed);
    }
    /// The fate of records that were offered and not settled before.
    ///
    /// # Panics
    /// In debug builds, when more is settled than was offered.
    pub fn receipt(&self, outcome: Outcome, records: u64, bytes: u64) {
        match outcome {
            Outcome::Delivered => {
                self.delivered.fetch_add(records, Relaxed);
                self.bytes.fetch_add(bytes, Relaxed);
            }
            Outcome::Dropped => {
                self.dropped.fetch_add(records, Relaxed);
            }
            Outcome::Unknown => {
                self.unknown.fetch_add(records, Relaxed);
            }
        }
        debug_assert!({
            let r = self.read();
            r.delivered + r.dropped + r.unknown <= r.generated
        });
    }
    /// A record was delivered that long after it was due.
    pub fn lag(&self, ns: i64) {
        self.lag_ns_max.fetch_max(ns, Relaxed);
    }
    /// The account now. Settled counts are read before offered ones, so `in_flight` is never negative.
    pub fn read(&self) -> DeliveryReading {
        let (delivered, dropped, unknown) =
            (self.delivered.load(Relaxed), self.dropped.load(Relaxed), self.unknown.load(Relaxed));
        let generated = self.generated.load(Relaxed);
        DeliveryReading {
            generated,
            delivered,
            dropped,
            unknown,
            in_flight: generated.saturating_sub(delivered + dropped + unknown),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn balance_holds_after_every_step(steps in prop::collection::vec((0u64..50, 0u8..4), 0..200)) {
            let d = Delivery::default();
            for (n, what) in steps {
                let flight = d.read().in_flight;
                match what {
                    0 => d.offer(n),
                    1 => d.receipt(Outcome::Delivered, n.min(flight), 0),
                    2 => d.receipt(Outcome::Dropped, n.min(flight), 0),
                    _ => d.receipt(Outcome::Unknown, n.min(flight), 0),
                }
                let r = d.read();
                prop_assert_eq!(r.generated, r.delivered + r.dropped + r.in_flight + r.unknown);
            }
        }
    }

    #[test]
    fn overshoot_is_a_debt() {
        let s = Stream::default();
        s.schedule_to(10);
        s.generate(13, 13, 0, 100);
        assert_eq!(s.read().owed, -3);
        s.schedule_to(20);
        assert_eq!(s.read().owed, 7);
    }
}

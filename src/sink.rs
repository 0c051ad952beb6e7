//! The contract every sink keeps, and the door through which records come to it.
//!
//! MUST, for every sink (held by `tests/sink_compliance.rs`):
//! 1. Count pessimistically: a record offered is in flight until the destination answered; an answer settles it
//!    exactly once as delivered, dropped or unknown.
//! 2. Keep the order of messages within a delivery and key.
//! 3. Hold at most `queue_bytes_max` bytes that are not settled; beyond that the door waits (`block`, `catch_up`)
//!    or refuses whole messages (`drop`). Nothing else in a sink may grow with the rate.
//! 4. Never alter a payload.
//! 5. After [`Door::close`], flush until the deadline, settle what is left as dropped (never sent) or unknown
//!    (sent, unanswered), and return.
//! 6. Never print or return a secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::account::{self, Outcome};
use crate::batch::Batch;

/// What to do when a sink does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSlow {
    /// Cells wait and deadlines shift.
    Block,
    /// Cells wait, then run faster to the old deadlines.
    CatchUp,
    /// Whole records are refused at the door.
    Drop,
}

/// A batch on its way to a sink.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Index into the sink's deliveries.
    pub delivery: usize,
    /// What to send. Shared between sinks that want the same encoding of the same stream.
    pub batch: Arc<Batch>,
}

struct Gate {
    held: Mutex<u64>,
    freed: Condvar,
    closed: AtomicBool,
}

/// The way into a sink, used by the plain threads of the cells.
#[derive(Clone)]
pub struct Door {
    gate: Arc<Gate>,
    /// Bytes that may be unsettled at once.
    pub queue_bytes_max: u64,
    /// What happens beyond that.
    pub on_slow: OnSlow,
    queue: tokio::sync::mpsc::UnboundedSender<Offer>,
    accounts: Arc<[Arc<account::Delivery>]>,
}

/// A sink's end of its door: settle every record of every offer through it.
#[derive(Clone)]
pub struct Receipts {
    gate: Arc<Gate>,
    accounts: Arc<[Arc<account::Delivery>]>,
}

/// Makes a door and what the sink's task needs behind it.
pub fn door(
    accounts: Vec<Arc<account::Delivery>>,
    on_slow: OnSlow,
    queue_bytes_max: u64,
) -> (Door, tokio::sync::mpsc::UnboundedReceiver<Offer>, Receipts) {
    let gate = Arc::new(Gate { held: Mutex::new(0), freed: Condvar::new(), closed: AtomicBool::new(false) });
    let accounts: Arc<[_]> = accounts.into();
    // The channel itself needs no bound: the gate counts the bytes in it.
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    let door = Door { gate: gate.clone(), queue_bytes_max, on_slow, queue: tx, accounts: accounts.clone() };
    (door, rx, Receipts { gate, accounts })
}

impl Door {
    /// Offers a batch; returns how long the caller was held. With `drop` and no room the whole batch is counted
    /// as dropped and nothing waits. After [`Door::close`] everything is dropped.
    pub fn offer(&self, delivery: usize, batch: Arc<Batch>) -> Duration {
        let (records, bytes) = (batch.records(), batch.bytes.len() as u64);
        let account = &self.accounts[delivery];
        account.offer(records);
        let mut held = self.gate.held.lock().expect("no panic while holding the gate");
        let mut waited = Duration::ZERO;
        // one batch larger than the limit may pass alone, or it could never pass
        while *held > 0 && *held + bytes > self.queue_bytes_max && !self.gate.closed.load(Relaxed) {
            if self.on_slow == OnSlow::Drop {
                drop(held);
                account.receipt(Outcome::Dropped, records, bytes);
                return waited;
            }
            let start = Instant::now();
            held = self.gate.freed.wait_timeout(held, Duration::from_millis(100)).expect("no panic at the gate").0;
            waited += start.elapsed();
        }
        if self.gate.closed.load(Relaxed) {
            drop(held);
            account.receipt(Outcome::Dropped, records, bytes);
            return waited;
        }
        *held += bytes;
        drop(held);
        if self.queue.send(Offer { delivery, batch }).is_err() {
            account.receipt(Outcome::Dropped, records, bytes);
            *self.gate.held.lock().expect("no panic at the gate") -= bytes;
        }
        waited
    }
    /// Lets nobody in any more and wakes who waits; the sink's receiver ends when every door is dropped.
    pub fn close(&self) {
        self.gate.closed.store(true, Relaxed);
        self.gate.freed.notify_all();
    }
    /// Bytes offered and not settled.
    pub fn held_bytes(&self) -> u64 {
        *self.gate.held.lock().expect("no panic at the gate")
    }
}

impl Receipts {
    /// Settles records of a delivery: their fate, their number and their payload bytes. The bytes settled over all
    /// calls for a batch must add up to its payload bytes, so that the gate opens again.
    pub fn settle(&self, delivery: usize, outcome: Outcome, records: u64, bytes: u64) {
        self.accounts[delivery].receipt(outcome, records, bytes);
        let mut held = self.gate.held.lock().expect("no panic at the gate");
        *held = held.saturating_sub(bytes);
        drop(held);
        self.gate.freed.notify_all();
    }
    /// The account of a delivery.
    pub fn account(&self, delivery: usize) -> &account::Delivery {
        &self.accounts[delivery]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Message, RecordId};
    use crate::time::Time;

    fn batch(bytes: usize) -> Arc<Batch> {
        let m = Message {
            end: bytes as u32,
            key_end: 0,
            truth_end: 0,
            id: RecordId { stream: 0, cell: 0, n: 0 },
            records: 1,
            attack: 0,
            release: Time(0),
            event: Time(0),
        };
        Arc::new(Batch { bytes: vec![b'x'; bytes], messages: vec![m], ..Batch::default() })
    }

    #[test]
    fn drop_refuses_whole_batches_and_counts_them() {
        let acc = Arc::new(account::Delivery::default());
        let (door, mut rx, receipts) = door(vec![acc.clone()], OnSlow::Drop, 100);
        for _ in 0..3 {
            door.offer(0, batch(60));
        }
        assert_eq!((acc.read().in_flight, acc.read().dropped), (1, 2));
        receipts.settle(0, Outcome::Delivered, 1, 60);
        door.offer(0, batch(60));
        assert_eq!((acc.read().delivered, acc.read().in_flight), (1, 1));
        assert!(rx.try_recv().is_ok() && rx.try_recv().is_ok() && rx.try_recv().is_err());
    }

    #[test]
    fn block_holds_the_caller_until_room_or_close() {
        let acc = Arc::new(account::Delivery::default());
        let (door, _rx, receipts) = door(vec![acc.clone()], OnSlow::Block, 100);
        door.offer(0, batch(80));
        let (d2, t) = (door.clone(), std::thread::spawn(move || receipts.settle(0, Outcome::Delivered, 1, 80)));
        d2.offer(0, batch(80));
        t.join().unwrap();
        assert_eq!(acc.read().in_flight, 1);
        let d3 = door.clone();
        let h = std::thread::spawn(move || d3.offer(0, batch(80)));
        door.close();
        h.join().unwrap();
        assert_eq!(acc.read().dropped, 1);
    }
}

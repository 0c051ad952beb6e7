//! The door through which records come to a sink, and the sink's end of it.

use std::sync::Arc;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::cap::{Caps, Charge};
use super::{DeliveryInfo, RunInfo};
use crate::account::{self, Outcome};
use crate::batch::Batch;
use crate::yaml::{Node, Problems};

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

impl OnSlow {
    /// Reads one of `block`, `catch_up`, `drop`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<OnSlow> {
        match node.as_str() {
            Some("block") => Some(OnSlow::Block),
            Some("catch_up") => Some(OnSlow::CatchUp),
            Some("drop") => Some(OnSlow::Drop),
            _ => {
                let word = node.as_str().unwrap_or("");
                p.unknown(node, "value of `on_slow`", word, ["block", "catch_up", "drop"]);
                None
            }
        }
    }
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
    /// The deadline of the closing, once there is one.
    closed: watch::Sender<Option<Instant>>,
    queue_bytes_max: u64,
}

/// The way into a sink, used by the plain threads of the cells.
#[derive(Clone)]
pub struct Door {
    gate: Arc<Gate>,
    /// What happens beyond `queue_bytes_max`.
    pub on_slow: OnSlow,
    queue: mpsc::UnboundedSender<Offer>,
    accounts: Arc<[Arc<account::Delivery>]>,
}

/// A sink's end of its door: settle every record of every offer through it.
#[derive(Clone)]
pub struct Receipts {
    gate: Arc<Gate>,
    accounts: Arc<[Arc<account::Delivery>]>,
}

/// What a sink's task works on.
pub struct Task {
    /// Name of the sink in the configuration.
    pub name: String,
    /// Its deliveries; [`Offer::delivery`] is an index into them.
    pub deliveries: Vec<DeliveryInfo>,
    /// What comes through the door; [`Task::next`] is the way to read it.
    pub queue: Queue,
    /// Where to settle it.
    pub receipts: Receipts,
    /// The run.
    pub run: Arc<RunInfo>,
}

/// What has passed the door and was not read by the sink.
#[derive(Debug)]
pub struct Queue {
    offers: mpsc::UnboundedReceiver<Offer>,
    caps: Caps,
    /// The offer that a cap holds.
    held: Option<(Offer, Charge)>,
}

impl Queue {
    /// The queue behind a door, with its caps.
    pub fn new(offers: mpsc::UnboundedReceiver<Offer>, caps: Caps) -> Queue {
        Queue { offers, caps, held: None }
    }
}

/// Makes a door and what the sink's task needs behind it.
pub fn door(
    accounts: Vec<Arc<account::Delivery>>,
    on_slow: OnSlow,
    queue_bytes_max: u64,
) -> (Door, mpsc::UnboundedReceiver<Offer>, Receipts) {
    let gate = Gate { held: Mutex::new(0), freed: Condvar::new(), closed: watch::Sender::new(None), queue_bytes_max };
    let gate = Arc::new(gate);
    let accounts: Arc<[_]> = accounts.into();
    // The channel itself needs no bound: the gate counts the bytes in it.
    let (tx, rx) = mpsc::unbounded_channel();
    let door = Door { gate: gate.clone(), on_slow, queue: tx, accounts: accounts.clone() };
    (door, rx, Receipts { gate, accounts })
}

/// What became of an offer at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How long the caller was held.
    pub waited: Duration,
    /// The batch was not let in, and its records are counted as dropped.
    pub refused: bool,
}

impl Door {
    /// Offers a batch. With `drop` and no room the whole batch is counted as dropped and nothing waits. After
    /// [`Door::close`] everything is dropped.
    pub fn offer(&self, delivery: usize, batch: Arc<Batch>) -> Passed {
        let (records, bytes) = (batch.records(), batch.bytes.len() as u64);
        let account = &self.accounts[delivery];
        account.offer(records);
        let mut held = self.gate.held.lock().expect("no panic while holding the gate");
        let mut waited = Duration::ZERO;
        // one batch larger than the limit may pass alone, or it could never pass
        while *held > 0 && *held + bytes > self.gate.queue_bytes_max && !self.is_closed() {
            if self.on_slow == OnSlow::Drop {
                drop(held);
                account.receipt(Outcome::Dropped, records, bytes);
                return Passed { waited, refused: true };
            }
            let start = Instant::now();
            held = self.gate.freed.wait_timeout(held, Duration::from_millis(100)).expect("no panic at the gate").0;
            waited += start.elapsed();
        }
        if self.is_closed() {
            drop(held);
            account.receipt(Outcome::Dropped, records, bytes);
            return Passed { waited, refused: true };
        }
        *held += bytes;
        drop(held);
        let refused = self.queue.send(Offer { delivery, batch }).is_err();
        if refused {
            account.receipt(Outcome::Dropped, records, bytes);
            let mut held = self.gate.held.lock().expect("no panic at the gate");
            *held = held.saturating_sub(bytes);
        }
        Passed { waited, refused }
    }
    /// Lets nobody in any more, wakes who waits, and gives the sink that long to flush. A second call can only bring
    /// the deadline nearer.
    pub fn close(&self, flush: Duration) {
        let deadline = Instant::now() + flush;
        self.gate.closed.send_modify(|d| *d = Some(d.map_or(deadline, |old| old.min(deadline))));
        self.gate.freed.notify_all();
    }
    /// Whether [`Door::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.gate.closed.borrow().is_some()
    }
    /// Bytes offered and not settled.
    pub fn held_bytes(&self) -> u64 {
        *self.gate.held.lock().expect("no panic at the gate")
    }
    /// Bytes that may be unsettled at once.
    pub fn queue_bytes_max(&self) -> u64 {
        self.gate.queue_bytes_max
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
    /// Bytes that may be unsettled at once.
    pub fn queue_bytes_max(&self) -> u64 {
        self.gate.queue_bytes_max
    }
    /// Comes back when the door was closed.
    pub async fn closed(&self) {
        let mut closed = self.gate.closed.subscribe();
        // the gate, and with it the sender, lives as long as `self`
        let _ = closed.wait_for(|d| d.is_some()).await;
    }
    /// Comes back when the door was closed and the time given to flush has passed.
    pub async fn deadline(&self) {
        let mut closed = self.gate.closed.subscribe();
        loop {
            let deadline = *closed.borrow_and_update();
            let passed = async {
                match deadline {
                    Some(d) => tokio::time::sleep_until(d.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                _ = closed.changed() => {}
            }
        }
    }
}

impl Task {
    /// The next offer; `None` when the door was closed and everything that had passed it was read. Cancel safe.
    pub async fn next(&mut self) -> Option<Offer> {
        if self.queue.held.is_none() {
            let offer = self.receive().await?;
            let charge = self.queue.caps.charge(&offer);
            self.queue.held = Some((offer, charge));
        }
        let Queue { caps, held, .. } = &mut self.queue;
        if let Some((offer, charge)) = held {
            tokio::select! {
                biased;
                () = caps.pass(offer, charge) => {}
                // what is left then is the sink's to give up
                () = self.receipts.deadline() => {}
            }
        }
        held.take().map(|(offer, _)| offer)
    }
    /// The next offer if it is there and no cap holds it.
    pub fn try_next(&mut self) -> Option<Offer> {
        let Queue { offers, caps, held } = &mut self.queue;
        if held.is_none() {
            let offer = offers.try_recv().ok()?;
            let charge = caps.charge(&offer);
            *held = Some((offer, charge));
        }
        let (offer, charge) = held.as_mut()?;
        if !caps.try_pass(offer, charge) {
            return None;
        }
        held.take().map(|(offer, _)| offer)
    }
    async fn receive(&mut self) -> Option<Offer> {
        let offers = &mut self.queue.offers;
        if !offers.is_closed() {
            tokio::select! {
                biased;
                offer = offers.recv() => return offer,
                () = self.receipts.closed() => offers.close(),
            }
        }
        offers.recv().await
    }
    /// Lets nothing in any more and settles what was never looked at as dropped.
    pub fn abandon(&mut self) {
        self.queue.offers.close();
        let held = self.queue.held.take().map(|(offer, _)| offer);
        for o in held.into_iter().chain(std::iter::from_fn(|| self.queue.offers.try_recv().ok())) {
            self.receipts.settle(o.delivery, Outcome::Dropped, o.batch.records(), o.batch.bytes.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Message;

    fn batch(bytes: usize) -> Arc<Batch> {
        let m = Message { end: bytes as u32, records: 1, ..Message::default() };
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
        door.close(Duration::ZERO);
        h.join().unwrap();
        assert_eq!(acc.read().dropped, 1);
    }

    #[tokio::test]
    async fn a_closed_door_ends_the_queue_and_a_second_close_brings_the_deadline_nearer() {
        let acc = Arc::new(account::Delivery::default());
        let (door, offers, receipts) = door(vec![acc.clone()], OnSlow::Block, 100);
        let mut task = Task {
            name: "t".into(),
            deliveries: vec![],
            queue: Queue::new(offers, Caps::default()),
            receipts,
            run: Arc::default(),
        };
        door.offer(0, batch(10));
        door.offer(0, batch(10));
        door.close(Duration::from_secs(3600));
        assert!(task.next().await.is_some());
        door.close(Duration::ZERO);
        task.receipts.deadline().await;
        task.abandon();
        assert!(task.next().await.is_none());
        assert_eq!((acc.read().dropped, acc.read().in_flight), (1, 1));
        door.offer(0, batch(10));
        assert_eq!(acc.read().dropped, 2);
    }
}

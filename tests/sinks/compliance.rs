//! One harness for every sink: each MUST of `src/sink.rs`, shown against a destination that can hang, break and be
//! absent. To put a sink through it, implement [`Destination`] and call [`keeps_the_contract`].
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use skirmish::account::DeliveryReading;
use skirmish::sink::{OnSlow, Sink};

use crate::support::{Rig, batch, eventually, parse, payload};

/// Time to flush that is never needed in full.
pub const LONG: Duration = Duration::from_secs(60);
/// The secret of every destination that has one.
pub const SECRET: &str = "s3cr3t-0f-the-c0mpliance-test";

/// Messages of one size, so that bytes tell messages.
const LEN: usize = 1000;
const PER_BATCH: u64 = 10;

/// What a destination can be made to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Can {
    /// [`Destination::received`] tells what arrived.
    pub tell: bool,
    /// It can hang: nothing is answered until it is released.
    pub hang: bool,
    /// It can take messages in and break before it answers.
    pub break_off: bool,
    /// A message may arrive twice when it breaks.
    pub repeat: bool,
    /// It can be absent: nothing can be sent.
    pub be_absent: bool,
    /// A record is delivered only when it has arrived. (A ring delivers before somebody reads.)
    pub answer_last: bool,
}

/// A fresh place where records go.
#[tonic::async_trait]
pub trait Destination: Send + Sync {
    fn can(&self) -> Can;
    /// A sink that sends here, not open yet, its secrets set to [`SECRET`] where it has some.
    fn sink(&self) -> Box<dyn Sink>;
    /// The payloads that arrived so far, in order.
    async fn received(&self) -> Vec<Vec<u8>>;
    /// Called once the sink runs.
    async fn attach(&mut self) {}
    /// Answers nothing from now on, or again.
    async fn hang(&self, _on: bool) {}
    /// Takes in so many messages more, then breaks before it answers, once.
    async fn break_after(&self, _messages: u64) {}
}

/// Puts a sink through everything that its destination can show. `make` gives a fresh destination, an absent one when
/// asked so.
pub async fn keeps_the_contract<D: Destination>(make: impl AsyncFn(bool) -> D) {
    all_is_delivered_unaltered_and_in_order(make(false).await).await;
    let can = make(false).await.can();
    if can.hang {
        a_hanging_destination_holds_the_world_and_no_more_than_the_queue(make(false).await).await;
        with_drop_nobody_waits_and_everything_is_counted(make(false).await).await;
        the_deadline_ends_it_and_settles_everything(make(false).await).await;
    }
    if can.break_off {
        what_breaks_is_sent_again(make(false).await).await;
    }
    if can.be_absent {
        what_was_never_sent_is_dropped(make(true).await).await;
    }
    nothing_to_send_ends_at_once(make(false).await).await;
    no_secret_was_printed();
}

fn start(d: &impl Destination, on_slow: OnSlow, queue_bytes_max: u64) -> Rig {
    let mut sink = d.sink();
    assert!(!format!("{sink:?}").contains(SECRET), "the options print their secret");
    sink.open().expect("the destination is fine");
    Rig::start(sink, on_slow, queue_bytes_max)
}

/// Closes within the time, whatever the destination does.
async fn close(rig: Rig, flush: Duration) -> (Option<String>, Vec<DeliveryReading>) {
    let closing = rig.close(flush);
    let (drained, accounts) =
        tokio::time::timeout(flush + Duration::from_secs(30), closing).await.expect("it returns after its deadline");
    for a in &accounts {
        assert_eq!(a.in_flight, 0, "something was never settled: {a:?}");
        assert_eq!(a.generated, a.delivered + a.dropped + a.unknown);
        assert_eq!(a.bytes, a.delivered * LEN as u64, "bytes are those of what was delivered");
    }
    if let Some(e) = &drained.error {
        assert!(!e.contains(SECRET), "{e}");
    }
    (drained.error, accounts)
}

/// Checks payloads and order; returns how often each message arrived, per delivery.
fn counted(received: &[Vec<u8>], repeats: bool) -> [BTreeMap<u64, u64>; 2] {
    let mut seen = [BTreeMap::new(), BTreeMap::new()];
    for p in received {
        let (d, n) = parse(p);
        assert_eq!(*p, payload(d, n, LEN), "a payload was altered");
        // a repeat goes back; what is new comes in order
        let new = !seen[d].contains_key(&n);
        assert!(new || repeats, "{d}/{n} came twice");
        assert!(!new || seen[d].last_key_value().is_none_or(|(last, _)| *last < n), "{d}/{n} came late");
        *seen[d].entry(n).or_insert(0) += 1;
    }
    seen
}

async fn all_is_delivered_unaltered_and_in_order(mut d: impl Destination) {
    let rig = start(&d, OnSlow::Block, 8 << 20);
    d.attach().await;
    for k in 0..50 {
        for delivery in 0..2 {
            rig.offer(delivery, batch(delivery, k * PER_BATCH, PER_BATCH, LEN)).await;
        }
        if d.can().tell && d.can().answer_last {
            // counted pessimistically: what is delivered has arrived
            let delivered = rig.read(0).delivered + rig.read(1).delivered;
            assert!(delivered <= d.received().await.len() as u64);
        }
    }
    let (_, accounts) = close(rig, LONG).await;
    for a in accounts {
        assert_eq!((a.delivered, a.dropped, a.unknown), (500, 0, 0));
    }
    if d.can().tell {
        let received = counted(&d.received().await, false);
        assert_eq!(received.each_ref().map(BTreeMap::len), [500, 500], "something is missing");
    }
}

async fn a_hanging_destination_holds_the_world_and_no_more_than_the_queue(mut d: impl Destination) {
    const QUEUE: u64 = 100_000;
    d.hang(true).await;
    let rig = start(&d, OnSlow::Block, QUEUE);
    d.attach().await;
    let door = rig.door.clone();
    let cell = std::thread::spawn(move || {
        for k in 0..30 {
            door.offer(0, batch(0, k * PER_BATCH, PER_BATCH, LEN));
        }
    });
    eventually("the queue is full", || rig.door.held_bytes() == QUEUE).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert!(rig.door.held_bytes() <= QUEUE);
    }
    let a = rig.read(0);
    assert!(a.delivered == 0 && a.dropped == 0 && a.unknown == 0 && !cell.is_finished(), "{a:?}");
    d.hang(false).await;
    tokio::task::spawn_blocking(move || cell.join().unwrap()).await.unwrap();
    let (_, accounts) = close(rig, LONG).await;
    assert_eq!((accounts[0].delivered, accounts[0].dropped, accounts[0].unknown), (300, 0, 0));
    assert_eq!(counted(&d.received().await, d.can().repeat)[0].len(), 300);
}

async fn with_drop_nobody_waits_and_everything_is_counted(mut d: impl Destination) {
    d.hang(true).await;
    let rig = start(&d, OnSlow::Drop, 100_000);
    d.attach().await;
    for k in 0..50 {
        rig.offer(0, batch(0, k * PER_BATCH, PER_BATCH, LEN)).await;
    }
    let a = rig.read(0);
    assert_eq!((a.generated, a.in_flight, a.dropped), (500, 100, 400));
    d.hang(false).await;
    let (_, accounts) = close(rig, LONG).await;
    assert_eq!((accounts[0].delivered, accounts[0].dropped, accounts[0].unknown), (100, 400, 0));
    assert_eq!(counted(&d.received().await, d.can().repeat)[0].len(), 100);
}

async fn the_deadline_ends_it_and_settles_everything(mut d: impl Destination) {
    d.hang(true).await;
    let rig = start(&d, OnSlow::Block, 1 << 20);
    d.attach().await;
    for k in 0..20 {
        rig.offer(1, batch(1, k * PER_BATCH, PER_BATCH, LEN)).await;
    }
    let (error, accounts) = close(rig, Duration::from_millis(300)).await;
    let a = accounts[1];
    assert_eq!((a.generated, a.delivered, a.dropped + a.unknown), (200, 0, 200), "{error:?}");
    d.hang(false).await;
    // what was never sent cannot have arrived
    assert!(d.received().await.len() as u64 <= a.unknown);
}

async fn what_breaks_is_sent_again(mut d: impl Destination) {
    let rig = start(&d, OnSlow::CatchUp, 1 << 20);
    d.attach().await;
    for k in 0..60 {
        if k % 20 == 0 {
            d.break_after(35).await;
        }
        rig.offer(0, batch(0, k * PER_BATCH, PER_BATCH, LEN)).await;
    }
    let (_, accounts) = close(rig, LONG).await;
    assert_eq!((accounts[0].delivered, accounts[0].dropped, accounts[0].unknown), (600, 0, 0));
    let received = &counted(&d.received().await, d.can().repeat)[0];
    assert_eq!(received.len(), 600, "something is missing");
}

async fn what_was_never_sent_is_dropped(mut d: impl Destination) {
    let rig = start(&d, OnSlow::Block, 1 << 20);
    d.attach().await;
    rig.offer(0, batch(0, 0, PER_BATCH, LEN)).await;
    rig.offer(1, batch(1, 0, PER_BATCH, LEN)).await;
    let (_, accounts) = close(rig, Duration::from_millis(300)).await;
    for a in accounts {
        assert_eq!((a.dropped, a.unknown, a.delivered), (PER_BATCH, 0, 0));
    }
}

async fn nothing_to_send_ends_at_once(mut d: impl Destination) {
    let rig = start(&d, OnSlow::Block, 1 << 20);
    d.attach().await;
    // an hour to flush is not an hour to wait
    rig.door.close(Duration::from_secs(3600));
    tokio::time::timeout(LONG, rig.close(Duration::from_secs(3600))).await.expect("it has nothing to wait for");
}

static LOG: Mutex<Vec<u8>> = Mutex::new(vec![]);

/// Collects everything that is logged from here on, at every level.
pub fn listen() {
    struct Log;
    impl std::io::Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // the first test that comes installs it for all
    let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log).try_init();
}

fn no_secret_was_printed() {
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    assert!(!log.contains(SECRET), "a log holds the secret");
}

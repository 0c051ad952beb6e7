//! What librdkafka tells: delivery reports, errors, statistics; summed up before it goes to the accounts.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use super::errors::{Class, classify};
use super::oauth;
use super::security::TokenFrom;
use crate::account::Outcome;
use crate::sink::{Offer, Receipts};

/// Delivery reports summed up before the accounts are touched. A lock and a wake-up per record would cost more than
/// the record.
const REPORTS_PER_RECEIPT: u64 = 256;

/// A message as librdkafka carries it for us: where its batch is kept, and which of the batch's messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Place of the batch.
    pub place: u32,
    /// Index of the message in the batch.
    pub message: u32,
}

impl Ticket {
    /// As a word.
    pub fn word(self) -> usize {
        const { assert!(usize::BITS == 64, "a Kafka sink needs 64 bits for its messages' words") };
        (self.place as usize) << 32 | self.message as usize
    }
    /// From a word.
    pub fn from_word(word: usize) -> Ticket {
        Ticket { place: (word >> 32) as u32, message: word as u32 }
    }
}

/// Counters of a Kafka sink beside its accounts.
#[derive(Debug, Default)]
pub struct KafkaStats {
    /// Messages that librdkafka holds.
    pub queue_messages: AtomicU64,
    /// How often its queue was full when a message came.
    pub queue_full: AtomicU64,
    /// Producers made anew after a fatal error.
    pub restarts: AtomicU64,
    /// Connections made to brokers so far.
    pub connects: AtomicI64,
    /// Connections lost so far.
    pub disconnects: AtomicI64,
    errors: [AtomicU64; Class::ALL.len()],
    dropped: [AtomicU64; Class::ALL.len()],
    last: Mutex<Option<(Class, String)>>,
}

impl KafkaStats {
    /// Notes an error that the library reported.
    pub fn error(&self, class: Class, reason: &str) {
        let n = self.errors[class as usize].fetch_add(1, Relaxed) + 1;
        if class == Class::Fine {
            return;
        }
        // a broker that is away reports itself many times a second
        if n.is_power_of_two() {
            tracing::warn!(class = class.name(), times = n, "kafka: {reason}");
        }
        let mut last = self.last.lock().expect("no panic while holding it");
        // "1/1 brokers are down" follows each failure and says less than it
        if last.is_none() || !reason.ends_with("brokers are down") {
            *last = Some((class, reason.to_owned()));
        }
    }
    /// Notes records that were given up.
    pub fn drop_records(&self, class: Class, records: u64, reason: &str) {
        let before = self.dropped[class as usize].fetch_add(records, Relaxed);
        if before == 0 || (before + records).ilog2() > before.ilog2() {
            tracing::error!(class = class.name(), records = before + records, "kafka: records given up: {reason}");
        }
    }
    /// Errors of a class so far.
    pub fn errors(&self, class: Class) -> u64 {
        self.errors[class as usize].load(Relaxed)
    }
    /// Records given up so far for a reason of that class.
    pub fn dropped(&self, class: Class) -> u64 {
        self.dropped[class as usize].load(Relaxed)
    }
    /// The last error that says something.
    pub fn last_error(&self) -> Option<(Class, String)> {
        self.last.lock().expect("no panic while holding it").clone()
    }
    /// Everything: name, label, value.
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = vec![
            ("kafka_queue_messages", "", self.queue_messages.load(Relaxed)),
            ("kafka_queue_full_total", "", self.queue_full.load(Relaxed)),
            ("kafka_restarts_total", "", self.restarts.load(Relaxed)),
            ("kafka_connects_total", "", self.connects.load(Relaxed).max(0) as u64),
            ("kafka_disconnects_total", "", self.disconnects.load(Relaxed).max(0) as u64),
        ];
        for c in Class::ALL {
            for (name, n) in [("kafka_errors_total", self.errors(c)), ("kafka_dropped_records_total", self.dropped(c))]
            {
                if n > 0 {
                    all.push((name, c.name(), n));
                }
            }
        }
        all
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    records: u64,
    bytes: u64,
}

/// A batch whose messages have not all had their answer.
struct Held {
    offer: Offer,
    /// What has none yet.
    messages: usize,
    left: Sum,
}

#[derive(Default)]
struct Pending {
    reports: u64,
    /// Per delivery: delivered, dropped, unknown.
    sums: Vec<[Sum; 3]>,
    held: slab::Slab<Held>,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Delivered, Outcome::Dropped, Outcome::Unknown];

/// Batches that librdkafka reads from, until it has answered for each of their messages; and sums of its answers on
/// their way to the accounts.
///
/// Without [`Tally::settle_through`] nothing is settled (clients that only look).
#[derive(Default)]
pub struct Tally {
    pending: Mutex<Pending>,
    settled: Condvar,
    receipts: OnceLock<Receipts>,
    /// Messages reported so far.
    reported: AtomicU64,
}

impl Tally {
    /// Says where messages are settled; the first word counts.
    pub fn settle_through(&self, receipts: Receipts) {
        let _ = self.receipts.set(receipts);
    }
    /// Keeps a batch until each of its messages has been reported. Where: the place in their tickets.
    pub fn keep(&self, offer: Offer) -> u32 {
        let b = &offer.batch;
        let (messages, left) = (b.messages.len(), Sum { records: b.records(), bytes: b.bytes.len() as u64 });
        if messages == 0 {
            return u32::MAX;
        }
        let mut p = self.pending.lock().expect("no panic while holding it");
        let deliveries = p.sums.len().max(offer.delivery + 1);
        p.sums.resize_with(deliveries, Default::default);
        p.held.insert(Held { offer, messages, left }) as u32
    }
    /// A message has its answer, or never came into librdkafka: how many records that were.
    pub fn report(&self, ticket: Ticket, outcome: Outcome) -> u64 {
        let mut p = self.pending.lock().expect("no panic while holding it");
        let (place, at) = (ticket.place as usize, ticket.message as usize);
        let Some(held) = p.held.get_mut(place) else { return 0 };
        let batch = &held.offer.batch;
        let one = Sum { records: batch.messages[at].records as u64, bytes: batch.payload(at).len() as u64 };
        let delivery = held.offer.delivery;
        held.left.records -= one.records;
        held.left.bytes -= one.bytes;
        held.messages -= 1;
        let done = (held.messages == 0).then(|| p.held.remove(place));
        let sum = &mut p.sums[delivery][OUTCOMES.iter().position(|x| *x == outcome).unwrap_or(2)];
        sum.records += one.records;
        sum.bytes += one.bytes;
        p.reports += 1;
        if p.reports >= REPORTS_PER_RECEIPT {
            self.settle(&mut p);
        }
        drop(p);
        self.reported.fetch_add(1, Relaxed);
        // memory is given back outside the lock
        drop(done);
        one.records
    }
    /// Messages that had their answer so far.
    pub fn reported(&self) -> u64 {
        self.reported.load(Relaxed)
    }
    /// Hands over what has been summed up.
    pub fn flush(&self) {
        let mut p = self.pending.lock().expect("no panic while holding it");
        if p.reports > 0 {
            self.settle(&mut p);
        }
    }
    fn settle(&self, p: &mut Pending) {
        p.reports = 0;
        for (delivery, sums) in p.sums.iter_mut().enumerate() {
            for (sum, outcome) in sums.iter_mut().zip(OUTCOMES) {
                let Sum { records, bytes } = std::mem::take(sum);
                if let (Some(r), 1..) = (self.receipts.get(), records) {
                    r.settle(delivery, outcome, records, bytes);
                }
            }
        }
        self.settled.notify_all();
    }
    /// Waits until something is settled, at most that long.
    pub fn wait(&self, at_most: Duration) {
        let p = self.pending.lock().expect("no panic while holding it");
        drop(self.settled.wait_timeout(p, at_most).expect("no panic while holding it"));
    }
    /// Settles as unknown what librdkafka took and will never report, as the clients that had it are gone: nobody may
    /// read its batches any more.
    pub fn forget(&self) -> u64 {
        let mut p = self.pending.lock().expect("no panic while holding it");
        let mut all = 0;
        for held in p.held.drain() {
            all += held.left.records;
            if let Some(r) = self.receipts.get() {
                r.settle(held.offer.delivery, Outcome::Unknown, held.left.records, held.left.bytes);
            }
        }
        drop(p);
        self.flush();
        all
    }
}

/// The context of every client this sink makes.
pub struct Context {
    /// Where reports go.
    pub tally: Arc<Tally>,
    /// Where all else goes.
    pub stats: Arc<KafkaStats>,
    /// Where bearer tokens come from.
    pub tokens: Option<TokenFrom>,
    /// The producer cannot go on.
    pub fatal: AtomicBool,
}

/// Whether a broker may have a message that failed.
fn may_be_there(m: &BorrowedMessage<'_>) -> bool {
    use rdkafka_sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    // Why unsafe: only librdkafka knows whether a message left for the broker before it was given up, the accounts'
    // `unknown` is exactly that, and the safe crate does not pass it on.
    // SAFETY: the pointer belongs to the borrowed message, which outlives this call; the function only reads it.
    let status = unsafe { rdkafka_sys::rd_kafka_message_status(m.ptr()) };
    status != RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, word: usize) {
        let ticket = Ticket::from_word(word);
        match result {
            Ok(_) => {
                self.tally.report(ticket, Outcome::Delivered);
            }
            Err((e, m)) => {
                let class = e.rdkafka_error_code().map_or(Class::Unknown, classify);
                let refused = matches!(
                    class,
                    Class::TooLarge
                        | Class::Timestamp
                        | Class::InvalidRecord
                        | Class::Authorization
                        | Class::UnknownTopic
                );
                if refused || !may_be_there(m) {
                    let records = self.tally.report(ticket, Outcome::Dropped);
                    self.stats.drop_records(class, records, &e.to_string());
                } else {
                    self.tally.report(ticket, Outcome::Unknown);
                }
            }
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // its errors come a second time as errors
        tracing::debug!(?level, "librdkafka {facility}: {message}");
    }

    fn stats(&self, s: Statistics) {
        let sum = |of: fn(&rdkafka::statistics::Broker) -> Option<i64>| s.brokers.values().filter_map(of).sum::<i64>();
        self.stats.connects.store(sum(|b| b.connects), Relaxed);
        self.stats.disconnects.store(sum(|b| b.disconnects), Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let class = error.rdkafka_error_code().map_or(Class::Unknown, classify);
        if class == Class::Fatal {
            self.fatal.store(true, Relaxed);
        }
        self.stats.error(class, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let from = self.tokens.as_ref().ok_or("no bearer token is configured")?;
        Ok(oauth::token(from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Message};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_carry_tickets(place: u32, message: u32) {
            let t = Ticket { place, message };
            prop_assert_eq!(Ticket::from_word(t.word()), t);
        }
    }

    #[test]
    fn a_batch_is_kept_until_its_last_message_has_its_answer() {
        let account = Arc::new(crate::account::Delivery::default());
        let (door, mut offers, receipts) = crate::sink::door(vec![account.clone()], crate::sink::OnSlow::Block, 1000);
        let message = |end, records| Message { end, records, ..Message::default() };
        let batch = Batch { bytes: vec![b'x'; 50], messages: vec![message(20, 1), message(50, 3)], ..Batch::default() };
        let batch = Arc::new(batch);
        door.offer(0, batch.clone());
        door.offer(0, batch.clone());
        let tally = Tally::default();
        tally.settle_through(receipts);
        let [first, second] = [(); 2].map(|()| tally.keep(offers.try_recv().unwrap()));
        assert_eq!(tally.report(Ticket { place: first, message: 1 }, Outcome::Delivered), 3);
        assert_eq!(Arc::strong_count(&batch), 3);
        assert_eq!(tally.report(Ticket { place: first, message: 0 }, Outcome::Dropped), 1);
        assert_eq!(Arc::strong_count(&batch), 2);
        assert_eq!(tally.report(Ticket { place: second, message: 0 }, Outcome::Delivered), 1);
        assert_eq!(tally.forget(), 3);
        assert_eq!(Arc::strong_count(&batch), 1);
        let all = account.read();
        assert_eq!((all.delivered, all.dropped, all.unknown, all.in_flight), (4, 1, 3, 0));
        assert_eq!(door.held_bytes(), 0);
    }
}

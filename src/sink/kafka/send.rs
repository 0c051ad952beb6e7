//! The sink's thread: batches become Kafka messages, in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::client::Client;
use super::context::{KafkaStats, Opaque, Tally};
use super::errors::{Class, classify};
use super::options::{DeliveryOptions, KafkaOptions, Timestamp};
use crate::account::Outcome;
use crate::batch::MessageRef;
use crate::sink::{Drained, Headers, Offer, Task};

/// Longest wait between two looks at a full queue; a report ends it earlier.
const FULL_WAIT: Duration = Duration::from_millis(20);
/// Waits between producers that ended in a fatal error.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Sends until the door is closed and everything is flushed, or `expired` is set.
pub struct Sender {
    options: KafkaOptions,
    deliveries: Arc<[DeliveryOptions]>,
    config: ClientConfig,
    stats: Arc<KafkaStats>,
    tally: Arc<Tally>,
    expired: Arc<AtomicBool>,
    client: Option<Client>,
    restart_wait: Duration,
    /// `<run id>.`, and room for the rest of a record's id.
    id: String,
    id_prefix: usize,
}

impl Sender {
    /// Everything but the connection.
    pub fn new(
        options: KafkaOptions,
        deliveries: Vec<DeliveryOptions>,
        config: ClientConfig,
        stats: Arc<KafkaStats>,
        task: &Task,
        expired: Arc<AtomicBool>,
    ) -> Sender {
        let id = format!("{}.", task.run.id);
        Sender {
            tally: Arc::new(Tally::new(deliveries.len(), Some(task.receipts.clone()))),
            options,
            deliveries: deliveries.into(),
            config,
            stats,
            expired,
            client: None,
            restart_wait: RESTART_WAIT.0,
            id_prefix: id.len(),
            id,
        }
    }

    /// The thread's whole life.
    pub fn run(mut self, mut task: Task) -> Drained {
        let mut error = None;
        match self.connect() {
            Ok(()) => {
                while let Some(offer) = self.next(&mut task) {
                    self.offer(&offer);
                }
            }
            Err(e) => error = Some(e),
        }
        task.abandon();
        if let Some(client) = self.client.take() {
            if !client.drain(|| self.expired.load(Relaxed)) {
                client.purge();
                error.get_or_insert("the brokers did not answer in the time given to flush".into());
            }
            drop(client);
        }
        self.tally.forget();
        for c in Class::ALL {
            let n = self.stats.dropped(c);
            if n > 0 && error.is_none() {
                error = Some(format!("{n} records were given up: {}", c.name()));
            }
        }
        Drained { digest: None, error }
    }

    fn next(&self, task: &mut Task) -> Option<Offer> {
        if self.expired.load(Relaxed) {
            return None;
        }
        task.try_next().or_else(|| futures::executor::block_on(task.next()))
    }

    fn connect(&mut self) -> Result<(), String> {
        let tokens = self.options.security.token_from().cloned();
        let client = Client::new(&self.config, tokens, self.tally.clone(), self.stats.clone());
        self.client = Some(client.map_err(|e| e.to_string())?);
        Ok(())
    }

    fn offer(&mut self, offer: &Offer) {
        let deliveries = self.deliveries.clone();
        let to = &deliveries[offer.delivery];
        for m in offer.batch.iter() {
            let o = Opaque { delivery: offer.delivery, records: m.meta.records as u64, bytes: m.payload.len() as u64 };
            if o.records >= Opaque::RECORDS || o.bytes > self.options.message_bytes_max {
                self.give_up(o, Class::TooLarge, "larger than `message_max`");
                continue;
            }
            self.tally.send(o);
            self.message(to, o, &m);
        }
    }

    fn give_up(&self, o: Opaque, class: Class, reason: &str) {
        self.stats.drop_records(class, o.records, reason);
        self.tally.send(o);
        self.tally.report(o, Outcome::Dropped);
    }

    /// Gives a message to librdkafka, however long that takes: messages after it have to wait behind it.
    fn message(&mut self, to: &DeliveryOptions, o: Opaque, m: &MessageRef<'_>) {
        let headers = self.headers(to.headers, m);
        let time = match self.options.timestamp {
            Timestamp::Release => m.meta.release,
            Timestamp::Event => m.meta.event,
        };
        let mut record: BaseRecord<[u8], [u8], usize> =
            BaseRecord::with_opaque_to(&to.topic, o.pack()).payload(m.payload);
        record.timestamp = Some(time.ms());
        record.headers = headers;
        if !m.key.is_empty() {
            record.key = Some(m.key);
        }
        loop {
            let Some(client) = &self.client else {
                // a producer could not be made anew before the deadline
                self.stats.drop_records(Class::Fatal, o.records, "no producer");
                return self.tally.report(o, Outcome::Dropped);
            };
            let Err((e, back)) = client.producer.send(record) else { return };
            record = back;
            let class = match &e {
                KafkaError::MessageProduction(code) => classify(*code),
                _ => Class::Configuration,
            };
            match class {
                Class::QueueFull if !self.expired.load(Relaxed) => {
                    self.stats.queue_full.fetch_add(1, Relaxed);
                    self.tally.wait(FULL_WAIT);
                }
                Class::Fatal if !self.expired.load(Relaxed) => self.restart(&e),
                class => {
                    self.stats.drop_records(class, o.records, &e.to_string());
                    return self.tally.report(o, Outcome::Dropped);
                }
            }
        }
    }

    fn headers(&mut self, wanted: Headers, m: &MessageRef<'_>) -> Option<OwnedHeaders> {
        use std::fmt::Write;
        if wanted == Headers::None {
            return None;
        }
        self.id.truncate(self.id_prefix);
        let _ = write!(self.id, "{}", m.meta.id);
        let mut h = OwnedHeaders::new_with_capacity(2).insert(Header { key: "skirmish-id", value: Some(&self.id) });
        if m.meta.records > 1 {
            let n = m.meta.records.to_string();
            h = h.insert(Header { key: "skirmish-records", value: Some(&n) });
        }
        if wanted == Headers::Truth && m.meta.attack > 0 && !m.truth.is_empty() {
            let line = m.truth.strip_suffix(b"\n").unwrap_or(m.truth);
            h = h.insert(Header { key: "skirmish-truth", value: Some(line) });
        }
        Some(h)
    }

    /// After a fatal error: settles what the old producer had, and makes a new one, less eagerly each time.
    fn restart(&mut self, why: &KafkaError) {
        let reason = self.client.as_ref().and_then(|c| {
            use rdkafka::producer::Producer;
            c.producer.client().fatal_error().map(|(code, text)| format!("{code:?}: {text}"))
        });
        tracing::error!("kafka: fatal: {}; making a new producer", reason.unwrap_or_else(|| why.to_string()));
        if let Some(old) = self.client.take() {
            old.purge();
        }
        // the message in hand is among what has no report, and is still to be sent: `message` goes on with it
        let wait = self.restart_wait;
        self.restart_wait = (wait * 2).min(RESTART_WAIT.1);
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.expired.load(Relaxed) {
            std::thread::sleep(FULL_WAIT);
        }
        self.stats.restarts.fetch_add(1, Relaxed);
        if let Err(e) = self.connect() {
            tracing::error!("kafka: {e}");
        }
    }
}

//! The sink's thread: batches become Kafka messages, in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;

use super::client::Client;
use super::context::{KafkaStats, Tally, Ticket};
use super::errors::{Class, classify};
use super::options::{DeliveryOptions, KafkaOptions, Timestamp};
use super::produce::{self, Outgoing};
use crate::account::Outcome;
use crate::batch::{Batch, MessageRef};
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
    /// `client` where one was made already.
    pub fn new(
        options: KafkaOptions,
        deliveries: Vec<DeliveryOptions>,
        config: ClientConfig,
        stats: Arc<KafkaStats>,
        client: Option<Client>,
        task: &Task,
        expired: Arc<AtomicBool>,
    ) -> Sender {
        let id = format!("{}.", task.run.id);
        let tally = client.as_ref().map_or_else(Arc::default, |c| c.tally.clone());
        tally.settle_through(task.receipts.clone());
        Sender {
            tally,
            options,
            deliveries: deliveries.into(),
            config,
            stats,
            expired,
            client,
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
                    self.offer(offer);
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
        let client = self.client.take().map_or_else(
            || {
                let tokens = self.options.security.token_from().cloned();
                Client::new(&self.config, tokens, self.tally.clone(), self.stats.clone())
            },
            Ok,
        );
        let topics = self.deliveries.iter().map(|d| &*d.topic);
        self.client = Some(client.and_then(|c| c.with_topics(topics)).map_err(|e| e.to_string())?);
        Ok(())
    }

    fn offer(&mut self, mut offer: Offer) {
        // a batch is kept until the brokers have answered, and what it has room for beyond its bytes would be kept with it
        let bytes = &offer.batch.bytes;
        if bytes.capacity() > bytes.len() + bytes.len() / 4 {
            offer.batch = Arc::new(Batch::clone(&offer.batch));
        }
        let (batch, delivery) = (offer.batch.clone(), offer.delivery);
        let place = self.tally.keep(offer);
        for (m, message) in batch.iter().zip(0..) {
            let ticket = Ticket { place, message };
            if m.payload.len() as u64 > self.options.message_bytes_max {
                self.give_up(ticket, Class::TooLarge, "larger than `message_max`");
                continue;
            }
            self.message(delivery, ticket, &m);
        }
    }

    fn give_up(&self, ticket: Ticket, class: Class, reason: &str) {
        let records = self.tally.report(ticket, Outcome::Dropped);
        self.stats.drop_records(class, records, reason);
    }

    /// Gives a message to librdkafka, however long that takes: messages after it have to wait behind it.
    fn message(&mut self, delivery: usize, ticket: Ticket, m: &MessageRef<'_>) {
        let mut headers = self.headers(delivery, m);
        let time = match self.options.timestamp {
            Timestamp::Release => m.meta.release,
            Timestamp::Event => m.meta.event,
        };
        let out = Outgoing { ticket, payload: m.payload, key: m.key, timestamp: time.ms() };
        loop {
            // a producer could not be made anew before the deadline
            let Some(client) = &self.client else { return self.give_up(ticket, Class::Fatal, "no producer") };
            // SAFETY: the tally keeps the batch until it has been told of each of its messages, and every client keeps
            // the tally. It is told by the client's reports, by `give_up` of what no client took, and by `forget` when
            // no client is left.
            let Err(code) = (unsafe { client.topics[delivery].produce(&out, &mut headers) }) else { return };
            match classify(code) {
                Class::QueueFull if !self.expired.load(Relaxed) => {
                    self.stats.queue_full.fetch_add(1, Relaxed);
                    self.tally.wait(FULL_WAIT);
                }
                Class::Fatal if !self.expired.load(Relaxed) => self.restart(code),
                class => return self.give_up(ticket, class, &format!("{code}")),
            }
        }
    }

    fn headers(&mut self, delivery: usize, m: &MessageRef<'_>) -> Option<produce::Headers> {
        use std::fmt::Write;
        let wanted = self.deliveries[delivery].headers;
        if wanted == Headers::None {
            return None;
        }
        self.id.truncate(self.id_prefix);
        let _ = write!(self.id, "{}", m.meta.id);
        let mut h = produce::Headers::new();
        h.add("skirmish-id", self.id.as_bytes());
        if m.meta.records > 1 {
            h.add("skirmish-records", m.meta.records.to_string().as_bytes());
        }
        if wanted == Headers::Truth && m.meta.attack > 0 && !m.truth.is_empty() {
            h.add("skirmish-truth", m.truth.strip_suffix(b"\n").unwrap_or(m.truth));
        }
        Some(h)
    }

    /// After a fatal error: settles what the old producer had, and makes a new one, less eagerly each time.
    fn restart(&mut self, why: RDKafkaErrorCode) {
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

//! `kafka`: topics of an Apache Kafka cluster, through librdkafka.
//!
//! One thread gives messages to librdkafka in the order of their batches and waits when its queue is full; one thread
//! polls it and sums up delivery reports before the accounts hear of them. Nothing is given up by time: a record is in
//! flight until a broker answers, the door holds whoever makes more, and only a broker's own refusal, a fatal error of
//! the producer or the end of the run settles a record otherwise.
//!
//! Idempotence holds over broker crashes only while the broker remembers the producer, and it forgets one whose latest
//! timestamp is older than a day (`producer.id.expiration.ms`): a back-fill into a topic with CreateTime can have a batch
//! twice after a crash; with LogAppendTime it cannot. [`probe`] says so.
//!
//! | module | what |
//! |---|---|
//! | `options`, `security` | what a user writes, as meant, and as librdkafka properties |
//! | `properties`, `jaas`, `store` | the same from a Java `client.properties` and its stores |
//! | `oauth`, `tls` | bearer tokens; TLS beside librdkafka's |
//! | `errors` | what each error code means: one table |
//! | `context`, `client`, `produce`, `send` | the producer, its reports, the sink's thread; payloads are not copied |
//! | `topics`, `probe`, `wire` | what is done before the first record, and by `check --connect` |

pub mod client;
pub mod context;
pub mod errors;
mod jaas;
mod oauth;
pub mod options;
pub mod probe;
mod produce;
pub mod properties;
pub mod security;
mod send;
mod store;
mod tls;
mod topics;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

pub use self::context::KafkaStats;
pub use self::errors::Class;
pub use self::options::{DeliveryOptions, KafkaOptions};
use super::{DeliveryInfo, Drained, Finding, Gauges, QUEUE_BYTES_MAX, Sink, Task};
use crate::time::Time;
use crate::yaml::{Fields, Node, Problems};

/// Why the sink cannot do what it should. Its text never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of trouble it is.
    pub class: Class,
    /// What happened.
    pub message: String,
}

impl Error {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Error {
        Error { class, message: message.into() }
    }
    pub(crate) fn configuration(message: impl Into<String>) -> Error {
        Error::new(Class::Configuration, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A Kafka sink as configured.
#[derive(Debug)]
pub struct Kafka {
    /// What the user said about the sink.
    pub options: KafkaOptions,
    /// What the user said about its deliveries.
    pub deliveries: Vec<DeliveryOptions>,
    from: Option<Time>,
    message_bytes_max: u64,
    stats: Arc<KafkaStats>,
    /// Made before the run starts.
    client: Option<client::Client>,
}

impl Kafka {
    /// A sink with these options and no delivery yet.
    pub fn new(options: KafkaOptions) -> Kafka {
        Kafka { options, deliveries: vec![], from: None, message_bytes_max: 0, stats: Arc::default(), client: None }
    }
    /// Reads the `kafka:` mapping of a sink.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<Kafka> {
        KafkaOptions::from_node(node, p).map(Kafka::new)
    }
    /// Its counters, alive while it runs.
    pub fn stats(&self) -> Arc<KafkaStats> {
        self.stats.clone()
    }
}

impl Sink for Kafka {
    fn add_delivery(&mut self, info: &DeliveryInfo, fields: &Fields<'_>, p: &mut Problems) {
        self.from = [self.from, info.from].into_iter().flatten().min();
        self.message_bytes_max = self.message_bytes_max.max(info.message_bytes_max);
        self.deliveries.push(DeliveryOptions::from_fields(info, fields, p));
    }

    fn threads(&self) -> usize {
        1
    }

    /// An idempotent producer gets its id half a second after it was made, whatever the brokers do.
    fn begin(&mut self, queue_bytes_max: u64) {
        let Ok(config) = self.options.client_config(queue_bytes_max) else { return };
        let tokens = self.options.security.token_from().cloned();
        self.client = client::Client::new(&config, tokens, Arc::default(), self.stats.clone()).ok();
    }

    /// Reaches the brokers, sees to the topics, and keeps batches below what the topics take: librdkafka would lose
    /// the small messages of a batch that is too large as a whole.
    fn open(&mut self) -> Result<(), String> {
        let named = |e: Error| format!("kafka {}: {}: {e}", self.options.brokers.join(","), e.class.name());
        let config = self.options.client_config(QUEUE_BYTES_MAX).map_err(named)?;
        if let Some(max) = topics::ensure(&config, &self.options, &self.deliveries).map_err(named)?
            && max < self.options.batch_bytes
        {
            self.options.batch_bytes = max;
            // it was made for larger ones
            self.client = None;
        }
        Ok(())
    }

    fn reach(&self) -> BoxFuture<'_, Vec<Finding>> {
        let (options, deliveries) = (self.options.clone(), self.deliveries.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(Time(0), |d| Time(d.as_nanos() as i64));
        let q = probe::Question { now, from: self.from.unwrap_or(now), message_bytes_max: self.message_bytes_max };
        Box::pin(async move {
            let report = tokio::task::spawn_blocking(move || probe::probe(&options, &deliveries, &q)).await;
            let lines = report.map_or_else(|_| vec![(false, "the probe broke off".into())], |r| r.lines());
            lines.into_iter().map(|(ok, text)| Finding { ok, text }).collect()
        })
    }

    fn gauges(&self) -> Option<Gauges> {
        let stats = self.stats.clone();
        Some(Arc::new(move || stats.gauges()))
    }

    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(async move {
            let config = match self.options.client_config(task.receipts.queue_bytes_max()) {
                Ok(c) => c,
                Err(e) => return refuse(task, e.to_string()),
            };
            let (receipts, expired) = (task.receipts.clone(), Arc::new(AtomicBool::new(false)));
            let Kafka { options, deliveries, stats, client, .. } = *self;
            let sender = send::Sender::new(options, deliveries, config, stats, client, &task, expired.clone());
            let (done, mut ended) = tokio::sync::oneshot::channel();
            let thread = std::thread::Builder::new().name("kafka-send".into());
            if let Err(e) = thread.spawn(move || drop(done.send(sender.run(task)))) {
                return Drained { digest: None, error: Some(format!("cannot start a thread: {e}")) };
            }
            let ended = tokio::select! {
                r = &mut ended => r,
                () = receipts.deadline() => {
                    expired.store(true, Relaxed);
                    ended.await
                }
            };
            ended.unwrap_or_else(|_| Drained { digest: None, error: Some("the sink's thread broke off".into()) })
        })
    }
}

fn refuse(mut task: Task, why: String) -> Drained {
    task.abandon();
    Drained { digest: None, error: Some(why) }
}

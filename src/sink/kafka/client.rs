//! A librdkafka client with the thread that serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};

use super::Error;
use super::context::{Context, KafkaStats, Tally};
use super::errors::Class;
use super::produce::Topic;
use super::security::TokenFrom;

/// Pause between two looks at librdkafka's reports. Reports of a whole pause are taken at once: a wait inside the
/// library would end with each batch's, and would spin through the last part of a millisecond.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for the reports of messages that were purged.
const PURGE_MAX: Duration = Duration::from_secs(2);

/// A producer and its polling thread. Dropping it purges what is left.
pub struct Client {
    /// Topics by delivery.
    pub topics: Vec<Topic>,
    /// The producer.
    pub producer: Arc<BaseProducer<Context>>,
    /// What its messages became.
    pub tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

impl Client {
    /// Makes it; it connects in the background.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(
        config: &ClientConfig,
        tokens: Option<TokenFrom>,
        tally: Arc<Tally>,
        stats: Arc<KafkaStats>,
    ) -> Result<Client, Error> {
        let context = Context { tally: tally.clone(), stats: stats.clone(), tokens, fatal: AtomicBool::new(false) };
        let producer = BaseProducer::from_config_and_context(config, context).map_err(refused)?;
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let poller = {
            let (producer, stop, tally) = (producer.clone(), stop.clone(), tally.clone());
            std::thread::Builder::new().name("kafka-poll".into()).spawn(move || {
                let mut purged = false;
                while !stop.load(Relaxed) {
                    std::thread::sleep(POLL);
                    // one call takes one event, and does not say whether there was one
                    loop {
                        let before = tally.reported();
                        producer.poll(Duration::ZERO);
                        if tally.reported() == before {
                            break;
                        }
                    }
                    tally.flush();
                    stats.queue_messages.store(producer.in_flight_count().max(0) as u64, Relaxed);
                    // after a fatal error nothing in the queue will move: give it back, so that the door opens and
                    // the sender comes to see the error
                    if !purged && producer.client().context().fatal.load(Relaxed) {
                        producer.purge(PurgeConfig::default().queue().inflight());
                        purged = true;
                    }
                }
            })
        };
        let poller = poller.map_err(|e| Error::new(Class::Configuration, format!("cannot start a thread: {e}")))?;
        Ok(Client { topics: vec![], producer, tally, stop, poller: Some(poller) })
    }

    /// With the topics that it sends to.
    ///
    /// # Errors
    /// A name that no topic can have.
    pub fn with_topics<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Client, Error> {
        let topics = names.into_iter().map(|name| Topic::new(self.producer.clone(), name)).collect::<Result<_, _>>();
        self.topics = topics.map_err(|e| Error::new(Class::Configuration, e))?;
        Ok(self)
    }

    /// Waits until librdkafka holds nothing any more or `give_up` says so. True when it holds nothing.
    pub fn drain(&self, give_up: impl Fn() -> bool) -> bool {
        while self.producer.in_flight_count() > 0 {
            if give_up() {
                return false;
            }
            self.tally.wait(POLL);
        }
        true
    }

    /// Takes back what has no answer and settles it: dropped what never left, unknown what did.
    pub fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + PURGE_MAX;
        self.drain(|| Instant::now() > deadline);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(h) = self.poller.take() {
            let _ = h.join();
        }
        self.tally.flush();
    }
}

/// An error of librdkafka about the configuration. Its own text repeats the value, which may be a secret.
pub fn refused(e: KafkaError) -> Error {
    let text = match e {
        KafkaError::ClientConfig(_, why, key, _) => format!("`{key}`: {why}"),
        KafkaError::ClientCreation(why) => why,
        e => e.to_string(),
    };
    Error::new(Class::Configuration, text)
}

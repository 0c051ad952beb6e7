//! The topics before the first record: they are there, or are made, and how large their messages may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Client, refused};
use super::context::{KafkaStats, Tally};
use super::errors::{Class, classify};
use super::options::{CreateTopic, DeliveryOptions, KafkaOptions};
use super::{Error, oauth};

/// One try to hear from a broker; between two the errors are looked at.
const TRY: Duration = Duration::from_millis(500);
/// Longest wait for an answer of a cluster that is there.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for the cluster to create a topic on its own.
const AUTO_CREATE: Duration = Duration::from_secs(5);

/// A client that looks, and never creates a topic by asking for it unless `create` is set.
pub fn looker(config: &ClientConfig, options: &KafkaOptions, create: bool) -> Result<(Client, Arc<KafkaStats>), Error> {
    let mut config = config.clone();
    config.set("allow.auto.create.topics", create.to_string());
    let stats = Arc::new(KafkaStats::default());
    let tokens = options.security.token_from().cloned();
    let client = Client::new(&config, tokens, Arc::new(Tally::default()), stats.clone())?;
    Ok((client, stats))
}

/// Metadata of a topic, or of the cluster's brokers and all topics. Gives up early when waiting cannot help.
pub fn metadata(client: &Client, stats: &KafkaStats, topic: Option<&str>, wait: Duration) -> Result<Metadata, Error> {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.producer.client().fetch_metadata(topic, TRY.min(left.max(Duration::from_millis(1)))) {
            Ok(m) => return Ok(m),
            Err(e) => {
                let last = stats.last_error();
                match last {
                    Some((class, reason)) if class.needs_a_person() => return Err(Error::new(class, reason)),
                    _ if Instant::now() < deadline => {}
                    Some((class, reason)) => return Err(Error::new(class, reason)),
                    None => {
                        let class = e.rdkafka_error_code().map_or(Class::Unreachable, classify);
                        return Err(Error::new(class, format!("no answer within {} s: {e}", wait.as_secs())));
                    }
                }
            }
        }
    }
}

/// Whether a topic is there: its partitions, or none.
pub fn partitions(client: &Client, stats: &KafkaStats, topic: &str, wait: Duration) -> Result<Option<usize>, Error> {
    let m = metadata(client, stats, Some(topic), wait)?;
    let Some(t) = m.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
    match t.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(t.partitions().len()).filter(|n| *n > 0)),
        // it is being made
        Some(e) if classify(e) == Class::Retriable => Ok(None),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
        Some(e) => Err(Error::new(classify(e), format!("topic `{topic}`: {e}"))),
    }
}

/// An administration client. It has no thread for token refreshes, so it gets its token here.
pub fn admin(config: &ClientConfig, options: &KafkaOptions) -> Result<AdminClient<DefaultClientContext>, Error> {
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(refused)?;
    if let Some(from) = options.security.token_from() {
        oauth::give(admin.inner(), from).map_err(|e| Error::new(Class::Authentication, e))?;
    }
    Ok(admin)
}

/// Configuration of topics by name; topics that may not be looked at are left out.
pub fn configs(
    admin: &AdminClient<DefaultClientContext>,
    topics: &[&str],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, KafkaError> {
    let all: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let found = futures::executor::block_on(admin.describe_configs(&all, &options))?;
    let mut out = BTreeMap::new();
    for r in found.into_iter().flatten() {
        if let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = r.specifier {
            out.insert(name, r.entries.into_iter().filter_map(|e| Some((e.name, e.value?))).collect());
        }
    }
    Ok(out)
}

fn create(admin: &AdminClient<DefaultClientContext>, name: &str, c: &CreateTopic) -> Result<(), Error> {
    let mut topic = NewTopic::new(name, c.partitions, TopicReplication::Fixed(c.replication));
    for (k, v) in &c.config {
        topic = topic.set(k, v);
    }
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    let failed = |why: String, class| Error::new(class, format!("cannot create topic `{name}`: {why}"));
    let done = futures::executor::block_on(admin.create_topics([&topic], &options))
        .map_err(|e| failed(e.to_string(), e.rdkafka_error_code().map_or(Class::Unknown, classify)))?;
    match done.into_iter().next() {
        // another daemon was faster
        Some(Ok(_)) | None | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(code.to_string(), classify(code))),
    }
}

/// Sees to it that every topic is there. Returns the smallest `max.message.bytes` of them where that may be known.
///
/// # Errors
/// The brokers cannot be reached, refuse us, or a topic is not there and is not made.
pub fn ensure(
    config: &ClientConfig,
    options: &KafkaOptions,
    deliveries: &[DeliveryOptions],
) -> Result<Option<u64>, Error> {
    let mut wanted: BTreeMap<&str, Option<&CreateTopic>> = BTreeMap::new();
    for d in deliveries {
        let create = d.create.as_ref().or(options.create_topics.as_ref());
        let w = wanted.entry(&d.topic).or_default();
        *w = w.or(create);
    }
    let wait = Duration::from_nanos(options.wait.0.max(0) as u64);
    let (client, stats) = looker(config, options, false)?;
    let mut missing = vec![];
    for name in wanted.keys() {
        if partitions(&client, &stats, name, wait)?.is_none() {
            missing.push(*name);
        }
    }
    drop(client);
    let admin = admin(config, options)?;
    let mut by_cluster = vec![];
    for name in missing {
        match wanted[name] {
            Some(c) => {
                let deadline = Instant::now() + wait;
                // a cluster that has just come up takes no topic until its brokers have registered
                while let Err(e) = create(&admin, name, c) {
                    if !e.message.contains("replication factor") || Instant::now() > deadline {
                        return Err(e);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            None => by_cluster.push(name),
        }
    }
    if !by_cluster.is_empty() {
        let (client, stats) = looker(config, options, true)?;
        let deadline = Instant::now() + AUTO_CREATE;
        for name in by_cluster {
            while partitions(&client, &stats, name, ANSWER)?.is_none() {
                if Instant::now() > deadline {
                    let text = format!("topic `{name}` is not there and the cluster does not create it by itself");
                    return Err(Error::new(Class::UnknownTopic, text + "; create it or set `create_topics`"));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    let names: Vec<&str> = wanted.into_keys().collect();
    // who may write is not always allowed to look: then the library's own bounds have to do
    let found = configs(&admin, &names).unwrap_or_default();
    Ok(found.values().filter_map(|c| c.get("max.message.bytes")?.parse().ok()).min())
}

//! What a user says about a Kafka sink and its deliveries, as meant.

use std::collections::BTreeMap;
use std::path::Path;

use rdkafka::ClientConfig;

use super::security::Security;
use super::{Error, properties};
use crate::sink::{DeliveryInfo, Headers};
use crate::time::Span;
use crate::yaml::{Fields, Node, Problems, suggest};

/// Longest topic name Kafka takes.
pub const TOPIC_NAME_MAX: usize = 249;

/// When the brokers have a record safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All in-sync replicas.
    All,
    /// The leader.
    Leader,
    /// Nobody says so: "delivered" then means sent.
    None,
}

/// Which of a message's times is its Kafka timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// When collection delivers it.
    Release,
    /// When its event happened.
    Event,
}

/// How to create a topic that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Partitions.
    pub partitions: i32,
    /// Replicas; -1 is the cluster's default.
    pub replication: i32,
    /// Topic configuration, such as `retention.ms`.
    pub config: BTreeMap<String, String>,
}

/// A Kafka sink as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaOptions {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// TLS and login.
    pub security: Security,
    /// No duplicates and no reordering by retries. Needs `acks: all`.
    pub idempotence: bool,
    /// When a record counts as delivered.
    pub acks: Acks,
    /// none, gzip, snappy, lz4 or zstd.
    pub compression: String,
    /// Longest wait for a batch to fill.
    pub linger: Span,
    /// Largest batch, uncompressed.
    pub batch_bytes: u64,
    /// Largest message.
    pub message_bytes_max: u64,
    /// How to create topics that are not there; none leaves that to the cluster.
    pub create_topics: Option<CreateTopic>,
    /// Which time becomes the Kafka timestamp.
    pub timestamp: Timestamp,
    /// Longest wait for the brokers before a run starts.
    pub wait: Span,
    /// Passed to librdkafka as they are, after all others.
    pub properties: BTreeMap<String, String>,
}

/// A stream's delivery to a Kafka sink as meant (sink, encoding and key are the plan's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// The topic.
    pub topic: String,
    /// What the headers tell.
    pub headers: Headers,
    /// How to create this topic; none is as the sink says.
    pub create: Option<CreateTopic>,
}

impl Default for KafkaOptions {
    fn default() -> KafkaOptions {
        KafkaOptions {
            brokers: vec![],
            security: Security::default(),
            idempotence: true,
            acks: Acks::All,
            compression: "lz4".into(),
            linger: Span::ms(5),
            batch_bytes: 1_000_000,
            message_bytes_max: 1_000_000,
            create_topics: None,
            timestamp: Timestamp::Release,
            wait: Span::s(10),
            properties: BTreeMap::new(),
        }
    }
}

/// Properties that hold secrets: refused inline.
const SECRET_PROPERTIES: [&str; 9] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "ssl_key",
];

/// Properties that have a field of their own, or that this sink lives by.
const OWNED_PROPERTIES: [(&str, &str); 26] = [
    ("bootstrap.servers", "set `brokers`"),
    ("metadata.broker.list", "set `brokers`"),
    ("security.protocol", "set `security`"),
    ("sasl.mechanism", "set `security: {sasl: …}`"),
    ("sasl.mechanisms", "set `security: {sasl: …}`"),
    ("sasl.username", "set `security: {username: …}`"),
    ("ssl.ca.location", "set `security: {tls: {ca: …}}`"),
    ("ssl.certificate.location", "set `security: {tls: {cert: …}}`"),
    ("ssl.key.location", "set `security: {tls: {key: …}}`"),
    ("sasl.oauthbearer.method", "set `security: {oidc: …}`"),
    ("sasl.oauthbearer.token.endpoint.url", "set `security: {oidc: …}`"),
    ("enable.idempotence", "set `idempotence`"),
    ("acks", "set `acks`"),
    ("request.required.acks", "set `acks`"),
    ("compression.type", "set `compression`"),
    ("compression.codec", "set `compression`"),
    ("linger.ms", "set `linger`"),
    ("queue.buffering.max.ms", "set `linger`"),
    ("batch.size", "set `batch`"),
    ("message.max.bytes", "set `message_max`"),
    ("queue.buffering.max.kbytes", "set `queue` beside `kafka`"),
    ("queue.buffering.max.messages", "set `queue` beside `kafka`"),
    ("transactional.id", "skirmish writes without transactions"),
    ("delivery.report.only.error", "every record is accounted for"),
    ("group.id", "a producer has no group"),
    ("log.queue", "the sink reads the log itself"),
];

/// Names offered when a pass-through property is not known; a selection of those that producers use.
const COMMON_PROPERTIES: [&str; 24] = [
    "batch.num.messages",
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "debug",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "partitioner",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.cipher.suites",
    "sticky.partitioning.linger.ms",
    "topic.metadata.refresh.interval.ms",
];

const COMPRESSIONS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

impl KafkaOptions {
    /// Reads the `kafka:` mapping of a sink. Warnings about what a `client_properties` file says go to `tracing`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<KafkaOptions> {
        let f = node.fields(p, "kafka")?;
        let before = p.0.len();
        let mut o = KafkaOptions::default();
        let base = f.take("client_properties");
        if let Some(n) = base
            && let Some(path) = n.text(p, "client_properties")
        {
            match properties::read(Path::new(path)) {
                Ok((options, warnings)) => {
                    o = options;
                    warnings.iter().for_each(|w| tracing::warn!("{w}"));
                }
                Err(problems) => {
                    for problem in problems.0 {
                        let help = problem.help.clone();
                        p.at(n, problem.to_string()).help = help;
                    }
                }
            }
        }
        match f.take("brokers") {
            Some(n) => o.brokers = brokers(n, p),
            None if base.is_none() => {
                p.at(node, "kafka lacks `brokers`");
            }
            None => {}
        }
        if let Some(n) = f.take("security") {
            o.security = Security::from_node(n, p).unwrap_or_default();
        }
        let acks = f.take("acks");
        if let Some(n) = acks {
            o.acks = choice(n, p, "acks", &[("all", Acks::All), ("leader", Acks::Leader), ("none", Acks::None)])
                .unwrap_or(o.acks);
            o.idempotence &= o.acks == Acks::All;
        }
        if let Some(n) = f.take("idempotence") {
            o.idempotence = n.boolean(p, "idempotence").unwrap_or(o.idempotence);
            if o.idempotence && o.acks != Acks::All {
                p.at(n, "idempotence needs `acks: all`");
            }
        }
        if let Some(n) = f.take("compression") {
            let all = COMPRESSIONS.map(|c| (c, c));
            o.compression = choice(n, p, "compression", &all).unwrap_or_default().into();
        }
        let mut length = |name: &'static str, into: &mut Span| {
            if let Some(n) = f.take(name)
                && let Some(s) = n.span(p, name)
            {
                *into = s;
                if !(0..=900).contains(&s.0.div_euclid(1_000_000_000)) {
                    p.at(n, format!("{name} must be from 0s to 900s, not {}", n.describe()));
                }
            }
        };
        length("linger", &mut o.linger);
        length("wait", &mut o.wait);
        let mut size = |name: &'static str, into: &mut u64, min: u64, max: u64| {
            if let Some(n) = f.take(name)
                && let Some(v) = n.bytes(p, name)
            {
                *into = v;
                if !(min..=max).contains(&v) {
                    p.at(n, format!("{name} must be from {min} to {max} bytes, not {}", n.describe()));
                }
            }
        };
        size("batch", &mut o.batch_bytes, 1, i32::MAX as u64);
        size("message_max", &mut o.message_bytes_max, 1_000, 1_000_000_000);
        o.create_topics = f.take("create_topics").and_then(|n| CreateTopic::from_node(n, p)).or(o.create_topics);
        if let Some(n) = f.take("timestamp") {
            let all = [("release", Timestamp::Release), ("event", Timestamp::Event)];
            o.timestamp = choice(n, p, "timestamp", &all).unwrap_or(o.timestamp);
        }
        if let Some(n) = f.take("properties") {
            properties_of(n, p, &mut o.properties);
        }
        f.finish(p);
        (p.0.len() == before).then_some(o)
    }

    /// For `run --kafka BOOTSTRAP`: these brokers, all else by default.
    ///
    /// # Errors
    /// An address that is none.
    pub fn from_bootstrap(list: &str) -> Result<KafkaOptions, Problems> {
        let mut p = Problems::new();
        let brokers: Vec<String> = list.split(',').map(|b| b.trim().to_owned()).collect();
        for b in &brokers {
            if let Err(e) = broker(b) {
                p.plain(e);
            }
        }
        p.or(KafkaOptions { brokers, ..KafkaOptions::default() })
    }

    /// The same as librdkafka properties, secrets included: never print it. `queue_bytes_max` is the door's bound.
    ///
    /// # Errors
    /// A secret or file cannot be read.
    pub fn client_config(&self, queue_bytes_max: u64) -> Result<ClientConfig, Error> {
        let mut c = ClientConfig::new();
        c.set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "skirmish")
            .set("enable.idempotence", self.idempotence.to_string())
            .set("compression.type", &self.compression)
            .set("linger.ms", (self.linger.0 as f64 / 1e6).to_string())
            .set("batch.size", self.batch_bytes.to_string())
            .set("message.max.bytes", self.message_bytes_max.to_string())
            // the door bounds bytes; this bounds what librdkafka adds to each message (about 0.5 KB)
            .set("queue.buffering.max.messages", (queue_bytes_max / 512).clamp(1_000, 1_000_000).to_string())
            .set("queue.buffering.max.kbytes", (queue_bytes_max / 512).clamp(1 << 10, 1 << 31).to_string())
            // as Java's default partitioner does it, so that both put a host's records into one partition
            .set("partitioner", "murmur2_random")
            // a record is in flight until a broker answers; what to do with a slow one is the door's matter
            .set("message.timeout.ms", "0")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            .set("statistics.interval.ms", "5000");
        let acks = match self.acks {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        };
        c.set("acks", acks);
        if !self.idempotence {
            // two requests in flight could change places when the first is tried again
            c.set("max.in.flight.requests.per.connection", "1");
        }
        if self.security.tls.as_ref().is_some_and(|t| t.ca.is_none()) {
            // our own OpenSSL does not know where this system keeps its authorities
            c.set("ssl.ca.location", "probe");
        }
        self.security.apply(&mut c)?;
        for (k, v) in &self.properties {
            c.set(k, v);
        }
        Ok(c)
    }
}

impl CreateTopic {
    /// `{partitions: 12, replication: 3, config: {retention.ms: 3600000}}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<CreateTopic> {
        let f = node.fields(p, "create_topics")?;
        let mut number = |name: &'static str, default: i32| {
            let Some(n) = f.take(name) else { return default };
            let v: i32 = n.number(p, name).unwrap_or(default);
            if !(1..=100_000).contains(&v) && n.as_str() != Some("-1") {
                p.at(n, format!("{name} must be from 1 to 100000, not {}", n.describe()));
            }
            v
        };
        let (partitions, replication) = (number("partitions", -1), number("replication", -1));
        let mut config = BTreeMap::new();
        if let Some(n) = f.take("config") {
            for (k, v) in n.pairs(p, "config") {
                if let (Some(k), Some(v)) = (k.text(p, "a property"), v.text(p, "its value")) {
                    config.insert(k.to_owned(), v.to_owned());
                }
            }
        }
        f.finish(p);
        Some(CreateTopic { partitions, replication, config })
    }
}

impl DeliveryOptions {
    /// Takes `topic`, `headers` and `create` out of an entry of `to:`. A topic that is not named is
    /// `skirmish.<source id>`.
    pub fn from_fields(info: &DeliveryInfo, f: &Fields, p: &mut Problems) -> DeliveryOptions {
        let topic = f.take("topic").and_then(|n| {
            let name = n.text(p, "topic")?;
            if let Err(e) = topic_name(name) {
                p.at(n, e).help("a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`");
            }
            Some(name.to_owned())
        });
        DeliveryOptions {
            // the truth is called `skirmish.truth` already
            topic: topic.unwrap_or_else(|| match info.source.starts_with("skirmish.") {
                true => info.source.clone(),
                false => format!("skirmish.{}", info.source),
            }),
            headers: f.take("headers").and_then(|n| Headers::from_node(n, p)).unwrap_or(info.headers),
            create: f.take("create").and_then(|n| CreateTopic::from_node(n, p)),
        }
    }
}

/// Whether Kafka takes a topic of this name.
///
/// # Errors
/// What is wrong with it.
pub fn topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a topic needs a name".into());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic cannot be named `{name}`"));
    }
    if name.len() > TOPIC_NAME_MAX {
        return Err(format!("topic name has {} characters, at most {TOPIC_NAME_MAX} are allowed", name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(format!("topic `{}` holds `{}`", name.escape_debug(), c.escape_debug())),
        None => Ok(()),
    }
}

/// Whether a text is `host:port`, `[v6]:port` or a host alone.
pub(super) fn broker(text: &str) -> Result<(), String> {
    let rest = text.split_once("://").map_or(text, |(_, r)| r);
    let (host, port) = match rest.rsplit_once(':') {
        Some((h, p)) if !h.contains(':') || h.starts_with('[') => (h, Some(p)),
        _ => (rest, None),
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c == ',' || c == '/') {
        return Err(format!("broker `{text}` is no address such as `kafka:9092`"));
    }
    match port {
        Some(p) if p.parse::<u16>().map_or(true, |p| p == 0) => {
            Err(format!("broker `{text}` has no port from 1 to 65535"))
        }
        _ => Ok(()),
    }
}

fn brokers(node: &Node, p: &mut Problems) -> Vec<String> {
    let mut all = vec![];
    for n in node.items() {
        for b in n.text(p, "brokers").into_iter().flat_map(|t| t.split(',')) {
            if let Err(e) = broker(b.trim()) {
                p.at(n, e);
            }
            all.push(b.trim().to_owned());
        }
    }
    if all.is_empty() {
        p.at(node, "`brokers` names none");
    }
    all
}

fn choice<T: Copy>(n: &Node, p: &mut Problems, what: &str, all: &[(&str, T)]) -> Option<T> {
    let word = n.text(p, what)?;
    let found = all.iter().find(|(name, _)| *name == word).map(|(_, v)| *v);
    if found.is_none() {
        p.unknown(n, what, word, all.iter().map(|(name, _)| *name));
    }
    found
}

fn properties_of(node: &Node, p: &mut Problems, into: &mut BTreeMap<String, String>) {
    for (k, v) in node.pairs(p, "properties") {
        let Some(name) = k.text(p, "a property") else { continue };
        if SECRET_PROPERTIES.contains(&name) {
            p.at(k, format!("`{name}` is a secret and may not stand in a configuration"))
                .help("refer to it under `security` by file or environment variable");
            continue;
        }
        if let Some((_, instead)) = OWNED_PROPERTIES.iter().find(|(n, _)| *n == name) {
            p.at(k, format!("`{name}` is not passed through")).help(*instead);
            continue;
        }
        let Some(value) = v.text(p, "its value") else { continue };
        if let Err((message, help)) = try_property(name, value) {
            let at = if help.is_some() { k } else { v };
            p.at(at, message).help = help;
            continue;
        }
        into.insert(name.into(), value.into());
    }
}

/// Lets librdkafka itself say whether it knows a property and takes its value.
pub(super) fn try_property(name: &str, value: &str) -> Result<(), (String, Option<String>)> {
    use rdkafka::error::KafkaError::ClientConfig as Config;
    use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
    match rdkafka::ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(Config(RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err((format!("librdkafka has no property `{name}`"), Some(suggest(name, COMMON_PROPERTIES))))
        }
        Err(Config(_, why, ..)) => {
            let why = why.trim().trim_end_matches('.');
            Err((format!("`{name}` does not take `{value}`: {}{}", why[..1].to_lowercase(), &why[1..]), None))
        }
        Err(e) => Err((format!("`{name}`: {e}"), None)),
    }
}

#[cfg(test)]
mod tests;

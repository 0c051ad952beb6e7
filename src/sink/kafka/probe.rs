//! What `check --connect` finds out about a cluster. It writes nothing and creates nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Client;
use super::context::KafkaStats;
use super::options::{DeliveryOptions, KafkaOptions, Timestamp};
use super::security::{Security, Tls};
use super::{Error, tls, topics, wire};
use crate::time::{Span, Time};

/// Longest wait for one connection or answer.
const WAIT: Duration = Duration::from_secs(5);
/// Brokers that are looked at one by one; larger clusters are known by their first ones.
const BROKERS_MAX: usize = 8;
/// How long a broker remembers a producer, unless it is told otherwise (`producer.id.expiration.ms`).
const PRODUCER_MEMORY: Span = Span::s(86_400);

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The clock of this machine.
    pub now: Time,
    /// Logical time of the first record, for retention and timestamp rules.
    pub from: Time,
    /// Bytes of the largest message that will be sent, 0 where that is not known.
    pub message_bytes_max: u64,
}

/// One certificate of a broker.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// When it ends, RFC 3339.
    pub ends: String,
    /// Days until then; negative when it has ended.
    pub days_left: i64,
}

/// One broker.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct BrokerProbe {
    /// `host:port` as configured or announced.
    pub address: String,
    /// What the name resolves to.
    pub resolved: Vec<String>,
    /// Time that a connection took.
    pub connect_ms: Option<u64>,
    /// Certificates shown, the broker's own first.
    pub chain: Vec<Certificate>,
    /// What the broker runs, as far as it tells: `4.1`.
    pub version: Option<String>,
    /// The first thing that did not work.
    pub fault: Option<String>,
}

/// One topic.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct TopicProbe {
    /// Its name.
    pub name: String,
    /// Its partitions; none when it is not there.
    pub partitions: Option<usize>,
    /// It will be created by the sink.
    pub will_be_created: bool,
    /// `message.timestamp.type`, `retention.ms`, `max.message.bytes` and the like, where they may be read.
    pub config: BTreeMap<String, String>,
    /// What stands in the way.
    pub faults: Vec<String>,
    /// What one should know.
    pub warnings: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ProbeReport {
    /// The brokers, first those configured.
    pub brokers: Vec<BrokerProbe>,
    /// Whether the cluster let us in and answered.
    pub login: Option<String>,
    /// Why it did not.
    pub login_fault: Option<String>,
    /// The cluster's id.
    pub cluster: Option<String>,
    /// The topics.
    pub topics: Vec<TopicProbe>,
    /// Broker clock minus ours at least, from the latest record of a topic with LogAppendTime; no other clock of a
    /// broker can be read without writing.
    pub clock_ahead_ms: Option<i64>,
}

const TOPIC_CONFIG: [&str; 7] = [
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "compression.type",
];

/// Looks at brokers and topics.
pub fn probe(options: &KafkaOptions, deliveries: &[DeliveryOptions], q: &Question) -> ProbeReport {
    let mut r = ProbeReport::default();
    for address in options.brokers.iter().take(BROKERS_MAX) {
        r.brokers.push(broker(address, &options.security));
    }
    if let Err(e) = cluster(options, deliveries, q, &mut r) {
        r.login_fault = Some(format!("{}: {e}", e.class.name()));
    }
    r
}

fn broker(address: &str, security: &Security) -> BrokerProbe {
    let bare = address.split_once("://").map_or(address, |(_, a)| a);
    let mut b = BrokerProbe { address: bare.into(), ..BrokerProbe::default() };
    let (host, port) = match bare.rsplit_once(':') {
        Some((h, p)) if !h.contains(':') || h.starts_with('[') => {
            (h.trim_matches(['[', ']']), p.parse().unwrap_or(9092))
        }
        _ => (bare, 9092),
    };
    let found: Vec<_> = match (host, port).to_socket_addrs() {
        Ok(all) => all.collect(),
        Err(e) => {
            b.fault = Some(format!("{host} does not resolve: {e}"));
            return b;
        }
    };
    b.resolved = found.iter().map(|a| a.ip().to_string()).collect();
    let start = Instant::now();
    let mut why = "no address".to_owned();
    let tcp = found.iter().find_map(|a| TcpStream::connect_timeout(a, WAIT).map_err(|e| why = e.to_string()).ok());
    let Some(tcp) = tcp else {
        b.fault = Some(format!("cannot connect: {why}"));
        return b;
    };
    b.connect_ms = Some(start.elapsed().as_millis() as u64);
    let _ = tcp.set_read_timeout(Some(WAIT)).and_then(|()| tcp.set_write_timeout(Some(WAIT)));
    let asked = match &security.tls {
        None => wire::version(tcp),
        Some(t) => {
            let (chain, asked) = look(tcp, host, t);
            b.chain = chain;
            asked
        }
    };
    match asked {
        Ok(v) => b.version = v,
        Err(e) => b.fault = Some(e),
    }
    if let Some(c) = b.chain.iter().find(|c| c.days_left < 0)
        && b.fault.is_none()
    {
        b.fault = Some(format!("the certificate of {} ended on {}", c.subject, c.ends));
    }
    b
}

fn look(tcp: TcpStream, host: &str, t: &Tls) -> (Vec<Certificate>, Result<Option<String>, String>) {
    let shown = Arc::new(Mutex::new(tls::Shown::default()));
    let asked = (|| {
        let text = |p: &Option<super::security::Pem>| p.as_ref().map(|p| p.text()).transpose();
        let (ca, cert, key) = (text(&t.ca), text(&t.cert), text(&t.key));
        let (ca, cert, key) = (ca.map_err(said)?, cert.map_err(said)?, key.map_err(said)?);
        // an encrypted key is librdkafka's matter: the login shows whether it is right
        let identity = cert.as_deref().zip(key.as_deref()).filter(|_| t.key_password.is_none());
        let config = tls::looking_client(ca.as_deref(), identity, shown.clone())?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(said)?;
        let connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(said)?;
        wire::version(rustls::StreamOwned::new(connection, tcp)).map_err(|e| format!("TLS: {e}"))
    })();
    let shown = shown.lock().expect("no panic while holding it");
    let chain = shown.chain.iter().filter_map(|der| certificate(der)).collect();
    match &shown.fault {
        Some(fault) if t.verify_hostname || !fault.contains("not valid for name") => {
            (chain, Err(format!("the certificate is not to be trusted: {fault}")))
        }
        _ => (chain, asked),
    }
}

fn said(e: impl fmt::Display) -> String {
    e.to_string()
}

fn certificate(der: &[u8]) -> Option<Certificate> {
    let (_, c) = x509_parser::parse_x509_certificate(der).ok()?;
    let ends = c.validity().not_after.timestamp();
    Some(Certificate {
        subject: c.subject().to_string(),
        issuer: c.issuer().to_string(),
        ends: jiff::Timestamp::from_second(ends).map_or_else(|_| "never".into(), |t| t.to_string()),
        days_left: (ends - jiff::Timestamp::now().as_second()).div_euclid(86_400),
    })
}

fn cluster(
    options: &KafkaOptions,
    deliveries: &[DeliveryOptions],
    q: &Question,
    r: &mut ProbeReport,
) -> Result<(), Error> {
    let config = options.client_config(1 << 20)?;
    let (client, stats) = topics::looker(&config, options, false)?;
    let m = topics::metadata(&client, &stats, deliveries.first().map(|d| d.topic.as_str()), WAIT)?;
    let how = match &options.security.sasl {
        None => "without a login",
        Some(_) => "logged in",
    };
    r.login = Some(format!("{how}, {} brokers", m.brokers().len()));
    r.cluster = client.producer.client().fetch_cluster_id(WAIT);
    for b in m.brokers() {
        let address = format!("{}:{}", b.host(), b.port());
        if r.brokers.len() < BROKERS_MAX && !r.brokers.iter().any(|p| p.address == address) {
            r.brokers.push(broker(&address, &options.security));
        }
    }
    let mut names: Vec<&str> = deliveries.iter().map(|d| d.topic.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        r.topics.push(topic(name, &client, &stats, options, deliveries));
    }
    let there: Vec<&str> = r.topics.iter().filter(|t| t.partitions.is_some()).map(|t| t.name.as_str()).collect();
    let configs = match topics::admin(&config, options) {
        Ok(admin) if !there.is_empty() => topics::configs(&admin, &there).unwrap_or_default(),
        _ => BTreeMap::new(),
    };
    for t in &mut r.topics {
        if let Some(all) = configs.get(&t.name) {
            t.config = TOPIC_CONFIG.iter().filter_map(|k| Some(((*k).into(), all.get(*k)?.clone()))).collect();
            rules(t, options, q);
        } else if t.partitions.is_some() {
            t.warnings.push("its configuration may not be read".into());
        }
    }
    let stamped = |t: &&TopicProbe| t.config.get("message.timestamp.type").is_some_and(|v| v == "LogAppendTime");
    if let Some(t) = r.topics.iter().find(stamped)
        && let Some(latest) = latest(&config, &t.name, t.partitions.unwrap_or(0))
    {
        r.clock_ahead_ms = Some(latest - q.now.ms()).filter(|ahead| *ahead > 0);
    }
    Ok(())
}

fn topic(
    name: &str,
    client: &Client,
    stats: &KafkaStats,
    options: &KafkaOptions,
    deliveries: &[DeliveryOptions],
) -> TopicProbe {
    let mut t = TopicProbe { name: name.into(), ..TopicProbe::default() };
    match topics::partitions(client, stats, name, WAIT) {
        Ok(n) => t.partitions = n,
        Err(e) => t.faults.push(format!("{}: {e}", e.class.name())),
    }
    let mut own = deliveries.iter().filter(|d| d.topic == name);
    t.will_be_created = options.create_topics.is_some() || own.any(|d| d.create.is_some());
    if t.partitions.is_none() && t.faults.is_empty() && !t.will_be_created {
        t.warnings.push("is not there; the cluster must create it by itself, or set `create_topics`".into());
    }
    t
}

/// What a topic's rules mean for records from that date and of that size.
fn rules(t: &mut TopicProbe, options: &KafkaOptions, q: &Question) {
    let number = |key: &str| t.config.get(key).and_then(|v| v.parse::<i64>().ok());
    let (max, retention) = (number("max.message.bytes"), number("retention.ms"));
    let (before, after) = (number("message.timestamp.before.max.ms"), number("message.timestamp.after.max.ms"));
    let mut faults = vec![];
    let mut warnings = vec![];
    let room = max.map_or(options.message_bytes_max, |m| (m.max(0) as u64).min(options.message_bytes_max));
    if q.message_bytes_max > room {
        faults.push(format!(
            "takes messages of {room} bytes and the largest of this run has {}; raise max.message.bytes and `message_max`",
            q.message_bytes_max
        ));
    }
    // whichever time is the timestamp, it is near the release, and that is never before `from`
    if t.config.get("message.timestamp.type").is_none_or(|v| v == "CreateTime") {
        let age = q.now - q.from;
        let hours = |ms: i64| format!("{} h", ms / 3_600_000);
        if let Some(ms) = before.filter(|ms| age.0 / 1_000_000 > *ms) {
            faults.push(format!("refuses timestamps older than {} (message.timestamp.before.max.ms)", hours(ms)));
        }
        if let Some(ms) = after.filter(|ms| -age.0 / 1_000_000 > *ms) {
            faults
                .push(format!("refuses timestamps later than {} from now (message.timestamp.after.max.ms)", hours(ms)));
        }
        if let Some(ms) = retention.filter(|ms| *ms >= 0 && age.0 / 1_000_000 > *ms) {
            warnings.push(format!("keeps records for {}: the first ones are deleted soon after they come", hours(ms)));
        }
        if age > PRODUCER_MEMORY && options.idempotence {
            warnings.push(
                "brokers forget a producer whose timestamps are older than a day: a batch sent again after a broker's \
                 crash would be there twice; with message.timestamp.type=LogAppendTime it would not"
                    .into(),
            );
        }
    } else if options.timestamp == Timestamp::Event {
        warnings.push("sets timestamps itself (LogAppendTime): `timestamp: event` has no effect".into());
    }
    t.faults.extend(faults);
    t.warnings.extend(warnings);
}

/// Timestamp of the latest record in a topic.
fn latest(config: &rdkafka::ClientConfig, name: &str, partitions: usize) -> Option<i64> {
    let mut config = config.clone();
    config.set("group.id", "skirmish-check").set("enable.auto.commit", "false");
    let c: BaseConsumer = config.create().ok()?;
    let mut list = TopicPartitionList::new();
    for p in 0..partitions.min(16) as i32 {
        let (low, high) = c.fetch_watermarks(name, p, WAIT).ok()?;
        if high > low {
            list.add_partition_offset(name, p, Offset::Offset(high - 1)).ok()?;
        }
    }
    c.assign(&list).ok()?;
    let mut latest = None;
    for _ in 0..list.count() {
        let m = c.poll(WAIT)?.ok()?;
        latest = latest.max(m.timestamp().to_millis());
    }
    latest
}

impl ProbeReport {
    /// What was found, line by line: whether it is as it has to be, and the text.
    pub fn lines(&self) -> Vec<(bool, String)> {
        let mut all = vec![];
        for b in &self.brokers {
            let mut text = format!("broker {}", b.address);
            if !b.resolved.is_empty() && b.resolved[0] != b.address.rsplit_once(':').map_or("", |(h, _)| h) {
                text += &format!(" ({})", b.resolved.join(", "));
            }
            match (&b.fault, &b.version, b.connect_ms) {
                (Some(f), ..) => text += &format!(": {f}"),
                (None, Some(v), Some(ms)) => text += &format!(": Kafka {v}, connected in {ms} ms"),
                (None, _, ms) => text += &format!(": connected in {} ms", ms.unwrap_or(0)),
            }
            all.push((b.fault.is_none(), text));
            for c in &b.chain {
                let text = format!(
                    "  certificate {}, issued by {}, ends {} ({} days)",
                    c.subject, c.issuer, c.ends, c.days_left
                );
                all.push((c.days_left >= 0, text));
            }
        }
        if let Some(l) = &self.login {
            all.push((true, format!("cluster {}: {l}", self.cluster.as_deref().unwrap_or("without an id"))));
        }
        if let Some(f) = &self.login_fault {
            all.push((false, format!("cluster: {f}")));
        }
        for t in &self.topics {
            let mut text = match (t.partitions, t.will_be_created) {
                (Some(n), _) => format!("topic {}: {n} partitions", t.name),
                (None, true) => format!("topic {}: will be created", t.name),
                (None, false) => format!("topic {}: not there", t.name),
            };
            for (k, v) in &t.config {
                text += &format!(", {k}={v}");
            }
            all.push((t.faults.is_empty(), text));
            all.extend(t.faults.iter().map(|f| (false, format!("  {f}"))));
            all.extend(t.warnings.iter().map(|w| (true, format!("  note: {w}"))));
        }
        if let Some(ms) = self.clock_ahead_ms {
            all.push((ms < 5_000, format!("the brokers' clock is at least {ms} ms ahead of ours")));
        }
        all
    }
    /// Nothing stands in the way of a run.
    pub fn ok(&self) -> bool {
        self.lines().iter().all(|(ok, _)| *ok)
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ok, text) in self.lines() {
            writeln!(f, "{} {text}", if ok { "ok  " } else { "FAIL" })?;
        }
        Ok(())
    }
}

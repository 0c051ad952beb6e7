//! The contract every sink keeps, and what there is of sinks.
//!
//! MUST, for every sink (held by `tests/sink_compliance.rs`):
//! 1. Count pessimistically: a record offered is in flight until the destination answered; an answer settles it
//!    exactly once as delivered, dropped or unknown.
//! 2. Keep the order of messages within a delivery and key.
//! 3. Hold at most `queue_bytes_max` bytes that are not settled; beyond that the door waits (`block`, `catch_up`)
//!    or refuses whole messages (`drop`). Nothing else in a sink may grow with the rate.
//! 4. Never alter a payload.
//! 5. After [`Door::close`], flush until the deadline, settle what is left as dropped (never sent) or unknown
//!    (sent, unanswered), and return.
//! 6. Never print or return a secret.
//!
//! To add a sink: a module under `src/sink/` whose options implement [`Sink`], and one line in [`KINDS`].

pub(crate) mod cap;
pub mod door;
pub mod file;
pub mod grpc_push;
pub mod grpc_serve;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lines;
pub mod null;
pub mod otlp;
pub mod stdout;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tonic::service::Routes;

pub use self::cap::Caps;
pub use self::door::{Door, Offer, OnSlow, Passed, Queue, Receipts, Task, door};
use crate::schedule::Rate;
use crate::time::Time;
use crate::yaml::{Fields, Node, Problems};

/// Every kind of sink: the word that names it in a configuration, and how its options are read.
pub const KINDS: &[SinkKind] = &[
    #[cfg(feature = "kafka")]
    SinkKind { name: "kafka", about: "Apache Kafka topics", read: |n, p| boxed(kafka::Kafka::from_node(n, p)) },
    SinkKind {
        name: "file",
        about: "one line per message, rotated, compressed",
        read: |n, p| boxed(file::FileOptions::from_node(n, p)),
    },
    SinkKind {
        name: "grpc_push",
        about: "pushes to a gRPC server that acknowledges",
        read: |n, p| boxed(grpc_push::PushOptions::from_node(n, p)),
    },
    SinkKind {
        name: "grpc_serve",
        about: "subscribers come to the daemon",
        read: |n, p| boxed(grpc_serve::ServeOptions::from_node(n, p).map(grpc_serve::Serve::new)),
    },
    SinkKind {
        name: "null",
        about: "counts, hashes and discards",
        read: |n, p| boxed(null::NullOptions::from_node(n, p)),
    },
    SinkKind {
        name: "otlp",
        about: "OpenTelemetry logs over gRPC",
        read: |n, p| boxed(otlp::OtlpOptions::from_node(n, p)),
    },
    SinkKind {
        name: "stdout",
        about: "one line per message",
        read: |n, p| boxed(stdout::StdoutOptions::from_node(n, p)),
    },
];

/// Bytes that a sink may hold unsettled unless its `queue` says otherwise.
pub const QUEUE_BYTES_MAX: u64 = 32 << 20;

/// A kind of sink.
pub struct SinkKind {
    /// The word in the configuration.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Reads its options.
    pub read: fn(&Node, &mut Problems) -> Option<Box<dyn Sink>>,
}

fn boxed<S: Sink + 'static>(options: Option<S>) -> Option<Box<dyn Sink>> {
    options.map(|o| Box::new(o) as Box<dyn Sink>)
}

/// Adds services to those that a sink serves.
pub type AddServices = Box<dyn FnOnce(Routes) -> Routes + Send + Sync>;

/// A sink as configured: its options, and how to start it.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// What happens when it does not keep up, unless the configuration says otherwise.
    fn on_slow(&self) -> OnSlow {
        OnSlow::CatchUp
    }
    /// Takes up one more delivery; called in the order of their indexes, before anything else. `fields` is the entry
    /// of `to:`, from which the sink takes what is its own (a topic, a path).
    fn add_delivery(&mut self, _delivery: &DeliveryInfo, _fields: &Fields<'_>, _p: &mut Problems) {}
    /// Lets a sink that is a gRPC server offer more services on its port, by their full names. True when it took them.
    fn add_services(&mut self, _names: &[&'static str], _add: AddServices) -> bool {
        false
    }
    /// Threads of its own that keep a processor busy: compressing is as much work as making what is compressed.
    fn threads(&self) -> usize {
        0
    }
    /// Begins to reach its destination while the world is still being planned. What goes wrong, [`Sink::open`] tells.
    fn begin(&mut self, _queue_bytes_max: u64) {}
    /// Takes what can be refused (a port, a folder, a secret's file), so that a run fails before it starts.
    ///
    /// # Errors
    /// What is not to be had and why, without secrets.
    fn open(&mut self) -> Result<(), String> {
        Ok(())
    }
    /// Where a sink that is a server listens, once it is open.
    fn address(&self) -> Option<SocketAddr> {
        None
    }
    /// The subscribers of a sink that has some, with their accounts.
    fn hub(&self) -> Option<Arc<grpc_serve::Hub>> {
        None
    }
    /// Reaches the destination without writing, for `check --connect`.
    fn reach(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { vec![] })
    }
    /// Its own counters, for metrics; asked for before it starts.
    fn gauges(&self) -> Option<Gauges> {
        None
    }
    /// Runs until its door is closed and its queue is flushed, or the deadline of the closing has passed.
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained>;
}

/// What a message's headers tell, in sinks whose messages have headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headers {
    /// `skirmish-id` on all, `skirmish-truth` on attack records.
    #[default]
    Truth,
    /// `skirmish-id` alone.
    Id,
    /// Nothing.
    None,
}

impl Headers {
    /// Reads one of `truth`, `id`, `none`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<Headers> {
        match node.as_str() {
            Some("truth") => Some(Headers::Truth),
            Some("id") => Some(Headers::Id),
            Some("none") => Some(Headers::None),
            _ => {
                p.unknown(node, "value of `headers`", node.as_str().unwrap_or(""), ["truth", "id", "none"]);
                None
            }
        }
    }
}

/// A sink's own counters and gauges, read while it runs: name, label (empty for none) and value.
pub type Gauges = Arc<dyn Fn() -> Vec<(&'static str, &'static str, u64)> + Send + Sync>;

/// What a sink is told about one of its deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryInfo {
    /// Name of the stream.
    pub stream: String,
    /// Id of its source, `windows.sysmon`.
    pub source: String,
    /// Name of the encoding, `winlogbeat`.
    pub encoding: String,
    /// Operating system that the source belongs to in OpenTelemetry's words (`windows`, `linux`), empty for none.
    pub os: String,
    /// Whether the key of its messages is the name of the host.
    pub key_is_host: bool,
    /// What its headers tell unless the delivery itself says so.
    pub headers: Headers,
    /// What may pass per second.
    pub cap: Option<Rate>,
    /// Logical time of its first record, where that is known; for [`Sink::reach`].
    pub from: Option<Time>,
    /// Bytes of its largest message, 0 where that is not known; for [`Sink::reach`].
    pub message_bytes_max: u64,
}

/// What a sink is told about the run.
#[derive(Clone, Debug, Default)]
pub struct RunInfo {
    /// Id of the run.
    pub id: String,
    /// Logical time of its start.
    pub start: Time,
}

/// One thing that [`Sink::reach`] found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it has to be.
    pub ok: bool,
    /// What was looked at and what was found.
    pub text: String,
}

/// How a sink's task ended. The accounts hold the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// xxh3-128 over all payloads, each followed by a line feed, in the order in which they came; only of sinks that
    /// write lines.
    pub digest: Option<u128>,
    /// The first thing that went wrong, if anything did.
    pub error: Option<String>,
}

/// An entry of `sinks:` as meant.
#[derive(Debug)]
pub struct SinkSpec {
    /// Its name in the configuration.
    pub name: String,
    /// The word for its kind.
    pub kind: &'static str,
    /// What happens when it does not keep up.
    pub on_slow: OnSlow,
    /// Bytes that may be unsettled at once.
    pub queue_bytes_max: u64,
    /// What may pass per second, over all deliveries.
    pub cap: Option<Rate>,
    /// Its options.
    pub sink: Box<dyn Sink>,
}

impl SinkSpec {
    /// Reads `{KIND: {...}, on_slow: ..., queue: 32MiB, cap: 40MB/s}`.
    pub fn from_node(name: &str, node: &Node, p: &mut Problems) -> Option<SinkSpec> {
        let f = node.fields(p, "a sink")?;
        let slow = f.take("on_slow").and_then(|n| OnSlow::from_node(n, p));
        let queue = f.take("queue").and_then(|n| n.bytes(p, "`queue`"));
        let cap = f.take("cap").and_then(|n| cap::from_node(n, p));
        let found: Vec<_> = KINDS.iter().filter_map(|k| node.get(k.name).map(|n| (k, n))).collect();
        for k in KINDS {
            f.take(k.name);
        }
        if !cfg!(feature = "kafka")
            && let Some(n) = f.take("kafka")
        {
            let help = "build it with `--features kafka`, which is on by default";
            p.at(n, format!("sink `{name}` is of the kind `kafka`, which this skirmish was built without")).help(help);
            return None;
        }
        f.finish(p);
        let (kind, options) = match found[..] {
            [one] => one,
            [] => {
                let all: Vec<_> = KINDS.iter().map(|k| format!("`{}`", k.name)).collect();
                p.at(node, format!("sink `{name}` has no kind")).help(format!("expected one of {}", all.join(", ")));
                return None;
            }
            [first, second, ..] => {
                let message = format!("sink `{name}` has two kinds, `{}` and `{}`", first.0.name, second.0.name);
                p.at(second.1, message).help("each sink has one");
                return None;
            }
        };
        let sink = (kind.read)(options, p);
        let sink = sink?;
        Some(SinkSpec {
            name: name.into(),
            kind: kind.name,
            on_slow: slow.unwrap_or(sink.on_slow()),
            queue_bytes_max: queue.unwrap_or(QUEUE_BYTES_MAX),
            cap,
            sink,
        })
    }

    /// Makes its door and its task.
    pub fn build(
        self,
        deliveries: Vec<DeliveryInfo>,
        accounts: Vec<Arc<crate::account::Delivery>>,
        run: Arc<RunInfo>,
    ) -> (Door, BoxFuture<'static, Drained>) {
        let (door, offers, receipts) = door(accounts, self.on_slow, self.queue_bytes_max);
        let caps = Caps::new(self.cap, deliveries.iter().map(|d| d.cap));
        let task = Task { name: self.name, deliveries, receipts, run, queue: Queue::new(offers, caps) };
        (door, self.sink.start(task))
    }
}

/// Digest of lines as [`Drained::digest`] wants it.
#[derive(Default)]
pub(crate) struct LineDigest(xxhash_rust::xxh3::Xxh3);

impl LineDigest {
    pub(crate) fn line(&mut self, payload: &[u8]) {
        self.0.update(payload);
        self.0.update(b"\n");
    }
    pub(crate) fn value(&self) -> u128 {
        self.0.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn read(text: &str) -> (Option<SinkSpec>, String) {
        let docs = yaml::parse("x.yaml", text).unwrap();
        let mut p = Problems::new();
        let s = SinkSpec::from_node("main", &docs[0], &mut p);
        (s, p.to_string())
    }

    #[test]
    fn a_sink_has_one_kind_and_known_fields() {
        let (s, p) = read("{null: {}, on_slow: drop, queue: 1MiB}");
        let s = s.unwrap();
        assert_eq!((p.as_str(), s.kind, s.on_slow, s.queue_bytes_max), ("", "null", OnSlow::Drop, 1 << 20));
        // the list of kinds depends on the features
        let p = read("{nul: {}, on_slow: blok, queue: much}").1;
        insta::assert_snapshot!(p.split("; expected").next().unwrap(), @r"
        x.yaml:1:20: unknown value of `on_slow` `blok`; did you mean `block`?
        x.yaml:1:33: `queue` must be a number of bytes such as `64KiB`, `32MiB` or `1GB`, not `much`
        x.yaml:1:2: unknown field of a sink `nul`; did you mean `null`?
        x.yaml:1:1: sink `main` has no kind
        ");
        insta::assert_snapshot!(read("{null: {}, stdout: {colour: red}}").1, @"x.yaml:1:20: sink `main` has two kinds, `null` and `stdout`; each sink has one");
    }

    #[test]
    fn options_of_network_sinks_say_all_that_is_wrong() {
        insta::assert_snapshot!(read("grpc_push: {address: nowhere, token: x, window_bytes_max: 0, give_up_after: 0s}").1, @r"
        x.yaml:1:22: `nowhere` is no address: it has no port; expected `host:port`, `http://host:port` or `https://host:port`
        x.yaml:1:38: `token` must not be written into a configuration; name a file with `token_file` or an environment variable with `token_env`
        x.yaml:1:59: `window_bytes_max` is `0`; at least 1
        x.yaml:1:77: `give_up_after` is `0s`; more than nothing
        ");
        insta::assert_snapshot!(read("otlp: {adress: 'a:1', compression: gzp, tls: {cert: a.pem}, timeout: fast}").1, @r"
        x.yaml:1:7: an otlp sink lacks `address`
        x.yaml:1:46: only one of `cert` and `key` is given; a client certificate needs both
        x.yaml:1:36: unknown compression `gzp`; did you mean `gzip`?
        x.yaml:1:70: `timeout` must be a length of time such as `250ms`, `3s` or `2h`, not `fast`
        x.yaml:1:8: unknown field of an otlp sink `adress`; did you mean `address`?
        ");
        insta::assert_snapshot!(read("grpc_serve: {listen: '7417', tls: {cert: a}, ring: big}").1, @r"
        x.yaml:1:22: `listen` is `7417`; an address and a port, `127.0.0.1:7417`
        x.yaml:1:35: `tls` lacks `key`
        x.yaml:1:52: `ring` must be a number of bytes such as `64KiB`, `32MiB` or `1GB`, not `big`
        ");
    }

    #[test]
    fn kinds_are_unique_and_described() {
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|k| k.name).collect();
        assert_eq!(names.len(), KINDS.len());
        assert!(KINDS.iter().all(|k| !k.about.is_empty()));
    }
}

//! A sink behind its door, batches to offer, and a reader of topics.

#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use skirmish::account::{Delivery, DeliveryReading};
use skirmish::batch::{Batch, Message, RecordId};
use skirmish::sink::{DeliveryInfo, Door, Drained, Gauges, RunInfo, SinkSpec};
use skirmish::time::Time;
use skirmish::yaml::{self, Problems};

/// A running sink.
pub struct Rig {
    /// The way in.
    pub door: Door,
    /// One account per delivery.
    pub accounts: Vec<Arc<Delivery>>,
    /// Its counters.
    pub gauges: Gauges,
    thread: JoinHandle<Drained>,
}

/// An entry of `sinks:` with its deliveries.
pub fn spec(sink: &str, deliveries: &[&str]) -> SinkSpec {
    let mut p = Problems::new();
    let node = yaml::parse("test.yaml", sink).expect("YAML").remove(0);
    let spec = SinkSpec::from_node("main", &node, &mut p);
    let mut spec = spec.unwrap_or_else(|| panic!("{p}"));
    for d in deliveries {
        let node = yaml::parse("test.yaml", d).expect("YAML").remove(0);
        let fields = node.fields(&mut p, "a delivery").expect("a mapping");
        let info = DeliveryInfo { source: "test".into(), ..DeliveryInfo::default() };
        spec.sink.add_delivery(&info, &fields, &mut p);
        fields.finish(&mut p);
    }
    assert!(p.is_empty(), "{p}");
    spec
}

impl Rig {
    /// Opens and starts a sink.
    pub fn start(sink: &str, deliveries: &[&str]) -> Result<Rig, String> {
        let mut spec = spec(sink, deliveries);
        spec.sink.open()?;
        Ok(Rig::unopened(spec, deliveries.len()))
    }
    /// Starts a sink that was not opened.
    pub fn unopened(spec: SinkSpec, deliveries: usize) -> Rig {
        let gauges = spec.sink.gauges().expect("it has counters");
        let accounts: Vec<Arc<Delivery>> = (0..deliveries).map(|_| Arc::default()).collect();
        let infos = vec![DeliveryInfo::default(); deliveries];
        let run = Arc::new(RunInfo { id: "r1".into(), ..RunInfo::default() });
        let (door, task) = spec.build(infos, accounts.clone(), run);
        let thread = std::thread::spawn(move || {
            let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            rt.block_on(task)
        });
        Rig { door, accounts, gauges, thread }
    }
    /// A delivery's account now; it balances.
    pub fn read(&self, delivery: usize) -> DeliveryReading {
        let r = self.accounts[delivery].read();
        assert_eq!(r.generated, r.delivered + r.dropped + r.unknown + r.in_flight);
        r
    }
    /// Closes the door and waits for the end; nothing is in flight after it.
    pub fn close(self, flush: Duration) -> (Drained, Vec<DeliveryReading>) {
        self.door.close(flush);
        let drained = self.thread.join().expect("no panic in the sink");
        let readings: Vec<_> = self.accounts.iter().map(|a| a.read()).collect();
        for r in &readings {
            assert_eq!((r.generated, r.in_flight), (r.delivered + r.dropped + r.unknown, 0));
        }
        (drained, readings)
    }
    /// A counter by name and label, 0 when it is not there.
    pub fn gauge(&self, name: &str, label: &str) -> u64 {
        (self.gauges)().iter().find(|(n, l, _)| (*n, *l) == (name, label)).map_or(0, |g| g.2)
    }
}

/// Logical time of record `n`: from the start of the test, releases a millisecond apart. Not a fixed date: brokers forget
/// producers whose latest timestamp is more than a day old, and then take a batch that is sent again for a new one.
pub fn release(n: u64) -> Time {
    static START: OnceLock<i64> = OnceLock::new();
    let start = START.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64);
    Time(start * 1_000_000_000 + n as i64 * 1_000_000)
}

/// Records `from..to` of cell 3: payload `<n>:xxx…` of about `size` bytes, key `host-<n mod hosts>` (none when 0 hosts),
/// each hundredth an attack record with a truth line.
pub fn batch(from: u64, to: u64, size: usize, hosts: u64) -> Arc<Batch> {
    use std::io::Write;
    let mut b = Batch::default();
    // as the driver makes them: no more room than they take
    b.bytes.reserve_exact((to - from) as usize * size);
    for n in from..to {
        let start = b.bytes.len();
        write!(b.bytes, "{n}:").expect("memory");
        for i in (b.bytes.len() - start) as u64..size as u64 {
            b.bytes.push(b'a' + ((i * 7 + n) % 26) as u8);
        }
        if hosts > 0 {
            write!(b.keys, "host-{}", n % hosts).expect("memory");
        }
        let attack = n.is_multiple_of(100);
        if attack {
            writeln!(b.truth, "{{\"id\":\"r1.0.3.{n}\",\"attack\":true}}").expect("memory");
        }
        b.messages.push(Message {
            end: b.bytes.len() as u32,
            key_end: b.keys.len() as u32,
            truth_end: b.truth.len() as u32,
            id: RecordId { stream: 0, cell: 3, n },
            records: 1,
            attack: attack as u32,
            release: release(n),
            event: Time(release(n).0 - 2_000_000_000),
            ..Message::default()
        });
    }
    Arc::new(b)
}

/// A message as a consumer finds it.
#[derive(Debug)]
pub struct Got {
    pub partition: i32,
    pub key: Option<String>,
    pub payload: Vec<u8>,
    pub headers: BTreeMap<String, String>,
    pub timestamp_ms: i64,
}

impl Got {
    /// The number that its payload begins with.
    pub fn n(&self) -> u64 {
        let text = String::from_utf8_lossy(&self.payload);
        text.split(':').next().and_then(|n| n.parse().ok()).expect("a number")
    }
}

/// Everything in a topic, partition by partition in the order of offsets.
pub fn read_topic(server: &str, topic: &str, mut each: impl FnMut(Got)) {
    let c: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server)
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .set("fetch.message.max.bytes", "4000000")
        .create()
        .expect("a consumer");
    let wait = Duration::from_secs(20);
    let m = c.fetch_metadata(Some(topic), wait).expect("metadata");
    let mut left = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for p in m.topics()[0].partitions() {
        let (low, high) = c.fetch_watermarks(topic, p.id(), wait).expect("watermarks");
        if high > low {
            left.insert(p.id(), high);
            list.add_partition_offset(topic, p.id(), Offset::Beginning).expect("valid");
        }
    }
    c.assign(&list).expect("assigned");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "topic {topic} cannot be read to its end: {left:?}");
        let m = match c.poll(Duration::from_millis(200)) {
            Some(Ok(m)) => m,
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(p))) => {
                left.remove(&p);
                continue;
            }
            Some(Err(e)) => panic!("{e}"),
            None => continue,
        };
        let headers = m.headers().map(|h| {
            let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
            h.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect()
        });
        each(Got {
            partition: m.partition(),
            key: m.key().map(|k| String::from_utf8_lossy(k).into_owned()),
            payload: m.payload().unwrap_or_default().to_vec(),
            headers: headers.unwrap_or_default(),
            timestamp_ms: m.timestamp().to_millis().unwrap_or(-1),
        });
    }
}

/// Checks that a topic holds each of the numbers for which `there` says so exactly once, and rising per key.
pub fn assert_once_in_order(server: &str, topic: &str, total: u64, there: impl Fn(u64) -> bool) {
    let mut seen = vec![0u8; total as usize];
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    read_topic(server, topic, |g| {
        let n = g.n();
        seen[n as usize] += 1;
        if let Some(before) = last.insert(g.key.clone().unwrap_or_default(), n) {
            assert!(before < n, "{topic}: {n} stands after {before} under one key");
        }
    });
    let wrong: Vec<_> = (0..total).filter(|n| seen[*n as usize] != there(*n) as u8).take(5).collect();
    assert!(wrong.is_empty(), "{topic}: records missing, repeated or not dropped, the first: {wrong:?}");
}

//! The Kafka sink against a real broker: content, protection, refusals.
#![cfg(feature = "kafka")]

#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/sink.rs"]
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sink::{Rig, assert_once_in_order, batch, read_topic, release, spec};

const FLUSH: Duration = Duration::from_secs(20);

/// Kafka's `Utils.murmur2`.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for c in &mut chunks {
        let mut k = u32::from_le_bytes(c.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (i, b) in rest.iter().enumerate().rev() {
        h ^= (*b as u32) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

fn java_partition(key: &str, partitions: i32) -> i32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions
}

#[test]
fn murmur2_is_javas() {
    // the vectors of Kafka's own UtilsTest
    for (text, hash) in [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
    }
}

#[test]
fn records_arrive_once_in_order_with_key_headers_and_time() {
    let Some(b) = kafka::shared() else { return };
    let yaml = format!(
        "kafka: {{brokers: '{}', create_topics: {{partitions: 5, replication: 1}}, timestamp: event}}",
        b.plain()
    );
    let to = [
        "{topic: t.truth, headers: truth}",
        "{topic: t.id, headers: id}",
        "{topic: t.none, headers: none, create: {partitions: 2}}",
    ];
    let rig = Rig::start(&yaml, &to).unwrap();
    for from in (0..20_000).step_by(500) {
        let (keyed, keyless) = (batch(from, from + 500, 200, 7), batch(from, from + 500, 300, 0));
        rig.door.offer(0, keyed.clone());
        rig.door.offer(1, keyed);
        rig.door.offer(2, keyless);
    }
    let (drained, readings) = rig.close(FLUSH);
    assert_eq!(drained.error, None);
    for r in readings {
        assert_eq!((r.generated, r.delivered), (20_000, 20_000));
    }
    assert_once_in_order(&b.plain(), "t.truth", 20_000, |_| true);
    let mut partitions = BTreeSet::new();
    read_topic(&b.plain(), "t.truth", |g| {
        let n = g.n();
        assert_eq!(g.payload, batch(n, n + 1, 200, 7).bytes, "the payload is not touched");
        let key = format!("host-{}", n % 7);
        assert_eq!(g.key.as_deref(), Some(key.as_str()));
        assert_eq!(g.partition, java_partition(&key, 5));
        assert_eq!(g.timestamp_ms, release(n).ms() - 2_000);
        let mut headers = BTreeMap::from([("skirmish-id".to_owned(), format!("r1.0.3.{n}"))]);
        if n % 100 == 0 {
            headers.insert("skirmish-truth".into(), format!("{{\"id\":\"r1.0.3.{n}\",\"attack\":true}}"));
        }
        assert_eq!(g.headers, headers);
        partitions.insert(g.partition);
    });
    assert!(partitions.len() > 1);
    assert_once_in_order(&b.plain(), "t.id", 20_000, |_| true);
    read_topic(&b.plain(), "t.id", |g| assert_eq!(g.headers.keys().collect::<Vec<_>>(), ["skirmish-id"]));
    let mut seen = 0;
    read_topic(&b.plain(), "t.none", |g| {
        assert!(g.headers.is_empty() && g.key.is_none() && g.partition < 2);
        seen += 1;
    });
    assert_eq!(seen, 20_000);
    let text = b.console_consumer("t.id", 100);
    assert_eq!(text.lines().count(), 100, "Kafka's own consumer reads it");
}

#[test]
fn protected_listeners_are_reached_from_yaml_and_from_client_properties() {
    let Some(b) = kafka::shared() else { return };
    let (ca, password) = (b.file("ca.pem"), b.file("password"));
    let properties = b.file("client.properties");
    let text = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"{}\" \\\n  \
         password=\"{}\";\nssl.truststore.type=PEM\nssl.truststore.location={ca}\ncompression.type=gzip\n",
        b.sasl_ssl(),
        kafka::USER,
        // once for JAAS, once for the properties format
        kafka::PASSWORD.replace('"', "\\\\\""),
    );
    std::fs::write(&properties, text).unwrap();
    let login = |mechanism: &str| {
        format!(
            "brokers: '{}', security: {{sasl: {mechanism}, username: {}, password_file: '{password}', tls: {{ca: '{ca}'}}}}",
            b.sasl_ssl(),
            kafka::USER
        )
    };
    let (cert, key) = (b.file("client.pem"), b.file("client.key"));
    let mutual = format!("brokers: '{}', security: {{tls: {{ca: '{ca}', cert: '{cert}', key: '{key}'}}}}", b.ssl());
    let all = [
        login("scram-sha-512"),
        login("scram-sha-256"),
        login("plain"),
        mutual,
        format!("client_properties: '{properties}'"),
    ];
    for (i, kafka) in all.iter().enumerate() {
        let topic = format!("protected.{i}");
        let yaml = format!("kafka: {{{kafka}, create_topics: {{partitions: 1}}}}");
        let rig = Rig::start(&yaml, &[&format!("{{topic: {topic}}}")]).unwrap_or_else(|e| panic!("{kafka}: {e}"));
        rig.door.offer(0, batch(0, 100, 100, 3));
        let (drained, r) = rig.close(FLUSH);
        assert_eq!((drained.error, r[0].delivered), (None, 100));
        assert_once_in_order(&b.plain(), &topic, 100, |_| true);
    }
}

#[test]
fn what_cannot_be_reached_is_said_once_and_without_secrets() {
    let Some(b) = kafka::shared() else { return };
    let (ca, dir) = (b.file("ca.pem"), tempfile::tempdir().unwrap());
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "hunter2").unwrap();
    let open = |kafka: String, topic: &str| {
        let to = format!("{{topic: {topic}}}");
        let e = Rig::start(&format!("kafka: {{wait: 1s, {kafka}}}"), &[&to]).err().expect("it cannot open");
        assert!(!e.contains("hunter2") && !e.contains('\n'), "{e}");
        e
    };
    let login = format!(
        "brokers: '{}', security: {{sasl: scram-sha-512, username: skirmish, password_file: '{}', tls: {{ca: '{ca}'}}}}",
        b.sasl_ssl(),
        wrong.display()
    );
    let all = [
        open(login, "x"),
        open(format!("brokers: '{}'", b.plain()), "not.there"),
        open("brokers: '127.0.0.1:1'".into(), "x"),
        open("brokers: 'no-such-host.invalid:9092'".into(), "x"),
        open(format!("brokers: '{}', security: {{tls: {{ca: '{}'}}}}", b.sasl_ssl(), b.file("client.pem")), "x"),
    ];
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:2\d{4}", "BROKER");
    settings.add_filter(r" \(after \d+ms[^\n]*", "");
    settings.bind(|| insta::assert_snapshot!(all.join("\n"), @r"
    kafka BROKER: authentication: sasl_ssl://BROKER/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512
    kafka BROKER: unknown_topic: topic `not.there` is not there and the cluster does not create it by itself; create it or set `create_topics`
    kafka 127.0.0.1:1: unreachable: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused
    kafka no-such-host.invalid:9092: name_resolution: no-such-host.invalid:9092/bootstrap: Failed to resolve 'no-such-host.invalid:9092': Name or service not known
    kafka BROKER: tls: ssl://BROKER/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed (install ca-certificates package)
    "));
}

#[test]
fn what_is_too_large_is_dropped_alone_and_with_its_reason() {
    let Some(b) = kafka::shared() else { return };
    let yaml = format!(
        "kafka: {{brokers: '{}', create_topics: {{partitions: 1, config: {{max.message.bytes: 50000}}}}, \
         message_max: 100KB, linger: 50ms, compression: none}}",
        b.plain()
    );
    let rig = Rig::start(&yaml, &["{topic: small}"]).unwrap();
    rig.door.offer(0, batch(0, 100, 2_000, 3));
    rig.door.offer(0, batch(100, 101, 60_000, 3)); // the topic refuses it
    rig.door.offer(0, batch(101, 102, 200_000, 3)); // the sink does
    rig.door.offer(0, batch(102, 200, 2_000, 3));
    let gauges = rig.gauges.clone();
    let (drained, r) = rig.close(FLUSH);
    assert_eq!((r[0].delivered, r[0].dropped, r[0].unknown), (198, 2, 0));
    assert_eq!(drained.error.as_deref(), Some("2 records were given up: too_large"));
    assert!(gauges().contains(&("kafka_dropped_records_total", "too_large", 2)));
    assert_once_in_order(&b.plain(), "small", 200, |n| n != 100 && n != 101);
}

#[test]
fn a_probe_tells_what_a_run_would_meet_and_writes_nothing() {
    use skirmish::sink::kafka::options::{DeliveryOptions, KafkaOptions};
    use skirmish::sink::kafka::probe::{Question, probe};
    let Some(b) = kafka::shared() else { return };
    let config = "config: {max.message.bytes: 5000, message.timestamp.before.max.ms: 3600000, retention.ms: 7200000}";
    let yaml = format!("kafka: {{brokers: '{}', create_topics: {{partitions: 2, {config}}}}}", b.plain());
    drop(Rig::start(&yaml, &["{topic: probed}"]).unwrap().close(FLUSH));

    let read = |kafka: &str| {
        let node = skirmish::yaml::parse("test.yaml", kafka).unwrap().remove(0);
        let mut p = skirmish::yaml::Problems::new();
        KafkaOptions::from_node(&node, &mut p).unwrap_or_else(|| panic!("{p}"))
    };
    let options = read(&format!(
        "{{brokers: '{}', security: {{sasl: plain, username: skirmish, password_file: '{}', tls: {{ca: '{}'}}}}}}",
        b.sasl_ssl(),
        b.file("password"),
        b.file("ca.pem")
    ));
    let to: Vec<_> = ["probed", "absent"]
        .map(|t| DeliveryOptions { topic: t.into(), headers: skirmish::sink::Headers::Id, create: None })
        .into();
    let now = release(0);
    let q = Question { now, from: skirmish::time::Time(now.0 - 3 * 86_400_000_000_000), message_bytes_max: 9_000 };
    let bad = probe(&options, &to, &q);
    let good = probe(&options, &to, &Question { now, from: now, message_bytes_max: 3_000 });
    assert!(good.ok() && !bad.ok(), "{good}");
    let other = probe(&read(&format!("{{brokers: '{}', security: tls}}", b.sasl_ssl())), &to, &q).to_string();
    let absent = probe(&read("{brokers: ['127.0.0.1:1', 'no-such-host.invalid:9092']}"), &to, &q).to_string();
    let found = serde_json::to_value(&good).unwrap();
    assert_eq!(
        (&found["topics"][0]["partitions"], &found["topics"][1]["partitions"]),
        (&().into(), &2.into()),
        "sorted by name"
    );
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:2\d{4}", "BROKER");
    settings.add_filter(r"connected in \d+ ms", "connected in N ms");
    settings.add_filter(r" \(after \d+ms[^\n]*", "");
    settings.add_filter(r"\(\d+ days\)", "(N days)");
    settings.add_filter(r"cluster \S{22}:", "cluster ID:");
    settings.bind(|| insta::assert_snapshot!(bad, @r"
    ok   broker BROKER: Kafka 4.1, connected in N ms
    ok     certificate CN=broker, issued by CN=skirmish test authority, ends 4096-01-01T00:00:00Z (N days)
    ok     certificate CN=skirmish test authority, issued by CN=skirmish test authority, ends 4096-01-01T00:00:00Z (N days)
    ok   cluster ID: logged in, 1 brokers
    ok   topic absent: not there
    ok     note: is not there; the cluster must create it by itself, or set `create_topics`
    FAIL topic probed: 2 partitions, compression.type=producer, max.message.bytes=5000, message.timestamp.after.max.ms=3600000, message.timestamp.before.max.ms=3600000, message.timestamp.type=CreateTime, retention.bytes=-1, retention.ms=7200000
    FAIL   takes messages of 5000 bytes and the largest of this run has 9000; raise max.message.bytes and `message_max`
    FAIL   refuses timestamps older than 1 h (message.timestamp.before.max.ms)
    ok     note: keeps records for 2 h: the first ones are deleted soon after they come
    ok     note: brokers forget a producer whose timestamps are older than a day: a batch sent again after a broker's crash would be there twice; with message.timestamp.type=LogAppendTime it would not
    "));
    settings.bind(|| insta::assert_snapshot!(other.lines().chain(absent.lines()).filter(|l| l.contains("broker")).collect::<Vec<_>>().join("\n"), @r"
    FAIL broker BROKER: the certificate is not to be trusted: invalid peer certificate: UnknownIssuer
    ok     certificate CN=broker, issued by CN=skirmish test authority, ends 4096-01-01T00:00:00Z (N days)
    FAIL cluster: tls: ssl://BROKER/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed (install ca-certificates package)
    FAIL broker 127.0.0.1:1: cannot connect: Connection refused (os error 111)
    FAIL broker no-such-host.invalid:9092: no-such-host.invalid does not resolve: failed to lookup address information: Name or service not known
    "));
    // what was asked about was not made by asking
    let again = probe(&options, &to, &q).to_string();
    assert!(again.contains("topic absent: not there"), "{again}");
}

#[test]
fn a_closing_sink_says_what_never_left() {
    // no broker at all: the sink is not opened
    let sink = spec("{kafka: {brokers: '127.0.0.1:1'}, queue: 1MiB}", &["{topic: t}"]);
    let rig = Rig::unopened(sink, 1);
    rig.door.offer(0, batch(0, 1_000, 100, 3));
    assert_eq!(rig.read(0).in_flight, 1_000);
    let (drained, r) = rig.close(Duration::from_millis(300));
    assert_eq!((r[0].delivered, r[0].dropped, r[0].unknown), (0, 1_000, 0));
    assert_eq!(drained.error.as_deref(), Some("the brokers did not answer in the time given to flush"));
}

#[test]
fn a_fatal_error_makes_a_new_producer_and_loses_no_account() {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    let sink = spec(&format!("kafka: {{brokers: '{}'}}", mock.bootstrap_servers()), &["{topic: t}"]);
    let rig = Rig::unopened(sink, 1);
    rig.door.offer(0, batch(0, 100, 100, 1));
    let until = |what: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + FLUSH;
        while !what() {
            assert!(std::time::Instant::now() < deadline, "{:?} {:?}", rig.read(0), (rig.gauges)());
            std::thread::yield_now();
        }
    };
    until(&|| rig.read(0).delivered == 100);
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    rig.door.offer(0, batch(100, 200, 100, 1));
    until(&|| rig.read(0).in_flight == 0);
    rig.door.offer(0, batch(200, 300, 100, 1));
    until(&|| rig.read(0).in_flight == 0 && rig.read(0).generated == 300);
    assert_eq!(rig.gauge("kafka_restarts_total", ""), 1);
    let (_, r) = rig.close(FLUSH);
    assert_eq!((r[0].delivered, r[0].dropped + r[0].unknown), (200, 100));
}

use proptest::prelude::*;

use super::*;
use crate::secret::SecretRef;
use crate::sink::kafka::Kafka;
use crate::sink::kafka::security::{Sasl, Secret};
use crate::sink::{Sink, SinkSpec};
use crate::yaml;

fn read(text: &str) -> (Option<KafkaOptions>, String) {
    let docs = yaml::parse("x.yaml", text).unwrap();
    let mut p = Problems::new();
    let o = KafkaOptions::from_node(&docs[0], &mut p);
    assert_eq!(o.is_none(), !p.is_empty());
    (o, p.to_string())
}

fn deliver(text: &str) -> (DeliveryOptions, String) {
    let docs = yaml::parse("x.yaml", text).unwrap();
    let mut p = Problems::new();
    let info = DeliveryInfo { source: "windows.sysmon".into(), headers: Headers::Id, ..DeliveryInfo::default() };
    let mut k = Kafka::new(KafkaOptions::default());
    let f = docs[0].fields(&mut p, "a delivery").unwrap();
    k.add_delivery(&info, &f, &mut p);
    f.finish(&mut p);
    (k.deliveries.remove(0), p.to_string())
}

#[test]
fn the_design_sketch_loads() {
    let text = "kafka: {brokers: \"kafka:9093\", security: {sasl: scram-sha-512, username: skirmish, \
                password_file: /run/secrets/kafka}}\non_slow: catch_up\n";
    let docs = yaml::parse("x.yaml", text).unwrap();
    let mut p = Problems::new();
    let spec = SinkSpec::from_node("main", &docs[0], &mut p).unwrap();
    assert_eq!((spec.kind, p.to_string().as_str()), ("kafka", ""));
    let o = read("{brokers: 'k:9093', security: {sasl: scram-sha-512, username: s, password_file: /p}}").0.unwrap();
    assert!(o.security.tls.is_some(), "a login goes over TLS unless it is refused");
    let password = Secret::Ref(SecretRef::File("/p".into()));
    assert_eq!(o.security.sasl, Some(Sasl::Scram { wide: true, username: "s".into(), password }));
}

#[test]
fn all_fields_are_read() {
    let text = "{brokers: ['a:1', 'b:2,c:3'], acks: leader, compression: zstd, linger: 20ms, batch: 64KiB, \
                message_max: 2MiB, create_topics: {partitions: 6, replication: 1, config: {retention.ms: 60000}}, \
                timestamp: event, wait: 3s, properties: {client.rack: r1, sticky.partitioning.linger.ms: 5}, \
                security: plaintext}";
    let o = read(text).0.unwrap();
    assert_eq!(o.brokers, ["a:1", "b:2", "c:3"]);
    assert!(!o.idempotence, "as in Java, acks other than all switch it off");
    let c = o.client_config(32 << 20).unwrap();
    let get = |k| c.get(k).unwrap_or("-");
    let keys = ["acks", "compression.type", "linger.ms", "batch.size", "message.max.bytes", "client.rack"];
    assert_eq!(keys.map(get), ["1", "zstd", "20", "65536", "2097152", "r1"]);
    assert_eq!(["enable.idempotence", "max.in.flight.requests.per.connection"].map(get), ["false", "1"]);
    let create = o.create_topics.unwrap();
    assert_eq!((create.partitions, create.replication, create.config["retention.ms"].as_str()), (6, 1, "60000"));
}

#[test]
fn defaults_never_give_up_and_keep_the_order() {
    let c = read("{brokers: k}").0.unwrap().client_config(32 << 20).unwrap();
    let get = |k| c.get(k).unwrap_or("-");
    let keys = ["message.timeout.ms", "enable.idempotence", "acks", "partitioner", "security.protocol"];
    assert_eq!(keys.map(get), ["0", "true", "all", "murmur2_random", "plaintext"]);
    assert!(c.create_native_config().is_ok(), "librdkafka takes every default");
}

#[test]
fn every_fault_is_named_at_its_place() {
    let bad = "\
brokers: ['k:99999', '', 'a b:1']
acks: sometimes
idempotence: maybe
compression: lz5
linger: 20m
batch: 0
wait: soon
timestamp: evnt
create_topics: {partitions: 0, replicas: 2}
security: {tls: {ca: /no/such.pem, cert: /no/such.pem}, sasl: scram-sha-521, user: x}
properties: {sasl.password: hunter2, linger.ms: 3, client.rck: x, socket.timeout.ms: never}
queue: 3
";
    let (_, problems) = read(bad);
    assert!(!problems.contains("hunter2"));
    insta::assert_snapshot!(problems, @r#"
    x.yaml:1:11: broker `k:99999` has no port from 1 to 65535
    x.yaml:1:22: broker `` is no address such as `kafka:9092`
    x.yaml:1:26: broker `a b:1` is no address such as `kafka:9092`
    x.yaml:10:22: ca: cannot read /no/such.pem: No such file or directory (os error 2)
    x.yaml:10:42: cert: cannot read /no/such.pem: No such file or directory (os error 2)
    x.yaml:10:17: `cert` and `key` come together: one of them is missing
    x.yaml:10:63: unknown sasl mechanism `scram-sha-521`; did you mean `scram-sha-512`?
    x.yaml:10:78: unknown field of security `user`; expected one of `kerberos`, `oidc`, `password`, `password_env`, `password_file`, `sasl`, `tls`, `token_file`, `username`
    x.yaml:2:7: unknown acks `sometimes`; expected one of `all`, `leader`, `none`
    x.yaml:3:14: idempotence must be true or false, not `maybe`
    x.yaml:4:14: unknown compression `lz5`; did you mean `lz4`?
    x.yaml:5:9: linger must be from 0s to 900s, not `20m`
    x.yaml:7:7: wait must be a length of time such as `250ms`, `3s` or `2h`, not `soon`
    x.yaml:6:8: batch must be from 1 to 2147483647 bytes, not `0`
    x.yaml:9:29: partitions must be from 1 to 100000, not `0`
    x.yaml:9:32: unknown field of create_topics `replicas`; expected one of `config`, `partitions`, `replication`
    x.yaml:8:12: unknown timestamp `evnt`; did you mean `event`?
    x.yaml:11:14: `sasl.password` is a secret and may not stand in a configuration; refer to it under `security` by file or environment variable
    x.yaml:11:38: `linger.ms` is not passed through; set `linger`
    x.yaml:11:52: librdkafka has no property `client.rck`; did you mean `client.rack`?
    x.yaml:11:86: `socket.timeout.ms` does not take `never`: invalid value for configuration property "socket.timeout.ms"
    x.yaml:12:1: unknown field of kafka `queue`; expected one of `acks`, `batch`, `brokers`, `client_properties`, `compression`, `create_topics`, `idempotence`, `linger`, `message_max`, `properties`, `security`, `timestamp` and 1 more
    "#);
}

#[test]
fn logins_lack_nothing_and_hold_no_secret_inline() {
    let one = |security: &str| read(&format!("{{brokers: k, security: {security}}}")).1;
    let all = [
        "ssl",
        "{sasl: plain, username: u, password: hunter2}",
        "{sasl: plain, username: u}",
        "{sasl: plain, password_env: P}",
        "{username: u}",
        "{sasl: oauthbearer}",
        "{sasl: oauthbearer, oidc: {token_url: 'https://x', client_id: i, client_secret: hunter2}}",
        "{sasl: plain, username: u, password_env: P, password_file: p}",
    ]
    .map(one)
    .join("\n");
    assert!(!all.contains("hunter2"));
    insta::assert_snapshot!(all, @r"
    x.yaml:1:24: unknown security `ssl`; expected `plaintext`, `tls` or a mapping
    x.yaml:1:61: `password` must not be written into a configuration; name a file with `password_file` or an environment variable with `password_env`
    x.yaml:1:31: sasl `plain` needs `password_file` or `password_env`
    x.yaml:1:31: sasl `plain` needs `username`
    x.yaml:1:35: a login needs `sasl`; one of `plain`, `scram-sha-256`, `scram-sha-512`, `oauthbearer`, `gssapi`
    x.yaml:1:31: sasl `oauthbearer` needs one of `token_file` and `oidc`
    x.yaml:1:104: `client_secret` must not be written into a configuration; name a file with `client_secret_file` or an environment variable with `client_secret_env`
    x.yaml:1:65: both `password_file` and `password_env` are given; one of them is enough
    ");
}

#[test]
fn secrets_are_referred_to_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!(
        "{{brokers: k, security: {{sasl: plain, username: u, password_file: '{}', tls: false}}}}",
        file.display()
    );
    let o = read(&text).0.unwrap();
    assert!(!format!("{o:?}").contains("hunter2"));
    let c = o.client_config(1 << 20).unwrap();
    assert_eq!((c.get("sasl.password"), c.get("security.protocol")), (Some("hunter2"), Some("sasl_plaintext")));
    std::fs::remove_file(&file).unwrap();
    let e = o.client_config(1 << 20).unwrap_err();
    assert!(e.message.starts_with("cannot read `") && e.class.name() == "configuration", "{e}");
}

#[test]
fn deliveries_have_a_topic_that_kafka_takes() {
    let (d, p) = deliver("{topic: sec.sysmon, headers: none, create: {partitions: 3}}");
    assert_eq!((d.topic.as_str(), d.headers, p.as_str()), ("sec.sysmon", Headers::None, ""));
    assert_eq!(d.create.map(|c| (c.partitions, c.replication)), Some((3, -1)));
    let (d, p) = deliver("{}");
    assert_eq!((d.topic.as_str(), d.headers, p.as_str()), ("skirmish.windows.sysmon", Headers::Id, ""));
    let mut all: Vec<_> = ["''", "'..'", "'a/b'", "\"a\\nb\"", "'straße'"]
        .iter()
        .map(|t| deliver(&format!("{{topic: {t}, headers: id}}")).1)
        .collect();
    all.push(deliver(&format!("{{topic: {}}}", "x".repeat(250))).1);
    all.push(deliver("{topics: x, headers: truths}").1);
    insta::assert_snapshot!(all.join("\n"), @r"
    x.yaml:1:9: a topic needs a name; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:9: a topic cannot be named `..`; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:9: topic `a/b` holds `/`; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:9: topic `a\nb` holds `\n`; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:9: topic `straße` holds `ß`; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:9: topic name has 250 characters, at most 249 are allowed; a topic has 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`
    x.yaml:1:22: unknown value of `headers` `truths`; did you mean `truth`?
    x.yaml:1:2: unknown field of a delivery `topics`; did you mean `topic`?
    ");
    assert_eq!(topic_name(&"x".repeat(249)), Ok(()));
}

#[test]
fn bootstrap_lists_are_checked() {
    assert_eq!(KafkaOptions::from_bootstrap("a:1, [::1]:9092").unwrap().brokers, ["a:1", "[::1]:9092"]);
    let e = KafkaOptions::from_bootstrap("a:b,,c:0").unwrap_err();
    insta::assert_snapshot!(e, @r"
    broker `a:b` has no port from 1 to 65535
    broker `` is no address such as `kafka:9092`
    broker `c:0` has no port from 1 to 65535
    ");
}

proptest! {
    #[test]
    fn no_panic_on_any_address_or_name(s in "\\PC{0,40}") {
        let _ = KafkaOptions::from_bootstrap(&s);
        let _ = topic_name(&s);
    }
}

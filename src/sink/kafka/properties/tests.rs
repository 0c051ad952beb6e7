use proptest::prelude::*;

use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    parse(text).unwrap().into_iter().map(|x| (x.key, x.value)).collect()
}

fn problems(text: &str) -> String {
    options("client.properties", text).map_or_else(|p| p.to_string(), |(_, w)| w.join("\n"))
}

#[test]
fn the_format_is_javas() {
    let text = "# comment = no\n  ! neither\n\na=1\nb : 2\nc 3\n  d\\ e\\=f = g\\\n    h\\\\\ni\\u00e9=\\u20ac\\t\\:\nlast\nk==v\r\nx:=y\n#\\\nz=1";
    let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        pairs(text),
        [
            own("a", "1"),
            own("b", "2"),
            own("c", "3"),
            own("d e=f", "gh\\"),
            own("ié", "€\t:"),
            own("last", ""),
            own("k", "=v"),
            own("x", "=y"),
            own("z", "1"),
        ]
    );
    assert_eq!(parse("a=1\nb=\\u00g1"), Err(2));
    assert_eq!(parse("a=1\nb=\\u00"), Err(2));
}

#[test]
fn a_whole_file_means_what_it_says() {
    let text = r#"
bootstrap.servers=b1:9093, b2:9093
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
    username="skirmish" \
    password="hunter2";
compression.type=zstd
linger.ms=20
batch.size=131072
acks=all
request.timeout.ms=30000
ssl.endpoint.identification.algorithm=
delivery.timeout.ms=120000
key.serializer=org.apache.kafka.common.serialization.StringSerializer
interceptor.classes=com.example.X
"#;
    let (o, warnings) = options("client.properties", text).unwrap();
    assert!(!format!("{o:?}").contains("hunter2"));
    insta::assert_snapshot!(warnings.join("\n"), @r"
    client.properties:14: delivery.timeout.ms: skirmish never gives a record up by time
    client.properties:16: interceptor.classes: has no meaning here and is ignored
    ");
    let c = o.client_config(1 << 20).unwrap();
    let get = |k| c.get(k).unwrap_or("-");
    let keys = ["bootstrap.servers", "security.protocol", "sasl.mechanisms", "sasl.username", "sasl.password"];
    assert_eq!(keys.map(get), ["b1:9093,b2:9093", "sasl_ssl", "SCRAM-SHA-512", "skirmish", "hunter2"]);
    let keys =
        ["compression.type", "linger.ms", "batch.size", "socket.timeout.ms", "ssl.endpoint.identification.algorithm"];
    assert_eq!(keys.map(get), ["zstd", "20", "131072", "30000", "none"]);
}

#[test]
fn all_faults_come_by_line_without_secrets() {
    let text = "\
bootstrap.servers=b1:x
security.protocol=SASL_SLS
acks=2
compression.type=rar
batch.size=big
retries=-5
ssl.truststore.location=/no/such.jks
ssl.truststore.password=hunter2
";
    let all = [
        text,
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=X required password=\"hunter2\"",
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=X required username=\"hunter2\";",
        "security.protocol=SASL_SSL\nsasl.mechanism=DIGEST",
        "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER",
    ]
    .map(problems)
    .join("\n");
    assert!(!all.contains("hunter2"));
    insta::assert_snapshot!(all, @r#"
    client.properties:1: broker `b1:x` has no port from 1 to 65535
    client.properties:2: security.protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, not `SASL_SLS`
    client.properties:7: ssl.truststore.location: cannot read /no/such.jks: No such file or directory (os error 2)
    client.properties:3: acks must be all, 1 or 0, not `2`
    client.properties:4: compression.type is none, gzip, snappy, lz4 or zstd, not `rar`
    client.properties:5: batch.size must be a number, not `big`
    client.properties:6: `retries` does not take `-5`: configuration property "message.send.max.retries" value -5 is outside allowed range 0..2147483647
    client.properties:3: sasl.jaas.config: the semicolon at its end is missing
    client.properties:3: sasl.jaas.config lacks `password`, which PLAIN needs
    client.properties:2: sasl.mechanism `DIGEST` is not supported
    client.properties:2: OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url
    "#);
}

#[test]
fn bearer_tokens_come_from_a_provider_or_a_file() {
    let base = "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=";
    let jaas = "\nsasl.jaas.config=X required clientId=\"i\" clientSecret=\"hunter2\" scope=\"s\";";
    let (o, _) = options("x", &format!("{base}https://idp/token{jaas}")).unwrap();
    let Some(TokenFrom::Oidc { token_url, client_id, scope, .. }) = o.security.token_from() else { panic!() };
    assert_eq!((token_url.as_str(), client_id.as_str(), scope.as_deref()), ("https://idp/token", "i", Some("s")));
    let (o, _) = options("x", &format!("{base}file:///var/run/token")).unwrap();
    assert_eq!(o.security.token_from(), Some(&TokenFrom::File("/var/run/token".into())));
}

#[test]
fn stores_are_told_apart_by_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["me".into()]).unwrap().self_signed(&key).unwrap();
    let pem = dir.path().join("store.pem");
    std::fs::write(&pem, format!("Bag Attributes\n{}{}", key.serialize_pem(), cert.pem())).unwrap();

    let chain = p12_keystore::PrivateKeyChain::new(
        "1",
        p12_keystore::PrivateKey::from_der(&key.serialize_der()).unwrap(),
        [p12_keystore::Certificate::from_der(cert.der()).unwrap()],
    );
    let mut store = p12_keystore::KeyStore::new();
    store.add_entry("me", p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
    let p12 = dir.path().join("store.jks"); // the name says nothing
    std::fs::write(&p12, store.writer("changeit").write().unwrap()).unwrap();
    let jks = dir.path().join("old.jks");
    std::fs::write(&jks, [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]).unwrap();

    let read = |trust: &std::path::Path, own: &std::path::Path, password: &str| {
        let text = format!(
            "security.protocol=SSL\nssl.truststore.location={}\nssl.truststore.password={password}\n\
             ssl.keystore.location={}\nssl.keystore.password={password}",
            trust.display(),
            own.display()
        );
        options("p", &text)
    };
    for (trust, own) in [(&pem, &p12), (&p12, &pem)] {
        let o = read(trust, own, "changeit").unwrap().0;
        let tls = o.security.tls.clone().unwrap();
        let text = |p: Option<Pem>| p.unwrap().text().unwrap();
        let lines = |s: String| s.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(text(tls.ca)), lines(cert.pem()));
        assert_eq!(lines(text(tls.cert)), lines(cert.pem()));
        assert_eq!(lines(text(tls.key)), lines(key.serialize_pem()));
        let config = o.client_config(1 << 20).unwrap();
        let _: rdkafka::producer::BaseProducer = config.create().expect("librdkafka takes certificate and key");
    }
    let wrong = read(&p12, &jks, "hunter2").unwrap_err().to_string();
    assert!(!wrong.contains("hunter2"));
    let wrong = wrong.replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(wrong, @r"
    p:2: ssl.truststore.location: DIR/store.jks cannot be opened as PKCS#12 with the password given: MAC tag mismatch
    p:4: ssl.keystore.location: DIR/old.jks is a JKS store; convert it: keytool -importkeystore -srckeystore DIR/old.jks -destkeystore DIR/old.p12 -deststoretype PKCS12
    ");
}

proptest! {
    #[test]
    fn no_panic_on_any_text(s in "\\PC{0,200}") {
        let _ = options("p", &s);
    }
    #[test]
    fn no_panic_on_property_like_text(s in "[a-c=: \\\\\nu0-9#!.]{0,120}") {
        let _ = options("p", &s);
    }
    #[test]
    fn what_is_escaped_comes_back(key in "[a-z=: #!é]{1,10}", value in "[a-z=: #!€]{0,10}") {
        let escape = |s: &str| s.chars().map(|c| if c.is_ascii_lowercase() { c.to_string() }
            else if c.is_ascii() { format!("\\{c}") } else { format!("\\u{:04x}", c as u32) }).collect::<String>();
        let line = format!("{}={}", escape(&key), escape(&value));
        prop_assert_eq!(pairs(&line), [(key, value)]);
    }
}

//! The daemon as a server: subscriptions, gaps, tokens, TLS, health, control.

#[path = "sinks/support.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skirmish::client::Client;
use skirmish::control::{self, Commander, Refusal};
use skirmish::grpc::Target;
use skirmish::proto::skirmish::v1::stop_scenario_request::Which;
use skirmish::proto::skirmish::v1::*;
use skirmish::secret::{Secret, SecretRef};
use skirmish::sink::grpc_serve::{Serve, ServeOptions};
use skirmish::sink::{OnSlow, Sink};
use skirmish::time::Time;
use skirmish::tls::{ClientTls, ServerTls};
use support::{Rig, batch, parse, payload};

const LONG: Duration = Duration::from_secs(60);

fn open(options: ServeOptions) -> (Box<Serve>, Target) {
    let mut serve = Box::new(Serve::new(ServeOptions { listen: "127.0.0.1:0".parse().unwrap(), ..options }));
    serve.open().unwrap();
    let address = format!("localhost:{}", serve.address().unwrap().port());
    (serve, Target { address, ..Target::default() })
}

async fn collect(mut stream: tonic::Streaming<SubscribeResponse>) -> (Vec<(String, Message)>, Gap) {
    let (mut messages, mut gap) = (vec![], Gap::default());
    while let Some(r) = stream.message().await.unwrap() {
        if let Some(g) = r.gap {
            gap.messages += g.messages;
            gap.records += g.records;
            gap.bytes += g.bytes;
        }
        for b in r.batches {
            messages.extend(b.messages.into_iter().map(|m| (b.stream.clone(), m)));
        }
    }
    (messages, gap)
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_get_what_they_asked_for_in_order() {
    let (serve, target) = open(ServeOptions::default());
    let hub = serve.hub().unwrap();
    let rig = Rig::start(serve, OnSlow::Drop, 32 << 20);
    let mut client = Client::connect(&target).await.unwrap();
    let all = client.subscribe(SubscribeRequest::default()).await.unwrap();
    let attack = SubscribeRequest {
        streams: vec!["security".into()],
        attack_only: true,
        techniques: vec!["T1059".into()],
        without_payload: true,
        ..Default::default()
    };
    let attack = client.subscribe(attack).await.unwrap();
    let five = client.subscribe(SubscribeRequest { limit_messages: 5, ..Default::default() }).await.unwrap();
    let unknown = client.subscribe(SubscribeRequest { streams: vec!["sysmo".into()], ..Default::default() }).await;
    assert_eq!(unknown.unwrap_err(), "unknown stream `sysmo`; did you mean `sysmon`?");
    assert_eq!(hub.read().len(), 3);

    for k in 0..20 {
        for d in 0..2 {
            rig.offer(d, batch(d, k * 50, 50, 700)).await;
        }
    }
    assert_eq!(collect(five).await.0.len(), 5);
    rig.settled().await;
    assert_eq!((rig.read(0).delivered, rig.read(1).delivered), (1000, 1000));
    let (drained, _) = {
        let (closing, all, attack) = tokio::join!(rig.close(LONG), collect(all), collect(attack));
        assert_eq!((all.1, all.0.len()), (Gap::default(), 2000));
        for d in 0..2 {
            let own = all.0.iter().filter(|(s, _)| s == ["sysmon", "security"][d]);
            for (n, (_, m)) in own.enumerate() {
                assert_eq!(m.payload, payload(d, n as u64, 700));
                assert_eq!((m.number, m.cell, m.severity), (n as u64, 3, 9));
                assert_eq!(m.release_time_unix_nano, support::START + n as i64 * 1_000_000);
                assert_eq!(m.truth.is_empty(), n % 10 != 0);
            }
        }
        assert_eq!(
            attack.0.iter().map(|(_, m)| m.number).collect::<Vec<_>>(),
            (0..1000).step_by(10).collect::<Vec<_>>()
        );
        assert!(attack.0.iter().all(|(s, m)| s == "security" && m.payload.is_empty() && m.attack_records == 1));
        closing
    };
    assert_eq!(drained.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_has_gaps_and_holds_nobody() {
    let (serve, target) = open(ServeOptions { ring_bytes_max: 1 << 20, ..Default::default() });
    let hub = serve.hub().unwrap();
    // blocking at the door would hold this test for ever, if a subscriber could fill the queue
    let rig = Rig::start(serve, OnSlow::Block, 1 << 20);
    let mut client = Client::connect(&target).await.unwrap();
    let slow = client.subscribe(SubscribeRequest::default()).await.unwrap();
    let total = 64 * 1024;
    for k in 0..total / 64 {
        rig.offer(0, batch(0, k * 64, 64, 1000)).await;
    }
    rig.settled().await;
    let mine = hub.read()[0].clone();
    assert!(mine.gap_messages > total / 2, "{mine:?}");
    assert!(mine.ring_bytes <= 1 << 20, "{mine:?}");
    let ((_, accounts), (messages, gap)) = tokio::join!(rig.close(LONG), collect(slow));
    assert_eq!(messages.len() as u64 + gap.messages, total);
    assert_eq!((gap.records, gap.bytes), (gap.messages, gap.messages * 1000));
    assert!(messages.is_sorted_by_key(|(_, m)| m.number));
    assert_eq!((accounts[0].delivered, accounts[0].dropped), (total, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_for_all_but_health() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hunter2hunter2\n").unwrap();
    let (serve, target) = open(ServeOptions { token: Some(SecretRef::File(file)), ..Default::default() });
    assert!(!format!("{serve:?}").contains("hunter2"));
    let rig = Rig::start(serve, OnSlow::Drop, 1 << 20);
    for token in [None, Some("wrong"), Some("hunter2hunter")] {
        let target = Target { token: token.map(Secret::new), ..target.clone() };
        let mut client = Client::connect(&target).await.unwrap();
        let refused = client.subscribe(SubscribeRequest::default()).await.unwrap_err();
        assert!(refused.contains("token"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let channel = target.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: "skirmish.v1.Records".into() };
    let status = health.check(request).await.unwrap().into_inner().status;
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
    let target = Target { token: Some(Secret::new("hunter2hunter2")), ..target };
    let mut client = Client::connect(&target).await.unwrap();
    let stream = client.subscribe(SubscribeRequest { limit_messages: 1, ..Default::default() }).await.unwrap();
    rig.offer(0, batch(0, 0, 1, 10)).await;
    assert_eq!(parse(&collect(stream).await.0[0].1.payload), (0, 0));
    drop((client, health));
    assert_eq!(rig.close(LONG).await.0.error, None);
}

/// A certificate authority, a server's certificate for localhost and a client's, as PEM files.
fn certificates(dir: &Path) -> (ServerTls, ClientTls) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let (c, k) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&c, cert.pem()).unwrap();
        std::fs::write(&k, key.serialize_pem()).unwrap();
        (c, k)
    };
    let ca_file = dir.join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let ((cert, key), client) = (leaf("localhost"), leaf("client"));
    (
        ServerTls { cert, key, client_ca: Some(ca_file.clone()) },
        ClientTls { ca: Some(ca_file), identity: Some(client), server_name: None },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_lets_in_who_has_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = certificates(dir.path());
    let (serve, target) = open(ServeOptions { tls: Some(server), ..Default::default() });
    let rig = Rig::start(serve, OnSlow::Drop, 1 << 20);
    let with = Target { tls: Some(client.clone()), ..target.clone() };
    let mut inside = Client::connect(&with).await.unwrap();
    let stream = inside.subscribe(SubscribeRequest { limit_messages: 3, ..Default::default() }).await.unwrap();
    rig.offer(1, batch(1, 0, 3, 100)).await;
    assert_eq!(collect(stream).await.0.len(), 3);

    // the handshake of TLS 1.3 is over for the client before the server has looked at its certificate
    let without = Target { tls: Some(ClientTls { identity: None, ..client.clone() }), ..target.clone() };
    let refused = match Client::connect(&without).await {
        Ok(mut c) => c.subscribe(SubscribeRequest::default()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a client without a certificate was let in");
    let other = Target { tls: Some(ClientTls { server_name: Some("elsewhere".into()), ..client }), ..target };
    let e = Client::connect(&other).await.err().expect("the name is another");
    assert!(e.contains("certificate"), "{e}");
    drop(inside);
    assert_eq!(rig.close(LONG).await.0.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_one_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let e = Serve::new(ServeOptions { listen, ..Default::default() }).open().unwrap_err();
    assert!(e.starts_with(&format!("cannot listen on {listen}: Address already in use")), "{e}");
}

/// A daemon of which only the answers exist.
struct Answers;

#[tonic::async_trait]
impl Commander for Answers {
    async fn status(&self) -> StatusResponse {
        StatusResponse { run: "r1".into(), state: RunState::Ready.into(), ..Default::default() }
    }
    async fn scenarios(&self) -> Vec<Scenario> {
        ["persistence.a", "ransomware.b"].map(|id| Scenario { id: id.into(), ..Default::default() }).into()
    }
    async fn start_scenario(&self, what: StartScenarioRequest) -> Result<InstanceStatus, Refusal> {
        match what.scenario.as_str() {
            "ransomware.b" => Ok(InstanceStatus { id: "7".into(), cast: what.cast, ..Default::default() }),
            s => Err(Refusal::NotFound(format!("unknown scenario `{s}`"))),
        }
    }
    async fn stop_scenario(&self, which: Which) -> Result<Vec<String>, Refusal> {
        Ok(vec![format!("{which:?}")])
    }
    async fn set_rate(&self, stream: String, rate: String) -> Result<SetRateResponse, Refusal> {
        Err(Refusal::Invalid(format!("{stream}: `{rate}` is no rate")))
    }
    async fn pause(&self) -> Result<Time, Refusal> {
        Ok(Time(5))
    }
    async fn resume(&self) -> Result<Time, Refusal> {
        Err(Refusal::NotNow("not paused".into()))
    }
    async fn stop_all(&self, flush: Option<Duration>) -> Result<(), Refusal> {
        assert_eq!(flush, Some(Duration::from_millis(1500)));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_stands_on_the_same_port() {
    let (mut serve, target) = open(ServeOptions::default());
    assert!(serve.add_services(&[control::CONTROL], control::service(Arc::new(Answers))));
    let rig = Rig::start(serve, OnSlow::Drop, 1 << 20);
    let mut c = Client::connect(&target).await.unwrap();
    assert_eq!(c.status().await.unwrap().run, "r1");
    assert_eq!(c.scenarios(vec!["ransom*".into()]).await.unwrap()[0].id, "ransomware.b");
    let cast = [("pc".to_owned(), "PC1".to_owned())].into();
    let start = |s: &str, cast| StartScenarioRequest { scenario: s.into(), cast, ..Default::default() };
    assert_eq!(c.start_scenario(start("ransomware.b", cast)).await.unwrap().cast["pc"], "PC1");
    let unknown = c.start_scenario(start("ransom", Default::default())).await.unwrap_err();
    assert_eq!(unknown, "unknown scenario `ransom`");
    assert_eq!(c.stop_scenario(Which::Instance("7".into())).await.unwrap(), ["Instance(\"7\")"]);
    assert!(c.stop_scenario(Which::All(false)).await.unwrap_err().contains("all"));
    assert_eq!(c.set_rate("s".into(), "x".into()).await.unwrap_err(), "s: `x` is no rate");
    assert_eq!(c.pause().await.unwrap().logical_time_unix_nano, 5);
    assert_eq!(c.resume().await.unwrap_err(), "not paused");
    c.stop_all(1.5).await.unwrap();
    assert!(c.stop_all(-1.0).await.unwrap_err().contains("flush"));
    drop(c);
    rig.close(LONG).await;
}

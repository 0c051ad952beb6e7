//! Push against a server in another language, written from the `.proto` alone.

#[path = "sinks/python.rs"]
mod python;
#[path = "sinks/support.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use python::Program;
use skirmish::secret::SecretRef;
use skirmish::sink::grpc_push::{PushOptions, Remote};
use skirmish::sink::grpc_serve::{Serve, ServeOptions};
use skirmish::sink::{OnSlow, Sink};
use support::{Rig, batch, eventually};

const LONG: Duration = Duration::from_secs(60);

fn server(python: &Path, dir: &Path, more: &[&str]) -> Program {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut args = vec![proto.to_str().unwrap(), dir.to_str().unwrap()];
    args.extend(more);
    Program::start(python, "ingest_server.py", &args)
}

fn token(dir: &Path, text: &str) -> Option<SecretRef> {
    let file = dir.join("token");
    std::fs::write(&file, text).unwrap();
    Some(SecretRef::File(file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_that_breaks_twice_gets_everything_once() {
    let Some(python) = python::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(&python, dir.path(), &["--token", "t0k3n", "--behind", "3", "--break-at", "20,45"]);
    let mut options =
        PushOptions::new(Remote { token: token(dir.path(), "t0k3n"), ..Remote::plain(&server.address()) });
    options.window_batches_max = 8;
    options.batch_bytes_max = 50_000;
    options.reconnect_max = Duration::from_millis(200);
    // less than what is offered, so that the door has to hold the world while the server is away
    let rig = Rig::start(Box::new(options), OnSlow::Block, 1 << 20);
    for k in 0..100 {
        for d in 0..2 {
            rig.offer(d, batch(d, k * 50, 50, 500)).await;
        }
    }
    let (drained, accounts) = rig.close(LONG).await;
    let report = tokio::task::spawn_blocking(move || server.report()).await.unwrap();
    assert_eq!(drained.error, None);
    for a in accounts {
        assert_eq!((a.delivered, a.dropped, a.unknown, a.in_flight, a.bytes), (5000, 0, 0, 0, 2_500_000));
    }
    assert_eq!(report["faults"], serde_json::json!([]), "{report}");
    assert_eq!(report["messages"], serde_json::json!({"sysmon": 5000, "security": 5000}));
    assert_eq!((&report["run"], &report["sink"]), (&"r1".into(), &"main".into()));
    assert_eq!((report["connections"].as_u64(), report["truth_lines"].as_u64()), (Some(3), Some(1000)));
    let (repeats, most) = (report["repeats"].as_u64().unwrap(), report["repeats_max"].as_u64().unwrap());
    // it breaks before it answers, so something must come again, and never more than the window
    assert!((2..=most).contains(&repeats), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_rejects_is_dropped() {
    let Some(python) = python::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(&python, dir.path(), &["--reject", "2", "--behind", "0"]);
    let options = PushOptions::new(Remote::plain(&server.address()));
    let rig = Rig::start(Box::new(options), OnSlow::Block, 1 << 20);
    for k in 0..4 {
        // one by one, so that each is a batch of its own
        rig.offer(0, batch(0, k * 10, 10, 100)).await;
        eventually("the batch was taken", || rig.door.held_bytes() == 0).await;
    }
    let (_, accounts) = rig.close(LONG).await;
    let report = tokio::task::spawn_blocking(move || server.report()).await.unwrap();
    assert_eq!(report["faults"], serde_json::json!([]), "{report}");
    assert_eq!(report["messages"]["sysmon"], 30);
    assert_eq!((accounts[0].delivered, accounts[0].dropped), (30, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_delivers_nothing_and_stays_secret() {
    let Some(python) = python::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(&python, dir.path(), &["--token", "right"]);
    let options = PushOptions::new(Remote { token: token(dir.path(), "wr0ng"), ..Remote::plain(&server.address()) });
    assert!(!format!("{options:?}").contains("wr0ng"));
    let rig = Rig::start(Box::new(options), OnSlow::Drop, 10_000);
    for k in 0..10 {
        rig.offer(0, batch(0, k * 10, 10, 200)).await;
    }
    let (drained, accounts) = rig.close(Duration::from_millis(300)).await;
    let a = accounts[0];
    assert_eq!((a.delivered, a.in_flight, a.generated), (0, 0, a.dropped + a.unknown));
    assert!(!drained.error.unwrap().contains("wr0ng"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_a_python_client_everything() {
    let Some(python) = python::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        token: token(dir.path(), "right"),
        ..ServeOptions::default()
    };
    let mut serve = Box::new(Serve::new(options));
    serve.open().unwrap();
    let (address, hub) = (serve.address().unwrap().to_string(), serve.hub().unwrap());
    let rig = Rig::start(serve, OnSlow::Drop, 1 << 20);
    let refused = Program::start(&python, "reflect.py", &[&address, "wrong", "1"]).report();
    assert_eq!(refused["code"], "UNAUTHENTICATED", "{refused}");
    let mut client = Program::start(&python, "reflect.py", &[&address, "right", "30"]);
    assert_eq!(client.line(), "subscribed");
    assert_eq!(hub.read().len(), 1);
    rig.offer(0, batch(0, 0, 50, 300)).await;
    let report = client.report();
    // the Python client still speaks v1alpha; v1 is on the same port
    let services = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "skirmish.v1.Records"];
    for s in services {
        assert!(report["services"].as_array().unwrap().iter().any(|x| x == s), "{s}: {report}");
    }
    assert!(!report["services"].to_string().contains("Ingest"), "what others serve is not listed: {report}");
    assert_eq!(report["numbers"], serde_json::json!((0..30).collect::<Vec<_>>()));
    drop(client);
    assert_eq!(rig.close(LONG).await.0.error, None);
}

//! OTLP against a receiver on OpenTelemetry's own Python package.

#[path = "sinks/python.rs"]
mod python;
#[path = "sinks/support.rs"]
mod support;

use std::time::Duration;

use python::Program;
use skirmish::sink::OnSlow;
use skirmish::sink::grpc_push::Remote;
use skirmish::sink::otlp::OtlpOptions;
use support::{Rig, START, batch, parse, payload};

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_gets_resource_severity_and_time() {
    let Some(python) = python::python() else { return };
    let mut receiver = Program::start(&python, "otlp_receiver.py", &[]);
    let mut options = OtlpOptions::new(Remote::plain(&receiver.address()));
    options.batch_bytes_max = 40_000;
    let rig = Rig::start(Box::new(options), OnSlow::Block, 1 << 20);
    for k in 0..10 {
        for d in 0..2 {
            rig.offer(d, batch(d, k * 50, 50, 400)).await;
        }
    }
    let (drained, accounts) = rig.close(Duration::from_secs(60)).await;
    receiver.tell("enough");
    let report = receiver.report();
    // the first try failed, and that is the first thing that went wrong
    assert!(drained.error.unwrap().contains("Unavailable: not yet; trying again"));
    let delivered: u64 = accounts.iter().map(|a| a.delivered).sum();
    let dropped: u64 = accounts.iter().map(|a| a.dropped).sum();
    assert_eq!((delivered, dropped), (998, 2), "what was rejected is dropped");
    assert!(report["calls"].as_u64().unwrap() > 10, "bounded exports: {}", report["calls"]);
    let records = report["records"].as_array().unwrap();
    assert_eq!(records.len(), 998);
    let mut last = std::collections::BTreeMap::new();
    for r in records {
        let (d, n) = parse(r["body"].as_str().unwrap().as_bytes());
        assert_eq!(r["body"].as_str().unwrap().as_bytes(), payload(d, n, 400));
        let host = format!("PC{}", n % 7);
        let stream = ["sysmon", "security"][d];
        let resource = serde_json::json!({
            "service.name": "skirmish", "host.name": host, "os.type": "windows",
            "skirmish.run": "r1", "skirmish.stream": stream,
        });
        assert_eq!((&r["resource"], &r["scope"]), (&resource, &format!("windows.{stream}").into()));
        let release = START + n as i64 * 1_000_000;
        assert_eq!((r["observed"].as_i64(), r["time"].as_i64()), (Some(release), Some(release - 250_000_000)));
        assert_eq!((r["severity"].as_u64(), r["severity_text"].as_str()), (Some(9), Some("INFO")));
        assert_eq!(r["attributes"]["log.record.uid"], format!("r1.{d}.3.{n}"));
        assert_eq!(r["attributes"]["skirmish.attack"], n % 10 == 0);
        assert_eq!(r["attributes"].get("skirmish.truth").is_some(), n % 10 == 0);
        if let Some(before) = last.insert((d, host), n) {
            assert!(before < n, "{before} before {n}");
        }
    }
}

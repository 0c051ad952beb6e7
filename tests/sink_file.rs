//! The file sink: names, rotation, compression, truth beside, a disk that is full.

#[path = "sinks/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use skirmish::sink::file::FileOptions;
use skirmish::sink::{OnSlow, Sink, SinkSpec};
use skirmish::yaml::{self, Problems};
use support::{Rig, batch, deliveries, eventually, payload};

const LONG: Duration = Duration::from_secs(60);

/// A file sink as a configuration writes it, its deliveries with these entries of `to:`.
fn configured(text: &str, to: &[&str]) -> (Option<Box<dyn Sink>>, String) {
    let mut p = Problems::new();
    let node = &yaml::parse("x.yaml", &format!("{{file: {text}}}")).unwrap()[0];
    let spec = SinkSpec::from_node("main", node, &mut p);
    let mut sink = spec.map(|s| s.sink);
    for (info, entry) in deliveries().iter().zip(to) {
        let entry = &yaml::parse("x.yaml", entry).unwrap()[0];
        let f = entry.fields(&mut p, "a delivery").unwrap();
        if let Some(s) = &mut sink {
            s.add_delivery(info, &f, &mut p);
        }
        f.finish(&mut p);
    }
    (sink, p.to_string())
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    files.map(|f| (f.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&f).unwrap())).collect()
}

fn expected(delivery: usize, numbers: std::ops::Range<u64>, len: usize) -> Vec<u8> {
    numbers.flat_map(|n| [payload(delivery, n, len), b"\n".to_vec()].concat()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_rotate_by_size_and_time_and_get_their_names_whole() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("security-1.jsonl"), "of an earlier run").unwrap();
    let at = dir.path().display();
    let text = format!("{{path: '{at}/{{stream}}-{{n}}.jsonl', rotate: {{bytes: 10000, every: 1s}}}}");
    let (sink, problems) = configured(&text, &["{}", &format!("{{path: '{at}/{{stream}}-{{time}}-{{n}}.zst'}}")]);
    assert_eq!(problems, "");
    let rig = Rig::start(sink.unwrap(), OnSlow::Block, 1 << 20);
    // a message a millisecond: 1500 of them are two seconds, the second of which is half full
    for k in 0..30 {
        rig.offer(0, batch(0, k * 50, 50, 9)).await;
        rig.offer(1, batch(1, k * 50, 50, 99)).await;
    }
    let (drained, accounts) = rig.close(LONG).await;
    assert_eq!((drained.error, accounts[0].delivered, accounts[1].delivered), (None, 1500, 1500));
    let mut files = files(dir.path());
    assert_eq!(files.remove("security-1.jsonl").unwrap(), b"of an earlier run");
    assert_eq!(files.remove("sysmon-0.jsonl").unwrap(), expected(0, 0..1000, 9));
    assert_eq!(files.remove("sysmon-1.jsonl").unwrap(), expected(0, 1000..1500, 9));
    let mut all = vec![];
    for n in 0..15 {
        let second = if n < 10 { "00" } else { "01" };
        let packed = files.remove(&format!("security-20260302T0800{second}Z-{n}.zst")).unwrap();
        let plain = zstd::decode_all(packed.as_slice()).unwrap();
        assert!(plain.len() <= 10_000);
        all.extend(plain);
    }
    assert_eq!(all, expected(1, 0..1500, 99));
    assert_eq!(files.keys().collect::<Vec<_>>(), [""; 0], "nothing else is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn truth_beside_names_the_line_and_never_the_payload() {
    let dir = tempfile::tempdir().unwrap();
    let (out, truth) = (dir.path().join("all.jsonl.gz"), dir.path().join("truth.jsonl"));
    let sink = FileOptions::one(out.to_str().unwrap(), Some(truth.clone()));
    let rig = Rig::start(Box::new(sink), OnSlow::Block, 1 << 20);
    for k in 0..4 {
        rig.offer(1, batch(1, k * 50, 50, 30)).await;
        rig.offer(0, batch(0, k * 50, 50, 30)).await;
    }
    let (drained, _) = rig.close(LONG).await;
    assert_eq!(drained.error, None);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(out).unwrap()).read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 400);
    assert_eq!(drained.digest, Some(xxhash_rust::xxh3::xxh3_128(text.as_bytes())), "the digest is that of the lines");
    let truth = std::fs::read_to_string(truth).unwrap();
    assert_eq!(truth.lines().count(), 40);
    for line in truth.lines() {
        let t: serde_json::Value = serde_json::from_str(line).unwrap();
        let id: Vec<&str> = t["id"].as_str().unwrap().split('.').collect();
        let at = t["line"].as_u64().unwrap() as usize;
        assert!(lines[at].starts_with(&format!("{}/{} ", id[1], id[3])), "{line}: {}", lines[at]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_one_clear_error_then_records_are_dropped_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (out, part) = (dir.path().join("out.jsonl"), dir.path().join("out.jsonl.part"));
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let mut sink = FileOptions::one(out.to_str().unwrap(), None);
    sink.retry_for = Duration::from_millis(50);
    let rig = Rig::start(Box::new(sink), OnSlow::Block, 1 << 20);
    rig.offer(0, batch(0, 0, 50, 100)).await;
    eventually("given up", || rig.read(0).dropped == 50).await;
    std::fs::remove_file(&part).unwrap();
    // it tries again with what comes; that may take a few pauses
    let mut next = 50;
    while rig.read(0).delivered == 0 {
        rig.offer(0, batch(0, next, 10, 100)).await;
        next += 10;
        let seen = rig.read(0);
        eventually("the batch is settled", || rig.read(0).in_flight == 0 || rig.read(0).dropped > seen.dropped).await;
    }
    let (drained, accounts) = rig.close(LONG).await;
    let error = drained.error.unwrap();
    assert!(error.starts_with("cannot write `") && error.contains("No space left on device"), "{error}");
    let a = accounts[0];
    assert_eq!((a.generated, a.unknown, a.in_flight), (a.delivered + a.dropped, 0, 0));
    let text = std::fs::read_to_string(out).unwrap();
    assert_eq!(text.lines().count() as u64, a.delivered, "every line is whole and counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_two_lines_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    let rig = Rig::start(Box::new(FileOptions::one(out.to_str().unwrap(), None)), OnSlow::Block, 1 << 20);
    let mut broken = (*batch(0, 0, 3, 20)).clone();
    broken.bytes[30] = b'\n';
    rig.offer(0, broken.into()).await;
    let (drained, accounts) = rig.close(LONG).await;
    assert!(drained.error.unwrap().contains("line feed"));
    assert_eq!((accounts[0].delivered, accounts[0].dropped), (2, 1));
    assert_eq!(std::fs::read_to_string(out).unwrap().lines().count(), 2);
}

#[test]
fn what_cannot_work_is_said_at_once() {
    insta::assert_snapshot!(configured("{path: 'a/{strem}.jsonl', retry_for: never}", &[]).1, @r"
        x.yaml:1:15: unknown place `strem`; did you mean `stream`?
        x.yaml:1:45: `retry_for` must be a length of time such as `250ms`, `3s` or `2h`, not `never`
        ");
    insta::assert_snapshot!(configured("{path: 'a.jsonl', rotate: {bytes: 1GB, evry: 1h}}", &["{path: 'b-{n'}"]).1, @r"
        x.yaml:1:47: unknown field of `rotate` `evry`; did you mean `every`?
        x.yaml:1:15: files rotate, and the path `a.jsonl` is the same for all; put `{n}` into it
        x.yaml:1:8: a brace is not closed in the path `b-{n`
        ");
    insta::assert_snapshot!(configured("{rotate: {every: 1ms}}", &["{path: 'b-{time}'}", "{path: b}"]).1, @r"
        x.yaml:1:25: `every` is `1ms`; at least `1s`
        x.yaml:1:8: files rotate, and the path `b` is the same for all; put `{n}` into it
        ");
}

//! The real daemon into a real broker that is killed with `kill -9`: every record number once and in order, or reported
//! as dropped, id by id; and balanced accounts at every moment. `benches/kafka/outage.py` is the longer way.
#![cfg(feature = "kafka")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/sink.rs"]
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use daemon::Daemon;
use sink::read_topic;

const KILLS: u32 = 3;
const MODES: [&str; 3] = ["catch_up", "block", "drop"];

fn config(broker: &str, mode: &str) -> String {
    // small, so that it is full soon after a kill
    let queue = if mode == "drop" { "200KiB" } else { "2MiB" };
    format!(
        "
seed: 7
world: {{hosts: 100, cells: 16}}
sensors: {{policy: verbose_lab}}
attacks: {{scenarios: ['*'], per_hour: 60, first: 3s}}
flush: 60s
state: {{dir: {mode}}}
sinks:
  main: {{kafka: {{brokers: '{broker}', create_topics: {{partitions: 3}}}}, on_slow: {mode}, queue: {queue}}}
streams:
  sysmon: {{source: windows.sysmon, rate: 900/s, to: [{{sink: main, topic: {mode}.sysmon, encoding: winlogbeat}}]}}
  security: {{source: windows.security, rate: 250/s, to: [{{sink: main, topic: {mode}.security, encoding: winlogbeat}}]}}
truth: {{headers: id}}
"
    )
}

/// Reads the accounts until told to stop; both balances have to hold in each reading. How many readings there were.
fn watch(d: &Daemon, stop: &AtomicBool) -> u32 {
    let mut readings = 0;
    while !stop.load(Relaxed) {
        let samples: BTreeMap<String, f64> = d.samples().into_iter().collect();
        let of = |name: &str, labels: &str| {
            *samples.get(&format!("{name}{labels}")).unwrap_or_else(|| panic!("no {name}{labels}"))
        };
        for (sample, offered) in &samples {
            let Some((name, labels)) = sample.split_once('{') else { continue };
            let labels = format!("{{{labels}");
            if name == "skirmish_records_scheduled_total" {
                assert_eq!(
                    *offered,
                    of("skirmish_records_generated_total", &labels) + of("skirmish_records_owed", &labels)
                );
            }
            if name == "skirmish_delivery_offered_records_total" {
                let with = |o: &str| labels.replace('}', &format!(",outcome=\"{o}\"}}"));
                let settled =
                    ["delivered", "dropped", "unknown"].map(|o| of("skirmish_delivery_records_total", &with(o)));
                let flight = of("skirmish_delivery_in_flight_records", &labels);
                assert_eq!(*offered, settled.iter().sum::<f64>() + flight, "{labels}");
            }
        }
        readings += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    readings
}

/// Ids that the daemon says it dropped: stream and cell to numbers.
fn reported(dir: &Path) -> BTreeMap<(String, u64), BTreeSet<u64>> {
    let mut all: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    for file in
        std::fs::read_dir(dir).unwrap().flatten().filter(|f| f.file_name().to_string_lossy().starts_with("dropped-"))
    {
        for line in std::fs::read_to_string(file.path()).unwrap().lines() {
            let v: serde_json::Value = serde_json::from_str(line).unwrap();
            if v["sink"] != "main" {
                continue;
            }
            for ids in v["ids"].as_array().unwrap() {
                let n = |i: usize| ids[i].as_u64().unwrap();
                all.entry((v["stream"].as_str().unwrap().to_owned(), n(0))).or_default().extend(n(1)..=n(2));
            }
        }
    }
    all
}

/// What a consumer finds in a topic, beside what the daemon says it made, delivered and dropped.
fn assert_found(
    broker: &str,
    dir: &Path,
    mode: &str,
    stream: &str,
    channel: &str,
    [offered, delivered, dropped]: [u64; 3],
) {
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut ids: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let (mut found, mut gaps) = (0, 0);
    read_topic(broker, &format!("{mode}.{stream}"), |g| {
        let v: serde_json::Value = serde_json::from_slice(&g.payload).unwrap();
        let n = v["winlog"]["record_id"].as_u64().or_else(|| v["winlog"]["record_id"].as_str()?.parse().ok()).unwrap();
        let host = g.key.expect("keyed by host");
        match last.insert(host.clone(), n) {
            Some(before) => {
                assert!(before < n, "{mode} {stream} {host}: {n} after {before}");
                gaps += n - before - 1;
            }
            None => {
                let first = manifest["hosts"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .find(|(h, _)| **h == host || h.starts_with(&format!("{host}.")));
                let first =
                    first.unwrap_or_else(|| panic!("no host {host}")).1["channels"][channel]["first"].as_u64().unwrap();
                assert!(
                    first <= n && (mode == "drop" || first == n),
                    "{mode} {stream} {host}: begins with {n}, not {first}"
                );
            }
        }
        let id: Vec<u64> = g.headers["skirmish-id"].split('.').skip(2).map(|n| n.parse().unwrap()).collect();
        assert!(ids.entry(id[0]).or_default().insert(id[1]), "{mode} {stream}: {} twice", g.headers["skirmish-id"]);
        found += 1;
    });
    let made: u64 = manifest["hosts"]
        .as_object()
        .unwrap()
        .values()
        .map(|h| h["channels"][channel]["count"].as_u64().unwrap_or(0))
        .sum();
    eprintln!("{mode} {stream}: {made} made, {found} found, {dropped} dropped");
    assert_eq!((offered, found), (made, delivered), "{mode} {stream}");
    let mut lost = reported(dir);
    lost.retain(|(s, _), _| s == stream);
    assert_eq!(
        lost.values().map(|l| l.len() as u64).sum::<u64>(),
        dropped,
        "{mode} {stream}: what was dropped is reported"
    );
    if mode != "drop" {
        assert_eq!((gaps, dropped), (0, 0), "{mode} {stream}");
        return;
    }
    for ((_, cell), lost) in lost {
        let there = ids.entry(cell).or_default();
        assert!(there.is_disjoint(&lost), "{stream}: what was reported as dropped is not there");
        there.extend(lost);
    }
    for (cell, all) in ids {
        let n = all.len() as u64;
        assert_eq!(all.last(), Some(&(n - 1)), "{stream}, cell {cell}: found and reported are all of 0 to {}", n - 1);
    }
}

#[test]
fn killed_brokers_cost_the_daemon_nothing_but_what_it_reports() {
    if !kafka::available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let b = kafka::Broker::start("");
    let daemons = MODES.map(|mode| {
        std::fs::write(dir.join(format!("{mode}.yaml")), config(&b.plain(), mode)).unwrap();
        Daemon::start(dir, &["-c", &format!("{mode}.yaml")])
    });
    let stop = AtomicBool::new(false);
    let delivered =
        |d: &Daemon| d.sample("skirmish_delivery_records_total{stream=\"sysmon\",sink=\"main\",outcome=\"delivered\"}");
    let dropped =
        |d: &Daemon| d.sample("skirmish_delivery_records_total{stream=\"sysmon\",sink=\"main\",outcome=\"dropped\"}");
    let readings = std::thread::scope(|s| {
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let watchers: Vec<_> = daemons.iter().map(|d| s.spawn(|| watch(d, &stop))).collect();
        let end = End(&stop);
        let wait = |what: &str, happened: &dyn Fn() -> bool| {
            let deadline = std::time::Instant::now() + Duration::from_secs(90);
            while !happened() {
                assert!(std::time::Instant::now() < deadline, "{what}: {} {}", daemons[0].text(), b.log());
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        for _ in 0..KILLS {
            let before = daemons.each_ref().map(&delivered);
            wait("records flow", &|| daemons.iter().zip(before).all(|(d, b)| delivered(d) > b + 300.0));
            let lost = dropped(&daemons[2]);
            b.kill();
            wait("the small queue is full", &|| dropped(&daemons[2]) > lost + 100.0);
            b.up();
        }
        let before = daemons.each_ref().map(&delivered);
        wait("records flow again", &|| daemons.iter().zip(before).all(|(d, b)| delivered(d) > b + 300.0));
        drop(end);
        watchers.into_iter().map(|w| w.join().expect("the balances hold")).collect::<Vec<_>>()
    });
    assert!(readings.iter().all(|n| *n > 10), "{readings:?}");
    for (d, mode) in daemons.into_iter().zip(MODES) {
        let (code, text) = d.stop();
        assert_eq!(code, 0, "{text}");
        for (stream, sink, [offered, delivered, dropped, in_flight, unknown]) in daemon::accounts(&text) {
            assert_eq!((in_flight, unknown), (0, 0), "{text}");
            if sink == "main" {
                let channel = if stream == "sysmon" { "Microsoft-Windows-Sysmon/Operational" } else { "Security" };
                assert_found(&b.plain(), &dir.join(mode), mode, &stream, channel, [offered, delivered, dropped]);
            }
        }
    }
}

//! `generate --journal` makes the records of a run again, byte for byte: with everything in it that a person can do to a
//! running daemon, and also when the run went on from an earlier one.

#[path = "support/daemon.rs"]
mod daemon;

use std::path::Path;

use daemon::{Daemon, done, skirmish};

/// Fast, so that a few seconds hold some steps of an attack; each stream into its own file.
const CONFIG: &str = "
seed: 11
clock: {from: 2026-03-02T08:00:00Z, speed: 20}
world: {hosts: 40, cells: 16}
sensors: {policy: verbose_lab}
attacks: {scenarios: ['*'], per_hour: 60, first: 20s}
state: {dir: state}
sinks: {out: {file: {path: 'RUN/{stream}.jsonl'}}}
streams:
  sysmon: {source: windows.sysmon, rate: 500/s, to: [{sink: out, encoding: nxlog}]}
  security: {source: windows.security, rate: 120/s, to: [{sink: out}]}
  processes: {source: defender.device_process, to: [{sink: out}]}
truth: {file: RUN-truth.jsonl}
";

fn run(dir: &Path, name: &str) -> String {
    let config = format!("{name}.yaml");
    std::fs::write(dir.join(&config), CONFIG.replace("RUN", name)).unwrap();
    let mut d = Daemon::start(dir, &["-c", &config]);
    let at = |d: &mut Daemon, seconds: f64| {
        let start = 1_772_438_400.0;
        d.wait_for("logical time", |d| d.logical() > start + seconds);
    };
    at(&mut d, 10.0);
    d.told(&["rate", "sysmon", "600/s"]);
    d.told(&["scenario", "start", "persistence.service_and_task"]);
    d.told(&["scenario", "start", "ransomware.hands_on"]);
    d.told(&["scenario", "start", "ransomware.hands_on", "--after", "300s"]);
    // refused, and not to be repeated
    assert!(d.refused(&["rate", "sysmon", "5MB/s"]).contains("records per second"), "another unit");
    assert!(d.refused(&["scenario", "start", "ransomware.hands"]).contains("did you mean `ransomware.hands_on`"));
    at(&mut d, 40.0);
    d.told(&["pause"]);
    let stands = d.logical();
    d.told(&["rate", "security", "{ramp: {from: 120/s, to: 160/s, over: 30s}}"]);
    assert_eq!(d.logical(), stands);
    d.told(&["resume"]);
    at(&mut d, 60.0);
    // both instances of the scenario: one that runs and one that waits
    assert_eq!(d.told(&["scenario", "stop", "ransomware.hands_on"]).lines().count(), 2);
    at(&mut d, 80.0);
    let (code, text) = d.stop();
    assert_eq!(code, 0, "{text}");
    for (stream, sink, [offered, delivered, ..]) in daemon::accounts(&text) {
        assert!(offered == delivered && offered > 0, "{stream} {sink}: {text}");
    }
    config
}

fn assert_repeats(dir: &Path, name: &str, config: &str, journal: &str) {
    for stream in ["sysmon", "security", "processes"] {
        for threads in ["1", "3"] {
            let out = format!("{name}-{stream}.again");
            let args = ["-c", config, "--journal", journal, "--stream", stream, "--threads", threads, "-o", &out];
            done(dir, &[&["generate"], &args[..]].concat());
            let (first, again) =
                (std::fs::read(dir.join(name).join(format!("{stream}.jsonl"))), std::fs::read(dir.join(&out)));
            let (first, again) = (first.unwrap(), again.unwrap());
            assert!(first.len() > 100_000, "{stream}: {} bytes", first.len());
            let same = first.iter().zip(&again).take_while(|(a, b)| a == b).count();
            assert!(
                first == again,
                "{name} {stream}: {} and {} bytes, the first {same} agree",
                first.len(),
                again.len()
            );
        }
    }
}

#[test]
fn a_run_is_repeated_from_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let config = run(dir, "one");
    assert_repeats(dir, "one", &config, "state/journal.jsonl");
    let head = std::fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let id = serde_json::from_str::<serde_json::Value>(head.lines().next().unwrap()).unwrap()["run"].clone();
    let kept = format!("state/journal-{}.jsonl", id.as_str().unwrap());
    // truth lines too, but for where the record stands
    let truth =
        ["generate", "-c", &config, "--journal", "state/journal.jsonl", "-o", "null:", "--truth", "again.truth"];
    done(dir, &truth);
    let lines = |file: &str, cut: fn(&str) -> &str| -> Vec<String> {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        text.lines().map(|l| cut(l).to_owned()).collect()
    };
    let first = lines("one-truth.jsonl", |l| l.trim_end_matches('}'));
    assert!(first.len() > 50, "attacks were on");
    assert_eq!(first, lines("again.truth", |l| l.split(",\"line\":").next().unwrap()));

    // the next run goes on with the numbers, and is repeated with them
    let second = run(dir, "two");
    let number = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        text.lines()
            .map(|l| {
                let v: serde_json::Value = serde_json::from_str(l).unwrap();
                format!("{} {}", v["Hostname"], v["RecordNumber"])
            })
            .collect()
    };
    let mut all = number("one/sysmon.jsonl");
    all.extend(number("two/sysmon.jsonl"));
    let n = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), n, "no record number is given out twice");
    assert_repeats(dir, "two", &second, "state/journal.jsonl");
    assert_repeats(dir, "one", &config, &kept);

    // another configuration would not give the same records
    let other = ["generate", "-c", &config, "--journal", &kept, "--set", "world.hosts=100", "-o", "null:"];
    let out = skirmish(dir, &other).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("the journal is of a run with another configuration"), "{said}");
}

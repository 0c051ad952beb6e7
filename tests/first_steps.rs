//! The first minutes of a stranger, with the real binary: what README and the templates say to type.

#[path = "support/daemon.rs"]
mod daemon;
#[cfg(feature = "kafka")]
#[path = "support/kafka.rs"]
mod kafka;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use daemon::{Daemon, accounts, done, skirmish};

/// Every account is balanced and nothing is left over.
fn assert_balanced(text: &str, sinks: &[&str]) {
    let all = accounts(text);
    for sink in sinks {
        assert_eq!(all.iter().filter(|a| a.1 == *sink).count(), 3, "{text}");
    }
    for (stream, sink, [offered, delivered, dropped, in_flight, unknown]) in all {
        assert!(offered > 0, "{stream} {sink}: {text}");
        assert_eq!((delivered, dropped, in_flight, unknown), (offered, 0, 0, 0), "{stream} {sink}: {text}");
    }
}

#[test]
fn a_run_with_defaults_is_read_steered_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    // no attack comes by itself in between, so that instances have the numbers expected here
    let mut d = Daemon::start(dir.path(), &["--set", "attacks.first=10h"]);
    assert!(d.told(&["status", "--wait", "ready"]).contains(" ready, logical time "));
    assert_eq!(d.get("/healthz"), (200, "ready\n".into()));

    // records with their truth, read by a second process
    let tail = |more: &[&str]| {
        let args = [&["tail", "--connect", &d.address, "-n", "3"], more].concat();
        skirmish(dir.path(), &args).stdout(Stdio::piped()).spawn().expect("it runs")
    };
    let all = tail(&["--raw", "--stream", "sysmon"]).wait_with_output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    assert_eq!(all.lines().filter(|l| l.starts_with("<Event ") && l.contains("Microsoft-Windows-Sysmon")).count(), 3);
    let mut attack = tail(&["--attack"]);
    let mut lines = BufReader::new(attack.stdout.take().unwrap()).lines();
    assert_eq!(
        d.told(&["scenario", "start", "ransomware.hands_on"]).trim().split(' ').nth(1),
        Some("ransomware.hands_on")
    );
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(" ATTACK ") && first.contains("#1 "), "{first}");
    attack.kill().unwrap();
    attack.wait().unwrap();

    // what it takes
    let said = d.told(&["rate", "sysmon", "700/s"]);
    assert!(said.starts_with("sysmon: 520.0/s -> 700.0/s from "), "{said}");
    assert!(d.told(&["scenario", "list"]).lines().count() >= 8);
    assert!(d.told(&["pause"]).starts_with("paused at "));
    let stands = d.logical();
    assert_eq!((d.status()["state"].as_str(), d.sample("skirmish_paused")), (Some("paused"), 1.0));
    assert_eq!(d.logical(), stands);
    assert!(d.told(&["resume"]).starts_with("goes on from "));
    d.told(&["scenario", "start", "worm.usb", "--after", "1h"]);
    assert!(d.told(&["status"]).contains("attack 2 worm.usb starts at "));
    assert_eq!(d.told(&["scenario", "stop", "2"]), "2\n");

    // what it refuses, and how it says so
    let refused = [
        &["rate", "sysmn", "2k/s"][..],
        &["rate", "sysmon", "2k"],
        &["rate", "sysmon", "3MB/s"],
        &["scenario", "start", "ransomware.hands"],
        &["scenario", "start", "ransomware.hands_on", "--cast", "pc=nobody"],
        &["scenario", "start", "ransomware.hands_on", "--cast", "pcc=x"],
        &["scenario", "start", "ransomware.hands_on", "--var", "locke=x"],
        &["scenario", "stop", "77"],
        &["scenario", "stop", "worm.us"],
    ]
    .map(|args| d.refused(args));
    insta::assert_snapshot!(refused.join("\n"), @r"
    error: unknown stream `sysmn`; did you mean `sysmon`?
    error: rate of sysmon:1:1: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `2k`
    error: stream `sysmon` has a rate in records per second; it cannot go on in bytes per second
    error: unknown scenario `ransomware.hands`; did you mean `ransomware.hands_on`?
    error: role `pc`: there is no host or account `nobody`
    error: unknown role of `ransomware.hands_on` `pcc`; did you mean `pc`?
    error: unknown variable of `ransomware.hands_on` `locke`; did you mean `locker`?
    error: no instance `77` runs; there are 1
    error: unknown scenario `worm.us`; did you mean `worm.usb`?
    ");

    // metrics: named as Prometheus asks for, in one order, described, documented
    let text = d.get("/metrics").1;
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let types: Vec<(&str, &str)> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() > 25 && types.is_sorted(), "{types:?}");
    for (name, kind) in &types {
        assert!(docs.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
    }
    for (_, name, _) in skirmish::app::metrics::ALL {
        assert!(docs.contains(&format!("`{name}`")) && types.iter().any(|(n, _)| n == name), "{name}");
    }
    for (name, _) in skirmish::app::metrics::OF_SINKS {
        assert!(docs.contains(&format!("`skirmish_{name}`")), "{name}");
    }

    // whoever reads only the head of a status makes no noise
    let mut head = skirmish(dir.path(), &["ctl", "--connect", &d.address, "status"]);
    let mut head = head.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(head.stdout.take());
    let out = head.wait_with_output().unwrap();
    assert_eq!((out.status.code(), String::from_utf8(out.stderr).unwrap().as_str()), (Some(0), ""));

    d.wait_for("some records", |d| {
        d.sample("skirmish_records_generated_total{stream=\"sysmon\",source=\"windows.sysmon\"}") > 2_000.0
    });
    let address = d.address.clone();
    let (code, text) = d.stop();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ending: flushing what was made; a second signal ends at once"), "{text}");
    assert_balanced(&text, &["live"]);
    let gone = skirmish(dir.path(), &["ctl", "--connect", &address, "status"]).output().unwrap();
    let gone = String::from_utf8(gone.stderr).unwrap();
    assert!(gone.contains("Connection refused") && gone.contains("`skirmish run` starts a daemon"), "{gone}");
}

#[test]
fn what_happens_is_told_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let out = skirmish(dir.path(), &["run"]).env("SKIRMISH_LOG", "skirmish=loud").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: SKIRMISH_LOG: `skirmish=loud`: "), "{said}");

    let mut d = Daemon::start(dir.path(), &["--set", "world.hosts=40"]);
    d.told(&["pause"]);
    d.told(&["resume"]);
    d.wait_for("the commands", |d| d.text().contains("\"resume\""));
    let line = |text: &str| text.lines().find(|l| l.contains("\"pause\"")).map(str::to_owned);
    let line = line(&d.text()).unwrap();
    assert!(line.contains(" INFO command: ") && line.contains("logical_time=20"), "{line}");
    let (code, text) = d.stop();
    assert_eq!(code, 0, "{text}");
}

#[test]
#[cfg(feature = "kafka")]
fn run_with_a_broker_alone_fills_topics_that_kafkas_own_consumer_reads() {
    let Some(b) = kafka::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut d = Daemon::start(dir.path(), &["--kafka", &b.plain()]);
    let delivered = "skirmish_delivery_records_total{stream=\"device_process\",sink=\"kafka\",outcome=\"delivered\"}";
    d.wait_for("some records", |d| d.sample(delivered) > 100.0);
    let (code, text) = d.stop();
    assert_eq!(code, 0, "{text}");
    assert_balanced(&text, &["live", "kafka"]);
    for (stream, topic) in [
        ("sysmon", "skirmish.windows.sysmon"),
        ("security", "skirmish.windows.security"),
        ("device_process", "skirmish.defender.device_process"),
    ] {
        let all = accounts(&text);
        let n = all.iter().find(|a| a.0 == stream && a.1 == "kafka").unwrap().2[1] as usize;
        assert_eq!(b.console_consumer(topic, n).lines().count(), n);
    }
}

/// From `init load` to own topics over SASL_SSL, by no more edits than the template asks for.
#[test]
#[cfg(feature = "kafka")]
fn a_template_reaches_own_topics_over_tls_with_a_login_by_five_edits() {
    let Some(b) = kafka::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plain = b.plain();
    let topic = ["--bootstrap-server", &plain, "--create", "--topic", "mine.sysmon", "--partitions", "3"];
    assert!(b.tool("org.apache.kafka.tools.TopicCommand", &topic).status.success());
    done(dir, &["init", "load"]);
    let before = std::fs::read_to_string(dir.join("skirmish.yaml")).unwrap();
    let own = format!(
        "      security: {{sasl: scram-sha-512, username: {}, password_file: '{}', tls: {{ca: '{}'}}}}",
        kafka::USER,
        b.file("password"),
        b.file("ca.pem")
    );
    let after: Vec<String> = before
        .lines()
        .map(|l| match l {
            l if !l.contains("# <-") => l.to_owned(),
            l if l.contains("brokers:") => format!("      brokers: '{}'", b.sasl_ssl()),
            l if l.contains("security:") => own.clone(),
            l if l.contains("rate:") => "    rate: 100/s".into(),
            l => l.replace("sec.sysmon", "mine.sysmon"),
        })
        .collect();
    let edited = before.lines().zip(&after).filter(|(a, b)| a != b).count();
    assert!((1..=5).contains(&edited), "{edited} lines were edited");
    std::fs::write(dir.join("skirmish.yaml"), after.join("\n")).unwrap();

    let found = done(dir, &["check", "-c", "skirmish.yaml", "--connect"]);
    for part in [": logged in, 1 brokers", "CN=skirmish test authority", "topic mine.sysmon: 3 partitions"] {
        assert!(found.contains(part), "no `{part}` in {found}");
    }
    assert!(!found.contains("FAIL") && !found.contains("correct horse"), "{found}");
    let d = Daemon::start(dir, &["-c", "skirmish.yaml", "--count", "1000"]);
    let (code, text) = d.ended();
    assert_eq!(code, 0, "{text}");
    let all = accounts(&text);
    let [offered, delivered, ..] = all.iter().find(|a| a.1 == "main").unwrap().2;
    assert!(delivered == offered && delivered >= 1_000, "{text}");
    let read = b.console_consumer("mine.sysmon", delivered as usize);
    assert!(
        read.lines().count() as u64 == delivered && read.contains("\"record_id\""),
        "Kafka's own consumer reads it"
    );
}

/// What a script draws is one value, on the host that draws it and on the one it is used on.
#[test]
fn a_value_that_is_drawn_is_the_same_on_every_host() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"$n = "svc$(Get-Random -Maximum 999999999)"; New-ADUser -Name $n -SamAccountName $n; Add-ADGroupMember "Domain Admins" $n"#;
    let args = ["emulate", "--parent", "powershell.exe", "--source", "windows.security,windows.powershell", script];
    let out = skirmish(dir.path(), &args).stderr(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8(out.stdout).unwrap();
    let name = regex::Regex::new(r"svc\d+").unwrap();
    let mut seen = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for (id, line) in ["4103", "4720", "4728"]
        .iter()
        .flat_map(|id| text.lines().filter(move |l| l.contains(&format!("\"EventID\":{id},"))).map(move |l| (id, l)))
    {
        for n in name.find_iter(line) {
            seen.entry(n.as_str()).or_default().push(id);
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}\n{text}");
    let ids = seen.values().next().unwrap();
    assert!(["4103", "4720", "4728"].iter().all(|id| ids.contains(id)), "{ids:?}");
}

//! One story: records of every sensor, made by the real binary, join without a contradiction, and the closure of each attack
//! is its truth. A script that reads payloads only says so (`tests/python/one_story.py`, also for dumps of one's own);
//! what is altered by hand is found.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// All sources that see a process, a logon, a connection or what these did.
const SOURCES: &str = "windows.sysmon,windows.security,windows.powershell,windows.system,windows.task_scheduler,\
    defender.device_process,defender.device_network,defender.device_file,defender.device_registry,defender.device_logon,\
    defender.device_image_load,defender.device_events";

/// Records, truth of every record, and the state at the start, in a folder that goes with it.
struct Dump {
    dir: tempfile::TempDir,
}

impl Dump {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn of(args: &[&str]) -> Dump {
        let d = Dump { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder") };
        let out = Command::new(env!("CARGO_BIN_EXE_skirmish"))
            .arg("generate")
            .args(args)
            .args(["--truth-all", "--truth"])
            .arg(d.path("truth"))
            .arg("--boot-state")
            .arg(d.path("boot"))
            .arg("-o")
            .arg(d.path("records"))
            .output()
            .expect("skirmish runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        d
    }

    fn told(&self, more: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/one_story.py");
        Command::new("python3")
            .arg("-B")
            .arg(script)
            .arg("--boot-state")
            .arg(self.path("boot"))
            .arg("--truth")
            .arg(self.path("truth"))
            .args(more)
            .arg(self.path("records"))
            .output()
            .expect("python3 runs")
    }

    fn is_one_story(&self, more: &[&str]) {
        let out = self.told(more);
        let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(text.contains(" checks, none failed"), "{text}\n{errors}");
    }
}

/// Whether Python is there; loudly not, and a failure with `CI=true`.
fn python() -> bool {
    if Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success()) {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "`python3` is needed with CI=true");
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED, no `python3` ***\n");
    false
}

#[test]
fn every_attack_tells_one_story() {
    if python() {
        for seed in ["7", "23"] {
            Dump::of(&["--scenario", "all", "--seed", seed, "--source", SOURCES]).is_one_story(&[]);
        }
    }
}

#[test]
fn a_busy_world_under_attack_tells_one_story() {
    if !python() {
        return;
    }
    // natural life and attacks, and so many process starts of fill that five thousand can be joined in less than two minutes
    let streams: Vec<String> = SOURCES
        .split(',')
        .map(|s| {
            let s = s.trim();
            let rate = if s == "defender.device_process" { "rate: 60/s, unnatural: true, " } else { "" };
            let encoding = if s.starts_with("defender.") { "defender_row" } else { "nxlog" };
            format!("{}: {{source: {s}, {rate}to: [{{sink: out, encoding: {encoding}}}]}}", s.replace('.', "_"))
        })
        .collect();
    let streams = format!("streams={{{}}}", streams.join(", "));
    let args = [
        "--set",
        "world.hosts=150",
        "--set",
        "sensors.policy=verbose_lab",
        "--set",
        "sinks={out: {null: {}}}",
        "--set",
        &streams,
        "--set",
        "attacks={scenarios: ['*'], per_hour: 600, first: 1s, max_parallel: 8}",
        "--for",
        "100s",
        "--seed",
        "7",
    ];
    Dump::of(&args).is_one_story(&["--joins", "5000"]);
}

/// Something that was altered: the check that must find it, whose record (by `EventID` or `ActionType`), and how.
type Alteration = (&'static str, &'static str, fn(&mut Value));

fn set(v: &mut Value, field: &str, value: impl Into<Value>) {
    assert!(!v[field].is_null(), "no {field} in {v}");
    v[field] = value.into();
}

/// One alteration at least for each family of checks.
const RECORDS: &[Alteration] = &[
    ("number: grows in each channel", "4688", |v| set(v, "RecordNumber", 1)),
    ("join: Sysmon 1 with 4688", "4688", |v| set(v, "NewProcessId", "0xfff0")),
    ("join: Sysmon 1 with DeviceProcessEvents", "ProcessCreated", |v| set(v, "ProcessUniqueId", "77")),
    ("image: a path", "1", |v| set(v, "Image", "C:\\Users\\a\\C:\\x.exe")),
    ("4688: command line", "4688", |v| set(v, "CommandLine", "calc.exe")),
    ("4688: creator subject", "4688", |v| set(v, "SubjectUserName", "SYSTEM")),
    ("4688: target logon id", "4688", |v| set(v, "TargetLogonId", "0x3e5")),
    ("4688: integrity label", "4688", |v| set(v, "MandatoryLabel", "S-1-16-0")),
    ("4688: parent's image", "4688", |v| set(v, "ParentProcessName", "C:\\x.exe")),
    ("device process: hashes", "ProcessCreated", |v| set(v, "SHA1", "00")),
    ("device process: elevation", "ProcessCreated", |v| set(v, "ProcessTokenElevation", "TokenElevationTypeNone")),
    ("device process: parent's command line", "ProcessCreated", |v| set(v, "InitiatingProcessCommandLine", "x")),
    ("device process: clock", "ProcessCreated", |v| set(v, "Timestamp", "2026-03-02T07:00:00Z")),
    ("parent: resolves", "1", |v| set(v, "ParentProcessGuid", "{00000001-0000-0000-7700-000000000100}")),
    ("GUID: machine part", "7", |v| {
        let guid = v["ProcessGuid"].as_str().expect("text").to_owned();
        set(v, "ProcessGuid", format!("{{00000000{}", &guid[9..]));
    }),
    ("GUID: second is the start's", "7", |v| {
        let guid = v["ProcessGuid"].as_str().expect("text").to_owned();
        set(v, "ProcessGuid", format!("{}0000{}", &guid[..10], &guid[14..]));
    }),
    ("GUID: resolves", "7", |v| {
        let guid = v["ProcessGuid"].as_str().expect("text").to_owned();
        set(v, "ProcessGuid", format!("{}77770000{}", &guid[..25], &guid[33..]));
    }),
    ("GUID: image", "10", |v| set(v, "TargetImage", "C:\\x.exe")),
    ("LogonGuid: LUID", "1", |v| set(v, "LogonId", "0x7777777")),
    ("session: Sysmon's logon id resolves", "1", |v| set(v, "LogonId", "0x7777777")),
    ("session: subject's logon id resolves", "4689", |v| set(v, "SubjectLogonId", "0x7777777")),
    ("acts: before its end", "7", |v| set(v, "UtcTime", "2026-03-15 08:00:00.000")),
    ("join: Sysmon 5 with 4689", "4689", |v| set(v, "ProcessId", "0xfff0")),
    ("4689: logon id", "4689", |v| set(v, "SubjectLogonId", "0x3e5")),
    ("audit: process resolves", "5156", |v| set(v, "ProcessID", "65520")),
    ("writer: kernel", "4688", |v| set(v, "ExecutionProcessID", 8)),
    ("writer: lsass", "4624", |v| set(v, "ExecutionProcessID", 8)),
    ("device: acting process's CommandLine", "ConnectionSuccess", |v| set(v, "InitiatingProcessCommandLine", "x")),
    ("device: acting process's AccountName", "ImageLoaded", |v| set(v, "InitiatingProcessAccountName", "x")),
    ("4627: beside 4624", "4627", |v| set(v, "TargetLogonId", "0x7777777")),
    ("4634: as 4624", "4634", |v| set(v, "LogonType", "5")),
    ("4769: before 4624, with its GUID", "4624", |v| set(v, "LogonGuid", "{11111111-0000-0000-0000-000000000000}")),
    ("device logon: type", "LogonSuccess", |v| set(v, "LogonType", "Batch")),
    ("join: 4624 with DeviceLogonEvents", "LogonSuccess", |v| set(v, "LogonId", 77)),
    ("account: one SID", "4634", |v| set(v, "TargetUserSid", "S-1-5-21-1-2-3-1104")),
    ("join: Sysmon 3 with 5156", "5156", |v| set(v, "DestPort", "7")),
    ("join: Sysmon 3 with DeviceNetworkEvents", "ConnectionSuccess", |v| set(v, "LocalPort", 7)),
    ("5158: before 5156", "5158", |v| set(v, "SourcePort", "7")),
    ("join: Sysmon 11 with DeviceFileEvents", "11", |v| set(v, "TargetFilename", "C:\\x")),
    ("join: Sysmon 13 with DeviceRegistryEvents", "13", |v| set(v, "TargetObject", "HKLM\\x")),
    ("join: Sysmon 12 with DeviceRegistryEvents", "RegistryKeyCreated", |v| set(v, "RegistryKey", "HKEY_USERS\\x")),
    ("registry: data", "13", |v| set(v, "Details", "(nothing like it)")),
    ("join: Sysmon 7 with DeviceImageLoadEvents", "ImageLoaded", |v| set(v, "FolderPath", "C:\\x.dll")),
    ("module: hashes", "ImageLoaded", |v| set(v, "MD5", "00")),
    ("join: Sysmon 22 with DeviceEvents", "22", |v| set(v, "QueryName", "x.example")),
    ("join: 4697 with 7045", "7045", |v| set(v, "ImagePath", "x")),
];

fn altered(d: &Dump, file: &str, change: impl FnOnce(&mut Vec<String>)) {
    let kept = fs::read_to_string(d.path(&format!("{file}.kept"))).expect("kept");
    let mut lines: Vec<String> = kept.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(d.path(file), lines.join("\n") + "\n").expect("written");
}

fn must_find(d: &Dump, row: &str, missed: &mut Vec<String>) {
    let out = d.told(&[]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|l| l.strip_prefix(row).is_some_and(|rest| rest.starts_with("  ")));
    let failed = line.and_then(|l| l.split_whitespace().last()).and_then(|n| n.parse::<u64>().ok());
    if out.status.code() != Some(1) || failed.unwrap_or(0) == 0 {
        missed.push(format!("{row}: exit {:?}, {line:?} {}", out.status.code(), String::from_utf8_lossy(&out.stderr)));
    }
}

#[test]
fn whatever_is_altered_is_found() {
    if !python() {
        return;
    }
    let d = Dump::of(&["--scenario", "persistence.service_and_task", "--seed", "7", "--source", SOURCES]);
    for file in ["records", "truth", "boot"] {
        fs::copy(d.path(file), d.path(&format!("{file}.kept"))).expect("copied");
    }
    d.is_one_story(&[]);
    let mut missed = vec![];
    for (row, of, change) in RECORDS {
        altered(&d, "records", |lines| {
            let ended: BTreeSet<String> = (lines.iter())
                .filter(|l| l.contains("\"EventID\":5,"))
                .map(|l| serde_json::from_str::<Value>(l).expect("JSON")["ProcessGuid"].to_string())
                .collect();
            let mut channels = BTreeSet::new();
            let hit = lines.iter_mut().find_map(|l| {
                let v: Value = serde_json::from_str(l).expect("JSON");
                let first = channels.insert((v["Hostname"].to_string(), v["Channel"].to_string()));
                let id = v["EventID"].as_u64().map(|n| n.to_string());
                let id = id.or_else(|| v["ActionType"].as_str().map(str::to_owned));
                // what a record of another kind says about the same cannot be altered the same way
                let fits = id.as_deref() == Some(*of)
                    && (*of != "4688" || !first)
                    && (*of != "7" || ended.contains(&v["ProcessGuid"].to_string()))
                    && (*of != "4624" || v["LogonType"] == "3")
                    && (*of != "4634" || v["LogonType"] == "3")
                    && (*of != "5158" || v["Protocol"] == "6")
                    && (*of != "5156" || v["Direction"] == "%%14593");
                fits.then_some((l, v))
            });
            let (line, mut v) = hit.unwrap_or_else(|| panic!("no record of {of}"));
            change(&mut v);
            *line = v.to_string();
        });
        must_find(&d, row, &mut missed);
    }
    altered(&d, "records", |_| {});
    // a pid that lives twice
    altered(&d, "boot", |lines| {
        let host = serde_json::from_str::<Value>(&lines[0]).expect("JSON")["host"].clone();
        let all: Vec<usize> = (0..lines.len())
            .filter(|i| {
                let v: Value = serde_json::from_str(&lines[*i]).expect("JSON");
                v["type"] == "process" && v["host"] == host
            })
            .collect();
        let first: Value = serde_json::from_str(&lines[all[20]]).expect("JSON");
        let mut second: Value = serde_json::from_str(&lines[all[21]]).expect("JSON");
        second["pid"] = first["pid"].clone();
        lines[all[21]] = second.to_string();
    });
    must_find(&d, "pid: not alive twice", &mut missed);
    altered(&d, "boot", |_| {});
    // an attack's record that the truth calls benign
    altered(&d, "truth", |lines| {
        let l = lines.iter_mut().find(|l| l.contains(r#""role":"effect""#)).expect("an effect");
        *l = l.replace(r#""attack":true"#, r#""attack":false"#);
    });
    must_find(&d, "closure: what is in it is the attack's", &mut missed);
    // a benign record that the truth calls an effect
    let attacks = "attacks={scenarios: ['*'], per_hour: 600, first: 1s, max_parallel: 8}";
    let set = ["--set", "world.hosts=40", "--set", "sensors.policy=verbose_lab", "--set", attacks];
    let small = [&set[..], &["--for", "30s", "--seed", "7", "--source", SOURCES]].concat();
    let d = Dump::of(&small);
    fs::copy(d.path("truth"), d.path("truth.kept")).expect("copied");
    altered(&d, "truth", |lines| {
        let of = |role: &str| -> usize {
            let found = |l: &String| l.contains(role) && l.contains(r#""source":"windows.sysmon""#);
            lines.iter().position(found).unwrap_or_else(|| panic!("no line of {role}"))
        };
        let benign = of(r#""attack":false"#);
        let (line, effect): (Value, Value) = (
            serde_json::from_str(&lines[benign]).expect("JSON"),
            serde_json::from_str(&lines[of(r#""role":"effect""#)]).expect("JSON"),
        );
        let mut lie = line;
        for (k, v) in effect.as_object().expect("an object") {
            if lie[k].is_null() || k == "attack" {
                lie[k] = v.clone();
            }
        }
        lines[benign] = lie.to_string();
    });
    must_find(&d, "closure: direct and effect truth is in it", &mut missed);
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

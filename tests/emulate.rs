//! What commands leave, end to end: records of `emulate` read as an analyst reads them.

#[path = "support/daemon.rs"]
mod daemon;

use std::process::Stdio;

use daemon::skirmish;
use serde_json::Value;

/// Records that commands leave, in the order of their event times.
fn records(args: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let sources = ["emulate", "--source", "windows.security,windows.sysmon,windows.system,windows.task_scheduler"];
    let out = skirmish(dir.path(), &[&sources[..], args].concat()).stderr(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8(out.stdout).unwrap();
    let mut all: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("one record a line")).collect();
    all.sort_by_key(|r| r["EventTime"].as_str().unwrap_or_default().to_owned());
    all
}

/// Those of an event id.
fn of<'a>(all: &'a [Value], channel: &str, id: u64) -> Vec<&'a Value> {
    let fits = |r: &&Value| r["EventID"] == id && r["Channel"].as_str().is_some_and(|c| c.contains(channel));
    all.iter().filter(fits).collect()
}

/// A field's text, empty where it is missing.
fn text<'a>(r: &'a Value, field: &str) -> &'a str {
    r[field].as_str().unwrap_or_default()
}

#[test]
fn one_client_and_user_have_one_smb_session_with_a_server() {
    let all = records(&[
        r"copy C:\Windows\win.ini \\dc\C$\Temp\a.txt & copy C:\Windows\win.ini \\dc\C$\Temp\b.txt",
        r"net use \\dc\NETLOGON",
        r"copy \\dc\NETLOGON\logon.cmd C:\Temp\",
        "timeout /t 400",
        r"del \\dc\C$\Temp\a.txt",
        "timeout /t 1000",
    ]);
    let network = |id| -> Vec<&Value> {
        of(&all, "Security", id).into_iter().filter(|r| r["LogonType"] == "3" || r["LogonType"] == 3).collect()
    };
    let (begun, ended) = (network(4624), network(4634));
    assert_eq!((begun.len(), ended.len()), (1, 1), "one session, which ends");
    let (luid, port) = (text(begun[0], "TargetLogonId"), &begun[0]["IpPort"]);
    assert_eq!(text(ended[0], "TargetLogonId"), luid);
    let shares: Vec<&str> = of(&all, "Security", 5140).iter().map(|r| text(r, "ShareName")).collect();
    assert_eq!(shares, [r"\\*\IPC$", r"\\*\C$", r"\\*\NETLOGON"], "each share once");
    let checks = of(&all, "Security", 5145);
    let files: Vec<&str> = checks.iter().map(|r| text(r, "RelativeTargetName")).collect();
    assert_eq!(files, [r"Temp\a.txt", r"Temp\b.txt", "logon.cmd", r"Temp\a.txt"], "each access");
    assert!(checks.iter().all(|r| text(r, "SubjectLogonId") == luid && r["IpPort"] == *port));
    let connections = of(&all, "Sysmon", 3);
    let connections: Vec<_> = connections.iter().filter(|r| text(r, "Hostname").starts_with("WS-")).collect();
    assert_eq!(connections.len(), 1, "one connection, whose port the session has");
    assert_eq!(connections[0]["SourcePort"], *port);
    let second = |r: &Value| {
        let t = text(r, "EventTime")[11..19].split(':').map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>();
        t[0] * 3600 + t[1] * 60 + t[2]
    };
    let idle = second(ended[0]) - second(checks[3]);
    assert!((600..=905).contains(&idle), "it ends {idle} s after its last use");
}

/// Event id, and what a process record or a state of a service names, in order.
fn told(all: &[Value]) -> Vec<(u64, String)> {
    let mut out = vec![];
    for r in all {
        let id = r["EventID"].as_u64().unwrap_or_default();
        let channel = text(r, "Channel");
        if channel.contains("Sysmon") && matches!(id, 1 | 5) {
            out.push((id, text(r, "Image").rsplit('\\').next().unwrap_or_default().to_lowercase()));
        } else if channel == "System" && id == 7036 {
            out.push((id, format!("{} {}", text(r, "param1"), text(r, "param2"))));
        }
    }
    out
}

#[test]
fn a_service_of_its_own_process_starts_and_ends_it() {
    let all = records(&["net stop spooler", "sc start Spooler", "sc start Spooler", "sc stop VSS"]);
    let told = told(&all);
    let spooler: Vec<_> =
        told.iter().filter(|(_, n)| n.to_lowercase().contains("spool")).map(|(id, n)| (*id, &**n)).collect();
    let mut states = spooler.clone();
    states.sort_unstable();
    assert_eq!(states, [(1, "spoolsv.exe"), (5, "spoolsv.exe")], "no second start, and a client tells no states");
    assert!(!told.iter().any(|(_, n)| n == "vssvc.exe"), "what does not run does not stop: {told:?}");
    let start = of(&all, "Sysmon", 1);
    let start = start.iter().find(|r| text(r, "Image").ends_with("spoolsv.exe")).unwrap();
    assert!(text(start, "ParentImage").ends_with(r"\services.exe"));
}

#[test]
fn the_snapshot_service_starts_once_and_stops_when_nobody_asks_for_it() {
    let all = records(&["vssadmin list shadows", "timeout /t 100", "vssadmin list shadows", "timeout /t 400"]);
    let told = told(&all);
    let vss = |what: (u64, &str)| told.iter().filter(|(id, n)| *id == what.0 && n == what.1).count();
    for what in [(1, "vssvc.exe"), (5, "vssvc.exe")] {
        assert_eq!(vss(what), 1, "{what:?}: {told:?}");
    }
    let at = |what: (u64, &str)| told.iter().position(|(id, n)| *id == what.0 && n == what.1).unwrap();
    let last = told.iter().rposition(|(id, n)| *id == 5 && n == "vssadmin.exe").unwrap();
    assert!(at((5, "vssvc.exe")) > last);
}

#[test]
fn remote_desktop_starts_a_desktop_that_ends_with_its_session() {
    let all = records(&["mstsc /v:file_server", "timeout /t 5000"]);
    let server = |r: &&Value| text(r, "Hostname").contains("-FS");
    let logon = of(&all, "Security", 4624);
    let logon =
        logon.iter().find(|r| server(r) && r["LogonType"].to_string().contains("10")).expect("a logon of type 10");
    let starts: Vec<_> = of(&all, "Sysmon", 1).into_iter().filter(server).collect();
    let ends: Vec<_> = of(&all, "Sysmon", 5).into_iter().filter(server).collect();
    let name = |r: &Value| text(r, "Image").rsplit('\\').next().unwrap_or_default().to_lowercase();
    let parent = |r: &Value| text(r, "ParentImage").rsplit('\\').next().unwrap_or_default().to_lowercase();
    let session = &starts.iter().find(|r| name(r) == "winlogon.exe").expect("its own winlogon")["TerminalSessionId"];
    for (program, by, person) in [
        ("csrss.exe", "smss.exe", false),
        ("dwm.exe", "winlogon.exe", false),
        ("userinit.exe", "winlogon.exe", true),
        ("explorer.exe", "userinit.exe", true),
        ("rdpclip.exe", "svchost.exe", true),
    ] {
        let start = starts.iter().find(|r| name(r) == program).unwrap_or_else(|| panic!("no {program}"));
        assert_eq!((parent(start).as_str(), &start["TerminalSessionId"]), (by, session), "{program}");
        assert_eq!(text(start, "LogonId") == text(logon, "TargetLogonId"), person, "{program}");
        assert!(ends.iter().any(|r| r["ProcessGuid"] == start["ProcessGuid"]), "{program} ends");
    }
    let ended: Vec<_> = of(&all, "Security", 4634).into_iter().filter(server).collect();
    assert!(ended.iter().any(|r| text(r, "TargetLogonId") == text(logon, "TargetLogonId")));
}

#[test]
fn a_task_keeps_its_id_in_the_cache() {
    let all = records(&[
        r"schtasks /create /tn Updater /tr C:\x.exe /sc daily",
        r"schtasks /create /tn Other /tr C:\x.exe /sc daily",
        "schtasks /run /tn updater",
        "schtasks /delete /tn Updater /f",
    ]);
    let changes =
        all.iter().filter(|r| text(r, "Channel").contains("Sysmon") && matches!(r["EventID"].as_u64(), Some(12..=14)));
    let id = regex::Regex::new(r"TaskCache\\Tasks\\(\{[0-9A-F-]+\})").unwrap();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut last = String::new();
    for r in changes {
        if let Some(c) = id.captures(text(r, "TargetObject")) {
            *seen.entry(c[1].to_owned()).or_default() += 1;
            last = c[1].to_owned();
        }
    }
    assert_eq!(seen.len(), 2, "two tasks, two ids: {seen:?}");
    assert!(seen[&last] > 9, "made, run and deleted under one id: {seen:?}");
}

#[test]
fn reading_credentials_says_what_was_asked_and_found() {
    let all = records(&["cmdkey /list"]);
    let reads = of(&all, "Security", 5379);
    assert_eq!(reads.len(), 1);
    let r = reads[0];
    let number = |f: &str| r[f].as_str().map(str::to_owned).unwrap_or_else(|| r[f].to_string());
    assert_eq!((text(r, "TargetName"), number("Type").as_str(), text(r, "ReadOperation")), ("*", "0", "%%8100"));
    let found = number("CountOfCredentialsReturned").parse::<u32>().unwrap();
    assert_eq!(number("ReturnCode"), if found == 0 { "3221226021" } else { "0" });
    let asks = of(&all, "Sysmon", 1);
    let asks = asks.iter().find(|r| text(r, "Image").ends_with("cmdkey.exe")).unwrap();
    let pid = |v: &Value| v.as_str().map(str::to_owned).unwrap_or_else(|| v.to_string());
    assert_eq!(pid(&r["ClientProcessId"]), pid(&asks["ProcessId"]));
}

#[test]
fn names_of_hosts_in_commands_are_those_hosts() {
    let world = records(&[r"copy C:\a.txt \\dc\C$\Temp\"]);
    let fqdn = text(of(&world, "Security", 5145)[0], "Hostname").to_lowercase();
    let name = fqdn.split('.').next().unwrap();
    let all = records(&[
        &format!(r"copy C:\a.txt \\{name}\C$\Temp\"),
        &format!("wmic /node:{name} process call create notepad.exe"),
        &format!("ping {name}"),
        &format!("powershell Test-NetConnection {name} -Port 445"),
    ]);
    let there = |r: &&Value| text(r, "Hostname").eq_ignore_ascii_case(&fqdn);
    assert_eq!(of(&all, "Security", 5145).iter().filter(|r| there(r)).count(), 1, "the file is written there");
    let logons = of(&all, "Security", 4624);
    assert_eq!(logons.iter().filter(|r| there(r)).count(), 2, "a session for files, one for the call");
    let child = of(&all, "Sysmon", 1);
    let child = child.iter().find(|r| text(r, "Image").ends_with("notepad.exe")).expect("it runs");
    assert!(there(child) && text(child, "ParentImage").ends_with("WmiPrvSE.exe"));
    for r in of(&all, "Sysmon", 22) {
        assert_eq!(text(r, "QueryName").to_lowercase(), fqdn, "names of hosts are asked for in full");
    }
    let connections = of(&all, "Sysmon", 3);
    assert!(connections.iter().filter(|r| there(r)).count() >= 2, "they arrive");

    let own = records(&["--host", name, "whoami"]);
    let who = of(&own, "Sysmon", 1);
    let who = who.iter().find(|r| text(r, "Image").ends_with("whoami.exe")).expect("it runs on a server");
    assert!(there(who) && text(who, "ParentImage").ends_with("cmd.exe"));
}

/// Records of a scenario of one's own.
fn played(scenario: &str, seed: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("scenarios")).unwrap();
    std::fs::write(dir.path().join("scenarios/own.yaml"), scenario).unwrap();
    let args = ["generate", "--data", ".", "--scenario", "test.own", "--seed", seed, "--set", "world.hosts=40"];
    let sources = ["--source", "windows.security,windows.sysmon"];
    let out = skirmish(dir.path(), &[&args[..], &sources].concat()).stderr(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|l| serde_json::from_str(l).expect("one record a line")).collect()
}

#[test]
fn an_alternative_that_is_not_taken_borrows_no_session() {
    let scenario = r#"
scenario: test.own
name: Own
description: what is not done needs no credentials
cast:
  pc: {host: workstation}
  user: {user_of: pc}
  admin: {domain_admin: }
vars:
  way: {choice: {one: 1, two: 1}}
steps:
  - {id: open, technique: T1059.003, actor: user@pc, run: cmd.exe, name: prompt}
  - {id: other, technique: T1033, if: "way == 'one'", parent: prompt, account: admin, run: whoami.exe}
"#;
    let mut seen = [false; 2];
    for seed in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        let all = played(scenario, seed);
        let did = all.iter().any(|r| r["EventID"] == 1 && text(r, "Image").ends_with("whoami.exe"));
        let borrowed = all.iter().filter(|r| r["EventID"] == 4624 && r["LogonType"].to_string().contains('9')).count();
        assert_eq!(borrowed, usize::from(did), "seed {seed}");
        seen[usize::from(did)] = true;
    }
    assert_eq!(seen, [true, true], "both alternatives occur");
}

//! What commands leave, end to end: records of `emulate` read as an analyst reads them.

#[path = "support/daemon.rs"]
#[allow(dead_code)]
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

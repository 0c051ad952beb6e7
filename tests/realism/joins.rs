//! Order and joins: names before connections, ports before both, tickets before logons, handles, spellings.

use std::collections::{BTreeMap, BTreeSet};

use crate::Property;
use crate::records::{Event, MS, Ns, POWERSHELL, Run, S, SECURITY, SYSMON, World, name};

use Run::{Attacks, Baseline, Life};

/// Direction of 5156.
const OUTBOUND: &str = "%%14593";

/// Addresses a query was answered with.
fn answers(e: &Event) -> BTreeSet<&str> {
    e.get("QueryResults")
        .split(';')
        .map(|a| a.trim_start_matches("::ffff:"))
        .filter(|a| a.contains('.') && !a.contains(' '))
        .collect()
}

/// Five-tuple without the local address: port here, port there, protocol.
fn tuple(e: &Event) -> (String, String, String, String) {
    let (here, there) =
        if e.get("Direction") == OUTBOUND { ("SourcePort", "DestPort") } else { ("DestPort", "SourcePort") };
    (e.host.clone(), e.get(here).to_owned(), e.get(there).to_owned(), e.get("Protocol").to_owned())
}

fn known_sessions(w: &World) -> BTreeSet<(&str, u64)> {
    let mut known: BTreeSet<(&str, u64)> = w.boot.sessions.iter().map(|(h, l)| (&**h, *l)).collect();
    known.extend(w.of(SECURITY, &[4624]).filter_map(|e| Some((&*e.host, e.num("TargetLogonId")?))));
    known
}

pub const ALL: &[Property] = &[
    Property {
        name: "names_before_connections",
        over: &[Life, Attacks],
        least: 20,
        recorded: None, // 29 of 63 recorded queries carry a time behind the connection's: Sysmon of 2020 stamped the answer late
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 22 {
                    let e = std::sync::Arc::make_mut(e);
                    let t = e.utc().expect("a time") + S;
                    let text = format!(
                        "2026-03-02 {:02}:{:02}:{:02}.{:03}",
                        t / (3600 * S) % 24,
                        t / (60 * S) % 60,
                        t / S % 60,
                        t / MS % 1000
                    );
                    e.set("UtcTime", text);
                }
            }
        },
        check: |w, f| {
            let mut connections: BTreeMap<(&str, &str), Vec<Ns>> = BTreeMap::new();
            for e in w.of(SYSMON, &[3]).filter(|e| e.get("Initiated") == "true") {
                connections.entry((e.guid(), e.get("DestinationIp"))).or_default().push(e.utc().unwrap_or(0));
            }
            let mut asked: BTreeSet<(&str, &str)> = BTreeSet::new();
            for e in w.of(SYSMON, &[22]) {
                let utc = e.utc().unwrap_or(0);
                for ip in answers(e) {
                    let Some(all) = connections.get(&(e.guid(), ip)) else { continue };
                    // the nearest connection of a name that this process had not asked for before
                    if !asked.insert((e.guid(), ip)) {
                        continue;
                    }
                    if let Some(t) = all.iter().min_by_key(|t| (**t - utc).abs()).filter(|t| (**t - utc).abs() < 3 * S)
                    {
                        f.case(*t >= utc - 2 * MS, || {
                            format!("{}: {} asked after the connection", e.host, e.get("QueryName"))
                        });
                    }
                }
            }
        },
    },
    Property {
        name: "ports_before_connections",
        over: &[Life, Attacks],
        least: 100,
        recorded: Some(70), // ports bound before the recording began
        plant: |w| w.change(SECURITY, 5158, 30, |_| true, |e| e.set("SourcePort", "1")),
        check: |w, f| {
            let mut bound: BTreeSet<(&str, &str, &str, u64)> = BTreeSet::new();
            let ids = [5156, 5158];
            let mut all: Vec<&Event> = w.of(SECURITY, &ids).collect();
            all.sort_by_key(|e| (e.host.clone(), e.n));
            for e in all {
                let key = (
                    &*e.host,
                    e.get("SourcePort"),
                    e.get("Protocol"),
                    e.num("ProcessId").or(e.num("ProcessID")).unwrap_or(0),
                );
                if e.id == 5158 {
                    bound.insert(key);
                } else if e.get("Direction") == OUTBOUND {
                    f.case(bound.contains(&key), || {
                        format!("{}: port {} of {} was never bound", e.host, key.1, e.get("Application"))
                    });
                }
            }
        },
    },
    Property {
        name: "both_sensors_see_a_connection",
        over: &[Life, Attacks],
        least: 100,
        recorded: Some(50), // collected for parts of an hour, filtered
        plant: |w| w.change(SECURITY, 5156, 5, |_| true, |e| e.set("SourcePort", "1")),
        check: |w, f| {
            let mut audits: BTreeMap<(String, String, String, String), u64> = BTreeMap::new();
            for e in w.of(SECURITY, &[5156]) {
                audits.insert(tuple(e), e.num("ProcessID").or(e.num("ProcessId")).unwrap_or(0));
            }
            let hosts: BTreeSet<&str> = w.of(SECURITY, &[5156]).map(|e| &*e.host).collect();
            for e in w.of(SYSMON, &[3]).filter(|e| hosts.contains(&*e.host)) {
                let number = if e.get("Protocol") == "tcp" { "6" } else { "17" };
                let (here, there) = if e.get("Initiated") == "true" {
                    ("SourcePort", "DestinationPort")
                } else {
                    ("DestinationPort", "SourcePort")
                };
                let key = (e.host.clone(), e.get(here).to_owned(), e.get(there).to_owned(), number.to_owned());
                let pid = audits.get(&key);
                f.case(pid.is_some_and(|p| e.num("ProcessId").is_none_or(|o| o == *p)), || {
                    format!("{key:?} of {} is {pid:?} in 5156", e.get("ProcessId"))
                });
            }
        },
    },
    Property {
        name: "tickets_before_logons",
        over: &[Life, Attacks],
        least: 5,
        recorded: None, // the controllers' records of most hours are not there
        plant: |w| {
            // those of the first seconds have no ticket to be held against
            w.change(SECURITY, 4769, 100, |_| true, |e| e.set("LogonGuid", "{11111111-2222-4333-8444-555555555555}"))
        },
        check: |w, f| {
            let mut tickets: BTreeMap<&str, &Event> = BTreeMap::new();
            for e in w.of(SECURITY, &[4769]) {
                tickets.entry(e.get("LogonGuid")).or_insert(e);
            }
            let first = w.events.iter().map(|e| e.written).min().unwrap_or(0);
            let kerberos = |e: &&Event| e.get("AuthenticationPackageName") == "Kerberos" && e.get("LogonType") == "3";
            for e in w.of(SECURITY, &[4624]).filter(kerberos).filter(|e| e.written > first + 5 * S) {
                let t = tickets.get(e.get("LogonGuid"));
                // two clocks: a second of slack
                let before = t.is_some_and(|t| t.written <= e.written + S);
                let service =
                    t.is_some_and(|t| t.get("ServiceName").trim_end_matches('$').eq_ignore_ascii_case(e.short()));
                f.case(before && service, || {
                    format!("{}: {} has no ticket {}", e.host, e.get("TargetUserName"), e.get("LogonGuid"))
                });
            }
        },
    },
    Property {
        name: "rights_beside_privileged_logons",
        over: &[Life, Attacks, Baseline],
        least: 5,
        recorded: Some(95),
        plant: |w| w.change(SECURITY, 4672, 1, |_| true, |e| e.set("SubjectLogonId", "0x77777777")),
        check: |w, f| {
            let mut logons: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
            for e in w.of(SECURITY, &[4624]) {
                logons.entry((&e.host, e.get("TargetLogonId"))).or_default().push(e);
            }
            for e in w.of(SECURITY, &[4672]) {
                let near = logons.get(&(&*e.host, e.get("SubjectLogonId"))).is_some_and(|l| {
                    l.iter().any(|o| (o.written - e.written).abs() <= 2 * S && o.n.abs_diff(e.n) <= 60)
                });
                f.case(near, || format!("{}: rights of {} without its logon", e.host, e.get("SubjectLogonId")));
            }
            let rights: BTreeSet<(&str, &str)> =
                w.of(SECURITY, &[4672]).map(|e| (&*e.host, e.get("SubjectLogonId"))).collect();
            for e in
                w.of(SECURITY, &[4624]).filter(|e| e.get("TargetUserSid") == "S-1-5-18" && e.get("LogonType") == "5")
            {
                f.case(rights.contains(&(&*e.host, e.get("TargetLogonId"))), || {
                    format!("{}: SYSTEM logs on without rights", e.host)
                });
            }
        },
    },
    Property {
        name: "groups_beside_every_logon",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(95),
        plant: |w| {
            let n = w.of(SECURITY, &[4627]).find(|e| e.get("LogonType") == "3").expect("groups").clone();
            w.drop(|e| e.id == 4627 && e.host == n.host && e.n == n.n);
        },
        check: |w, f| {
            let mut groups: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
            for e in w.of(SECURITY, &[4627]) {
                groups.entry((&e.host, e.get("TargetLogonId"))).or_default().push(e);
            }
            // the first logon of a boot has no audit yet
            for e in w.of(SECURITY, &[4624]).filter(|e| e.get("LogonType") != "0") {
                let ok = groups.get(&(&*e.host, e.get("TargetLogonId"))).is_some_and(|l| {
                    l.iter().any(|g| {
                        (g.written - e.written).abs() <= 2 * S && g.get("TargetUserSid") == e.get("TargetUserSid")
                    })
                });
                f.case(ok, || format!("{}: {} without its groups", e.host, e.get("TargetLogonId")));
            }
        },
    },
    Property {
        name: "logoffs_end_known_sessions",
        over: &[Life, Attacks, Baseline],
        least: 10,
        recorded: None, // sessions from before the recording
        plant: |w| w.change(SECURITY, 4634, 1, |_| true, |e| e.set("TargetLogonId", "0x77777777")),
        check: |w, f| {
            let known = known_sessions(w);
            for e in w.of(SECURITY, &[4634, 4647]) {
                let luid = e.num("TargetLogonId").unwrap_or(0);
                f.case(known.contains(&(&*e.host, luid)), || format!("{}: {luid:#x} was never opened", e.host));
            }
        },
    },
    Property {
        name: "network_logons_are_short",
        over: &[Life],
        least: 1,
        recorded: Some(50),
        plant: |w| w.drop(|e| e.id == 4634 && e.channel == SECURITY),
        check: |w, f| {
            let ends: BTreeMap<(&str, &str), Ns> =
                w.of(SECURITY, &[4634]).map(|e| ((&*e.host, e.get("TargetLogonId")), e.written)).collect();
            let last = w.events.iter().map(|e| e.written).max().unwrap_or(0);
            let mut spans = vec![];
            for e in w.of(SECURITY, &[4624]).filter(|e| e.get("LogonType") == "3" && e.written < last - 60 * S) {
                let end = ends.get(&(&*e.host, e.get("TargetLogonId"))).copied().unwrap_or(last + 600 * S);
                spans.push((end - e.written) as f64 / S as f64);
            }
            if spans.len() >= 20 {
                f.figure("median seconds of a network session", crate::records::median(&mut spans), 0.0, 40.0);
            }
        },
    },
    Property {
        name: "explicit_credentials_lead_somewhere",
        over: &[Attacks, Life],
        least: 1,
        recorded: None,
        plant: |w| w.change(SECURITY, 4648, 1, |_| true, |e| e.set("SubjectLogonId", "0x77777777")),
        check: |w, f| {
            let known = known_sessions(w);
            for e in w.of(SECURITY, &[4648]) {
                let luid = e.num("SubjectLogonId").unwrap_or(0);
                f.case(known.contains(&(&*e.host, luid)), || format!("{}: {luid:#x} is no session", e.host));
            }
        },
    },
    Property {
        name: "handles_open_serve_and_close",
        over: &[Life, Attacks],
        least: 200,
        recorded: Some(95),
        plant: |w| w.change(SECURITY, 4663, 1, |_| true, |e| e.set("HandleId", "0xfff0")),
        check: |w, f| {
            let ids = [4656, 4658, 4663, 4690];
            let mut all: Vec<&Event> = w.of(SECURITY, &ids).filter(|e| e.n > 0).collect();
            all.sort_by_key(|e| (e.host.clone(), e.n));
            let hosts: BTreeSet<&str> = all.iter().filter(|e| e.id == 4656).map(|e| &*e.host).collect();
            let mut open: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
            for e in all.iter().filter(|e| hosts.contains(&*e.host)) {
                let key = (&*e.host, e.get("ProcessId"), e.get("HandleId"));
                match e.id {
                    4656 => drop(open.insert(key, e.get("ObjectName"))),
                    4663 => f.case(open.get(&key) == Some(&e.get("ObjectName")), || {
                        format!(
                            "{}: {} read through {} that is {:?}",
                            e.host,
                            e.get("ObjectName"),
                            key.2,
                            open.get(&key)
                        )
                    }),
                    4658 => drop(open.remove(&key)),
                    _ => {}
                }
            }
        },
    },
    Property {
        name: "copied_handles_are_closed",
        over: &[Life],
        least: 100,
        recorded: Some(90),
        plant: |w| w.change(SECURITY, 4690, 1, |_| true, |e| e.set("TargetHandleId", "0xfff0")),
        check: |w, f| {
            let ids = [4658, 4690];
            let mut by: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
            for e in w.of(SECURITY, &ids).filter(|e| e.n > 0) {
                by.entry(&e.host).or_default().push(e);
            }
            for (host, mut l) in by {
                l.sort_by_key(|e| e.n);
                for (i, e) in l.iter().enumerate().filter(|(i, e)| e.id == 4690 && i + 40 < l.len()) {
                    let closed = l[i + 1..]
                        .iter()
                        .take(40)
                        .any(|o| o.id == 4658 && o.get("HandleId") == e.get("TargetHandleId"));
                    f.case(closed, || {
                        format!(
                            "{host}: copy {} of {} is never closed",
                            e.get("TargetHandleId"),
                            e.get("SourceProcessId")
                        )
                    });
                }
            }
        },
    },
    Property {
        name: "script_parts_count_up",
        over: &[Attacks, Life],
        least: 3,
        recorded: Some(95),
        plant: |w| w.change(POWERSHELL, 4104, 1, |_| true, |e| e.set("MessageNumber", "7")),
        check: |w, f| {
            let mut parts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
            for e in w.of(POWERSHELL, &[4104]) {
                let (n, total) = (e.num("MessageNumber").unwrap_or(0), e.num("MessageTotal").unwrap_or(0));
                let last = parts.insert((&e.host, e.get("ScriptBlockId")), (n, total));
                let ok = n >= 1 && n <= total && last.is_none_or(|(m, t)| t == total && n == m + 1);
                f.case(ok, || format!("{}: part {n} of {total} after {last:?}", e.host));
            }
        },
    },
    Property {
        name: "controllers_spell_mapped_addresses",
        over: &[Life, Attacks, Baseline],
        least: 10,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 4769, 1, |_| true, |e| e.set("IpAddress", "10.10.40.17")),
        check: |w, f| {
            for e in w.of(SECURITY, &[4768, 4769, 4771]) {
                let a = e.get("IpAddress");
                f.case(a.starts_with("::ffff:") || !a.contains('.'), || format!("{} from {a}", e.id));
            }
            for e in w.of(SECURITY, &[4624, 4625]) {
                f.case(!e.get("IpAddress").starts_with("::ffff:"), || format!("{} from {}", e.id, e.get("IpAddress")));
            }
        },
    },
    Property {
        name: "filters_spell_devices",
        over: &[Life, Attacks],
        least: 100,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 5156, 1, |_| true, |e| e.set("Application", r"C:\Windows\System32\svchost.exe")),
        check: |w, f| {
            for e in w.of(SECURITY, &[5154, 5156, 5158]) {
                let a = e.get("Application");
                let ok = a == "System"
                    || a.starts_with(r"\device\harddiskvolume") && a.chars().all(|c| !c.is_ascii_uppercase());
                f.case(ok, || format!("{}: {a}", e.id));
            }
        },
    },
    Property {
        name: "keys_are_spelt_by_their_sensor",
        over: &[Life, Attacks],
        least: 500,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 13, 1, |_| true, |e| e.set("TargetObject", r"HKEY_LOCAL_MACHINE\SOFTWARE\X")),
        check: |w, f| {
            for e in w.of(SYSMON, &[12, 13, 14]) {
                let k = e.get("TargetObject");
                let ok = ["HKLM", "HKU", "HKCR", r"\REGISTRY\A", r"\REGISTRY\WC"].iter().any(|h| k.starts_with(h))
                    && !k.starts_with("HKEY");
                f.case(ok, || format!("{}: {k}", e.id));
            }
            for e in w.of(SECURITY, &[4656, 4657, 4663]).filter(|e| e.get("ObjectType") == "Key" || e.id == 4657) {
                f.case(e.get("ObjectName").starts_with(r"\REGISTRY\"), || format!("{}: {}", e.id, e.get("ObjectName")));
            }
        },
    },
    Property {
        name: "sensor_doubles_percent",
        over: &[Attacks, Life],
        least: 100,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SYSMON,
                1,
                1,
                |e| !e.get("CommandLine").is_empty(),
                |e| {
                    let line = format!("{} %TEMP%", e.get("CommandLine"));
                    e.set("CommandLine", line);
                },
            )
        },
        check: |w, f| {
            let mut audits: BTreeMap<(&str, u64, &str), BTreeSet<&str>> = BTreeMap::new();
            for e in w.of(SECURITY, &[4688]) {
                audits
                    .entry((&e.host, e.num("NewProcessId").unwrap_or(0), name(e.get("NewProcessName"))))
                    .or_default()
                    .insert(e.get("CommandLine"));
            }
            for e in w.of(SYSMON, &[1]) {
                let key = (&*e.host, e.num("ProcessId").unwrap_or(0), name(e.get("Image")));
                let Some(lines) = audits.get(&key).filter(|l| l.iter().any(|t| !t.is_empty())) else { continue };
                let ours = e.get("CommandLine");
                f.case(lines.iter().any(|l| l.replace('%', "%%").trim() == ours.trim()), || {
                    format!("{ours:?} is {lines:?} in 4688")
                });
            }
        },
    },
    Property {
        name: "logon_processes_keep_their_blanks",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 4624, 1, |e| e.get("LogonType") == "5", |e| e.set("LogonProcessName", "Advapi")),
        check: |w, f| {
            // eight letters at most, padded with blanks as each caller registers itself
            let known = [
                "Advapi  ", "Kerberos", "NtLmSsp ", "User32 ", "seclogo", "CredPro", "Negotiat", "Authz   ", "-", "",
                "Schannel", "CHAP", "IIS     ", "Winlogon",
            ];
            for e in w.of(SECURITY, &[4624, 4625]) {
                f.case(known.contains(&e.get("LogonProcessName")), || format!("{:?}", e.get("LogonProcessName")));
            }
        },
    },
    Property {
        name: "started_for_somebody_else",
        over: &[Life],
        least: 1,
        recorded: None, // few starts in each
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SECURITY && e.id == 4688 {
                    std::sync::Arc::make_mut(e).set("TargetLogonId", "0x0");
                }
            }
        },
        check: |w, f| {
            let all = w.of(SECURITY, &[4688]).count();
            let other = w
                .of(SECURITY, &[4688])
                .filter(|e| e.get("SubjectUserSid") == "S-1-5-18" && e.num("TargetLogonId").unwrap_or(0) > 0x3e7)
                .count();
            if all >= 80 {
                f.figure("share of starts by SYSTEM for another session", other as f64 / all as f64, 0.02, 0.7);
            }
        },
    },
];

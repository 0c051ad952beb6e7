//! Footprint: who starts whom, who writes what, consoles, accesses and their call traces, what a policy selects.

use std::collections::{BTreeMap, BTreeSet};

use crate::Property;
use crate::records::{Event, MS, Run, S, SYSMON, name};

use Run::{Attacks, Baseline, Life};

/// Image, its parents (separated by blanks), and what the parent's command line contains.
const PARENTS: &[(&str, &str, &str)] = &[
    ("w3wp.exe", "svchost.exe", "iissvcs"),
    ("wmiprvse.exe", "svchost.exe", "DcomLaunch"),
    ("runtimebroker.exe", "svchost.exe", "DcomLaunch"),
    ("backgroundtaskhost.exe", "svchost.exe", "DcomLaunch"),
    ("smartscreen.exe", "svchost.exe", "DcomLaunch"),
    ("shellexperiencehost.exe", "svchost.exe", "DcomLaunch"),
    ("startmenuexperiencehost.exe", "svchost.exe", "DcomLaunch"),
    ("wsmprovhost.exe", "svchost.exe", "DcomLaunch"),
    ("tiworker.exe", "svchost.exe", "DcomLaunch"),
    ("mobsync.exe", "svchost.exe", "DcomLaunch"),
    ("sdxhelper.exe", "svchost.exe", ""),
    ("taskhostw.exe", "svchost.exe", "Schedule"),
    ("gpupdate.exe", "svchost.exe cmd.exe powershell.exe explorer.exe ccmexec.exe wmiprvse.exe psexesvc.exe", ""),
    ("consent.exe", "svchost.exe", ""),
    ("rdpclip.exe", "svchost.exe", ""),
    ("searchprotocolhost.exe", "searchindexer.exe", ""),
    ("searchfilterhost.exe", "searchindexer.exe", ""),
    ("trustedinstaller.exe", "services.exe", ""),
    ("sppsvc.exe", "services.exe", ""),
    ("spoolsv.exe", "services.exe", ""),
    ("svchost.exe", "services.exe", ""),
    ("userinit.exe", "winlogon.exe", ""),
    ("explorer.exe", "userinit.exe explorer.exe svchost.exe winlogon.exe cmd.exe powershell.exe", ""),
    ("logonui.exe", "winlogon.exe", ""),
    ("dwm.exe", "winlogon.exe", ""),
    ("fontdrvhost.exe", "wininit.exe winlogon.exe", ""),
    ("net1.exe", "net.exe", ""),
    ("lsass.exe", "wininit.exe", ""),
    ("services.exe", "wininit.exe", ""),
    ("winlogon.exe", "smss.exe", ""),
    ("wininit.exe", "smss.exe", ""),
    ("csrss.exe", "smss.exe", ""),
];

/// Programs of the console subsystem that start without a console of their parent's.
const CONSOLE: &[&str] = &[
    "cmd.exe",
    "powershell.exe",
    "net.exe",
    "reg.exe",
    "whoami.exe",
    "ipconfig.exe",
    "schtasks.exe",
    "sc.exe",
    "netsh.exe",
    "cscript.exe",
    "wevtutil.exe",
    "vssadmin.exe",
    "nltest.exe",
    "systeminfo.exe",
    "tasklist.exe",
    "ping.exe",
    "nslookup.exe",
    "certutil.exe",
    "bitsadmin.exe",
    "gpupdate.exe",
    "arp.exe",
    "route.exe",
    "wmic.exe",
    "quser.exe",
    "klist.exe",
    "icacls.exe",
    "robocopy.exe",
];

/// Part of a path, lower case, and the images that write there.
const WRITERS: &[(&str, &str)] = &[
    (r"\component based servicing\", "tiworker.exe trustedinstaller.exe dism.exe dismhost.exe msiexec.exe poqexec.exe"),
    (r"\windows defender\scans\history\", "msmpeng.exe mpcmdrun.exe"),
    (r"\windows\wer\reportqueue\", "werfault.exe wermgr.exe svchost.exe"),
    (r"\windows\wer\reportarchive\", "werfault.exe wermgr.exe svchost.exe"),
    (r"\windows\wer\temp\", "werfault.exe wermgr.exe svchost.exe"),
    (r"\tcpip\parameters\interfaces\{", "svchost.exe system lsass.exe netsh.exe"),
    (r"\explorer\userassist\", "explorer.exe"),
    (r"\windows\prefetch\", "svchost.exe"),
    (r"\system32\tasks\", "svchost.exe"),
    (r"\schedule\taskcache\", "svchost.exe"),
    (
        r"\software\microsoft\windows defender\",
        "msmpeng.exe mpcmdrun.exe svchost.exe services.exe powershell.exe wmiprvse.exe reg.exe mssense.exe",
    ),
];

/// Masks that tools and components ask for (recorded, and documented for dumping tools): a full control, a query, a
/// duplicate, memory to read ... An odd mask is some tool's signature.
const GRANTED: &[u64] = &[
    0x40, 0x400, 0x410, 0x1000, 0x1010, 0x1038, 0x1040, 0x1400, 0x1410, 0x1418, 0x1438, 0x143a, 0x1440, 0x1450, 0x1451,
    0x1478, 0x147a, 0x14c0, 0x1418, 0x2000, 0x2200, 0x3000, 0x3200, 0x10_0000, 0x10_0001, 0x10_0040, 0x10_0400,
    0x10_0410, 0x10_1000, 0x10_1001, 0x10_1040, 0x10_1400, 0x10_1410, 0x10_1411, 0x10_1441, 0x10_1451, 0x10_1478,
    0x10_1541, 0x10_14c0, 0x10_3000, 0x10_3800, 0x10_3801, 0x1f_0fff, 0x1f_1fff, 0x1f_3fff, 0x1f_ffff, 0x11_1411,
    0x2_0000, 0x12_0089, 0x800, 0x1800, 0x1001, 0x1401, 0x1, 0x2, 0x8, 0x10, 0x20, 0x28, 0x38, 0x80, 0x200, 0x1fff,
    0x1200,
];

fn image_of(e: &Event) -> String {
    name(&e.image()).to_owned()
}

pub const ALL: &[Property] = &[
    Property {
        name: "who_starts_whom",
        over: &[Life, Attacks, Baseline],
        least: 100,
        recorded: Some(97),
        plant: |w| {
            w.change(
                SYSMON,
                1,
                1,
                |e| e.get("Image").ends_with("RuntimeBroker.exe"),
                |e| e.set("ParentImage", r"C:\Windows\explorer.exe"),
            )
        },
        check: |w, f| {
            for e in w.of(SYSMON, &[1]) {
                let (child, parent) = (image_of(e), name(e.get("ParentImage")).to_lowercase());
                let line = e.get("ParentCommandLine");
                for (_, parents, says) in PARENTS.iter().filter(|(c, ..)| *c == child) {
                    // a service host of old splits no groups: its line names netsvcs
                    let told = says.is_empty()
                        || line.is_empty()
                        || line.contains(says)
                        || line.contains("netsvcs") && *says == "Schedule";
                    let ok = parents.split(' ').any(|p| p == parent) && (told || parent != "svchost.exe");
                    f.case(ok, || format!("{}: {child} started by {parent} ({line})", e.host));
                }
            }
        },
    },
    Property {
        name: "services_tell_their_group",
        over: &[Life],
        least: 5,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SYSMON,
                1,
                1,
                |e| e.get("Image").ends_with(r"\svchost.exe"),
                |e| e.set("CommandLine", r"C:\Windows\System32\svchost.exe"),
            )
        },
        check: |w, f| {
            for e in w.of(SYSMON, &[1]).filter(|e| {
                image_of(e) == "svchost.exe" && name(e.get("ParentImage")).eq_ignore_ascii_case("services.exe")
            }) {
                f.case(e.get("CommandLine").contains(" -k "), || format!("{}: {}", e.host, e.get("CommandLine")));
            }
        },
    },
    Property {
        name: "surrogates_tell_their_class",
        over: &[Life],
        least: 3,
        recorded: Some(90),
        plant: |w| {
            w.change(
                SYSMON,
                1,
                1,
                |e| e.get("Image").to_lowercase().ends_with(r"\dllhost.exe"),
                |e| e.set("ParentImage", r"C:\Windows\explorer.exe"),
            )
        },
        check: |w, f| {
            for e in w.of(SYSMON, &[1]).filter(|e| image_of(e) == "dllhost.exe") {
                let ok = e.get("CommandLine").to_lowercase().contains("/processid:{")
                    && name(e.get("ParentImage")).eq_ignore_ascii_case("svchost.exe");
                f.case(ok, || format!("{}: {} of {}", e.host, e.get("CommandLine"), e.get("ParentImage")));
            }
        },
    },
    Property {
        name: "each_console_has_its_host",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(80), // some hide their window behind a console made otherwise
        plant: |w| w.drop(|e| e.channel == SYSMON && e.id == 1 && e.get("Image").ends_with("conhost.exe")),
        check: |w, f| {
            let mut hosts: BTreeMap<&str, i64> = BTreeMap::new();
            for e in w.of(SYSMON, &[1]).filter(|e| image_of(e) == "conhost.exe") {
                hosts.insert(e.get("ParentProcessGuid"), e.utc().unwrap_or(0));
            }
            let last = w.events.iter().map(|e| e.written).max().unwrap_or(0);
            for e in w.of(SYSMON, &[1]) {
                let parent = name(e.get("ParentImage")).to_lowercase();
                // of a program that somebody brought it is not known whether it has a console
                let path = e.get("ParentImage").to_lowercase();
                let known = [r"c:\windows\system32\", r"c:\windows\syswow64\", r"c:\program files"];
                let shares = CONSOLE.contains(&&*parent)
                    || parent == "msbuild.exe"
                    || hosts.contains_key(e.get("ParentProcessGuid"))
                    || !known.iter().any(|k| path.starts_with(k)) && !path.ends_with(r"\explorer.exe");
                if CONSOLE.contains(&&*image_of(e)) && !shares && e.written < last - 10 * S {
                    let utc = e.utc().unwrap_or(0);
                    let near = hosts.get(e.guid()).is_some_and(|t| (0..2 * S).contains(&(t - utc)));
                    f.case(near, || format!("{}: {} of {parent} has no conhost", e.host, e.get("CommandLine")));
                }
            }
        },
    },
    Property {
        name: "who_writes_what",
        over: &[Life, Attacks],
        least: 100,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SYSMON,
                11,
                1,
                |e| e.get("Image").ends_with("svchost.exe"),
                |e| {
                    e.set("Image", r"C:\Windows\System32\notepad.exe");
                    e.set("TargetFilename", r"C:\Windows\Prefetch\CALC.EXE-12345678.pf");
                },
            )
        },
        check: |w, f| {
            for e in w.of(SYSMON, &[11, 12, 13]) {
                let path = if e.id == 11 { e.get("TargetFilename") } else { e.get("TargetObject") }.to_lowercase();
                for (part, writers) in WRITERS {
                    if path.contains(part) {
                        let by = image_of(e);
                        f.case(writers.split(' ').any(|w| w == by), || format!("{}: {path} by {by}", e.host));
                    }
                }
            }
        },
    },
    Property {
        name: "values_print_by_type",
        over: &[Life, Attacks],
        least: 200,
        recorded: Some(99),
        plant: |w| {
            w.change(SYSMON, 13, 1, |e| e.get("Details").starts_with("DWORD"), |e| e.set("Details", "DWORD (1)"))
        },
        check: |w, f| {
            let hex = |s: &str| {
                s.len() == 10
                    && s.starts_with("0x")
                    && s[2..].bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
            };
            for e in w.of(SYSMON, &[13]) {
                let d = e.get("Details");
                let inside = |kind: &str| d.strip_prefix(kind).and_then(|r| r.strip_suffix(')'));
                let ok = match (inside("DWORD ("), inside("QWORD (")) {
                    (Some(n), _) => hex(n),
                    (_, Some(n)) => n.split_once('-').is_some_and(|(a, b)| hex(a) && hex(b)),
                    _ => !d.starts_with("REG_") && !d.starts_with("DWORD") && !d.starts_with("QWORD"),
                };
                let assist = e.get("TargetObject").to_lowercase().contains(r"\userassist\");
                f.case(ok && (!assist || d == "Binary Data"), || format!("{}: {d}", e.get("TargetObject")));
            }
        },
    },
    Property {
        name: "granted_accesses_are_known",
        over: &[Life, Attacks],
        least: 500,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 10, 1, |_| true, |e| e.set("GrantedAccess", "0x1234")),
        check: |w, f| {
            for e in w.of(SYSMON, &[10]) {
                f.case(e.num("GrantedAccess").is_some_and(|g| GRANTED.contains(&g)), || {
                    format!(
                        "{} of {} by {}",
                        e.get("GrantedAccess"),
                        name(e.get("TargetImage")),
                        name(e.get("SourceImage"))
                    )
                });
            }
        },
    },
    Property {
        name: "call_traces_are_stacks",
        over: &[Life, Attacks],
        least: 500,
        recorded: Some(99),
        plant: |w| {
            w.change(
                SYSMON,
                10,
                1,
                |_| true,
                |e| {
                    let long =
                        format!("{}|{}", e.get("CallTrace"), [r"C:\Windows\System32\kernel32.dll+1"; 30].join("|"));
                    e.set("CallTrace", long);
                },
            )
        },
        check: |w, f| {
            for e in w.of(SYSMON, &[10]).filter(|e| !e.get("CallTrace").is_empty()) {
                let frames: Vec<&str> = e.get("CallTrace").split('|').collect();
                let module = |t: &str| {
                    let (path, at) = t
                        .rsplit_once('+')
                        .or(t.strip_suffix(')').and_then(|t| t.split_once("UNKNOWN(").map(|(_, a)| ("UNKNOWN", a))))
                        .unwrap_or(("", ""));
                    !path.is_empty() && !at.is_empty() && at.bytes().all(|b| b.is_ascii_hexdigit())
                };
                // the driver keeps 24 frames
                let top = frames[0].to_lowercase();
                let system = top.contains(r"\ntdll.dll+")
                    || top.contains("win32u.dll+")
                    || top.contains("wow64")
                    || top.contains("unknown(");
                let ok = frames.len() <= 24 && frames.iter().all(|t| module(t)) && system;
                f.case(ok, || {
                    format!(
                        "{}: {} frames of {}: {}",
                        e.host,
                        frames.len(),
                        name(e.get("SourceImage")),
                        &e.get("CallTrace")[..e.get("CallTrace").len().min(160)]
                    )
                });
            }
        },
    },
    Property {
        name: "call_offsets_are_constant",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(95),
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 10 {
                    n += 1;
                    let e = std::sync::Arc::make_mut(e);
                    let t = format!(r"C:\Windows\SYSTEM32\ntdll.dll+{:x}|{}", 0x9_0000 + n * 16, e.get("CallTrace"));
                    e.set("CallTrace", t);
                }
            }
        },
        check: |w, f| {
            // the system calls that open a process stand at a few places of a host's ntdll
            let mut tops: BTreeMap<(&str, String), BTreeMap<String, usize>> = BTreeMap::new();
            for e in w.of(SYSMON, &[10]) {
                let top = e.get("CallTrace").split('|').next().unwrap_or("").to_lowercase();
                if let Some((path, at)) = top.rsplit_once('+').filter(|(p, _)| p.ends_with(r"system32\ntdll.dll")) {
                    *tops.entry((&e.host, path.to_owned())).or_default().entry(at.to_owned()).or_default() += 1;
                }
            }
            for ((host, _), offsets) in tops {
                let n: usize = offsets.values().sum();
                if n >= 50 {
                    f.case(offsets.len() <= 9, || {
                        format!("{host}: {} offsets into ntdll for {n} accesses", offsets.len())
                    });
                }
            }
        },
    },
    Property {
        name: "stacks_vary_in_depth",
        over: &[Life],
        least: 1,
        recorded: Some(80),
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 10 {
                    let e = std::sync::Arc::make_mut(e);
                    let t = e.get("CallTrace").split('|').take(4).collect::<Vec<_>>().join("|");
                    e.set("CallTrace", t);
                }
            }
        },
        check: |w, f| {
            let mut depths: BTreeMap<usize, usize> = BTreeMap::new();
            for e in w.of(SYSMON, &[10]).filter(|e| !e.get("CallTrace").is_empty()) {
                *depths.entry(e.get("CallTrace").split('|').count()).or_default() += 1;
            }
            let n: usize = depths.values().sum();
            if n >= 300 {
                f.figure("depths of stacks", depths.len() as f64, 6.0, 24.0);
                f.figure(
                    "share of the most frequent depth",
                    *depths.values().max().unwrap_or(&0) as f64 / n as f64,
                    0.05,
                    0.7,
                );
            }
        },
    },
    Property {
        name: "remote_threads_start_at_symbols",
        over: &[Attacks],
        least: 1,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SYSMON,
                8,
                1,
                |_| true,
                |e| {
                    e.set("StartModule", r"C:\Windows\System32\kernel32.dll");
                    e.set("StartFunction", "DoTheThing");
                },
            )
        },
        check: |w, f| {
            // exports that remote threads are started at; none where the address is in no module
            let known = [
                "-",
                "",
                "LoadLibraryA",
                "LoadLibraryW",
                "LoadLibraryExA",
                "LoadLibraryExW",
                "RtlUserThreadStart",
                "CtrlRoutine",
                "DbgUiRemoteBreakin",
                "TpWaitForWork",
                "EtwpNotificationThread",
                "RtlCreateUserThread",
                "ExitThread",
                "FreeLibrary",
                "GetProcAddress",
                "WinExec",
                "WaitForSingleObject",
                "SleepEx",
            ];
            for e in w.of(SYSMON, &[8]) {
                let (function, module) = (e.get("StartFunction"), e.get("StartModule"));
                let alone = matches!(module, "" | "-") && !matches!(function, "" | "-");
                f.case(known.contains(&function) && !alone, || format!("{}: {module}!{function}", e.host));
            }
        },
    },
    Property {
        name: "ends_name_their_starts",
        over: &[Life, Attacks],
        least: 100,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 5, 400, |_| true, |e| e.set("Image", r"C:\Windows\System32\calc.exe")),
        check: |w, f| {
            let starts: BTreeMap<&str, (&str, i64)> =
                w.of(SYSMON, &[1]).filter_map(|e| Some((e.guid(), (e.get("Image"), e.utc()?)))).collect();
            for e in w.of(SYSMON, &[5]) {
                if let Some((image, start)) = starts.get(e.guid()) {
                    let ok =
                        image.eq_ignore_ascii_case(e.get("Image")) && e.utc().is_some_and(|t| t >= start - 20 * MS);
                    f.case(ok, || format!("{}: {} ends as {}", e.host, image, e.get("Image")));
                }
            }
        },
    },
    Property {
        name: "nobody_acts_before_its_start",
        over: &[Life, Attacks],
        least: 1_000,
        recorded: Some(95),
        plant: |w| {
            // of a process that was seen to start
            let starts: BTreeSet<String> = w.of(SYSMON, &[1]).map(|e| e.guid().to_owned()).collect();
            let guid = w.of(SYSMON, &[7]).find(|e| starts.contains(e.guid())).expect("a load").guid().to_owned();
            w.change(SYSMON, 7, 1, |e| e.guid() == guid, |e| e.set("UtcTime", "2026-03-02 00:00:00.000"));
        },
        check: |w, f| {
            let starts: BTreeMap<&str, i64> = w.of(SYSMON, &[1]).filter_map(|e| Some((e.guid(), e.utc()?))).collect();
            for e in w.of(SYSMON, &[3, 5, 7, 8, 10, 11, 12, 13, 22]) {
                let started = starts
                    .get(e.guid())
                    .copied()
                    .or(crate::records::sysmon_guid(e.guid()).filter(|g| g.2 > 0).map(|g| g.1 * S));
                if let (Some(start), Some(utc)) = (started, e.utc()) {
                    // image loads carry the tick before the start
                    f.case(utc >= start - 17 * MS, || {
                        format!("{}: {} {} acts {} ms before its start", e.host, e.id, image_of(e), (start - utc) / MS)
                    });
                }
            }
        },
    },
    Property {
        name: "nobody_acts_after_its_end",
        over: &[Life, Attacks],
        least: 1_000,
        recorded: Some(97),
        plant: |w| {
            let guid = w
                .of(SYSMON, &[5])
                .find(|e| w.of(SYSMON, &[7]).any(|o| o.guid() == e.guid()))
                .expect("an end")
                .guid()
                .to_owned();
            w.change(SYSMON, 7, 1, |e| e.guid() == guid, |e| e.set("UtcTime", "2026-03-02 23:59:00.000"));
        },
        check: |w, f| {
            let ends: BTreeMap<&str, i64> = w.of(SYSMON, &[5]).filter_map(|e| Some((e.guid(), e.utc()?))).collect();
            for e in w.of(SYSMON, &[3, 7, 8, 10, 11, 12, 13]) {
                if let (Some(end), Some(utc)) = (ends.get(e.guid()), e.utc()) {
                    f.case(utc <= end + 20 * MS, || {
                        format!("{}: {} {} acts {} ms after its end", e.host, e.id, image_of(e), (utc - end) / MS)
                    });
                }
            }
        },
    },
    Property {
        name: "one_policy_selects_the_same_everywhere",
        over: &[Life],
        least: 20,
        recorded: None, // hosts were recorded for different spans
        plant: |w| {
            let most = w.by_host(SYSMON).into_iter().max_by_key(|(_, l)| l.len()).map(|(host, _)| host.to_owned());
            w.drop(|e| e.channel == SYSMON && e.id == 12 && Some(&*e.host) == most.as_deref());
        },
        check: |w, f| {
            for (host, l) in w.by_host(SYSMON) {
                // a machine that was on for minutes
                if l.len() >= 1500 {
                    let ids: BTreeSet<u64> = l.iter().map(|e| e.id).collect();
                    let lacks: Vec<u64> = [1, 7, 10, 11, 12, 13].into_iter().filter(|i| !ids.contains(i)).collect();
                    f.case(lacks.is_empty(), || format!("{host}: {} records, none of {lacks:?}", l.len()));
                }
            }
        },
    },
    Property {
        name: "names_that_are_no_names",
        over: &[Life, Attacks, Baseline],
        least: 20,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 22, 1, |_| true, |e| e.set("QueryName", "any.backup_server")),
        check: |w, f| {
            for e in w.of(SYSMON, &[22]) {
                let n = e.get("QueryName");
                let last = n.trim_end_matches('.').rsplit('.').next().unwrap_or("");
                let ok = !n.is_empty() && !n.contains(['{', '}', ' ', '\\', '/']) && !last.contains('_');
                f.case(ok, || format!("{}: {n}", e.host));
            }
        },
    },
    Property {
        name: "no_template_shows",
        over: &[Life, Attacks, Baseline],
        least: 1_000,
        recorded: None,
        plant: |w| w.change(SYSMON, 1, 1, |_| true, |e| e.set("CommandLine", "cmd.exe /c echo {user.name}")),
        check: |w, f| {
            let words = [
                "{user.",
                "{host.",
                "{program.",
                "{guid}",
                "{hex.",
                "{number.",
                "{now.",
                "{profile}",
                "{system32}",
                "{word.",
                "{letters.",
                "{programdata}",
                "{windows}",
                "{public}",
            ];
            for e in w.events.iter() {
                for (k, v) in &e.data {
                    if v.contains('{') && k != &"ScriptBlockText" {
                        f.case(!words.iter().any(|w| v.contains(w)), || format!("{} {k}: {v}", e.id));
                    }
                }
            }
        },
    },
];

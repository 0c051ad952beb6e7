//! Identity: logon ids, GUIDs, process and thread ids, SIDs, images and their hashes.

use std::collections::{BTreeMap, BTreeSet};

use sha2::Digest;

use crate::Property;
use crate::records::{POWERSHELL, Run, S, SECURITY, SYSMON, name, sysmon_guid};

use Run::{Attacks, Baseline, Life};

const FIXED: [(&str, &str, u64); 3] =
    [("S-1-5-18", "SYSTEM", 0x3e7), ("S-1-5-19", "LOCAL SERVICE", 0x3e5), ("S-1-5-20", "NETWORK SERVICE", 0x3e4)];
/// Written by lsass.
const BY_LSASS: &[u64] = &[4624, 4625, 4634, 4647, 4648, 4672, 4627, 4768, 4769, 4771, 4776];
/// Written by the kernel.
const BY_KERNEL: &[u64] = &[4688, 4689, 4690, 5154, 5156, 5158, 4663];

pub const ALL: &[Property] = &[
    Property {
        name: "fixed_logon_ids",
        over: &[Life, Attacks, Baseline],
        least: 300,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 1, 1, |e| e.get("LogonId") == "0x3e7", |e| e.set("LogonId", "0x3e8")),
        check: |w, f| {
            for e in w.of(SYSMON, &[1]) {
                for (_, user, luid) in FIXED {
                    let it = e.get("User").eq_ignore_ascii_case(&format!(r"NT AUTHORITY\{user}"));
                    let has = e.num("LogonId") == Some(luid);
                    if it || has {
                        f.case(it == has, || format!("{} has logon id {}", e.get("User"), e.get("LogonId")));
                    }
                }
            }
            for e in w.of(SECURITY, &[4688, 4656, 4663, 4703, 4673]) {
                for (sid, _, luid) in FIXED {
                    let (it, has) = (e.get("SubjectUserSid") == sid, e.num("SubjectLogonId") == Some(luid));
                    if it || has {
                        f.case(it == has, || format!("{} of {} has {}", e.id, sid, e.get("SubjectLogonId")));
                    }
                }
            }
        },
    },
    Property {
        name: "only_the_system_is_system",
        over: &[Life, Attacks, Baseline],
        least: 100,
        recorded: Some(98),
        plant: |w| w.change(SYSMON, 1, 1, |e| e.get("IntegrityLevel") == "System", |e| e.set("User", r"CORP\svc_sql")),
        check: |w, f| {
            // services and application pools under accounts of their own are as high as an administrator
            const ITS: [&str; 3] = ["NT AUTHORITY", "Window Manager", "Font Driver Host"];
            for e in w.of(SYSMON, &[1]).filter(|e| e.get("IntegrityLevel") == "System") {
                let domain = e.get("User").split('\\').next().unwrap_or("");
                let ok = ITS.iter().any(|d| d.eq_ignore_ascii_case(domain));
                f.case(ok, || format!("{} of {} has integrity System", e.get("Image"), e.get("User")));
            }
        },
    },
    Property {
        name: "service_logons",
        over: &[Life],
        least: 5,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 4624, 1, |e| e.get("LogonType") == "5", |e| e.set("TargetLogonId", "0x4711")),
        check: |w, f| {
            for e in w.of(SECURITY, &[4624]).filter(|e| e.get("LogonType") == "5") {
                let Some((_, _, luid)) = FIXED.iter().find(|(s, ..)| *s == e.get("TargetUserSid")) else { continue };
                let ok = e.num("TargetLogonId") == Some(*luid)
                    && e.get("ProcessName").to_lowercase().ends_with(r"\services.exe")
                    && e.get("LogonProcessName").trim_end() == "Advapi"
                    && e.get("LogonGuid").trim_matches(['{', '}']).bytes().all(|b| b == b'0' || b == b'-');
                f.case(ok, || format!("{}: {:?}", e.host, e.data));
            }
        },
    },
    Property {
        name: "luids_grow",
        over: &[Life, Attacks],
        least: 40,
        recorded: Some(97),
        plant: |w| {
            w.change(
                SECURITY,
                4624,
                40,
                |e| e.get("LogonType") == "3",
                |e| {
                    let luid = e.num("TargetLogonId").expect("a LUID");
                    e.set("TargetLogonId", format!("0x{:x}", 0x1_0000_0000 - luid));
                },
            )
        },
        check: |w, f| {
            for (host, l) in w.by_host(SECURITY) {
                let luids: Vec<u64> = l
                    .iter()
                    .filter(|e| e.id == 4624 && e.n > 0)
                    .filter_map(|e| e.num("TargetLogonId"))
                    .filter(|l| *l > 0x3e7)
                    .collect();
                for p in luids.windows(2) {
                    f.case(p[0] < p[1], || format!("{host}: {:#x} after {:#x}", p[1], p[0]));
                }
            }
        },
    },
    Property {
        name: "linked_logons",
        over: &[Attacks, Life],
        least: 1,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SECURITY,
                4624,
                1,
                |e| e.num("TargetLinkedLogonId").unwrap_or(0) > 0,
                |e| e.set("TargetLinkedLogonId", "0x12345678"),
            )
        },
        check: |w, f| {
            let all: Vec<_> = w.of(SECURITY, &[4624]).collect();
            for e in all.iter().filter(|e| e.num("TargetLinkedLogonId").unwrap_or(0) > 0) {
                let ok = all.iter().any(|o| {
                    o.host == e.host
                        && o.get("TargetLogonId") == e.get("TargetLinkedLogonId")
                        && o.get("TargetLinkedLogonId") == e.get("TargetLogonId")
                        && o.get("TargetUserSid") == e.get("TargetUserSid")
                        && o.get("ElevatedToken") != e.get("ElevatedToken")
                        && (o.written - e.written).abs() < 2 * S
                });
                f.case(ok, || {
                    format!("{}: {} links to {}", e.host, e.get("TargetLogonId"), e.get("TargetLinkedLogonId"))
                });
            }
        },
    },
    Property {
        name: "process_guids",
        over: &[Life, Attacks, Baseline],
        least: 200,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 1, 1, |_| true, |e| e.set("ProcessGuid", "{01234567-89ab-4cde-8f01-23456789abcd}")),
        check: |w, f| {
            let mut machine: BTreeMap<&str, u32> = BTreeMap::new();
            for (host, l) in w.by_host(SYSMON) {
                let mut last = (0, 0);
                let mut starts: Vec<_> = l.iter().filter(|e| e.id == 1).filter_map(|e| Some((e.utc()?, *e))).collect();
                starts.sort_by_key(|(t, e)| (*t, sysmon_guid(e.get("ProcessGuid")).map_or(0, |g| g.2)));
                for (utc, e) in starts {
                    let (own, parent) = (sysmon_guid(e.get("ProcessGuid")), sysmon_guid(e.get("ParentProcessGuid")));
                    let Some((m, second, key)) = own else {
                        f.case(false, || format!("{host}: {}", e.get("ProcessGuid")));
                        continue;
                    };
                    let same = *machine.entry(&e.host).or_insert(m) == m && parent.is_none_or(|p| p.0 == m || p.0 == 0);
                    f.case(same && second == utc.div_euclid(S), || {
                        format!("{host}: {} at {}", e.get("ProcessGuid"), e.get("UtcTime"))
                    });
                    // older Sysmon has a token there
                    let (boot, number) = (key >> 48, key & 0xffff_ffff_ffff);
                    if number < 1 << 32 && boot > 0 && boot < 4096 {
                        f.case((boot, number) > last, || {
                            format!("{host}: process {number} of boot {boot} after {last:?}")
                        });
                        last = (boot, number);
                    }
                }
            }
        },
    },
    Property {
        name: "logon_guids",
        over: &[Life, Attacks, Baseline],
        least: 200,
        recorded: Some(99),
        plant: |w| w.change(SYSMON, 1, 1, |_| true, |e| e.set("LogonId", "0x123456")),
        check: |w, f| {
            for e in w.of(SYSMON, &[1]) {
                let (Some(logon), Some(own)) = (sysmon_guid(e.get("LogonGuid")), sysmon_guid(e.get("ProcessGuid")))
                else {
                    f.case(false, || e.get("LogonGuid").to_owned());
                    continue;
                };
                if logon == (0, 0, 0) {
                    continue; // a session that ended while Sysmon asked
                }
                // Sysmon before 10 has the LUID in the upper half
                let luid = if logon.2 & 0xffff_ffff == 0x2000_0000 { logon.2 >> 32 } else { logon.2 };
                let ok = logon.0 == own.0 && Some(luid) == e.num("LogonId") && logon.1 <= own.1;
                f.case(ok, || format!("{}: {} of {}", e.host, e.get("LogonGuid"), e.get("LogonId")));
            }
        },
    },
    Property {
        name: "start_keys",
        over: &[Attacks],
        least: 1,
        recorded: None, // the recorded hosts that log these versions have no Sysmon that builds its GUIDs of the key
        plant: |w| {
            for id in [4697, 4698, 4702] {
                if w.of(SECURITY, &[id]).any(|e| e.num("ClientProcessStartKey").unwrap_or(0) > 0) {
                    return w.change(
                        SECURITY,
                        id,
                        1,
                        |e| e.num("ClientProcessStartKey").unwrap_or(0) > 0,
                        |e| e.set("ClientProcessStartKey", "17"),
                    );
                }
            }
        },
        check: |w, f| {
            let mut keys: BTreeSet<(&str, u64, u64)> =
                w.boot.processes.iter().map(|(h, p, k, _)| (&**h, *p, *k)).collect();
            for e in w.channel(SYSMON) {
                if let (Some(g), Some(pid)) = (sysmon_guid(e.guid()), e.num("ProcessId").or(e.num("SourceProcessId"))) {
                    keys.insert((&e.host, pid, g.2));
                }
            }
            for e in w.of(SECURITY, &[4697, 4698, 4702]) {
                let (Some(key), Some(pid)) = (e.num("ClientProcessStartKey"), e.num("ClientProcessId")) else {
                    continue;
                };
                if key > 0 {
                    f.case(keys.contains(&(&*e.host, pid, key)), || {
                        format!("{} {}: process {pid} has no key {key}", e.host, e.id)
                    });
                }
            }
        },
    },
    Property {
        name: "kerberos_guids",
        over: &[Life, Attacks, Baseline],
        least: 30,
        recorded: Some(97),
        plant: |w| {
            w.change(
                SECURITY,
                4624,
                1,
                |e| e.get("AuthenticationPackageName") == "Kerberos",
                |e| e.set("LogonGuid", "{00000000-0000-0000-0000-000000000000}"),
            )
        },
        check: |w, f| {
            for e in w.of(SECURITY, &[4624]) {
                let zero = e.get("LogonGuid").trim_matches(['{', '}']).bytes().all(|b| b == b'0' || b == b'-');
                match e.get("AuthenticationPackageName") {
                    "Kerberos" => f.case(!zero, || format!("{}: Kerberos logon without GUID", e.host)),
                    "NTLM" => f.case(zero, || format!("{}: NTLM logon with {}", e.host, e.get("LogonGuid"))),
                    _ => {}
                }
            }
        },
    },
    Property {
        name: "system_is_the_machine_in_audits",
        over: &[Life, Attacks, Baseline],
        least: 300,
        recorded: Some(99),
        plant: |w| {
            w.change(
                SECURITY,
                4688,
                1,
                |e| e.get("SubjectUserSid") == "S-1-5-18",
                |e| e.set("SubjectUserName", "SYSTEM"),
            )
        },
        check: |w, f| {
            for e in w.of(SECURITY, &[4688, 4656, 4663, 4690, 4703]).filter(|e| e.get("SubjectUserSid") == "S-1-5-18") {
                let account = format!("{}$", e.short());
                // Windows that is being set up has another name still
                f.case(e.get("SubjectUserName").eq_ignore_ascii_case(&account), || {
                    format!("{}: {} by {}", e.host, e.id, e.get("SubjectUserName"))
                });
            }
        },
    },
    Property {
        name: "lsass_writes_logons",
        over: &[Life, Attacks, Baseline],
        least: 100,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 4624, 1, |_| true, |e| e.pid = 4),
        check: |w, f| {
            let mut lsass: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
            for (host, pid, _, image) in &w.boot.processes {
                if name(image).eq_ignore_ascii_case("lsass.exe") {
                    lsass.entry(host).or_default().insert(*pid);
                }
            }
            for e in w.channel(SYSMON) {
                for (image, pid) in
                    [("Image", "ProcessId"), ("SourceImage", "SourceProcessId"), ("TargetImage", "TargetProcessId")]
                {
                    if e.get(image).to_lowercase().ends_with(r"\lsass.exe")
                        && let Some(pid) = e.num(pid)
                    {
                        lsass.entry(&e.host).or_default().insert(pid);
                    }
                }
            }
            for e in w.of(SECURITY, BY_LSASS).filter(|e| e.pid > 0) {
                if let Some(pids) = lsass.get(&*e.host) {
                    f.case(pids.contains(&e.pid), || format!("{}: {} by {}, lsass is {pids:?}", e.host, e.id, e.pid));
                }
            }
        },
    },
    Property {
        name: "kernel_writes_audits",
        over: &[Life, Attacks, Baseline],
        least: 500,
        recorded: Some(99),
        plant: |w| w.change(SECURITY, 4688, 1, |_| true, |e| e.pid = 640),
        check: |w, f| {
            for e in w.of(SECURITY, BY_KERNEL).filter(|e| e.pid > 0) {
                f.case(e.pid == 4, || format!("{}: {} by {}", e.host, e.id, e.pid));
            }
        },
    },
    Property {
        name: "one_sensor_process",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(90),
        plant: |w| w.change(SYSMON, 10, 1, |_| true, |e| e.pid += 4),
        check: |w, f| {
            for (host, l) in w.by_host(SYSMON) {
                let pids: BTreeSet<u64> = l.iter().map(|e| e.pid).filter(|p| *p > 0).collect();
                let restarted = l.iter().any(|e| e.id == 4);
                if !pids.is_empty() && !restarted {
                    f.case(pids.len() == 1, || format!("{host}: Sysmon is {pids:?}"));
                }
            }
        },
    },
    Property {
        name: "sensor_threads",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(90),
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SYSMON {
                    n += 1;
                    std::sync::Arc::make_mut(e).tid = 4 * (400 + n % 5);
                }
            }
        },
        check: |w, f| {
            for (host, l) in w.by_host(SYSMON) {
                let mut threads: BTreeMap<u64, usize> = BTreeMap::new();
                let driver: Vec<u64> =
                    l.iter().filter(|e| matches!(e.id, 10 | 12 | 13) && e.tid > 0).map(|e| e.tid).collect();
                driver.iter().for_each(|t| *threads.entry(*t).or_default() += 1);
                let Some((most, n)) = threads.iter().max_by_key(|(_, n)| **n) else { continue };
                if driver.len() < 30 {
                    continue;
                }
                f.case(n * 10 >= driver.len() * 8, || format!("{host}: the driver's queue is read by {threads:?}"));
                for e in l.iter().filter(|e| matches!(e.id, 3 | 22)) {
                    f.case(e.tid != *most, || format!("{host}: {} written by the driver's thread", e.id));
                }
            }
        },
    },
    Property {
        name: "small_thread_pools",
        over: &[Life, Attacks],
        least: 20,
        recorded: Some(97),
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SECURITY {
                    n += 4;
                    std::sync::Arc::make_mut(e).tid = 1200 + n;
                }
            }
        },
        check: |w, f| {
            let mut pools: BTreeMap<(&str, &str, u64), BTreeMap<u64, usize>> = BTreeMap::new();
            for e in w.events.iter().filter(|e| e.pid > 0 && e.tid > 0 && [SECURITY, SYSMON].contains(&e.channel)) {
                *pools.entry((&e.host, e.channel, e.pid)).or_default().entry(e.tid).or_default() += 1;
            }
            for ((host, channel, pid), threads) in pools {
                let n: usize = threads.values().sum();
                if n >= 100 {
                    let ok = (2..=40).contains(&threads.len()) && threads.keys().all(|t| t % 4 == 0);
                    f.case(ok, || format!("{host}: {channel} by {pid}: {} threads for {n} records", threads.len()));
                }
            }
        },
    },
    Property {
        name: "no_thread_has_a_process_id",
        over: &[Life, Attacks],
        least: 500,
        recorded: Some(98),
        plant: |w| {
            let (host, pid) =
                w.of(SYSMON, &[1]).map(|e| (e.host.clone(), e.num("ProcessId").unwrap_or(0))).next().expect("a start");
            w.change(SYSMON, 10, 1, |e| e.host == host, |e| e.tid = pid);
        },
        check: |w, f| {
            let mut pids: BTreeSet<(&str, u64)> = w.boot.processes.iter().map(|(h, p, ..)| (&**h, *p)).collect();
            pids.extend(w.of(SYSMON, &[1]).filter_map(|e| Some((&*e.host, e.num("ProcessId")?))));
            let threads: BTreeSet<(&str, u64)> =
                w.channel(SYSMON).filter(|e| e.tid > 0).map(|e| (&*e.host, e.tid)).collect();
            let sources = w.of(SYSMON, &[10]).filter_map(|e| Some((&*e.host, e.num("SourceThreadId")?)));
            for t in threads.into_iter().chain(sources) {
                f.case(!pids.contains(&t), || format!("{t:?} is a process and a thread"));
            }
        },
    },
    Property {
        name: "process_ids",
        over: &[Life, Attacks],
        least: 30,
        recorded: Some(90),
        plant: |w| {
            let mut pid = 9_000;
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 1 {
                    pid += 4;
                    std::sync::Arc::make_mut(e).set("ProcessId", pid.to_string());
                }
            }
        },
        check: |w, f| {
            let (mut falls, mut pairs) = (0usize, 0usize);
            for l in w.by_host(SYSMON).values() {
                let mut starts: Vec<_> = l
                    .iter()
                    .filter(|e| e.id == 1)
                    .filter_map(|e| Some((e.utc()?, e.num("ProcessId")?, e.image())))
                    .collect();
                starts.sort();
                for (_, pid, image) in &starts {
                    f.case(pid % 4 == 0 && *pid < 100_000, || format!("{image} has process id {pid}"));
                }
                pairs += starts.len().saturating_sub(1);
                falls += starts.windows(2).filter(|p| p[1].1 < p[0].1).count();
            }
            if pairs > 150 {
                f.figure("share of starts with a lower id than the one before", falls as f64 / pairs as f64, 0.2, 0.6);
            }
        },
    },
    Property {
        name: "early_processes_have_low_ids",
        over: &[Life],
        least: 100,
        recorded: None, // the recordings begin long after boot
        plant: |w| {
            let mut boot = crate::records::Boot { processes: w.boot.processes.clone(), ..Default::default() };
            boot.processes.iter_mut().filter(|p| p.3.ends_with("lsass.exe")).for_each(|p| p.1 = 9_876);
            w.boot = boot.into();
        },
        check: |w, f| {
            for (host, pid, _, image) in &w.boot.processes {
                let most = match &*name(image).to_lowercase() {
                    "system" => 4,
                    "registry" | "smss.exe" => 1_000,
                    "csrss.exe" | "wininit.exe" | "services.exe" | "lsass.exe" => 2_000,
                    _ => continue,
                };
                f.case(*pid <= most && pid % 4 == 0, || format!("{host}: {image} has process id {pid}"));
            }
        },
    },
    Property {
        name: "relative_ids",
        over: &[Life, Attacks, Baseline],
        least: 100,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SECURITY,
                4624,
                1,
                |e| e.get("TargetUserSid").starts_with("S-1-5-21-"),
                |e| e.set("TargetUserSid", "S-1-5-21-1-2-3-77"),
            )
        },
        check: |w, f| {
            for e in w.channel(SECURITY) {
                for (k, v) in e.data.iter().filter(|(k, _)| k.ends_with("Sid")) {
                    let Some(rest) = v.strip_prefix("S-1-5-21-") else { continue };
                    let parts: Vec<u64> = rest.split('-').filter_map(|p| p.parse().ok()).collect();
                    let ok = parts.len() == 4
                        && (matches!(parts[3], 500..=580) || parts[3] >= 1000)
                        && parts[..3].iter().all(|p| *p < 1 << 32);
                    f.case(ok, || format!("{}: {k} {v}", e.id));
                }
            }
        },
    },
    Property {
        name: "failed_logons",
        over: &[Attacks],
        least: 5,
        recorded: Some(100),
        plant: |w| w.change(SECURITY, 4625, 1, |_| true, |e| e.set("SubStatus", "0xc0000072")),
        check: |w, f| {
            for e in w.of(SECURITY, &[4625]) {
                // NTSTATUS of the refusal and what lies behind it
                let pair = (e.num("Status").unwrap_or(0), e.num("SubStatus").unwrap_or(0), e.get("FailureReason"));
                let ok = matches!(
                    pair,
                    (0xc000_006d, 0xc000_006a | 0xc000_0064, "%%2313")
                        | (0xc000_006d, 0, "%%2304" | "%%2313")
                        | (0xc000_0234, 0, "%%2307")
                        | (0xc000_006e, 0xc000_0072, "%%2310")
                        | (0xc000_0224, 0, "%%2309")
                        | (0xc000_0071, 0, "%%2309")
                        | (0xc000_015b, 0, "%%2308")
                        | (0xc000_010b, 0, "%%2304")
                );
                f.case(ok && e.get("TargetUserSid") == "S-1-0-0", || {
                    format!("{}: {pair:?} for {}", e.host, e.get("TargetUserSid"))
                });
            }
        },
    },
    Property {
        name: "one_image_one_hash",
        over: &[Life, Attacks, Baseline],
        least: 2_000,
        recorded: Some(99),
        plant: |w| {
            w.change(
                SYSMON,
                7,
                1,
                |e| e.get("ImageLoaded").ends_with("kernel32.dll"),
                |e| e.set("Hashes", "SHA1=0000000000000000000000000000000000000000"),
            )
        },
        check: |w, f| {
            let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
            for e in w.of(SYSMON, &[1, 7]) {
                let file = name(if e.id == 1 { e.get("Image") } else { e.get("ImageLoaded") }).to_lowercase();
                let version = e.get("FileVersion");
                // a file name may stand for several files: where there is no version, and 32 bits beside 64
                if version.is_empty() || version == "-" || e.get("Hashes").is_empty() {
                    continue;
                }
                let path = if e.id == 1 { e.get("Image") } else { e.get("ImageLoaded") }.to_lowercase();
                let bits = path.contains("syswow64") || path.contains("(x86)");
                let says = format!(
                    "{} {} {} {}",
                    e.get("Hashes"),
                    e.get("Description"),
                    e.get("OriginalFileName"),
                    e.get("Company")
                );
                let first = known.entry((format!("{file} {bits}"), version.to_owned())).or_insert_with(|| says.clone());
                f.case(*first == says, || format!("{file} {version}: {says}, elsewhere {first}"));
            }
        },
    },
    Property {
        name: "sensors_agree_on_hashes",
        over: &[Life, Attacks],
        least: 20,
        recorded: None, // no Defender rows were recorded
        plant: |w| {
            for r in &mut w.rows {
                if r["ActionType"] == "ProcessCreated" {
                    std::sync::Arc::make_mut(r)["SHA256"] = "00".repeat(32).into();
                }
            }
        },
        check: |w, f| {
            let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for e in w.of(SYSMON, &[1]) {
                let sha =
                    e.get("Hashes").split(',').find_map(|h| h.strip_prefix("SHA256=")).unwrap_or("").to_lowercase();
                known.entry(name(e.get("Image")).to_lowercase()).or_default().insert(sha);
            }
            for r in w.rows.iter().filter(|r| r["ActionType"] == "ProcessCreated") {
                let (file, sha) = (
                    r["FileName"].as_str().unwrap_or("").to_lowercase(),
                    r["SHA256"].as_str().unwrap_or("").to_lowercase(),
                );
                if let Some(all) = known.get(&file) {
                    f.case(sha.is_empty() || all.contains(&sha), || {
                        format!("{file}: {sha} is none of Sysmon's {all:?}")
                    });
                }
            }
        },
    },
    Property {
        name: "components_have_versions_of_their_own",
        over: &[Life],
        least: 10,
        recorded: Some(50),
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 7 && e.get("Company") == "Microsoft Corporation" {
                    std::sync::Arc::make_mut(e).set("FileVersion", "10.0.26100.1 (WinBuild.160101.0800)");
                }
            }
        },
        check: |w, f| {
            for (host, l) in w.by_host(SYSMON) {
                let of = |dir: &str| -> BTreeMap<String, &str> {
                    l.iter()
                        .filter(|e| {
                            e.id == 7
                                && e.get("FileVersion").starts_with("10.0.")
                                && e.get("ImageLoaded").to_lowercase().contains(dir)
                        })
                        .map(|e| (name(e.get("ImageLoaded")).to_lowercase(), e.get("FileVersion")))
                        .collect()
                };
                let modules = of(r"\system32\");
                if modules.len() >= 40 {
                    let versions: BTreeSet<&&str> = modules.values().collect();
                    f.case(versions.len() >= 4, || format!("{host}: {} modules, versions {versions:?}", modules.len()));
                }
            }
        },
    },
    Property {
        name: "hashes_recompute",
        over: &[Attacks],
        least: 1,
        recorded: Some(95),
        plant: |w| {
            w.change(
                SYSMON,
                15,
                1,
                |e| e.get("TargetFilename").ends_with(":Zone.Identifier") && !matches!(e.get("Contents"), "" | "-"),
                |e| {
                    let more = format!("x{}", e.get("Contents"));
                    e.set("Contents", more);
                },
            )
        },
        check: |w, f| {
            let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02X}")).collect::<String>();
            for e in w.of(SYSMON, &[15]).filter(|e| {
                e.get("TargetFilename").ends_with(":Zone.Identifier") && !matches!(e.get("Contents"), "" | "-")
            }) {
                // Sysmon prints a line feed of the file as two blanks
                let text = e.get("Contents").replace("  ", "\r\n").replace("%%", "%");
                let lines = text.replace("\r\n", "\n");
                let bytes = [text.clone() + "\r\n", text.clone(), lines.replace('\n', "\r\n"), lines];
                for h in e.get("Hash").split(',') {
                    let (kind, value) = h.split_once('=').unwrap_or((h, ""));
                    let made = |b: &[u8]| match kind {
                        "SHA1" => hex(&sha1::Sha1::digest(b)),
                        "MD5" => hex(&md5::Md5::digest(b)),
                        "SHA256" => hex(&sha2::Sha256::digest(b)),
                        _ => value.to_owned(),
                    };
                    let ok = bytes.iter().any(|b| made(b.as_bytes()) == value);
                    f.case(ok, || format!("{}: {kind} of {:?} is {value}", e.get("TargetFilename"), e.get("Contents")));
                }
            }
        },
    },
    Property {
        name: "script_block_ids",
        over: &[Attacks, Life],
        least: 3,
        recorded: Some(100),
        plant: |w| {
            w.change(POWERSHELL, 4104, 1, |_| true, |e| e.set("ScriptBlockId", "a1b2c3d4-0000-1000-0000-000000000000"))
        },
        check: |w, f| {
            for e in w.of(POWERSHELL, &[4104]) {
                let b = e.get("ScriptBlockId").as_bytes();
                let ok = b.len() == 36 && b[14] == b'4' && b"89ab".contains(&b[19].to_ascii_lowercase());
                f.case(ok, || e.get("ScriptBlockId").to_owned());
            }
        },
    },
];

//! Texture: the mix, long tails, failures, families of commands, software and its owners.

use std::collections::{BTreeMap, BTreeSet};

use crate::Property;
use crate::records::{Run, S, SECURITY, SYSMON, World, name, quantile, variation};

use Run::{Attacks, Baseline, Life};

fn shares(w: &World) -> BTreeMap<u64, f64> {
    let mut n: BTreeMap<u64, f64> = BTreeMap::new();
    let all = w.channel(SYSMON).count().max(1) as f64;
    w.channel(SYSMON).for_each(|e| *n.entry(e.id).or_default() += 1.0 / all);
    n
}

/// Seconds from start to end of processes that both are known of.
fn lifetimes(w: &World) -> Vec<f64> {
    let ends: BTreeMap<&str, i64> = w.of(SYSMON, &[5]).filter_map(|e| Some((e.guid(), e.utc()?))).collect();
    w.of(SYSMON, &[1]).filter_map(|e| Some((ends.get(e.guid())? - e.utc()?) as f64 / S as f64)).collect()
}

/// A command line without what differs from call to call.
fn family(line: &str) -> String {
    let mut out = String::new();
    for word in line.to_lowercase().split_whitespace().take(3) {
        out.push_str(name(word.trim_matches('"')));
        out.push(' ');
    }
    out.retain(|c| !c.is_ascii_digit());
    out
}

pub const ALL: &[Property] = &[
    Property {
        name: "mix_of_a_verbose_sensor",
        over: &[Life],
        least: 5,
        recorded: None, // it is where the figures come from
        plant: |w| w.drop(|e| e.channel == SYSMON && e.id == 12),
        check: |w, f| {
            // recorded over all hosts: 43, 29, 13, 11 and a quarter of a percent
            let n = shares(w);
            for (id, least, most) in [
                (10, 0.25, 0.6),
                (12, 0.15, 0.45),
                (7, 0.06, 0.26),
                (13, 0.05, 0.25),
                (1, 0.0005, 0.012),
                (3, 0.001, 0.04),
                (11, 0.005, 0.08),
            ] {
                f.figure(&format!("share of {id}"), n.get(&id).copied().unwrap_or(0.0), least, most);
            }
        },
    },
    Property {
        name: "mix_of_a_curated_sensor",
        over: &[Baseline],
        least: 3,
        recorded: None,
        plant: |w| w.drop(|e| e.channel == SYSMON && matches!(e.id, 1 | 3 | 22)),
        check: |w, f| {
            let n = shares(w);
            let share = |ids: &[u64]| ids.iter().map(|i| n.get(i).copied().unwrap_or(0.0)).sum::<f64>();
            f.figure("share of starts, ends, connections, names", share(&[1, 3, 5, 22]), 0.25, 0.98);
            f.figure("share of accesses", share(&[10]), 0.0, 0.1);
            f.figure("share of image loads", share(&[7]), 0.0, 0.15);
        },
    },
    Property {
        name: "audits_mix",
        over: &[Life],
        least: 5,
        recorded: None, // it is where the figures come from
        plant: |w| w.drop(|e| e.channel == SECURITY && e.id == 4690),
        check: |w, f| {
            let all = w.channel(SECURITY).count().max(1) as f64;
            let share = |id: u64| w.of(SECURITY, &[id]).count() as f64 / all;
            // recorded in one lab: 4658 20 to 27 %, 4656 and 4690 13, 4663 8 to 13, 5156 10 to 25, 4624 1.5 and 4627 as many
            for (id, least, most) in [
                (4658, 0.12, 0.4),
                (4656, 0.06, 0.25),
                (4690, 0.04, 0.25),
                (4663, 0.05, 0.22),
                (5156, 0.06, 0.3),
                (5158, 0.05, 0.25),
                (4624, 0.005, 0.05),
            ] {
                f.figure(&format!("share of {id}"), share(id), least, most);
            }
        },
    },
    Property {
        name: "hosts_differ",
        over: &[Life],
        least: 2,
        recorded: None,
        plant: |w| {
            let mut left: BTreeMap<(String, u64), usize> = BTreeMap::new();
            w.events.retain(|e| {
                let n = left.entry((e.host.clone(), e.id)).or_default();
                *n += 1;
                e.channel != SYSMON || *n <= 20
            });
        },
        check: |w, f| {
            let by = w.by_host(SYSMON);
            let counts: Vec<f64> = by.values().map(|l| l.len() as f64).collect();
            f.figure("variation of records per host", variation(&counts), 0.25, 3.0);
            let access: Vec<f64> =
                by.values().map(|l| l.iter().filter(|e| e.id == 10).count() as f64 / l.len() as f64).collect();
            f.figure("variation of the share of accesses", variation(&access), 0.1, 2.0);
        },
    },
    Property {
        name: "lifetimes_have_long_tails",
        over: &[Life],
        least: 2,
        recorded: None,
        plant: |w| {
            let starts: BTreeMap<String, String> =
                w.of(SYSMON, &[1]).map(|e| (e.guid().to_owned(), e.get("UtcTime").to_owned())).collect();
            for e in &mut w.events {
                if e.id == 5
                    && e.channel == SYSMON
                    && let Some(t) = starts.get(e.guid())
                {
                    std::sync::Arc::make_mut(e).set("UtcTime", format!("{}999", &t[..20]));
                }
            }
        },
        check: |w, f| {
            let mut l = lifetimes(w);
            if l.len() >= 50 {
                let middle = quantile(&mut l, 0.5).max(0.001);
                f.figure("99th percentile over median of lifetimes", quantile(&mut l, 0.99) / middle, 8.0, 1e6);
                f.figure("10th percentile over median of lifetimes", quantile(&mut l, 0.1) / middle, 0.0, 0.5);
            }
        },
    },
    Property {
        name: "commands_come_in_families",
        over: &[Life],
        least: 2,
        recorded: None,
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 1 {
                    std::sync::Arc::make_mut(e).set("CommandLine", r"C:\Windows\System32\svchost.exe -k netsvcs");
                }
            }
        },
        check: |w, f| {
            let lines: Vec<&str> = w.of(SYSMON, &[1]).map(|e| e.get("CommandLine")).collect();
            let n = lines.len().max(1) as f64;
            let distinct: BTreeSet<&&str> = lines.iter().collect();
            let mut families: BTreeMap<String, usize> = BTreeMap::new();
            lines.iter().for_each(|l| *families.entry(family(l)).or_default() += 1);
            let mut sizes: Vec<usize> = families.values().copied().collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            f.figure("share of distinct command lines", distinct.len() as f64 / n, 0.2, 0.95);
            f.figure("families", families.len() as f64, 40.0, 1e6);
            f.figure("share of the largest family", sizes.first().copied().unwrap_or(0) as f64 / n, 0.0, 0.25);
        },
    },
    Property {
        name: "failures_belong",
        over: &[Life],
        least: 4,
        recorded: None, // each recording shows one attack
        plant: |w| w.drop(|e| e.channel == SYSMON && e.id == 22 && e.get("QueryStatus") != "0"),
        check: |w, f| {
            let share = |id: u64, failed: &dyn Fn(&crate::records::Event) -> bool| {
                let ids = [id];
                let channel = if id < 100 { SYSMON } else { SECURITY };
                let (mut n, mut bad) = (0.0, 0.0);
                for e in w.of(channel, &ids) {
                    n += 1.0;
                    bad += f64::from(u8::from(failed(e)));
                }
                bad / f64::max(n, 1.0)
            };
            f.figure("share of names that do not resolve", share(22, &|e| e.get("QueryStatus") != "0"), 0.01, 0.4);
            f.figure("share of ends with an error", share(4689, &|e| e.num("Status").unwrap_or(0) != 0), 0.005, 0.35);
            let logons = w.of(SECURITY, &[4624]).count() as f64;
            f.figure("failed logons over logons", w.of(SECURITY, &[4625]).count() as f64 / logons.max(1.0), 0.0, 0.4);
            f.figure(
                "error reports",
                w.of(SYSMON, &[1]).filter(|e| e.get("Image").to_lowercase().contains(r"\wer")).count() as f64,
                1.0,
                1e6,
            );
        },
    },
    Property {
        name: "tools_fit_their_maker",
        over: &[Life, Baseline],
        least: 1,
        recorded: None, // virtual machines
        plant: |w| {
            let hosts: BTreeSet<String> = w.events.iter().map(|e| e.host.clone()).collect();
            let made = [
                r"C:\Program Files\Dell\SupportAssistAgent\bin\a.exe",
                r"C:\Program Files (x86)\Lenovo\VantageService\a.exe",
            ];
            for (host, k) in hosts.into_iter().take(1).flat_map(|h| [(h.clone(), 0), (h, 1)]) {
                let n = w.of(SYSMON, &[10]).filter(|e| e.host == host).nth(k).map_or(0, |e| e.n);
                w.change(SYSMON, 10, 1, |e| e.host == host && e.n == n, |e| e.set("SourceImage", made[k]));
            }
        },
        check: |w, f| {
            let mut makers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for e in w.channel(SYSMON) {
                for k in ["Image", "SourceImage", "TargetImage"] {
                    let path = e.get(k).to_lowercase();
                    for maker in ["dell", "lenovo", "hewlett-packard", "vmware"] {
                        if path.contains(&format!(r"\{maker}\")) {
                            makers.entry(&e.host).or_default().insert(maker);
                        }
                    }
                    if path.contains(r"\hp\") {
                        makers.entry(&e.host).or_default().insert("hewlett-packard");
                    }
                }
            }
            for (host, m) in makers {
                f.case(m.len() == 1, || format!("{host} is made by {m:?}"));
            }
        },
    },
    Property {
        name: "versions_differ_a_little",
        over: &[Life],
        least: 1,
        recorded: None,
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 7 {
                    std::sync::Arc::make_mut(e).set("FileVersion", "1");
                }
            }
        },
        check: |w, f| {
            // the same module of Windows in the versions of the hosts' servicing
            let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for e in w.of(SYSMON, &[7]).filter(|e| e.get("Company") == "Microsoft Corporation") {
                versions.entry(name(e.get("ImageLoaded"))).or_default().insert(e.get("FileVersion"));
            }
            let several = versions.values().filter(|v| (2..=40).contains(&v.len())).count() as f64;
            f.figure("share of modules in several versions", several / versions.len().max(1) as f64, 0.2, 1.0);
        },
    },
    Property {
        name: "destinations_have_long_tails",
        over: &[Life],
        least: 2,
        recorded: None,
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 3 {
                    n += 1;
                    std::sync::Arc::make_mut(e).set("DestinationIp", format!("10.0.0.{}", n % 5));
                }
            }
        },
        check: |w, f| {
            let mut to: BTreeMap<&str, usize> = BTreeMap::new();
            for e in w.of(SYSMON, &[3]).filter(|e| e.get("Initiated") == "true") {
                *to.entry(e.get("DestinationIp")).or_default() += 1;
            }
            let n: usize = to.values().sum();
            if n >= 200 {
                f.figure("destinations", to.len() as f64, 30.0, 1e6);
                let rare = to.values().filter(|c| **c <= 2).count() as f64 / to.len() as f64;
                f.figure("share of destinations met once or twice", rare, 0.15, 0.9);
            }
        },
    },
    Property {
        name: "nothing_random_is_shared",
        over: &[Life, Attacks],
        least: 4,
        recorded: None,
        plant: |w| {
            for host in ["A.x", "B.x", "C.x"] {
                let mut e = (**w.events.iter().find(|e| e.channel == SYSMON && e.id == 11).expect("a file")).clone();
                e.host = host.into();
                e.set("TargetFilename", r"C:\Windows\Temp\{0f9c5a52-7d1e-4c36-8d93-7a0e5b1c2d3e}.tmp");
                w.events.push(e.into());
            }
        },
        check: |w, f| {
            let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for e in w.of(SYSMON, &[11]) {
                let file = e.get("TargetFilename");
                let lower = file.to_lowercase();
                // names made of a GUID, in a temporary folder
                if (lower.contains(r"\temp\") || lower.ends_with(".tmp"))
                    && name(file).bytes().filter(|b| b.is_ascii_hexdigit()).count() > 30
                {
                    owners.entry(name(file)).or_default().insert(&e.host);
                }
            }
            for (file, hosts) in owners {
                f.case(hosts.len() <= 2, || format!("{file} on {} hosts", hosts.len()));
            }
        },
    },
    Property {
        name: "unexpanded_arguments_occur",
        over: &[Life],
        least: 1,
        recorded: None,
        plant: |w| w.drop(|e| e.get("CommandLine").contains("$(Arg")),
        check: |w, f| {
            // a task without a trigger's argument starts its host with the literal text
            let n = w.of(SYSMON, &[1]).filter(|e| e.get("CommandLine").contains("$(Arg0)")).count();
            f.figure("command lines with a literal $(Arg0)", n as f64, 1.0, 1e6);
        },
    },
    Property {
        name: "loads_do_not_drown_starts",
        over: &[Life],
        least: 1,
        recorded: None,
        plant: |w| w.drop(|e| e.channel == SYSMON && e.id == 7),
        check: |w, f| {
            let n = shares(w);
            f.figure("image loads over starts", n.get(&7).unwrap_or(&0.0) / n.get(&1).unwrap_or(&1.0), 10.0, 120.0);
        },
    },
];

//! Clocks: the record's time and the sensor's, ticks, bursts, timers, the order of numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::Property;
use crate::records::{
    Event, Found, MS, Ns, Run, S, SECURITY, SYSMON, World, median, name, quantile, sysmon_guid, variation,
};

use Run::{Attacks, Baseline, Life};

/// Sysmon 1 and 4688, or 5 and 4689, of one start or end: the audit's time less the sensor's.
fn pairs<'a>(w: &'a World, sysmon: u64, audit: u64, pid: &'static str) -> Vec<(&'a Event, &'a Event, Ns)> {
    let mut audits: BTreeMap<(&str, u64), Vec<&Event>> = BTreeMap::new();
    for e in w.of(SECURITY, if audit == 4688 { &[4688] } else { &[4689] }) {
        audits.entry((&e.host, e.num(pid).unwrap_or(0))).or_default().push(e);
    }
    let ids: &[u64] = if sysmon == 1 { &[1] } else { &[5] };
    let mut out = vec![];
    for e in w.of(SYSMON, ids) {
        let Some(utc) = e.utc() else { continue };
        let Some(all) = audits.get(&(&*e.host, e.num("ProcessId").unwrap_or(0))) else { continue };
        if let Some(a) =
            all.iter().min_by_key(|a| (a.written - utc).abs()).filter(|a| !a.whole && (a.written - utc).abs() < 5 * S)
        {
            out.push((e, *a, a.written - utc));
        }
    }
    out
}

fn agree(w: &World, f: &mut Found, sysmon: u64, audit: u64, pid: &'static str) {
    let all = pairs(w, sysmon, audit, pid);
    for (e, _, d) in &all {
        f.case((-20 * MS..200 * MS).contains(d), || {
            format!("{} {}: {} ms apart", e.host, name(e.get("Image")), d / MS)
        });
    }
    let mut apart: Vec<f64> = all.iter().map(|(_, _, d)| *d as f64 / MS as f64).collect();
    if apart.len() >= 50 {
        f.figure("median ms apart", median(&mut apart), -1.0, 18.0);
    }
}

/// Distinct UtcTimes of a host in milliseconds, of records with these ids.
fn times(l: &[&Event], ids: &[u64]) -> Vec<i64> {
    let set: BTreeSet<i64> = l.iter().filter(|e| ids.contains(&e.id)).filter_map(|e| e.utc()).map(|t| t / MS).collect();
    set.into_iter().collect()
}

/// Share of short gaps between times that are whole ticks of 15.625 ms.
fn on_ticks(times: &[i64]) -> Option<f64> {
    let gaps: Vec<f64> = times.windows(2).map(|p| (p[1] - p[0]) as f64).filter(|g| *g < 70.0).collect();
    let whole = |g: &f64| (g - 15.625 * (g / 15.625).round()).abs() < 1.01 && *g > 10.0;
    (gaps.len() >= 20).then(|| gaps.iter().filter(|g| whole(g)).count() as f64 / gaps.len() as f64)
}

pub const ALL: &[Property] = &[
    Property {
        name: "records_follow_their_events",
        over: &[Life, Attacks, Baseline],
        least: 1_000,
        recorded: None, // the collectors kept seconds only, or their own time
        plant: |w| w.change(SYSMON, 10, 1, |_| true, |e| e.written -= S),
        check: |w, f| {
            let mut late: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for e in w.channel(SYSMON) {
                let Some(utc) = e.utc() else { continue };
                let d = e.written - utc;
                f.case((-MS..30 * S).contains(&d), || {
                    format!("{} {}: written {} ms after UtcTime", e.host, e.id, d / MS)
                });
                late.entry(e.id).or_default().push(d as f64 / MS as f64);
            }
            for (id, l) in late.iter_mut().filter(|(id, l)| matches!(**id, 7 | 10 | 12 | 13) && l.len() >= 200) {
                f.figure(&format!("median ms of {id}"), median(l), 3.0, 60.0);
            }
        },
    },
    Property {
        name: "connections_and_names_come_late",
        over: &[Life, Attacks, Baseline],
        least: 2,
        recorded: None,
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 3 {
                    let e = std::sync::Arc::make_mut(e);
                    e.written = e.utc().expect("a time") + 5 * MS;
                }
            }
        },
        check: |w, f| {
            for id in [3, 22] {
                let ids = [id];
                let mut late: Vec<f64> =
                    w.of(SYSMON, &ids).filter_map(|e| Some((e.written - e.utc()?) as f64 / S as f64)).collect();
                if late.len() >= 40 {
                    f.figure(&format!("median seconds of {id}"), median(&mut late), 0.3, 4.0);
                    f.figure(&format!("99th percentile of {id}"), quantile(&mut late, 0.99), 1.0, 12.0);
                }
            }
        },
    },
    Property {
        name: "starts_agree",
        over: &[Life, Attacks],
        least: 200,
        recorded: Some(95),
        plant: |w| {
            let (host, pid) = pairs(w, 1, 4688, "NewProcessId")
                .first()
                .map(|p| (p.0.host.clone(), p.1.get("NewProcessId").to_owned()))
                .expect("a pair");
            w.change(SECURITY, 4688, 1, |e| e.host == host && e.get("NewProcessId") == pid, |e| e.written += 900 * MS);
        },
        check: |w, f| agree(w, f, 1, 4688, "NewProcessId"),
    },
    Property {
        name: "ends_agree",
        over: &[Life, Attacks],
        least: 200,
        recorded: Some(90),
        plant: |w| {
            let (host, pid) = pairs(w, 5, 4689, "ProcessId")
                .first()
                .map(|p| (p.0.host.clone(), p.1.get("ProcessId").to_owned()))
                .expect("a pair");
            w.change(SECURITY, 4689, 1, |e| e.host == host && e.get("ProcessId") == pid, |e| e.written += 900 * MS);
        },
        check: |w, f| agree(w, f, 5, 4689, "ProcessId"),
    },
    Property {
        name: "driver_times_are_ticks",
        over: &[Life],
        least: 10,
        recorded: Some(60), // some programs raise the timer's resolution
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SYSMON && e.get("UtcTime").len() == 23 {
                    n += 7;
                    let e = std::sync::Arc::make_mut(e);
                    let t = format!("{}{:03}", &e.get("UtcTime")[..20], n % 1000);
                    e.set("UtcTime", t);
                }
            }
        },
        check: |w, f| {
            let (mut on, mut hosts) = (0, 0);
            for (_, l) in w.by_host(SYSMON) {
                if let Some(share) = on_ticks(&times(&l, &[7, 10, 11, 12, 13])) {
                    hosts += 1;
                    on += usize::from(share > 0.6);
                }
                if let Some(share) = on_ticks(&times(&l, &[1])) {
                    f.figure("share of starts on ticks", share, 0.0, 0.5);
                }
            }
            for i in 0..hosts {
                // some hosts keep a finer clock all the time: two of five were recorded
                f.case(i < on || (hosts - on) * 5 <= hosts * 2, || {
                    format!("{on} of {hosts} hosts write times on the tick of 15.625 ms")
                });
            }
        },
    },
    Property {
        name: "nothing_at_full_minutes",
        over: &[Life, Baseline],
        least: 1,
        recorded: Some(50),
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 1 {
                    let e = std::sync::Arc::make_mut(e);
                    let t = format!("{}:00.000", &e.get("UtcTime")[..16]);
                    e.set("UtcTime", t);
                }
            }
        },
        check: |w, f| {
            let starts: Vec<Ns> = w.of(SYSMON, &[1]).filter_map(|e| e.utc()).collect();
            if starts.len() >= 60 {
                let n = starts.len() as f64;
                let share = |when: &dyn Fn(&Ns) -> bool| starts.iter().filter(|t| when(t)).count() as f64 / n;
                f.figure(
                    "share of starts in the first second of a minute",
                    share(&|t| t.rem_euclid(60 * S) < S),
                    0.0,
                    0.06,
                );
                f.figure("share of starts at whole seconds", share(&|t| t.rem_euclid(S) < MS), 0.0, 0.02);
            }
        },
    },
    Property {
        name: "nothing_everywhere_at_once",
        over: &[Life, Baseline],
        least: 3,
        recorded: None, // a lab of four machines
        plant: |w| {
            for e in &mut w.events {
                if e.channel == SYSMON && e.id == 1 {
                    std::sync::Arc::make_mut(e).set("UtcTime", "2026-03-02 08:03:17.250");
                }
            }
        },
        check: |w, f| {
            let mut by: BTreeMap<String, Vec<(Ns, &str)>> = BTreeMap::new();
            for e in w.of(SYSMON, &[1]) {
                by.entry(name(&e.image()).to_owned()).or_default().push((e.utc().unwrap_or(0), &e.host));
            }
            for (image, mut l) in by {
                let hosts: BTreeSet<&str> = l.iter().map(|(_, h)| *h).collect();
                if hosts.len() < 6 {
                    continue;
                }
                l.sort();
                // hosts that start it within the same half second
                let crowd = (0..l.len())
                    .map(|i| {
                        l[i..]
                            .iter()
                            .take_while(|(t, _)| *t - l[i].0 < S / 2)
                            .map(|(_, h)| *h)
                            .collect::<BTreeSet<_>>()
                            .len()
                    })
                    .max();
                let crowd = crowd.unwrap_or(0);
                f.case(crowd <= 3.max(hosts.len() / 8), || {
                    format!("{image} starts on {crowd} of {} hosts at once", hosts.len())
                });
            }
        },
    },
    Property {
        name: "hosts_boot_at_their_own_time",
        over: &[Life],
        least: 30,
        recorded: None,
        plant: |w| {
            let boot = crate::records::Boot {
                processes: w
                    .boot
                    .processes
                    .iter()
                    .map(|(h, p, k, i)| (h.clone(), *p, k & 0xffff_ffff_ffff | 7 << 48, i.clone()))
                    .collect(),
                ..Default::default()
            };
            w.boot = boot.into();
        },
        check: |w, f| {
            let mut boots: BTreeMap<&str, u64> = BTreeMap::new();
            for (host, _, key, _) in &w.boot.processes {
                boots.insert(host, key >> 48);
            }
            let mut count: BTreeMap<u64, usize> = BTreeMap::new();
            boots.values().for_each(|b| *count.entry(*b).or_default() += 1);
            for (host, id) in &boots {
                f.case(count[id] * 5 <= boots.len(), || format!("{host} and {} others had {id} boots", count[id] - 1));
            }
        },
    },
    Property {
        name: "hosts_clocks_differ",
        over: &[Life],
        least: 2,
        recorded: None,
        plant: |w| {
            // every accepted connection at the very time of the other side's
            let out: BTreeMap<(String, String, String), Ns> = w
                .of(SECURITY, &[5156])
                .filter(|e| e.get("Direction") == "%%14593")
                .map(|e| {
                    (
                        (
                            e.get("SourceAddress").to_owned(),
                            e.get("SourcePort").to_owned(),
                            e.get("DestAddress").to_owned(),
                        ),
                        e.written,
                    )
                })
                .collect();
            for e in &mut w.events {
                if e.channel == SECURITY && e.id == 5156 {
                    let key = (
                        e.get("SourceAddress").to_owned(),
                        e.get("SourcePort").to_owned(),
                        e.get("DestAddress").to_owned(),
                    );
                    if let Some(t) = out.get(&key) {
                        std::sync::Arc::make_mut(e).written = *t;
                    }
                }
            }
        },
        check: |w, f| {
            let mut out: BTreeMap<(&str, &str, &str), &Event> = BTreeMap::new();
            for e in w.of(SECURITY, &[5156]).filter(|e| e.get("Direction") == "%%14593") {
                out.insert((e.get("SourceAddress"), e.get("SourcePort"), e.get("DestAddress")), e);
            }
            let mut by: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
            for e in w.of(SECURITY, &[5156]).filter(|e| e.get("Direction") == "%%14592") {
                if let Some(o) = out.get(&(e.get("SourceAddress"), e.get("SourcePort"), e.get("DestAddress"))) {
                    by.entry((&o.host, &e.host)).or_default().push((e.written - o.written) as f64 / MS as f64);
                }
            }
            let mut middles: Vec<f64> = by.values_mut().filter(|l| l.len() >= 2).map(|l| median(l)).collect();
            if middles.len() >= 5 {
                let spread = quantile(&mut middles, 0.9) - quantile(&mut middles, 0.1);
                f.figure("ms between the pairs' offsets", spread, 2.0, 3_000.0);
                let negative = middles.iter().filter(|m| **m < 0.0).count() as f64 / middles.len() as f64;
                f.figure("share of pairs whose answer seems to precede", negative, 0.05, 0.9);
            }
        },
    },
    Property {
        name: "many_share_a_millisecond",
        over: &[Life, Attacks],
        least: 1,
        recorded: Some(60),
        plant: |w| {
            let mut n = 0;
            for e in &mut w.events {
                if e.channel == SYSMON {
                    n += 1;
                    let t = format!("2026-03-02 08:{:02}:{:02}.{:03}", n / 60_000 % 60, n / 1000 % 60, n % 1000);
                    std::sync::Arc::make_mut(e).set("UtcTime", t);
                }
            }
        },
        check: |w, f| {
            let (mut same, mut all) = (0, 0);
            for l in w.by_host(SYSMON).values() {
                all += l.len().saturating_sub(1);
                same += l.windows(2).filter(|p| p[0].get("UtcTime") == p[1].get("UtcTime")).count();
            }
            if all > 1_000 {
                f.figure("share of neighbours in one millisecond", same as f64 / all as f64, 0.25, 0.97);
            }
        },
    },
    Property {
        name: "accesses_burst",
        over: &[Life],
        least: 1,
        recorded: Some(50),
        plant: |w| w.drop(|e| e.channel == SYSMON && e.id == 10 && !e.get("UtcTime").ends_with("77")),
        check: |w, f| {
            let mut seconds: BTreeMap<(&str, Ns), usize> = BTreeMap::new();
            for e in w.of(SYSMON, &[10]) {
                *seconds.entry((&e.host, e.utc().unwrap_or(0) / S)).or_default() += 1;
            }
            if seconds.len() > 20 {
                f.figure(
                    "most accesses in a second",
                    seconds.values().copied().max().unwrap_or(0) as f64,
                    45.0,
                    5_000.0,
                );
            }
        },
    },
    Property {
        name: "times_step_back_by_number",
        over: &[Life, Attacks],
        least: 1,
        recorded: Some(50),
        plant: |w| {
            let mut at: BTreeMap<String, Ns> = BTreeMap::new();
            for e in &mut w.events {
                if e.channel == SYSMON {
                    let n = at.entry(e.host.clone()).or_default();
                    *n += 1;
                    let t = format!(
                        "2026-03-02 {:02}:{:02}:{:02}.{:03}",
                        *n / 3_600_000,
                        *n / 60_000 % 60,
                        *n / 1000 % 60,
                        *n % 1000
                    );
                    std::sync::Arc::make_mut(e).set("UtcTime", t);
                }
            }
        },
        check: |w, f| {
            let (mut back, mut all) = (0, 0);
            for l in w.by_host(SYSMON).values().filter(|l| l.iter().all(|e| e.n > 0)) {
                let t: Vec<Ns> = l.iter().filter_map(|e| e.utc()).collect();
                all += t.len().saturating_sub(1);
                back += t.windows(2).filter(|p| p[1] < p[0]).count();
            }
            if all > 1_000 {
                f.figure("share of neighbours that step back", back as f64 / all as f64, 0.002, 0.1);
            }
        },
    },
    Property {
        name: "parents_start_first",
        over: &[Life, Attacks, Baseline],
        least: 200,
        recorded: Some(99),
        plant: |w| {
            w.change(
                SYSMON,
                1,
                1,
                |_| true,
                |e| {
                    let (own, parent) = (e.get("ProcessGuid").to_owned(), e.get("ParentProcessGuid").to_owned());
                    e.set("ProcessGuid", format!("{}{}", &own[..10], &parent[10..]));
                    e.set("ParentProcessGuid", format!("{}ffff-7fff{}", &own[..10], &own[19..]));
                },
            )
        },
        check: |w, f| {
            let starts: BTreeMap<&str, Ns> =
                w.of(SYSMON, &[1]).filter_map(|e| Some((e.get("ProcessGuid"), e.utc()?))).collect();
            for e in w.of(SYSMON, &[1]) {
                let (Some(own), Some(parent), Some(utc)) =
                    (sysmon_guid(e.guid()), sysmon_guid(e.get("ParentProcessGuid")), e.utc())
                else {
                    continue;
                };
                let exact = starts.get(e.get("ParentProcessGuid")).is_none_or(|t| *t <= utc);
                f.case(parent.1 <= own.1 && exact, || {
                    format!("{}: {} starts before its parent", e.host, name(e.get("Image")))
                });
            }
        },
    },
    Property {
        name: "numbers_are_continuous",
        over: &[Life, Attacks, Baseline],
        least: 500,
        recorded: None, // a filtered collection: 10 % are missing
        plant: |w| {
            let n = w.of(SYSMON, &[10]).nth(20).expect("accesses").clone();
            w.drop(|e| e.channel == SYSMON && e.host == n.host && e.n == n.n);
        },
        check: |w, f| {
            let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for e in &w.events {
                if let Some(n) = last.insert((&e.host, e.channel), e.n) {
                    f.case(e.n == n + 1, || format!("{} {}: {} after {n}", e.host, e.channel, e.n));
                }
            }
        },
    },
    Property {
        name: "written_in_order",
        over: &[Life, Attacks, Baseline],
        least: 500,
        recorded: Some(97),
        plant: |w| {
            let mut k = 0;
            for e in &mut w.events {
                k += 1;
                if k % 9 == 0 {
                    std::sync::Arc::make_mut(e).written -= 20 * S;
                }
            }
        },
        check: |w, f| {
            for channel in [SYSMON, SECURITY] {
                for (host, l) in w.by_host(channel) {
                    for p in l.windows(2).filter(|p| p[0].n > 0) {
                        f.case(p[1].written >= p[0].written - 4 * S, || {
                            format!("{host} {channel}: {} was written before its predecessor", p[1].n)
                        });
                    }
                }
            }
        },
    },
    Property {
        name: "times_are_finer_than_milliseconds",
        over: &[Life, Attacks, Baseline],
        least: 2,
        recorded: None,
        plant: |w| {
            for e in &mut w.events {
                std::sync::Arc::make_mut(e).written -= e.written % MS;
            }
        },
        check: |w, f| {
            for channel in [SYSMON, SECURITY] {
                let all: Vec<Ns> = w.channel(channel).map(|e| e.written).collect();
                if all.len() > 200 {
                    let n = all.len() as f64;
                    f.figure(
                        "share of whole milliseconds",
                        all.iter().filter(|t| **t % MS == 0).count() as f64 / n,
                        0.0,
                        0.02,
                    );
                    f.figure(
                        "share of last digits that are 0",
                        all.iter().filter(|t| **t % 1_000 == 0).count() as f64 / n,
                        0.03,
                        0.3,
                    );
                }
            }
        },
    },
    Property {
        name: "timers_keep_time",
        over: &[Life],
        least: 10,
        recorded: None, // recordings of five minutes
        plant: |w| {
            let mut n = 0;
            w.events.retain(|e| {
                n = (n * 1_103_515_245 + 12_345) % 2_147_483_648u64;
                e.channel != SYSMON || e.id != 11 || n >> 16 & 3 == 0
            });
        },
        check: |w, f| {
            let mut hosts: BTreeMap<&str, bool> = BTreeMap::new();
            for (host, l) in w.by_host(SYSMON) {
                let mut series: BTreeMap<(String, String), Vec<Ns>> = BTreeMap::new();
                for e in l.iter().filter(|e| e.id == 11) {
                    let file = e.get("TargetFilename").trim_end_matches(|c: char| !c.is_alphabetic());
                    let file = file.rsplit_once(|c: char| c.is_ascii_digit()).map_or(file, |(a, _)| a).to_owned();
                    series.entry((e.guid().to_owned(), file)).or_default().push(e.utc().unwrap_or(0));
                }
                let steady = |t: &Vec<Ns>| {
                    let gaps: Vec<f64> =
                        t.windows(2).map(|p| (p[1] - p[0]) as f64 / S as f64).filter(|g| *g > 1.0).collect();
                    gaps.len() >= 6 && variation(&gaps) < 0.2
                };
                hosts.insert(host, series.values().any(steady));
            }
            let steady = hosts.values().filter(|s| **s).count();
            for i in 0..hosts.len() {
                f.case(i < steady || steady * 2 >= hosts.len(), || {
                    format!("{steady} of {} hosts have a timer that keeps time", hosts.len())
                });
            }
        },
    },
    Property {
        name: "activity_is_bursty",
        over: &[Life],
        least: 20,
        recorded: Some(90),
        plant: |w| {
            let mut at: BTreeMap<String, Ns> = BTreeMap::new();
            for e in &mut w.events {
                let t = at.entry(e.host.clone()).or_default();
                *t += 300 * MS;
                std::sync::Arc::make_mut(e).written = *t;
            }
        },
        check: |w, f| {
            for (host, l) in w.by_host(SYSMON) {
                let gaps: Vec<f64> =
                    l.windows(2).map(|p| (p[1].written - p[0].written).max(0) as f64 / S as f64).collect();
                if gaps.len() >= 200 {
                    let v = variation(&gaps);
                    f.case(v > 1.5, || format!("{host}: gaps vary by {v:.2} of their mean"));
                }
            }
        },
    },
];

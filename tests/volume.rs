//! Idea 5: exact rates, whole hosts that follow a schedule, ids that no two runs share.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use skirmish::config::{Config, Layers};
use skirmish::engine::{Engine, Pool};
use skirmish::plan::{Extra, Knowledge, Planned, plan};
use skirmish::schedule::Unit;
use skirmish::time::Time;

fn knowledge() -> &'static Knowledge {
    static K: OnceLock<Knowledge> = OnceLock::new();
    K.get_or_init(|| Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}")))
}

fn planned(set: &[&str], extra: Extra) -> Planned {
    let base = ["sinks={out: {null: {}}}", "sensors.policy=verbose_lab", "attacks=~"];
    let set = base.iter().chain(set).map(|s| (*s).to_owned()).collect();
    let config = Config::load(&Layers { set, ..Layers::default() }.or_generate()).unwrap_or_else(|e| panic!("{e}"));
    plan(config, knowledge(), &extra).unwrap_or_else(|e| panic!("{e}"))
}

fn engine(p: &Planned) -> Engine {
    Engine::new(p.plan.clone(), p.start, p.schedules.clone(), Box::new(Pool::new(1).unwrap()))
}

const SLICES_A_SECOND: i64 = 100;

/// Plays so many seconds and holds every stream with a rate against its schedule. A second in which what nobody may hold
/// back (life in a burst, records of another stream's fill) exceeds what is due is left out, as its debt must be gone when
/// the stream is at its schedule again.
fn exact(set: &[&str], seconds: i64) {
    let p = planned(set, Extra::default());
    let mut e = engine(&p);
    let streams = p.schedules.len();
    let mut made = vec![0u64; streams];
    let (mut held, mut judged) = (0, 0);
    let mut behind = vec![(0i64, 0i64); streams];
    for second in 1..=seconds {
        let before = made.clone();
        for _ in 0..SLICES_A_SECOND {
            e.step();
            for (s, n) in made.iter_mut().enumerate() {
                let c = e.counted(s);
                *n += match &p.schedules[s] {
                    Some(x) if x.unit() == Unit::Bytes => c.bytes,
                    _ => c.records,
                };
            }
        }
        for (s, schedule) in p.schedules.iter().enumerate() {
            let Some(schedule) = schedule else { continue };
            let at = |n: i64| schedule.due(Time(p.start.0 + n * 1_000_000_000));
            let (due, step) = (at(second) as i64, (at(second) - at(second - 1)) as i64);
            // a record more or less in each cell, in bytes a record of the largest kind
            let unit = if schedule.unit() == Unit::Bytes { 12_000 } else { 1 };
            let slack = (step / 100).max(step / SLICES_A_SECOND).max(unit * 16);
            let off = made[s] as i64 - due;
            assert!(off >= -slack, "{set:?}: stream {s} owes {} of {due} after {second} s", -off);
            let got = (made[s] - before[s]) as i64;
            // ahead of the schedule: by what life brought, never by fill
            if off > slack || behind[s].0 > behind[s].1 {
                held += 1;
            } else {
                judged += 1;
                assert!((got - step).abs() <= 2 * slack, "{set:?}: {got} of {step} in second {second}");
            }
            behind[s] = (off, slack);
        }
    }
    assert!(judged >= held, "{set:?}: {held} of {} seconds were ahead of the schedule", held + judged);
}

const STREAMS: &str = "streams={sysmon: {source: windows.sysmon, unnatural: true, rate: RATE, to: [{sink: out, encoding: nxlog}]}, \
     device: {source: defender.device_process, unnatural: true, rate: 6/s, to: [{sink: out}]}}";

#[test]
fn every_second_is_met_for_every_form_of_rate() {
    for rate in [
        "1800/s",
        "{ramp: {from: 1k/s, to: 2500/s, over: 14s}}",
        "{burst: {base: 1k/s, peak: 3k/s, for: 3s, every: 8s, first: 2s}}",
        "{poisson: {mean: 1600/s}}",
        "{sum: [1k/s, {poisson: {mean: 300/s}}, {burst: {peak: 900/s, for: 2s, every: 5s}}]}",
        "{diurnal: {mean: 1800/s, peak: '10:30', low: 40%}}",
        "5MB/s",
    ] {
        exact(&["world.hosts=60", &STREAMS.replace("RATE", rate)], 16);
    }
}

#[test]
fn late_collection_is_as_exact_at_release_from_the_first_second_on() {
    exact(
        &[
            "world.hosts=60",
            "collection.profile=product",
            &STREAMS.replace("RATE", "4000/s").replace("rate: 6/s", "rate: 24/s"),
        ],
        12,
    );
}

/// Records by event id, mean size, natural share and hosts awake of a run of some seconds.
struct Texture {
    mix: Vec<f64>,
    size: f64,
    natural: f64,
    awake: usize,
}

fn texture(e: &mut Engine, seconds: i64) -> Texture {
    for c in &mut e.cells {
        c.mix.iter_mut().for_each(|m| m.fill(0));
    }
    let (mut records, mut bytes, mut fill) = (0, 0, 0);
    for _ in 0..seconds * SLICES_A_SECOND {
        e.step();
        let c = e.counted(0);
        (records, bytes, fill) = (records + c.records, bytes + c.bytes, fill + c.fill);
    }
    let mut mix = vec![0.0; e.plan.feeds[0].source.events.len()];
    for c in &e.cells {
        mix.iter_mut().zip(&c.mix[0]).for_each(|(m, n)| *m += *n as f64 / records as f64);
    }
    let awake = e.cells.iter().map(|c| c.awake()).sum();
    Texture { mix, size: bytes as f64 / records as f64, natural: 1.0 - fill as f64 / records as f64, awake }
}

#[test]
fn mix_and_size_stay_what_they_are_from_a_tenth_to_ten_times_the_rate() {
    // sized for the highest rate; each is one of its tenth parts
    let p = planned(
        &[
            "world.hosts=auto",
            "streams={sysmon: {source: windows.sysmon, scale: hosts, to: [{sink: out}], \
           rate: {steps: [{rate: 100/s, for: 130s}, {rate: 300/s, for: 130s}, {rate: 1000/s, for: 130s}]}}}",
        ],
        Extra::default(),
    );
    let mut e = engine(&p);
    let all: Vec<Texture> = (0..3)
        .map(|_| {
            texture(&mut e, 10); // hosts wake and go to sleep
            texture(&mut e, 120)
        })
        .collect();
    for (t, part) in all.iter().zip([0.1, 0.3, 1.0]) {
        let apart: f64 = t.mix.iter().zip(&all[2].mix).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
        let size = t.size / all[2].size;
        // some machines are off or asleep of their own accord
        let awake = t.awake as f64 / all[2].awake.max(1) as f64;
        println!("{part}: {awake:.2} of hosts, natural {:.2}, mix apart {apart:.3}, size {size:.3}", t.natural);
        assert!(apart < 0.15 && (size - 1.0).abs() < 0.1, "{part}: mix apart {apart:.3}, size {size:.3}");
        assert!((awake - part).abs() < 0.16, "{part}: {awake}");
        assert!(t.natural > 0.35, "{part}: natural life is {:.2}", t.natural);
    }
}

#[test]
fn what_one_entry_left_over_is_no_kind_of_a_stream() {
    // starts at which rows of processes were believed to come alone, so that fill found next to nothing to make them of
    for from in ["2026-11-28T16:04:24.650Z", "2026-11-28T16:04:26.550Z", "2026-11-28T16:04:26.700Z"] {
        let p = planned(
            &[
                "seed=7",
                "world.hosts=400",
                "sensors.policy=verbose_lab",
                &format!("clock={{from: {from}}}"),
                "attacks={scenarios: ['ransomware.*']}",
                "sinks={out: {null: {}}}",
                "streams={sysmon: {source: windows.sysmon, rate: 10k/s, to: [{sink: out, encoding: winlogbeat}]}, \
                  security: {source: windows.security, rate: 3k/s, to: [{sink: out, encoding: winlogbeat}]}, \
                  device: {source: defender.device_process, rate: 250/s, to: [{sink: out, encoding: defender_row}]}}",
            ],
            Extra::default(),
        );
        let mut e = engine(&p);
        let mut rows = 0;
        for _ in 0..100 {
            e.step();
            rows += e.counted(2).records;
        }
        assert!(rows >= 240, "{from}: {rows} rows in a second where 250 are due");
    }
}

#[test]
fn the_next_run_repeats_no_boot_and_no_logon() {
    let set = ["world.hosts=40", "streams={security: {source: windows.security, to: [{sink: out}]}}"];
    let first = planned(&set, Extra::default());
    let mut e = engine(&first);
    for _ in 0..500 {
        e.step();
    }
    let ids: Vec<(String, u16, u32)> = e
        .cells
        .iter()
        .flat_map(|c| {
            c.state.hosts.iter().map(|h| (c.state.atlas().host(h.id).fqdn.to_string(), h.boot_id + 1, h.luid + 1))
        })
        .collect();
    let keys = |e: &Engine| -> BTreeSet<(u32, u64)> {
        let of = |h: &skirmish::world::host::Host| h.procs.living().map(|p| (h.id.0, p.snap.key)).collect::<Vec<_>>();
        e.cells.iter().flat_map(|c| c.state.hosts.iter().flat_map(of)).collect()
    };
    let logons = |e: &Engine| -> BTreeSet<(u32, u32)> {
        let of = |h: &skirmish::world::host::Host| {
            let own = h.sessions.iter().filter(|s| s.luid > 0x3e7);
            own.map(|s| (h.id.0, s.luid)).collect::<Vec<_>>()
        };
        e.cells.iter().flat_map(|c| c.state.hosts.iter().flat_map(of)).collect()
    };
    let second = planned(&set, Extra { ids, ..Extra::default() });
    let next = engine(&second);
    assert!(keys(&e).len() > 1_000 && keys(&e).is_disjoint(&keys(&next)));
    assert!(logons(&e).len() > 100 && logons(&e).is_disjoint(&logons(&next)));
    // and without a manifest the clock goes on: a run an hour later
    let later = planned(&[&set[..], &["clock={from: '2026-03-02T09:00:00Z', speed: max}"]].concat(), Extra::default());
    let later = engine(&later);
    // sessions that began before both runs are the same; what is handed out from now on is new
    for (a, b) in e.cells.iter().zip(&later.cells) {
        for (a, b) in a.state.hosts.iter().zip(&b.state.hosts) {
            assert!(b.clone().new_luid(later.now()) > a.luid, "{} of {}", a.luid, b.luid);
        }
    }
    let number = |e: &Engine| e.cells[0].next_number(e.cells[0].state.host_id(0), 0).unwrap();
    assert!(number(&later) > number(&e) + 3_600);
}

#[test]
fn a_rate_that_life_exceeds_is_refused_with_the_one_that_would_do() {
    let set = ["world.hosts=200", "streams={sysmon: {source: windows.sysmon, rate: 20/s, to: [{sink: out}]}}"];
    let set = ["sinks={out: {null: {}}}", "sensors.policy=verbose_lab"].iter().chain(&set).map(|s| (*s).to_owned());
    let config = |more: &[&str]| {
        let set = set.clone().chain(more.iter().map(|s| (*s).to_owned())).collect();
        Config::load(&Layers { set, ..Layers::default() }.or_generate()).unwrap()
    };
    let refused = plan(config(&[]), knowledge(), &Extra::default()).err().expect("life exceeds 20 records a second");
    let text = refused.to_string();
    assert!(text.contains("stream `sysmon` cannot keep to 20") && text.contains("would do"), "{text}");
    assert!(plan(config(&["streams.sysmon.unnatural=true"]), knowledge(), &Extra::default()).is_ok());
    // hosts that sleep make room
    assert!(plan(config(&["streams.sysmon.scale=hosts"]), knowledge(), &Extra::default()).is_ok());
}

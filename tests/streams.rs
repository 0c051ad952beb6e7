//! What every stream keeps in every slice: it is never behind its schedule, and its records are numbered one after another.

use std::collections::BTreeMap;

use skirmish::config::{Config, Layers};
use skirmish::engine::{Engine, Pool};
use skirmish::plan::{Extra, Knowledge, plan};
use skirmish::time::Time;

/// Slices that are played: 8 s.
const SLICES: usize = 800;
/// What a stream may be ahead of its schedule: what attacks and things done together bring at once.
const AHEAD_MAX: u64 = 20_000;

#[test]
fn no_slice_is_behind_its_schedule_and_numbers_follow_each_other() {
    let set = [
        "seed=11",
        "world.hosts=48",
        "sensors.policy=verbose_lab",
        "attacks={scenarios: ['*'], per_hour: 600, first: 1s, max_parallel: 4}",
        "sinks={out: {null: {}}}",
        "streams={sysmon: {source: windows.sysmon, rate: 900/s, unnatural: true, to: [{sink: out, encoding: nxlog}]}, \
          security: {source: windows.security, rate: 300/s, unnatural: true, to: [{sink: out, encoding: nxlog}]}, \
          device: {source: defender.device_process, rate: 20/s, unnatural: true, to: [{sink: out, encoding: defender_row}]}}",
    ];
    let layers = Layers { set: set.map(String::from).to_vec(), ..Layers::default() }.or_generate();
    let config = Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
    let knowledge = Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"));
    let extra = Extra { run: "test".into(), ..Extra::default() };
    let mut p = plan(config, &knowledge, &extra).unwrap_or_else(|e| panic!("{e}"));
    let mut engine =
        Engine::new(p.plan.clone(), p.start, p.schedules.clone(), Box::new(Pool::new(1).expect("a thread")));
    let mut cursors: Vec<_> = p.schedules.iter().map(|s| s.as_ref().expect("a rate").cursor()).collect();
    let mut made = vec![0; cursors.len()];
    let mut last: BTreeMap<(usize, String), u64> = BTreeMap::new();
    let mut behind = vec![];
    for _ in 0..SLICES {
        let end = Time::of_slice(engine.slice() + 1);
        for l in p.director.due(end, engine.running().len(), (0, 0)) {
            engine.launch(l);
        }
        engine.step();
        for (s, cursor) in cursors.iter_mut().enumerate() {
            made[s] += engine.counted(s).records;
            let due = cursor.due(p.schedules[s].as_ref().expect("a rate"), end);
            if made[s] < due {
                behind.push(format!("{}: {} of {due} by {end}", p.plan.streams[s].name, made[s]));
            }
            assert!(made[s] <= due + AHEAD_MAX, "{}: {} where {due} are due", p.plan.streams[s].name, made[s]);
            for m in engine.batches(s, 0).flat_map(|b| b.iter()) {
                let v: serde_json::Value = serde_json::from_slice(m.payload).expect("JSON");
                let host = v["Hostname"].as_str().or(v["DeviceName"].as_str()).expect("a host").to_owned();
                let number = v["RecordNumber"].as_u64().or(v["ReportId"].as_u64()).expect("a number");
                let before = last.insert((s, host.clone()), number);
                assert!(before.is_none_or(|b| b + 1 == number), "{host}: {number} after {before:?}");
            }
        }
    }
    assert!(behind.is_empty(), "{} slices behind:\n{}", behind.len(), behind[..behind.len().min(5)].join("\n"));
    assert!(made.iter().all(|n| *n > 100), "{made:?} are too few to tell anything");
}

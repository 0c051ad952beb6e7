//! Same seed, configuration and span: the same records, byte for byte, whatever runs the cells.

use std::time::{Duration, Instant};

use skirmish::cell::Cell;
use skirmish::config::{Config, Layers};
use skirmish::engine::{Engine, Pool, Runner};
use skirmish::plan::{Extra, Knowledge, Planned, plan};
use skirmish::rng::Rng;
use xxhash_rust::xxh3::Xxh3;

fn knowledge() -> Knowledge {
    Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"))
}

fn planned(k: &Knowledge, seed: u64) -> Planned {
    let set = [
        format!("seed={seed}"),
        "world.hosts=48".into(),
        "sensors.policy=verbose_lab".into(),
        "attacks={scenarios: ['*'], per_hour: 600, first: 1s, max_parallel: 4}".into(),
        "sinks={out: {null: {}}}".into(),
        "streams={sysmon: {source: windows.sysmon, rate: 400/s, unnatural: true, to: [{sink: out, encoding: nxlog}]}, \
          security: {source: windows.security, to: [{sink: out, encoding: event_xml}]}, \
          device: {source: defender.device_process, to: [{sink: out, encoding: defender_eventhub}]}}"
            .into(),
    ];
    let layers = Layers { set: set.to_vec(), ..Layers::default() }.or_generate();
    let config = Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
    let extra = Extra { run: "test".into(), truth_all: true, ..Extra::default() };
    plan(config, k, &extra).unwrap_or_else(|e| panic!("{e}"))
}

/// Slices that are played.
const SLICES: usize = 900;

fn play(p: &mut Planned, runner: Box<dyn Runner>, mut between: impl FnMut(&mut Engine, usize)) -> u128 {
    let mut engine = Engine::new(p.plan.clone(), p.start, p.schedules.clone(), runner);
    let mut hash = Xxh3::new();
    let mut records = 0;
    for i in 0..SLICES {
        for l in p.director.due(skirmish::time::Time::of_slice(engine.slice() + 1), engine.running().len(), (0, 0)) {
            engine.launch(l);
        }
        engine.step();
        for c in &engine.cells {
            for b in c.out.iter().flatten() {
                hash.update(&b.bytes);
                hash.update(&b.keys);
                hash.update(&b.truth);
                records += b.records();
            }
        }
        between(&mut engine, i);
    }
    assert!(records > 2_000, "{records} records are too few to tell anything");
    hash.digest128()
}

/// What happens does not depend on who looks: records of a source are the same, whichever others there are.
#[test]
fn another_source_changes_nothing() {
    let of = |more: &str| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_skirmish"))
            .args(["generate", "--set", "world.hosts=60", "--set", "sensors.policy=verbose_lab", "--for", "40s"])
            .args(["--source", &format!("windows.sysmon,windows.security{more}"), "--set"])
            .arg("attacks={scenarios: ['*'], per_hour: 900, first: 1s, max_parallel: 6}")
            .output()
            .expect("skirmish runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        let ours = |l: &&str| {
            ["Microsoft-Windows-Sysmon", "Microsoft-Windows-Security-Auditing"]
                .iter()
                .any(|s| l.contains(&format!(r#""SourceName":"{s}""#)))
        };
        let mut lines: Vec<String> = text.lines().filter(ours).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let (few, many) = (
        of(""),
        of(
            ",windows.powershell,windows.system,windows.task_scheduler,windows.dns_client,windows.wmi_activity,defender.device_events,defender.device_network",
        ),
    );
    assert!(few.len() > 5_000, "{} records are too few to tell anything", few.len());
    let differs = few.iter().zip(&many).find(|(a, b)| a != b);
    assert!(few.len() == many.len() && differs.is_none(), "{} and {} records, {differs:#?}", few.len(), many.len());
}

/// Runs cells in an order drawn anew for each slice and dawdles now and then.
struct Sleepy(Rng);

impl Runner for Sleepy {
    fn run(&mut self, cells: &mut [Cell], each: &(dyn Fn(&mut Cell) + Sync)) {
        let mut order: Vec<usize> = (0..cells.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.0.below(i as u64 + 1) as usize);
        }
        for i in order {
            if self.0.chance(0.001) {
                let until = Instant::now() + Duration::from_micros(self.0.below(3_000));
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            each(&mut cells[i]);
        }
    }
}

#[test]
fn nine_runs_over_three_seeds_give_three_outputs() {
    let k = knowledge();
    let mut outputs = std::collections::BTreeMap::<u128, Vec<(u64, usize)>>::new();
    for seed in [7, 8, 9] {
        for threads in [1, 2, 8] {
            let digest = play(&mut planned(&k, seed), Box::new(Pool::new(threads).unwrap()), |_, _| {});
            outputs.entry(digest).or_default().push((seed, threads));
        }
    }
    assert_eq!(outputs.len(), 3, "{outputs:?}");
    assert!(outputs.values().all(|v| v.iter().all(|(s, _)| *s == v[0].0)), "{outputs:?}");
}

#[test]
fn any_order_of_cells_gives_the_same_bytes() {
    let k = knowledge();
    let straight = play(&mut planned(&k, 7), Box::new(Pool::new(1).unwrap()), |_, _| {});
    let sleepy = play(&mut planned(&k, 7), Box::new(Sleepy(Rng::new(1))), |_, _| {});
    assert_eq!(straight, sleepy);
}

#[test]
fn a_saved_and_loaded_cell_changes_no_byte_of_what_follows() {
    let k = knowledge();
    let straight = play(&mut planned(&k, 7), Box::new(Pool::new(1).unwrap()), |_, _| {});
    let mut saved = 0;
    let resumed = play(&mut planned(&k, 7), Box::new(Pool::new(1).unwrap()), |engine, i| {
        // some cells at every few slices, so that every cell is saved in every state
        if i % 7 != 0 {
            return;
        }
        let plan = engine.plan.clone();
        for c in engine.cells.iter_mut().skip(i % 3).step_by(3) {
            let bytes = postcard::to_stdvec(&*c).unwrap();
            saved += bytes.len();
            let mut loaded: Cell = postcard::from_bytes(&bytes).unwrap();
            loaded.attach(plan.clone());
            *c = loaded;
        }
    });
    assert!(saved > 100_000, "{saved}");
    assert_eq!(straight, resumed);
}

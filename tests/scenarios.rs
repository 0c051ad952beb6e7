//! Attack scenarios: what they leave, how much two plays of one differ, which techniques they show, who sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use skirmish::activity::Kind;
use skirmish::config::{Config, Layers};
use skirmish::coverage::{self, Why};
use skirmish::engine::{Engine, Launch, Pool};
use skirmish::plan::{Extra, Knowledge, Planned, plan};
use skirmish::policy::SensorPolicy;
use skirmish::time::Time;
use skirmish::world::instance::{Bound, Choices, Inst, InstId, Ready, bind};
use skirmish::world::program::Draw;

/// The long chains; the others show one thing each.
const CHAINS: [&str; 8] = [
    "espionage.living_off_the_land",
    "insider.theft",
    "persistence.service_and_task",
    "phishing.beacon",
    "ransomware.hands_on",
    "spraying.web_shell",
    "takeover.domain",
    "worm.usb",
];

fn knowledge() -> Knowledge {
    let mut k = Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"));
    k.policies.add(SensorPolicy::everything());
    k
}

fn layers(set: &[String]) -> Layers {
    Layers { set: set.to_vec(), ..Layers::default() }.or_generate()
}

/// A quiet world in which every source records everything.
fn planned(k: &Knowledge, seed: u64, hosts: u32) -> Planned {
    let streams: Vec<String> = k
        .catalogue
        .iter()
        .map(|s| {
            format!(
                "s{}: {{source: {}, to: [{{sink: out, encoding: {}}}]}}",
                s.id.replace('.', "_"),
                s.id,
                s.encodings[0].name()
            )
        })
        .collect();
    let set = [
        format!("seed={seed}"),
        format!("world.hosts={hosts}"),
        "sensors={policy: everything}".into(),
        "sinks={out: {null: {}}}".into(),
        format!("streams={{{}}}", streams.join(", ")),
    ];
    let config = Config::load(&layers(&set)).unwrap_or_else(|e| panic!("{e}"));
    let extra = Extra { scenarios: vec!["*".into()], quiet: true, run: "test".into(), ..Extra::default() };
    plan(config, k, &extra).unwrap_or_else(|e| panic!("{e}"))
}

/// Records by feed and event.
fn mix(engine: &Engine) -> Vec<Vec<u64>> {
    let mut sum: Vec<Vec<u64>> = engine.plan.feeds.iter().map(|f| vec![0; f.source.events.len()]).collect();
    for c in &engine.cells {
        for (to, from) in sum.iter_mut().flatten().zip(c.mix.iter().flatten()) {
            *to += from;
        }
    }
    sum
}

/// How often an activity happened at least: as often as the source that recorded most of it.
fn happened(engine: &Engine, before: &[Vec<u64>], after: &[Vec<u64>], kind: Kind) -> u64 {
    let of = |f: usize| -> u64 {
        let events = &engine.plan.feeds[f].source.events;
        (0..events.len()).filter(|e| events[*e].on.contains(&kind)).map(|e| after[f][e] - before[f][e]).sum()
    };
    (0..engine.plan.feeds.len()).map(of).max().unwrap_or(0)
}

fn run(engine: &mut Engine, l: Launch) {
    let began = engine.slice();
    engine.launch(Launch { time: engine.now(), ..l });
    loop {
        engine.step();
        engine.skip();
        if engine.quiet() && engine.slice() > began + 300 {
            break;
        }
        assert!(engine.slice() - began < 14 * 86_400 * 100, "an instance does not end");
    }
}

#[test]
fn every_scenario_leaves_what_it_expects_over_ten_seeds() {
    let k = knowledge();
    let mut wrong = vec![];
    for seed in 1..=10 {
        let mut p = planned(&k, seed, 60);
        let pool = Pool::new(1).unwrap();
        let mut engine = Engine::new(p.plan.clone(), p.start, p.schedules.clone(), Box::new(pool));
        let launches = p.director.due(Time(i64::MAX), 0, (0, 0));
        assert!(launches.len() >= 8, "{}", launches.len());
        for l in launches {
            let s = k.library.scenarios[l.scenario.0 as usize].clone();
            let before = mix(&engine);
            run(&mut engine, l);
            let after = mix(&engine);
            for (kind, least) in &s.expect {
                let n = happened(&engine, &before, &after, *kind);
                if n < u64::from(*least) {
                    wrong.push(format!("seed {seed}, {}: {n} of {kind}, not {least}", s.id));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What an instance was given freely: members of its cast and drawn variables, constants left out.
fn free(inst: &Inst, s: &skirmish::world::program::Scenario) -> Vec<String> {
    let mut out: Vec<String> = inst
        .roles
        .iter()
        .map(|r| match r {
            Bound::New(_) => String::new(),
            other => format!("{other:?}"),
        })
        .collect();
    for (i, (name, draw)) in s.vars.iter().enumerate() {
        let constant = matches!(draw, Draw::Choice(all) if all.len() == 1);
        // a script's arguments and the parts of a constant text follow from others
        if !constant && !name.contains('.') {
            out.push(inst.vars[i].to_string());
        }
    }
    out
}

#[test]
fn two_instances_differ_in_more_than_half_of_their_free_values() {
    let k = knowledge();
    let p = planned(&k, 7, 300);
    let shared = &p.plan.shared;
    for (id, s) in k.attacks() {
        let one = |seed: u64| {
            let i = bind(
                &shared.atlas,
                &shared.casting,
                &shared.library,
                InstId(seed),
                id,
                seed,
                p.start,
                &Choices::default(),
                &[],
                &|_| Ready::AtWork,
            );
            free(&i.unwrap_or_else(|e| panic!("{}: {e}", s.id)), s)
        };
        let all: Vec<Vec<String>> = (0..12).map(|n| one(skirmish::rng::mix(99, n))).collect();
        assert!(all[0].len() >= 5, "{}: {} free values", s.id, all[0].len());
        let (mut pairs, mut few, mut sum) = (0, 0, 0.0);
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                // an empty text is a role that is no free value
                let given = a.iter().zip(b).filter(|(x, _)| !x.is_empty());
                let (n, same) = given.fold((0, 0), |(n, same), (x, y)| (n + 1, same + u32::from(x == y)));
                let share = f64::from(n - same) / f64::from(n);
                (pairs, few, sum) = (pairs + 1, few + u32::from(share <= 0.5), sum + share);
            }
        }
        let mean = sum / f64::from(pairs);
        assert!(mean > 0.5, "{}: on average {mean:.2} of the free values differ", s.id);
        if CHAINS.contains(&&*s.id) {
            assert!(few * 10 <= pairs, "{}: {few} of {pairs} pairs differ in half or less", s.id);
        }
    }
}

#[test]
fn chains_are_long_and_show_many_techniques() {
    let k = knowledge();
    let mut techniques = BTreeSet::new();
    for c in CHAINS {
        let (_, s) = k.attacks().find(|(_, s)| *s.id == *c).unwrap_or_else(|| panic!("no {c}"));
        assert!((8..=25).contains(&s.steps.len()), "{c} has {} steps", s.steps.len());
        techniques.extend(s.steps.iter().map(|x| x.technique.clone()));
    }
    assert!(techniques.len() >= 60, "{} techniques", techniques.len());
    for (_, s) in k.attacks() {
        assert!(s.steps.len() >= 5 && !s.expect.is_empty(), "{}: {} steps", s.id, s.steps.len());
        assert!(
            s.steps.iter().all(|x| !x.technique.is_empty() && !x.tactic.is_empty()),
            "{}: a step without technique",
            s.id
        );
    }
}

/// The project's table against ATT&CK's own, where that lies beside the project.
#[test]
fn the_table_of_techniques_is_attacks_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/attack");
    let Ok(text) = std::fs::read_to_string(root.join("enterprise.json")) else {
        eprintln!("skipped: no {}", root.display());
        return;
    };
    let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
    let theirs = theirs["techniques"].as_array().unwrap();
    let data = skirmish::data::Data::load(&[]).unwrap_or_else(|e| panic!("{e}"));
    let ours = skirmish::technique::Techniques::load(&data.techniques).unwrap_or_else(|e| panic!("{e}"));
    assert!(theirs.len() > 400, "{}", theirs.len());
    for t in theirs {
        let id = t["id"].as_str().unwrap();
        let mine = ours.get(id).unwrap_or_else(|| panic!("{id} is missing"));
        let tactics: BTreeSet<&str> = t["tactics"].as_array().unwrap().iter().filter_map(|t| t.as_str()).collect();
        let own: BTreeSet<&str> = mine.tactics.iter().map(|t| &**t).collect();
        assert_eq!(own, tactics, "{id}");
    }
}

#[test]
fn skipping_what_is_idle_changes_no_byte() {
    let k = knowledge();
    let play = |skips: bool| {
        let mut p = planned(&k, 3, 40);
        let pool = Pool::new(1).unwrap();
        let mut engine = Engine::new(p.plan.clone(), p.start, p.schedules.clone(), Box::new(pool));
        let l = p
            .director
            .due(Time(i64::MAX), 0, (0, 0))
            .into_iter()
            .find(|l| &*k.library.scenarios[l.scenario.0 as usize].id == "entry.pasted_command");
        engine.launch(Launch { time: engine.now(), ..l.unwrap() });
        let (mut bytes, mut slices) = (vec![], 0u64);
        let began = engine.slice();
        while !(engine.quiet() && engine.slice() > began + 300) {
            engine.step();
            slices += 1;
            for b in engine.cells.iter().flat_map(|c| c.out.iter().flatten()) {
                bytes.extend_from_slice(&b.bytes);
                bytes.extend_from_slice(&b.truth);
            }
            if skips {
                engine.skip();
            }
        }
        (bytes, slices)
    };
    let ((with, few), (without, many)) = (play(true), play(false));
    assert!(with.len() > 10_000 && with == without, "{} {}", with.len(), without.len());
    assert!(few < many / 3, "{few} of {many}");
}

#[test]
fn coverage_tells_who_sees_a_step_and_why_others_do_not() {
    let streams = "streams={sysmon: {source: windows.sysmon, to: [{sink: out, encoding: nxlog}]}, security: {source: windows.security, to: [{sink: out, encoding: nxlog}]}}";
    let table = |policy: &str| {
        let set = [format!("sensors={{policy: {policy}}}"), "sinks={out: {null: {}}}".into(), streams.into()];
        let layers = layers(&set);
        let config = Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
        coverage::measure(&layers, &config, &mut knowledge(), "entry.*").unwrap_or_else(|e| panic!("{e}"))
    };
    let verbose = table("verbose_lab");
    assert_eq!(verbose.policies, ["verbose_lab"]);
    let step = |t: &coverage::Coverage, s: &str, x: &str| {
        let s = t.scenarios.iter().find(|y| y.id == s).unwrap_or_else(|| panic!("no {s}"));
        s.steps.iter().find(|y| y.step == x).unwrap_or_else(|| panic!("no {x}")).clone()
    };
    let start = step(&verbose, "entry.pasted_command", "steal");
    assert_eq!(start.sources["windows.sysmon"].why, Why::Seen);
    assert!(start.sources["windows.sysmon"].records > 0 && start.seen_by.contains(&"windows.security".to_owned()));
    // Defender's rows would show it, but nobody streams them; the scheduler has nothing to say about it
    assert_eq!(start.sources["defender.device_process"].why, Why::NoStream);
    assert_eq!(start.sources["windows.task_scheduler"].why, Why::UnknownToSource);
    // mail that arrives by the hundred leaves nothing that these sensors see
    assert_eq!(verbose.blind(), [("entry.helpful_voice", "flood")]);

    // as Windows is installed, there is no Sysmon, and processes are not audited
    let bare = table("default_install");
    let start = step(&bare, "entry.pasted_command", "steal");
    assert_eq!(start.sources["windows.sysmon"].why, Why::Policy);
    assert_eq!(start.sources["windows.security"].why, Why::Policy);
    assert!(bare.blind().contains(&("entry.pasted_command", "steal")), "{:?}", bare.blind());

    let printed = bare.to_string();
    for want in ["policy default_install", "entry.pasted_command", "not seen: entry.pasted_command steal"] {
        assert!(printed.contains(want), "{want}\n{printed}");
    }
    let json = serde_json::to_value(&bare).unwrap();
    let whys: BTreeMap<String, u32> = json["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["steps"].as_array().unwrap())
        .flat_map(|s| s["sources"].as_object().unwrap().values())
        .fold(BTreeMap::new(), |mut m, c| {
            *m.entry(c["why"].as_str().unwrap().into()).or_default() += 1;
            m
        });
    assert!(whys.contains_key("policy") && whys.contains_key("unknown_to_source"), "{whys:?}");
}

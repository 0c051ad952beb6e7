//! The content shipped with the project tests itself: every effect's own tests, every technique, the mix of background.

use std::collections::{BTreeMap, BTreeSet};

use skirmish::activity::Kind;
use skirmish::data::Data;
use skirmish::effect::Effects;
use skirmish::effect::template::Part;
use skirmish::effect::yaml::Leaf;
use skirmish::scenario::{self, Compiled, Names};
use skirmish::world::atlas::WorldData;
use skirmish::world::program::{Library, LogonResult, Op, Piece, ScriptId, Tpl, Who};

struct Content {
    effects: Effects,
    world: WorldData,
    compiled: Compiled,
}

fn content() -> Content {
    let data = Data::load(&[]).unwrap_or_else(|p| panic!("{p}"));
    let effects = Effects::load(&data.effects).unwrap_or_else(|p| panic!("{p}"));
    let background = |n: &&skirmish::yaml::Node| n.get("background").is_some();
    let own: Vec<_> = data.world.iter().filter(|n| !background(n)).cloned().collect();
    let world = WorldData::load(&own).unwrap_or_else(|p| panic!("{p}"));
    let nodes: Vec<_> =
        data.scenarios.iter().chain(&data.personas).chain(data.world.iter().filter(background)).cloned().collect();
    let compiled = scenario::compile(&nodes, &data.techniques, &effects, &world).unwrap_or_else(|p| panic!("{p}"));
    Content { effects, world, compiled }
}

/// Text of a template; what is known only at run time is `?`.
fn text(t: &Tpl) -> String {
    let piece = |p: &Piece| match p {
        Piece::Lit(t) => t.to_string(),
        _ => "?".to_owned(),
    };
    t.0.iter().map(piece).collect()
}

fn inner(op: &Op) -> Vec<ScriptId> {
    match op {
        Op::Logon { then, .. } => then.iter().copied().collect(),
        Op::Remote { script, .. } | Op::Repeat { script, .. } | Op::Fork { script } | Op::Files { script, .. } => {
            vec![*script]
        }
        Op::Chance { then, otherwise, .. } => [Some(*then), *otherwise].into_iter().flatten().collect(),
        Op::Choose { weights } => weights.iter().map(|(_, s)| *s).collect(),
        Op::Switch { arms, .. } => arms.clone(),
        _ => vec![],
    }
}

type Left = Vec<(Kind, Vec<(String, String)>)>;

/// What a script leaves, whatever is chosen in it, and the exit codes.
fn left(l: &Library, id: ScriptId, out: &mut Left, exits: &mut Vec<u32>) {
    for t in &l.scripts[id.0 as usize] {
        match &t.op {
            Op::Spawn(s) => {
                let program = l.names[s.program as usize].to_string();
                out.push((
                    Kind::ProcessStart,
                    vec![("program".into(), program), ("command_line".into(), text(&s.command_line))],
                ));
            }
            Op::Exit { code, .. } | Op::ExitLater { code, .. } => {
                out.push((Kind::ProcessEnd, vec![]));
                exits.push(*code);
            }
            Op::Emit { kind, args, .. } => {
                let short = |f| kind.args().iter().find(|(_, g)| *g == f).map_or("", |(n, _)| n).to_owned();
                out.push((*kind, args.iter().map(|(f, t)| (short(*f), text(t))).collect()));
            }
            Op::Access { granted, .. } => {
                out.push((Kind::ProcessAccess, vec![("granted".into(), format!("{granted:#x}"))]));
            }
            Op::Inject { .. } => out.push((Kind::ProcessInject, vec![])),
            Op::Connect { .. } => out.extend([(Kind::NetworkConnect, vec![]), (Kind::NameResolve, vec![])]),
            Op::Resolve { .. } => out.push((Kind::NameResolve, vec![])),
            Op::Ticket { .. } => out.push((Kind::KerberosService, vec![])),
            Op::Logon { result: LogonResult::Ok, .. } => out.push((Kind::LogonStart, vec![])),
            Op::Logon { .. } => out.push((Kind::LogonFail, vec![])),
            _ => {}
        }
        for s in inner(&t.op) {
            left(l, s, out, exits);
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        Some((c, rest)) => text.split_first().is_some_and(|(t, tail)| t.eq_ignore_ascii_case(c) && glob(rest, tail)),
    }
}

fn has(out: &Left, leaf: &Leaf) -> bool {
    let fits = |fields: &[(String, String)]| {
        let one = |(n, v): &(String, String)| fields.iter().any(|(m, w)| m == n && glob(v.as_bytes(), w.as_bytes()));
        leaf.fields.iter().all(one)
    };
    out.iter().any(|(k, fields)| *k == leaf.kind && fits(fields))
}

#[test]
fn every_effects_own_tests_hold() {
    let c = content();
    let names = Names::of(&c.world, &[]);
    let mut wrong = vec![];
    for e in &c.effects.all {
        if e.tests.is_empty() {
            wrong.push(format!("{}: has no tests", e.id));
        }
        let mut kinds = BTreeSet::new();
        for t in &e.tests {
            let literal = |p: &Part| match p {
                Part::Lit(t) => t.clone(),
                Part::Ref(name, _) => format!("{{{name}}}"),
            };
            let line: String = t.run.parts.iter().map(literal).collect();
            let mut l = Library::default();
            let id = match scenario::compile_command(&mut l, &c.effects, &names, &line, None, t.elevated) {
                Ok((id, _)) => id,
                Err(p) => {
                    wrong.push(format!("{}: `{line}`: {p}", e.id));
                    continue;
                }
            };
            let (mut out, mut exits) = (vec![], vec![]);
            left(&l, id, &mut out, &mut exits);
            let lacks = t.leaves.iter().filter(|f| !has(&out, f)).map(|f| format!("lacks {} {:?}", f.kind, f.fields));
            let extra = t.not.iter().filter(|f| has(&out, f)).map(|f| format!("has {}", f.kind));
            let exit = t.exit.filter(|x| exits.last() != Some(x)).map(|x| format!("exits {exits:?}, not {x}"));
            let why: Vec<String> = lacks.chain(extra).chain(exit).collect();
            if !why.is_empty() {
                wrong.push(format!("{}: `{line}` {}", e.id, why.join("; ")));
            }
            kinds.extend(out.iter().map(|(k, _)| k.name()));
        }
        kinds.remove("process.start");
        kinds.remove("process.end");
        if kinds.len() < 2 && e.why.is_none() {
            wrong.push(format!("{}: leaves {kinds:?} and does not say `why` so few", e.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_is_known_and_nothing_fails_by_mistake() {
    let c = content();
    assert!(c.compiled.notes.is_empty(), "{}", c.compiled.notes);
    let attacks: Vec<_> = c.compiled.library.scenarios.iter().filter(|s| s.attack).collect();
    assert!(attacks.len() >= 8);
    let techniques: BTreeSet<_> = attacks.iter().flat_map(|s| &s.steps).map(|s| &s.technique).collect();
    assert!(techniques.len() >= 60, "{} techniques", techniques.len());
    for s in attacks {
        assert!(s.steps.len() >= 8 && !s.expect.is_empty(), "{}", s.id);
    }
}

/// Programs that only servers and virtual machines run.
const SERVERS: &[&str] = &[
    "dns.exe",
    "dfsrs.exe",
    "sqlservr.exe",
    "sqlagent.exe",
    "w3wp.exe",
    "was",
    "inetinfo.exe",
    "edgetransport.exe",
    "microsoft.exchange.directory.topologyservice.exe",
    "wsusservice.exe",
    "microsoft.activedirectory.webservices.exe",
    "monitoringhost.exe",
    "healthservice.exe",
    "veeamagent.exe",
    "vmtoolsd.exe",
];

/// Verbose recordings have process access 43 %, registry keys 29 %, image loads 13 %, registry values 11 %. Image loads come
/// with process starts and are the atlas'; the others' proportions are this folder's business.
#[test]
fn background_of_a_workstation_has_the_recorded_mix() {
    let c = content();
    let l = &c.compiled.library;
    let mut sum: BTreeMap<&str, f64> = BTreeMap::new();
    for b in &l.background {
        let (Who::Service(i) | Who::Image(i)) = b.by else { continue };
        if SERVERS.contains(&&*l.names[i as usize]) {
            continue;
        }
        for (k, n) in &b.yields {
            *sum.entry(k.name()).or_default() += f64::from(*n) * b.per_hour;
        }
    }
    let all: f64 = ["process.access", "registry.create", "registry.set", "file.create"].iter().map(|k| sum[k]).sum();
    for (kind, low, high) in [
        ("process.access", 0.42, 0.62),
        ("registry.create", 0.26, 0.42),
        ("registry.set", 0.08, 0.18),
        ("file.create", 0.0, 0.06),
    ] {
        let share = sum[kind] / all;
        assert!((low..=high).contains(&share), "{kind} is {:.1} %", share * 100.0);
    }
}

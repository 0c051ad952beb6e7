//! The language end to end: documents of `docs/language.md` compile; every effect's own tests hold.

use std::collections::BTreeSet;

use skirmish::effect::Effects;
use skirmish::scenario::{self, Names};
use skirmish::technique::Techniques;
use skirmish::world::program::{Library, Op, Piece, ScriptId, Tpl};
use skirmish::yaml::{Node, parse};

fn names() -> Names {
    let list = |t: &str| t.split_whitespace().map(Into::into).collect();
    Names {
        roles: list(
            "workstation laptop domain_controller file_server web_server database_server mail_server jump_server",
        ),
        personas: list("finance developer help_desk domain_admin"),
        words: list("documents.invoice names.program names.account names.service domains.benign"),
        traces: BTreeSet::new(),
        programs: BTreeSet::new(),
        brought: BTreeSet::new(),
        services: Default::default(),
        hosts: Default::default(),
        service_keys: BTreeSet::new(),
        servers: vec![],
    }
}

fn show(l: &Library, t: &Tpl) -> String {
    let all = t.0.iter().map(|p| match p {
        Piece::Lit(t) => t.to_string(),
        Piece::Slot(s, f) => format!("{{{s:?}{}}}", f.iter().map(|f| format!("|{f:?}")).collect::<String>()),
        Piece::Group(t, f) => {
            format!("{{({}){}}}", show(l, t), f.iter().map(|f| format!("|{f:?}")).collect::<String>())
        }
    });
    all.collect()
}

fn dump(l: &Library, id: ScriptId, indent: usize, out: &mut String) {
    use std::fmt::Write;
    for t in &l.scripts[id.0 as usize] {
        let pad = "  ".repeat(indent);
        let name = |i: u16| l.names[i as usize].to_string();
        write!(out, "{pad}").unwrap();
        match &t.op {
            Op::Spawn(s) => writeln!(
                out,
                "{:?} spawn {} from {:?} as {:?} {:?} r{}{}: {}",
                t.part,
                name(s.program),
                s.parent,
                s.account,
                s.integrity,
                s.reg,
                s.path.as_ref().map_or(String::new(), |p| format!(" at {}", show(l, p))),
                show(l, &s.command_line)
            ),
            Op::Emit { by, kind, args } => {
                let args: Vec<String> = args.iter().map(|(f, t)| format!("{f}={}", show(l, t))).collect();
                writeln!(out, "{:?} {kind} by {by:?} {}", t.part, args.join(" "))
            }
            op => writeln!(out, "{:?} {op:?}", t.part),
        }
        .unwrap();
        for s in skirmish::scenario::trial::inner(&t.op) {
            dump(l, s, indent + 1, out);
        }
    }
}

/// The YAML blocks of the documentation.
fn documented() -> Vec<Node> {
    let text = include_str!("../docs/language.md");
    let blocks = text.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap());
    blocks.enumerate().flat_map(|(i, b)| parse(&format!("docs/language.md#{i}"), b).unwrap()).collect()
}

#[test]
fn documentation_compiles() {
    let nodes = documented();
    let effects = Effects::load(&nodes).unwrap_or_else(|p| panic!("{p}"));
    let personas = scenario::personas(&nodes).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(personas.len(), 1);
    let (library, notes) =
        scenario::compile_named(&nodes, &Techniques::builtin(), &effects, &names()).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(library.habits.len(), 2);
    assert_eq!(library.background.len(), 2);
    let hands_on = &library.scenarios[0];
    assert_eq!(hands_on.steps.len(), 6);
    let mut out = String::new();
    for s in &hands_on.steps {
        out.push_str(&format!("{} {} {:?} {:?} {:?}\n", s.id, s.technique, s.host, s.account, s.parent));
        dump(&library, s.script, 1, &mut out);
    }
    eprintln!("{out}\n{notes}");
}

/// Every YAML document below a folder of the project.
fn folder(name: &str) -> Vec<Node> {
    let mut out = vec![];
    let mut stack = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)];
    while let Some(dir) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let short = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
                out.extend(parse(&short, &text).unwrap_or_else(|p| panic!("{p}")));
            }
        }
    }
    out
}

#[test]
fn effects_load() {
    let e = Effects::load(&folder("effects")).unwrap_or_else(|p| panic!("{} problems\n{p}", p.0.len()));
    eprintln!("{} effects, {} images", e.all.len(), e.images().count());
}

#[test]
fn everything_compiles() {
    let effects = Effects::load(&folder("effects")).unwrap_or_else(|p| panic!("{} problems\n{p}", p.0.len()));
    let world = skirmish::world::atlas::WorldData::load(
        &folder("world").into_iter().filter(|n| n.get("background").is_none()).collect::<Vec<_>>(),
    )
    .unwrap_or_else(|p| panic!("{p}"));
    let nodes: Vec<Node> = ["scenarios", "personas", "world"].iter().flat_map(|f| folder(f)).collect();
    let c = scenario::compile(&nodes, &folder("techniques"), &effects, &world)
        .unwrap_or_else(|p| panic!("{} problems\n{p}", p.0.len()));
    eprintln!(
        "{} scenarios, {} habits, {} background, {} scripts\n{}",
        c.library.scenarios.len(),
        c.library.habits.len(),
        c.library.background.len(),
        c.library.scripts.len(),
        c.notes
    );
}

//! Scenarios, habits and background: YAML in, [`Library`] out.
//!
//! ```text
//! scenario:, persona:, role:, program:, background:, script:  -> yaml (as written, checked)
//!   -> build (cast, variables, steps; played scenarios put in place) + effects -> Library
//! ```
//! `docs/language.md` is the language.

mod build;
mod habit;
pub mod trial;
mod vars;
mod yaml;

use std::collections::BTreeMap;

pub use crate::effect::scope::Names;
pub use habit::{personas, yields};

use crate::effect::action::Shell;
use crate::effect::lower::{Frame, Split, Unit};
use crate::effect::scope::{Scope, Service};
use crate::effect::template::{Holes, Template, clean};
use crate::effect::value::NONE;
use crate::effect::{Effects, Notes};
use crate::technique::Techniques;
use crate::world::atlas::data::{Place, ServiceRow};
use crate::world::atlas::{Persona, WorldData};
use crate::world::program::{AccountSel, Library, ScriptId};
use crate::yaml::{Node, Problems};
use build::{Builder, Global};
use yaml::{BackgroundDoc, Doc, HabitDoc};

/// First keys of documents that are compiled here, and of those that others read.
const KINDS: &[&str] = &["scenario", "effect", "persona", "role", "program", "background", "script"];
const WORLD: &[&str] = &[
    "os", "maker", "culture", "site", "forest", "services", "modules", "loads", "software", "boot", "traces", "ports",
    "words",
];

/// What documents compile to.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Scenarios in the order of their documents, then habits' scenarios; habits; background.
    pub library: Library,
    /// Personas, in the order that [`Holder`](crate::world::program::Holder) counts them.
    pub personas: Vec<Persona>,
    /// ATT&CK as loaded.
    pub techniques: Techniques,
    /// Things that are allowed and look wrong.
    pub notes: Notes,
}

impl Names {
    /// The names that the data of a world gives.
    pub fn of(world: &WorldData, personas: &[Persona]) -> Names {
        Names {
            roles: world.roles.iter().map(|r| r.id.clone()).collect(),
            personas: personas.iter().map(|p| p.id.clone()).collect(),
            words: world.words.keys().cloned().collect(),
            traces: world.traces.iter().flat_map(|t| &t.kinds).map(|(kind, _)| kind.clone()).collect(),
            programs: world.packages.iter().flat_map(|k| &k.programs).map(|p| p.name.to_lowercase().into()).collect(),
            brought: world
                .packages
                .iter()
                .flat_map(|k| &k.programs)
                .filter(|p| p.path.starts_with(r"C:\Users\Public"))
                .map(|p| p.name.to_lowercase().into())
                .collect(),
            hosts: BTreeMap::new(),
            services: world.services.iter().filter(|s| s.stops()).flat_map(service_names).collect(),
            service_keys: world.services.iter().map(|s| s.key.to_lowercase()).collect(),
            servers: world.servers.clone(),
        }
    }
}

/// A service by its two names.
fn service_names(s: &ServiceRow) -> [(String, Service); 2] {
    let command = match s.command.contains(r"\svchost.exe") {
        true => format!("{} -s {}", s.command, s.key),
        false => s.command.to_string(),
    };
    let account = match s.account {
        Place::System => Some(AccountSel::System),
        Place::LocalService => Some(AccountSel::LocalService),
        Place::NetworkService => Some(AccountSel::NetworkService),
        _ => None,
    };
    let service = Service { key: s.key.clone(), command, account };
    [(s.display.to_lowercase(), service.clone()), (s.key.to_lowercase(), service)]
}

/// Compiles all documents: scenarios, personas, habits, background. Documents of the world itself are left alone.
///
/// # Errors
/// Everything wrong in any document, each with its place.
pub fn compile(
    nodes: &[Node],
    techniques: &[Node],
    effects: &Effects,
    world: &WorldData,
) -> Result<Compiled, Problems> {
    let mut p = Problems::new();
    let personas = personas(nodes).unwrap_or_else(|e| {
        p.0.extend(e.0);
        vec![]
    });
    let techniques = Techniques::load(techniques).unwrap_or_else(|e| {
        p.0.extend(e.0);
        Techniques::default()
    });
    if !p.is_empty() {
        return Err(p);
    }
    let (library, notes) = compile_named(nodes, &techniques, effects, &Names::of(world, &personas))?;
    Ok(Compiled { library, personas, techniques, notes })
}

/// As [`compile`], for a world of which only names are known.
///
/// # Errors
/// Everything wrong in any document, each with its place.
pub fn compile_named(
    nodes: &[Node],
    techniques: &Techniques,
    effects: &Effects,
    names: &Names,
) -> Result<(Library, Notes), Problems> {
    let mut p = Problems::new();
    let mut notes = Notes::new();
    let mut library = Library::default();
    let mut docs: Vec<Doc> = vec![];
    let mut scripts: BTreeMap<String, Template> = BTreeMap::new();
    for n in nodes.iter().filter(|n| !n.is_null()) {
        let pairs = n.pairs(&mut p, "a document");
        let Some((first, _)) = pairs.first() else { continue };
        let word = first.as_str().unwrap_or_default();
        match word {
            "scenario" => docs.extend(Doc::read(n, &mut p)),
            "script" => script(n, &mut scripts, &mut p),
            w if KINDS.contains(&w) || WORLD.contains(&w) => {}
            _ => p.unknown(first, "kind of document", word, KINDS.iter().chain(WORLD).copied()),
        }
    }
    let mut by_id: BTreeMap<&str, &Doc> = BTreeMap::new();
    for d in &docs {
        if let Some(other) = by_id.insert(&d.id, d) {
            let (line, _) = other.node.file.line_col(other.node.at.start);
            p.at(&d.node, format!("scenario `{}` is also defined in {}:{line}", d.id, other.node.file.name));
        }
    }
    let g = Global { docs: by_id, scripts, techniques };
    let mut u = unit(effects, &mut library, &mut p, &mut notes, names);
    for d in &docs {
        fresh(&mut u);
        let mut b = Builder::new(&mut u, &g);
        b.doc(d, vec![], NONE, &[]);
        let scenario = b.finish(d);
        u.library.scenarios.push(scenario);
    }
    for n in nodes {
        // a role of the world's own data has no habits
        if ["persona", "role", "program"].iter().any(|k| n.get(k).is_some()) && n.get("habits").is_some() {
            habits(&mut u, &g, n);
        }
        for entry in n.get("background").map_or(&[][..], |b| b.items()) {
            fresh(&mut u);
            if let Some(b) = BackgroundDoc::read(entry, u.problems) {
                habit::background(&mut u, &b);
            }
        }
    }
    fresh(&mut u);
    let frame = Frame::step(AccountSel::Actor, false);
    for s in &names.servers {
        let who = u.who(&frame, &s.by, &s.node);
        u.library.servers.push((s.port, s.udp, who));
    }
    dedupe(&mut p);
    dedupe(&mut notes);
    p.or((library, notes))
}

/// Compiles a command line into a script of a library, for a session (register 0) that types it in a shell, or gives
/// it to CreateProcess when there is none. Text is taken as it is: braces are no references.
///
/// # Errors
/// A command that keeps too many processes at once or nests too deep.
pub fn compile_command(
    library: &mut Library,
    effects: &Effects,
    names: &Names,
    command: &str,
    shell: Option<Shell>,
    elevated: bool,
) -> Result<(ScriptId, Notes), Problems> {
    let mut p = Problems::new();
    let mut notes = Notes::new();
    let nodes = crate::yaml::parse("command", "command")?;
    let mut u = unit(effects, library, &mut p, &mut notes, names);
    fresh(&mut u);
    // an elevated shell stands in the system's folder, another one in its user's
    let cwd = if elevated && shell.is_some() { r"C:\Windows\system32" } else { "" };
    let frame = Frame { shell, cwd: cwd.into(), ..Frame::step(AccountSel::Actor, elevated) };
    let mut script = vec![];
    // without variables nothing can split
    let done: Result<(), Split> = u.command(&frame, &clean(command), None, true, &nodes[0], &mut script);
    let id = u.library.script(script);
    debug_assert!(done.is_ok());
    dedupe(&mut notes);
    p.or((id, notes))
}

fn unit<'a>(
    effects: &'a Effects,
    library: &'a mut Library,
    problems: &'a mut Problems,
    notes: &'a mut Notes,
    names: &'a Names,
) -> Unit<'a> {
    Unit {
        effects,
        library,
        problems,
        notes,
        names,
        scope: Scope::default(),
        holes: Holes::default(),
        regs: 1,
        randoms: 0,
        depth: 0,
        wanted: vec![],
        printed: vec![],
        commands: 0,
        starting: vec![],
        written: BTreeMap::new(),
    }
}

fn fresh(u: &mut Unit<'_>) {
    u.scope = Scope::default();
    u.holes = Holes::default();
    u.regs = 1;
    u.randoms = 0;
    u.depth = 0;
    u.wanted.clear();
    u.printed.clear();
    u.commands = 0;
    u.written.clear();
}

fn script(n: &Node, scripts: &mut BTreeMap<String, Template>, p: &mut Problems) {
    let Some(f) = n.fields(p, "a script") else { return };
    let name = f.need(p, "script").and_then(|n| n.text(p, "`script`")).map(str::to_owned);
    let text = f.need(p, "text").and_then(|n| Template::read(n, p, "`text`"));
    f.take("description");
    f.finish(p);
    if let (Some(name), Some(text)) = (name, text)
        && scripts.insert(name.clone(), text).is_some()
    {
        p.at(n, format!("script `{name}` is defined twice"));
    }
}

fn habits(u: &mut Unit<'_>, g: &Global<'_>, n: &Node) {
    fresh(u);
    if n.get("persona").is_none()
        && let Some(f) = n.fields(u.problems, "a holder of habits")
    {
        for name in ["role", "program", "description", "habits"] {
            f.take(name);
        }
        f.finish(u.problems);
    }
    let Some((holder, owner)) = habit::holder(u, n) else { return };
    let mut seen: Vec<String> = vec![];
    for h in n.get("habits").map_or(&[][..], |h| h.items()) {
        let Some(h) = HabitDoc::read(h, &owner, u.problems) else { continue };
        if seen.contains(&h.doc.id) {
            u.problems.at(&h.doc.node, format!("habit `{}` is defined twice", h.doc.id));
        }
        seen.push(h.doc.id.clone());
        fresh(u);
        habit::habit(u, g, holder.clone(), &h);
    }
}

/// A text that was compiled for several alternatives says the same thing several times.
fn dedupe(p: &mut Problems) {
    let mut seen = std::collections::BTreeSet::new();
    p.0.retain(|x| seen.insert((x.file.as_ref().map(|f| f.name.clone()), x.at.start, x.at.end, x.message.clone())));
}

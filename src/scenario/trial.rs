//! Effects' own tests: a command is compiled and what it would leave is held against what its file says.

use std::collections::BTreeSet;

use super::{Names, compile_command};
use crate::activity::Kind;
use crate::effect::Effects;
use crate::effect::action::Shell;
use crate::effect::matching::glob;
use crate::effect::template::Part;
use crate::effect::yaml::{Effect, Leaf};
use crate::world::net;
use crate::world::program::{Dest, HostSel, Library, LogonResult, Op, Piece, ScriptId, Slot, Tpl, Who};
use crate::yaml::Problems;

/// What a command leaves, whatever is drawn in it.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Activities in order, with their fields by short name; what is known only at run time is `?`.
    pub all: Vec<(Kind, Vec<(String, String)>)>,
    /// Exit codes in order.
    pub exits: Vec<u32>,
    /// Programs that were started, in lower case.
    pub programs: Vec<String>,
}

/// Text of a template; what is known only at run time is `?`.
fn text(l: &Library, t: &Tpl) -> String {
    let piece = |p: &Piece| match p {
        Piece::Lit(t) => t.to_string(),
        // a program's name is known, its folder is the host's business
        Piece::Slot(Slot::Path(i), _) => l.names[*i as usize].to_string(),
        _ => "?".to_owned(),
    };
    t.0.iter().map(piece).collect()
}

impl Left {
    /// What a script of a library leaves.
    pub fn of(l: &Library, id: ScriptId) -> Left {
        let mut left = Left::default();
        left.script(l, id);
        left
    }

    /// The kinds beside start and end of processes.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.all.iter().map(|(k, _)| *k).filter(|k| !matches!(k, Kind::ProcessStart | Kind::ProcessEnd)).collect()
    }

    fn script(&mut self, l: &Library, id: ScriptId) {
        let plain = |names: &[(&str, String)]| names.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
        for t in &l.scripts[id.0 as usize] {
            match &t.op {
                Op::Spawn(s) => {
                    let path = s.path.as_ref().map_or(String::new(), |t| text(l, t));
                    let mut program = l.names[s.program as usize].to_string();
                    if program.is_empty() {
                        program = path.rsplit('\\').next().unwrap_or_default().to_lowercase();
                    }
                    let line = text(l, &s.command_line);
                    self.all.push((
                        Kind::ProcessStart,
                        plain(&[("program", program.clone()), ("command_line", line), ("path", path)]),
                    ));
                    self.programs.push(program);
                }
                Op::Exit { code, .. } | Op::ExitLater { code, .. } => {
                    self.all.push((Kind::ProcessEnd, plain(&[("code", code.to_string())])));
                    self.exits.push(*code);
                }
                Op::Emit { kind, args, .. } => {
                    let short = |f| kind.args().iter().find(|(_, g)| *g == f).map_or("", |(n, _)| n).to_owned();
                    self.all.push((*kind, args.iter().map(|(f, t)| (short(*f), text(l, t))).collect()));
                }
                Op::Access { granted, target, .. } => {
                    let target = match target {
                        Who::Image(i) => l.names[*i as usize].to_string(),
                        _ => "?".into(),
                    };
                    self.all.push((
                        Kind::ProcessAccess,
                        plain(&[("granted", format!("{granted:#x}")), ("target", target)]),
                    ));
                }
                Op::Inject { .. } => self.all.push((Kind::ProcessInject, vec![])),
                Op::Connect { to, port, .. } => {
                    let host = match to {
                        Dest::Text(t) => text(l, t),
                        Dest::Host(HostSel::Dc) => "dc".into(),
                        Dest::Host(HostSel::Here) => "here".into(),
                        Dest::Host(_) => "?".into(),
                    };
                    // a hole's URL is known when an instance starts
                    let port = if *port > 0 { *port } else { net::port_of(&host).unwrap_or(80) };
                    let named = !net::loopback(&host);
                    self.all.push((Kind::NetworkConnect, plain(&[("host", host), ("port", port.to_string())])));
                    if named {
                        self.all.push((Kind::NameResolve, vec![]));
                    }
                }
                Op::Resolve { name, .. } => self.all.push((Kind::NameResolve, plain(&[("name", text(l, name))]))),
                Op::Ticket { .. } => self.all.push((Kind::KerberosService, vec![])),
                Op::Logon { result, logon_type, .. } => {
                    let kind = if *result == LogonResult::Ok { Kind::LogonStart } else { Kind::LogonFail };
                    self.all.push((kind, plain(&[("type", logon_type.to_string())])));
                }
                Op::Share { host, .. } => {
                    let host = if *host == HostSel::Dc { "dc" } else { "?" };
                    self.all.push((Kind::NameResolve, vec![]));
                    self.all.push((Kind::NetworkConnect, plain(&[("host", host.into()), ("port", "445".into())])));
                    self.all.push((Kind::LogonStart, plain(&[("type", "3".into())])));
                }
                _ => {}
            }
            for s in inner(&t.op) {
                self.script(l, s);
            }
        }
    }

    /// True when an activity like that is there.
    pub fn has(&self, leaf: &Leaf) -> bool {
        let fits = |fields: &[(String, String)]| {
            leaf.fields.iter().all(|(n, v)| fields.iter().any(|(m, w)| m == n && glob(v, w)))
        };
        self.all.iter().any(|(k, fields)| *k == leaf.kind && fits(fields))
    }

    /// For a message: what is there of a kind.
    fn shown(&self, leaf: &Leaf) -> String {
        let mut seen: Vec<String> = vec![];
        for (_, fields) in self.all.iter().filter(|(k, _)| *k == leaf.kind) {
            let f = fields.iter().filter(|(n, _)| leaf.fields.iter().any(|(m, _)| m == n));
            seen.push(f.map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>().join(", "));
        }
        seen.dedup();
        seen.truncate(6);
        if seen.is_empty() { "none".into() } else { seen.join(" | ") }
    }
}

/// Scripts that an operation runs.
pub fn inner(op: &Op) -> Vec<ScriptId> {
    match op {
        Op::Logon { then, .. } => then.iter().copied().collect(),
        Op::Service { start, fact, .. } => start.iter().chain([fact]).copied().collect(),
        Op::Share { script, .. }
        | Op::Remote { script, .. }
        | Op::Repeat { script, .. }
        | Op::Fork { script }
        | Op::Files { script, .. } => {
            vec![*script]
        }
        Op::Chance { then, otherwise, .. } => [Some(*then), *otherwise].into_iter().flatten().collect(),
        Op::Choose { weights } => weights.iter().map(|(_, s)| *s).collect(),
        Op::Switch { arms, .. } => arms.clone(),
        _ => vec![],
    }
}

/// What a foreign command leaves, typed in a shell or given to CreateProcess.
///
/// # Errors
/// What compiling it complains of.
pub fn leaves(
    effects: &Effects,
    names: &Names,
    command: &str,
    shell: Option<Shell>,
    elevated: bool,
) -> Result<(Left, Problems), Problems> {
    let mut l = Library::default();
    let (id, notes) = compile_command(&mut l, effects, names, command, shell, elevated)?;
    Ok((Left::of(&l, id), notes))
}

/// Runs the tests of effects. Returns how many tests ran.
///
/// # Errors
/// Every test that does not hold, each effect without tests, and each that leaves fewer than two kinds of activity beside
/// start and exit and does not say why, at their places.
pub fn run(effects: &Effects, names: &Names, which: impl Fn(&Effect) -> bool) -> Result<usize, Problems> {
    let mut p = Problems::new();
    let mut ran = 0;
    for e in effects.all.iter().filter(|e| which(e)) {
        if e.tests.is_empty() {
            p.at(&e.node, format!("effect `{}` has no `tests`", e.id));
            continue;
        }
        let mut kinds = BTreeSet::new();
        for t in &e.tests {
            ran += 1;
            let literal = |p: &Part| match p {
                Part::Lit(t) => t.clone(),
                Part::Ref(name, _) => format!("{{{name}}}"),
            };
            let line: String = t.run.parts.iter().map(literal).collect();
            let left = match leaves(effects, names, &line, None, t.elevated) {
                Ok((left, _)) => left,
                Err(problems) => {
                    p.at(&t.node, format!("effect `{}`: `{line}` does not compile: {problems}", e.id));
                    continue;
                }
            };
            let fields = |f: &Leaf| {
                let all: Vec<String> = f.fields.iter().map(|(n, v)| format!(" {n} `{v}`")).collect();
                format!("{}{}", f.kind, all.concat())
            };
            for f in t.leaves.iter().filter(|f| !left.has(f)) {
                p.at(&f.node, format!("effect `{}`: `{line}` leaves no {}", e.id, fields(f)))
                    .help(format!("there is: {}", left.shown(f)));
            }
            for f in t.not.iter().filter(|f| left.has(f)) {
                p.at(&f.node, format!("effect `{}`: `{line}` leaves {}", e.id, fields(f)));
            }
            if let Some(x) = t.exit.filter(|x| left.exits.last() != Some(x)) {
                let last = left.exits.last().map_or("it stays".into(), |c| format!("it exits {c}"));
                p.at(&t.node, format!("effect `{}`: `{line}` does not exit {x}: {last}", e.id));
            }
            kinds.extend(left.kinds());
        }
        if kinds.len() < 2 && e.why.is_none() {
            let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
            p.at(&e.node, format!("effect `{}` leaves only [{}] beside start and exit", e.id, names.join(", ")))
                .help("let its tests show at least two kinds, or say `why`");
        }
    }
    p.or(ran)
}

//! Personas, roles' and programs' habits, background.

use std::collections::BTreeMap;

use super::build::{Builder, Global};
use super::yaml::{BackgroundDoc, HabitDoc, Often};
use crate::activity::Kind;
use crate::effect::lower::{Frame, Unit};
use crate::effect::scope::RoleKind;
use crate::effect::value::mean_count;
use crate::time::Span;
use crate::world::atlas::Persona;
use crate::world::net;
use crate::world::program::{
    AccountSel, Background, Bind, Dest, Dur, Habit, Holder, HostSel, Library, LogonResult, Op, Rhythm, ScenarioId,
    ScriptId, Ticket, Who,
};
use crate::yaml::{Node, Problems};

/// Reads the `persona:` documents: what the atlas needs of them.
///
/// # Errors
/// Everything wrong in any of them; habits are checked by [`super::compile`].
pub fn personas(nodes: &[Node]) -> Result<Vec<Persona>, Problems> {
    let mut p = Problems::new();
    let mut out: Vec<Persona> = vec![];
    for n in nodes.iter().filter(|n| n.get("persona").is_some()) {
        let Some(one) = persona(n, &mut p) else { continue };
        if out.iter().any(|o| o.id == one.id) {
            p.at(n, format!("persona `{}` is defined twice", one.id));
            continue;
        }
        out.push(one);
    }
    p.or(out)
}

fn persona(node: &Node, p: &mut Problems) -> Option<Persona> {
    let f = node.fields(p, "a persona")?;
    let id = f.need(p, "persona").and_then(|n| n.text(p, "`persona`"))?;
    f.take("description");
    f.take("habits");
    let share = f.need(p, "share").and_then(|n| n.share(p, "`share`"));
    let lunch = f.take("lunch").map_or(Some((11.8, 13.6)), |n| hours(n, p));
    let hours = f.take("hours").map_or(Some((8.5, 17.5)), |n| hours(n, p));
    let mut presence = [0.94f32, 0.03, 0.01];
    if let Some(n) = f.take("presence")
        && let Some(f) = n.fields(p, "`presence`")
    {
        for (i, day) in ["weekday", "saturday", "sunday"].into_iter().enumerate() {
            if let Some(v) = f.take(day).and_then(|n| n.share(p, "`presence`")) {
                presence[i] = v as f32;
            }
        }
        f.finish(p);
    }
    let mut part = |name| f.take(name).and_then(|n| n.share(p, &format!("`{name}`"))).unwrap_or(0.0) as f32;
    let (home, evening) = (part("home"), part("evening"));
    let night = f.take("night").and_then(|n| n.share(p, "`night`")).unwrap_or(0.0) as f32;
    let mut departments = vec![];
    for (k, v) in f.take("departments").map_or(&[][..], |n| n.pairs(p, "`departments`")) {
        if let (Some(name), Some(w)) = (k.as_str(), v.number::<u32>(p, "a weight")) {
            departments.push((name.into(), w));
        }
    }
    let admin = crate::effect::action::flag(&f, "admin", false, p);
    let local_admin = crate::effect::action::flag(&f, "local_admin", false, p);
    f.finish(p);
    Some(Persona {
        id: id.into(),
        hours: hours?,
        presence,
        night,
        lunch: lunch?,
        home,
        evening,
        departments,
        share: share? as f32,
        admin,
        local_admin,
    })
}

/// `'08:30-17:30'` as hours.
fn hours(n: &Node, p: &mut Problems) -> Option<(f32, f32)> {
    let clock = |t: &str| -> Option<f32> {
        let (h, m) = t.trim().split_once(':')?;
        let (h, m): (f32, f32) = (h.parse().ok()?, m.parse().ok()?);
        ((0.0..=24.0).contains(&h) && (0.0..60.0).contains(&m)).then_some(h + m / 60.0)
    };
    let v = n.as_str().and_then(|t| t.split_once('-')).and_then(|(a, b)| Some((clock(a)?, clock(b)?)));
    if v.is_none() {
        p.at(n, format!("`hours` must be times of day such as `'08:30-17:30'`, not {}", n.describe()));
    }
    v
}

/// Who has the habits of a document.
pub(super) fn holder(u: &mut Unit<'_>, node: &Node) -> Option<(Holder, String)> {
    let find = |list: &[std::sync::Arc<str>], n: &Node, what: &str, p: &mut Problems| {
        let word = n.text(p, what)?.to_owned();
        match list.iter().position(|r| **r == *word) {
            Some(i) => Some((i as u16, word)),
            None => {
                p.unknown(n, what, &word, list.iter().map(|r| &**r));
                None
            }
        }
    };
    let names = u.names;
    if let Some(n) = node.get("persona") {
        return find(&names.personas, n, "persona", u.problems).map(|(i, w)| (Holder::Persona(i), w));
    }
    if let Some(n) = node.get("role") {
        return find(&names.roles, n, "host role", u.problems).map(|(i, w)| (Holder::Role(i), w));
    }
    let n = node.get("program")?;
    let word = n.text(u.problems, "`program`")?.to_lowercase();
    Some(match word.strip_prefix("service.") {
        Some(s) => (Holder::Service(u.library.name(s)), word),
        None => (Holder::Image(u.library.name(&crate::effect::scope::exe(&word))), word),
    })
}

/// Compiles one habit. A habit's cast begins with the host and its user.
pub(super) fn habit(u: &mut Unit<'_>, g: &Global<'_>, holder: Holder, h: &HabitDoc) {
    let mut b = Builder::new(u, g);
    let (role, persona) = match holder {
        Holder::Role(r) => (r, None),
        Holder::Persona(p) => (0, Some(p)),
        _ => (0, None),
    };
    b.role("host", RoleKind::Host, Bind::Host { role, persona });
    b.role("user", RoleKind::Account, Bind::UserOf(0));
    let account = if matches!(holder, Holder::Persona(_)) { AccountSel::Owner } else { AccountSel::System };
    b.actor(HostSel::Here, account);
    b.doc(&h.doc, vec![], crate::effect::value::NONE, &[]);
    let mut scenario = b.finish(&h.doc);
    for s in &mut scenario.steps {
        // a machine's habit without a parent is the work of its service control manager or of the program itself
        if s.parent == Who::Shell && !matches!(holder, Holder::Persona(_)) {
            s.parent = match holder {
                Holder::Image(i) => Who::Image(i),
                Holder::Service(i) => Who::Service(i),
                _ => Who::Image(u.library.name("services.exe")),
            };
        }
    }
    u.library.scenarios.push(scenario);
    let scenario = ScenarioId(u.library.scenarios.len() as u16 - 1);
    let rhythm = match h.often {
        Often::PerDay(n) => Rhythm::PerDay(n),
        Often::PerHour(n) => Rhythm::PerHour(n),
        Often::Every(a, b) => Rhythm::Every(a, b),
        Often::AtLogon => Rhythm::AtLogon,
    };
    u.library.habits.push(Habit { holder, rhythm, scenario });
}

/// Compiles one entry of background.
pub(super) fn background(u: &mut Unit<'_>, b: &BackgroundDoc) {
    u.regs = 1;
    u.depth = 0;
    u.randoms = 0;
    let mut frame = Frame::step(AccountSel::Actor, false);
    let Ok(Some(by)) = u.text(&frame, &b.by) else { return };
    let by = u.who(&frame, &by, &b.by.node);
    // one thing after another without a pause: recorded neighbours on a host mostly share their millisecond
    frame.pace = Dur::Range(Span::us(12), Span::us(450));
    let mut script = vec![];
    if u.actions(&frame, &b.does, &mut script).is_err() {
        u.problems.at(&b.node, "background has no variables to choose from");
        return;
    }
    if script.is_empty() {
        u.problems.at(&b.node, "an entry of background does nothing: it lacks `do`");
        return;
    }
    let script = u.library.script(script);
    let mut sum = BTreeMap::new();
    yields(u.library, script, 1.0, &mut sum, 0);
    let yields = sum.into_iter().map(|(k, n)| (k, n as f32)).collect();
    u.library.background.push(Background { by, per_hour: b.per_hour, every: b.every, script, yields });
}

/// Activities a script makes on average, by kind.
pub fn yields(library: &Library, script: ScriptId, times: f64, sum: &mut BTreeMap<Kind, f64>, depth: u8) {
    // scripts refer to earlier ones only; the depth is a guard against hand-made libraries
    if depth > 32 {
        return;
    }
    let mut add = |k: Kind, n: f64| *sum.entry(k).or_insert(0.0) += n;
    let mut inner: Vec<(ScriptId, f64)> = vec![];
    for t in &library.scripts[script.0 as usize] {
        match &t.op {
            Op::Spawn(_) => add(Kind::ProcessStart, times),
            Op::Exit { .. } | Op::ExitLater { .. } => add(Kind::ProcessEnd, times),
            Op::Emit { kind, .. } => add(*kind, times),
            Op::Access { .. } => add(Kind::ProcessAccess, times),
            Op::Inject { .. } => add(Kind::ProcessInject, times),
            Op::Connect { to, .. } => {
                add(Kind::NetworkConnect, times);
                match to {
                    Dest::Text(name)
                        if name.as_lit().is_some_and(|t| net::loopback(t) || t.parse::<std::net::IpAddr>().is_ok()) => {
                    }
                    _ => add(Kind::NameResolve, times),
                }
            }
            Op::Resolve { .. } => add(Kind::NameResolve, times),
            Op::Ticket { of: Ticket::Granting(_), .. } => add(Kind::KerberosTgt, times),
            Op::Ticket { .. } => add(Kind::KerberosService, times),
            Op::Logon { result, then, .. } => {
                add(if *result == LogonResult::Ok { Kind::LogonStart } else { Kind::LogonFail }, times);
                inner.extend(then.map(|s| (s, times)));
            }
            Op::Service { start, fact, .. } => inner.extend(start.iter().chain([fact]).map(|s| (*s, times))),
            // about one of three is the first of its session
            Op::Share { script, .. } => {
                for kind in [Kind::NameResolve, Kind::NetworkConnect, Kind::LogonStart] {
                    add(kind, times / 3.0);
                }
                inner.push((*script, times));
            }
            Op::Logoff => add(Kind::LogonEnd, times),
            Op::Remote { script, .. } | Op::Fork { script } => inner.push((*script, times)),
            Op::Repeat { times: n, script, .. } | Op::Files { times: n, script, .. } => {
                inner.push((*script, times * mean_count(*n)))
            }
            Op::Chance { share, then, otherwise } => {
                inner.push((*then, times * f64::from(*share)));
                inner.extend(otherwise.map(|s| (s, times * (1.0 - f64::from(*share)))));
            }
            Op::Choose { weights } => {
                let total: u32 = weights.iter().map(|(w, _)| w).sum();
                inner.extend(weights.iter().map(|(w, s)| (*s, times * f64::from(*w) / f64::from(total.max(1)))));
            }
            Op::Switch { arms, .. } => inner.extend(arms.iter().map(|s| (*s, times / arms.len().max(1) as f64))),
            Op::Wait => {}
        }
    }
    for (s, n) in inner {
        yields(library, s, n, sum, depth + 1);
    }
}

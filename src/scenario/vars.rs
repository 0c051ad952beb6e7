//! Variables: how they are drawn, and what is known of their text before.

use crate::effect::lower::{Frame, Unit};
use crate::effect::scope::Var;
use crate::effect::template::{Part, Template};
use crate::effect::value;
use crate::world::program::{AccountSel, DomainKind, Draw, Piece, Slot, Tpl};
use crate::yaml::{Node, Problems};

use super::build::Global;
use super::yaml::Doc;

const KINDS: &[&str] =
    &["choice", "number", "domain", "address", "url", "document", "name", "word", "password", "hex", "guid", "script"];

/// Alternatives one choice may have.
const CHOICE_MAX: usize = 64;

/// Declares a scenario's variables, in order.
pub(super) fn declare(
    u: &mut Unit<'_>,
    g: &Global<'_>,
    doc: &Doc,
    given: &[String],
    draws: &mut Vec<(Box<str>, Draw)>,
) {
    for (k, v) in &doc.vars {
        let Some(name) = k.text(u.problems, "a variable's name").map(str::to_owned) else { continue };
        if given.contains(&name) {
            continue;
        }
        if name.contains('.') || u.scope.words().contains(&&*name) {
            u.problems.at(k, format!("`{name}` is taken: choose another name for the variable"));
            continue;
        }
        let (draw, arms) = read(u, g, doc, &name, v, draws).unwrap_or((Draw::Password, vec![]));
        add(u, draws, &name, draw, arms);
    }
}

/// Adds a variable under its name in the scenario now compiled.
pub(super) fn add(
    u: &mut Unit<'_>,
    draws: &mut Vec<(Box<str>, Draw)>,
    name: &str,
    draw: Draw,
    arms: Vec<String>,
) -> u16 {
    let full = u.scope.full(name);
    draws.push((full.as_str().into(), draw));
    u.scope.vars.push(Var { name: full, arms });
    (u.scope.vars.len() - 1) as u16
}

type Drawn = (Draw, Vec<String>);

fn read(
    u: &mut Unit<'_>,
    g: &Global<'_>,
    doc: &Doc,
    name: &str,
    v: &Node,
    draws: &mut Vec<(Box<str>, Draw)>,
) -> Option<Drawn> {
    if v.as_str().is_some() {
        let t = Template::read(v, u.problems, "a variable")?;
        return Some(constant(u, name, &t, draws));
    }
    let pairs = v.pairs(u.problems, "a variable").to_vec();
    let Some((k, arg)) = pairs.first() else {
        u.problems.at(v, "a variable lacks how it is drawn");
        return None;
    };
    let kind = k.as_str().unwrap_or_default();
    if let Some((other, _)) = pairs.get(1).filter(|(o, _)| !(kind == "script" && o.as_str() == Some("with"))) {
        let word = other.as_str().unwrap_or_default();
        u.problems.at(other, format!("a variable is drawn in one way: `{word}` beside `{kind}`"));
        return None;
    }
    let list = |u: &mut Unit<'_>, group: &str| -> Option<u16> {
        let word = arg.text(u.problems, "a word list")?;
        let full = if group.is_empty() { word.to_owned() } else { format!("{group}.{word}") };
        let hit = u.names.words.iter().position(|w| **w == *full);
        if hit.is_none() {
            let prefix = if group.is_empty() { String::new() } else { format!("{group}.") };
            let all: Vec<&str> = u.names.words.iter().filter_map(|w| w.strip_prefix(&*prefix)).collect();
            u.problems.unknown(arg, if group.is_empty() { "word list" } else { group }, word, all);
        }
        hit.map(|i| i as u16)
    };
    Some(match kind {
        "choice" => choice(u, arg)?,
        "number" => match arg.as_str().and_then(value::range::<i64>) {
            Some((a, b)) => (Draw::Number(a, b), vec![]),
            None => {
                u.problems.at(arg, format!("`number` must be a range such as `30..90`, not {}", arg.describe()));
                return None;
            }
        },
        "domain" => {
            let kinds =
                [("random", DomainKind::Random), ("lookalike", DomainKind::Lookalike), ("dga", DomainKind::Dga)];
            let kind = if arg.is_null() {
                DomainKind::Random
            } else {
                crate::effect::action::word(arg, u.problems, "kind of domain", &kinds)?
            };
            (Draw::Domain(kind), vec![])
        }
        "address" => (Draw::Address, vec![]),
        "url" => {
            let t = Template::read(arg, u.problems, "`url`")?;
            let text = text(u, &t)?;
            (Draw::Url(u.holes.tpl(&text)), vec![])
        }
        "document" => (Draw::Document(list(u, "documents")?), vec![]),
        "name" => (Draw::Name(list(u, "names")?), vec![]),
        "word" => (Draw::Name(list(u, "")?), vec![]),
        "password" => (Draw::Password, vec![]),
        "hex" => {
            let n = arg.number::<u8>(u.problems, "`hex`").filter(|n| *n > 0)?;
            (Draw::Hex(n), vec![])
        }
        "guid" => (Draw::Guid, vec![]),
        "script" => {
            let word = arg.text(u.problems, "`script`")?.to_owned();
            let own = doc.scripts.iter().find(|(n, _)| *n == word).map(|(_, t)| t);
            let Some(body) = own.or_else(|| g.scripts.get(&*word)).cloned() else {
                let all = doc.scripts.iter().map(|(n, _)| &**n).chain(g.scripts.keys().map(|k| &**k));
                u.problems.unknown(arg, "script", &word, all);
                return None;
            };
            let with = v.get("with").map(|n| n.pairs(u.problems, "`with`").to_vec()).unwrap_or_default();
            let body = script(u, name, body, &with, draws)?;
            constant(u, name, &body, draws)
        }
        _ => {
            u.problems.unknown(k, "way to draw a variable", kind, KINDS.iter().copied());
            return None;
        }
    })
}

/// A script's arguments become variables of their own, so that its text can refer to them.
fn script(
    u: &mut Unit<'_>,
    name: &str,
    body: Template,
    with: &[(Node, Node)],
    draws: &mut Vec<(Box<str>, Draw)>,
) -> Option<Template> {
    let mut args: Vec<(String, String)> = vec![];
    for (k, v) in with {
        let arg = k.text(u.problems, "an argument")?.to_owned();
        if !body.refs().any(|r| r == arg) {
            let refs: Vec<String> = body.refs().map(str::to_owned).collect();
            u.problems.unknown(k, "argument of the script", &arg, refs.iter().map(|r| &**r));
            continue;
        }
        let t = Template::read(v, u.problems, "an argument")?;
        let hidden = format!("{name}.{arg}");
        let (draw, arms) = constant(u, &hidden, &t, draws);
        add(u, draws, &hidden, draw, arms);
        args.push((arg, hidden));
    }
    let parts = body.parts.into_iter().map(|p| match p {
        Part::Ref(r, f) => match args.iter().find(|(a, _)| *a == r) {
            Some((_, hidden)) => Part::Ref(hidden.clone(), f),
            None => Part::Ref(r, f),
        },
        Part::Lit(t) => Part::Lit(t),
    });
    let mut parts: Vec<Part> = parts.collect();
    if let Some(Part::Lit(last)) = parts.last_mut() {
        last.truncate(last.trim_end().len());
    }
    Some(Template { parts, node: body.node })
}

/// A constant: its text is known; what is random in it becomes variables of its own, so that it stays known.
fn constant(u: &mut Unit<'_>, name: &str, t: &Template, draws: &mut Vec<(Box<str>, Draw)>) -> Drawn {
    let Some(text) = text(u, t) else { return (Draw::Password, vec![]) };
    let mut known = String::new();
    for c in text.chars() {
        let piece = u.holes.get(c).cloned();
        match piece {
            Some(Piece::Slot(slot, fmts)) if random(slot) => {
                let n = u.scope.vars.len();
                let draw = match slot {
                    Slot::Guid(_) => Draw::Guid,
                    Slot::Hex(_, len) => Draw::Hex(len),
                    Slot::Num(_, a, b) => Draw::Number(a.into(), b.into()),
                    other => Draw::Choice(vec![(1, Tpl(vec![Piece::Slot(other, vec![])]))]),
                };
                let i = add(u, draws, &format!("{name}.random{n}"), draw, vec![]);
                known.push_str(&u.holes.put(Piece::Slot(Slot::Var(i), fmts)));
            }
            _ => known.push(c),
        }
    }
    let tpl = u.holes.tpl(&known);
    // text that depends on where it is used is put in there; the variable itself is never filled
    let tpl = if local(&tpl) { Tpl::default() } else { tpl };
    (Draw::Choice(vec![(1, tpl)]), vec![known])
}

fn random(s: Slot) -> bool {
    matches!(s, Slot::Guid(_) | Slot::Hex(..) | Slot::Letters(..) | Slot::Num(..) | Slot::Word(..) | Slot::Now(_))
}

fn local(t: &Tpl) -> bool {
    t.0.iter().any(|p| match p {
        Piece::Slot(s, _) => matches!(s, Slot::Host(_) | Slot::User(_) | Slot::Pid(_) | Slot::Path(_) | Slot::Each(_)),
        Piece::Group(t, _) => local(t),
        Piece::Lit(_) => false,
    })
}

fn choice(u: &mut Unit<'_>, arg: &Node) -> Option<Drawn> {
    let mut all: Vec<(u32, Template)> = vec![];
    if let crate::yaml::Data::Map(pairs) = &arg.data {
        for (k, w) in pairs {
            let t = Template::read(k, u.problems, "an alternative");
            let w = w.number::<u32>(u.problems, "a weight");
            all.extend(w.zip(t));
        }
    } else {
        for n in arg.items() {
            all.extend(Template::read(n, u.problems, "an alternative").map(|t| (1, t)));
        }
    }
    if !all.iter().any(|(w, _)| *w > 0) || all.len() > CHOICE_MAX {
        u.problems.at(arg, format!("`choice` needs 1 to {CHOICE_MAX} alternatives, one with a weight above 0"));
        return None;
    }
    let mut arms = vec![];
    let mut weights = vec![];
    for (w, t) in &all {
        let text = text(u, t)?;
        weights.push((*w, u.holes.tpl(&text)));
        arms.push(text);
    }
    if arms.len() > 1 && weights.iter().any(|(_, t)| local(t)) {
        u.problems.at(arg, "an alternative cannot know the host or account it is used on: refer to a role of the cast");
    }
    Some((Draw::Choice(weights), arms))
}

fn text(u: &mut Unit<'_>, t: &Template) -> Option<String> {
    let frame = Frame::step(AccountSel::Actor, false);
    u.text(&frame, t).ok().flatten()
}

/// Text of a variable that a played scenario was given.
pub(super) fn lend(
    u: &mut Unit<'_>,
    name: &str,
    t: &Template,
    draws: &mut Vec<(Box<str>, Draw)>,
) -> (Draw, Vec<String>) {
    constant(u, name, t, draws)
}

/// Checks that nothing is left over in a mapping with one meaning.
pub(super) fn lone(pairs: &[(Node, Node)], known: &[&str], what: &str, p: &mut Problems) {
    for (k, _) in pairs {
        let word = k.as_str().unwrap_or_default();
        if !known.contains(&word) {
            p.unknown(k, &format!("field of {what}"), word, known.iter().copied());
        }
    }
}

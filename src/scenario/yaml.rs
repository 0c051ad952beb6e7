//! Scenarios, habits and background as written.

use crate::activity::Kind;
use crate::effect::action::{self, Action, flag};
use crate::effect::condition::Cond;
use crate::effect::template::Template;
use crate::effect::value;
use crate::time::Span;
use crate::world::program::{Count, Dur};
use crate::yaml::{Fields, Node, Problems};

/// A scenario document.
#[derive(Clone, Debug)]
pub struct Doc {
    /// Its id.
    pub id: String,
    /// True for attacks.
    pub attack: bool,
    /// Roles: name, what fills it.
    pub cast: Vec<(Node, Node)>,
    /// Variables: name, how it is drawn.
    pub vars: Vec<(Node, Node)>,
    /// Named texts.
    pub scripts: Vec<(String, Template)>,
    /// Steps.
    pub steps: Vec<StepDoc>,
    /// Lowest numbers of activities.
    pub expect: Vec<(Kind, u32)>,
    /// Where it was written.
    pub node: Node,
}

/// A step.
#[derive(Clone, Debug)]
pub struct StepDoc {
    /// Its id.
    pub id: String,
    /// ATT&CK technique.
    pub technique: Option<Node>,
    /// ATT&CK tactic.
    pub tactic: Option<Node>,
    /// `user@pc`
    pub actor: Option<Node>,
    /// Host half of the actor.
    pub host: Option<Node>,
    /// Account half of the actor.
    pub account: Option<Node>,
    /// Process it starts from.
    pub parent: Option<Template>,
    /// Elevated token.
    pub elevated: bool,
    /// Current directory.
    pub directory: Option<Template>,
    /// Command lines.
    pub run: Vec<Template>,
    /// Other actions.
    pub actions: Vec<Action>,
    /// Name of the first process.
    pub name: Option<Node>,
    /// Names of processes by program.
    pub names: Vec<(Node, Node)>,
    /// Steps that must be done.
    pub needs: Option<Vec<Node>>,
    /// Pause after these.
    pub after: Option<Dur>,
    /// Time of day.
    pub window: Option<(u16, u16)>,
    /// Repetitions.
    pub repeat: Count,
    /// Pause between repetitions, members, command lines.
    pub gap: Option<Dur>,
    /// Probability.
    pub chance: f64,
    /// What must hold of the variables.
    pub cond: Option<Cond>,
    /// Role whose members it is played for.
    pub each: Option<Node>,
    /// Name of the member.
    pub alias: Option<Node>,
    /// Members at once.
    pub parallel: bool,
    /// The next step waits for its end.
    pub wait: bool,
    /// Another scenario in this place.
    pub play: Option<Node>,
    /// Its roles and variables.
    pub with: Vec<(Node, Node)>,
    /// Where it was written.
    pub node: Node,
}

/// When a habit happens, as written.
#[derive(Clone, Debug)]
pub enum Often {
    /// By people at work.
    PerDay(f64),
    /// Periodic.
    Every(Span, Span),
    /// At random times.
    PerHour(f64),
    /// At logon or boot.
    AtLogon,
}

/// A habit.
#[derive(Clone, Debug)]
pub struct HabitDoc {
    /// When.
    pub often: Often,
    /// What: cast beyond host and user, variables, steps.
    pub doc: Doc,
}

/// An entry of background.
#[derive(Clone, Debug)]
pub struct BackgroundDoc {
    /// Who.
    pub by: Template,
    /// Times an hour.
    pub per_hour: f64,
    /// A timer's period, when it keeps one.
    pub every: Option<Span>,
    /// What.
    pub does: Vec<Action>,
    /// Where it was written.
    pub node: Node,
}

impl Doc {
    /// Reads a `scenario:` document.
    pub fn read(node: &Node, p: &mut Problems) -> Option<Doc> {
        let f = node.fields(p, "a scenario")?;
        let id = f.need(p, "scenario").and_then(|n| n.text(p, "`scenario`"))?.to_owned();
        f.take("name");
        f.take("description");
        let mut d = Doc::body(&f, id, node, p);
        d.attack = flag(&f, "attack", true, p);
        for n in f.take("expect").map_or(&[][..], |n| n.items()) {
            d.expect.extend(expect(n, p));
        }
        if let Some(n) = f.need(p, "steps") {
            d.steps = steps(n, p);
        }
        f.finish(p);
        Some(d)
    }

    fn body(f: &Fields<'_>, id: String, node: &Node, p: &mut Problems) -> Doc {
        let pairs =
            |name: &'static str, p: &mut Problems| f.take(name).map(|n| n.pairs(p, name).to_vec()).unwrap_or_default();
        let mut scripts: Vec<(String, Template)> = vec![];
        for (k, v) in pairs("scripts", p) {
            if let (Some(name), Some(t)) = (k.as_str(), Template::read(&v, p, "a script")) {
                scripts.push((name.to_owned(), t));
            }
        }
        Doc {
            id,
            attack: false,
            cast: pairs("cast", p),
            vars: pairs("vars", p),
            scripts,
            steps: vec![],
            expect: vec![],
            node: node.clone(),
        }
    }
}

fn expect(n: &Node, p: &mut Problems) -> Option<(Kind, u32)> {
    let text = n.text(p, "an expectation")?;
    let Some((kind, least)) = text.split_once(">=") else {
        p.at(n, format!("an expectation has the form `process.start>=8`, not `{text}`"));
        return None;
    };
    let kind = kind.trim();
    let Some(k) = Kind::parse(kind) else {
        p.unknown(n, "activity", kind, Kind::ALL.iter().map(|k| k.name()));
        return None;
    };
    match least.trim().parse() {
        Ok(v) => Some((k, v)),
        Err(_) => {
            p.at(n, format!("`{}` is not a number", least.trim()));
            None
        }
    }
}

/// Reads a list of steps.
pub fn steps(node: &Node, p: &mut Problems) -> Vec<StepDoc> {
    let list: Vec<StepDoc> = node
        .items()
        .iter()
        .filter_map(|n| {
            let f = n.fields(p, "a step")?;
            let id = f.need(p, "id").and_then(|n| n.text(p, "`id`")).unwrap_or_default().to_owned();
            let s = step(&f, id, p);
            f.finish(p);
            Some(s)
        })
        .collect();
    if list.is_empty() {
        p.at(node, "there are no steps");
    }
    for (i, s) in list.iter().enumerate() {
        if !s.id.is_empty() && list[..i].iter().any(|o| o.id == s.id) {
            p.at(&s.node, format!("step `{}` is defined twice", s.id));
        }
    }
    list
}

/// Reads the fields of a step; the caller finishes.
fn step(f: &Fields<'_>, id: String, p: &mut Problems) -> StepDoc {
    let text =
        |name: &'static str, p: &mut Problems| f.take(name).and_then(|n| Template::read(n, p, &format!("`{name}`")));
    let node = f.node;
    let mut s = StepDoc {
        id,
        technique: f.take("technique").cloned(),
        tactic: f.take("tactic").cloned(),
        actor: f.take("actor").cloned(),
        host: f.take("host").cloned(),
        account: f.take("account").cloned(),
        parent: text("parent", p),
        elevated: flag(f, "elevated", false, p),
        directory: text("directory", p),
        run: vec![],
        actions: vec![],
        name: f.take("name").cloned(),
        names: f.take("names").map(|n| n.pairs(p, "`names`").to_vec()).unwrap_or_default(),
        needs: f.take("needs").map(|n| n.items().to_vec()),
        after: f.take("after").and_then(|n| value::dur(n, p, "`after`")),
        window: f.take("between").and_then(|n| window(n, p)),
        repeat: f.take("repeat").and_then(|n| value::count(n, p, "`repeat`")).unwrap_or(Count::Fixed(1)),
        gap: f.take("gap").and_then(|n| value::dur(n, p, "`gap`")),
        chance: f.take("chance").and_then(|n| n.share(p, "`chance`")).unwrap_or(1.0),
        cond: f.take("if").and_then(|n| Cond::read(n, p)),
        each: f.take("each").cloned(),
        alias: f.take("as").cloned(),
        parallel: flag(f, "parallel", false, p),
        wait: flag(f, "wait", true, p),
        play: f.take("play").cloned(),
        with: f.take("with").map(|n| n.pairs(p, "`with`").to_vec()).unwrap_or_default(),
        node: node.clone(),
    };
    for n in f.take("run").map_or(&[][..], |n| n.items()) {
        s.run.extend(Template::read(n, p, "`run`"));
    }
    // an action that stands in the step itself
    for (k, v) in node.pairs(p, "a step") {
        let key = k.as_str().unwrap_or_default();
        if !matches!(key, "run" | "repeat" | "chance" | "wait") && action::is_action(key) {
            mark(f, key);
            s.actions.extend(action::single(k, v, p));
        }
    }
    if let Some(n) = f.take("actions") {
        s.actions.extend(action::actions(n, p));
    }
    if s.play.is_none() && !s.with.is_empty() {
        p.at(node, "`with` belongs to `play`");
    }
    if s.play.is_some() && (!s.run.is_empty() || !s.actions.is_empty() || s.each.is_some()) {
        p.at(node, "a step with `play` has no actions of its own and no `each`");
    }
    if s.play.is_none() && s.run.is_empty() && s.actions.is_empty() {
        p.at(node, format!("step `{}` does nothing: it lacks `run`, `actions` or `play`", s.id));
    }
    s
}

/// Tells the fields that an action's key was asked for.
fn mark(f: &Fields<'_>, key: &str) {
    if let Some(name) = action::names().into_iter().find(|n| *n == key) {
        f.take(name);
    }
}

/// `'22:00-05:00'`
fn window(n: &Node, p: &mut Problems) -> Option<(u16, u16)> {
    let clock = |t: &str| -> Option<u16> {
        let (h, m) = t.trim().split_once(':')?;
        let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
        (h <= 24 && m < 60 && h * 60 + m <= 1440).then_some(h * 60 + m)
    };
    let v = n.as_str().and_then(|t| t.split_once('-')).and_then(|(a, b)| Some((clock(a)?, clock(b)?)));
    if v.is_none() {
        p.at(n, format!("`between` must be times of day such as `'22:00-05:00'`, not {}", n.describe()));
    }
    v
}

impl HabitDoc {
    /// Reads a habit.
    pub fn read(node: &Node, owner: &str, p: &mut Problems) -> Option<HabitDoc> {
        let f = node.fields(p, "a habit")?;
        let id = f.need(p, "id").and_then(|n| n.text(p, "`id`")).unwrap_or_default().to_owned();
        let per_day = f.take("per_day").and_then(|n| rate(n, p, "`per_day`")).map(Often::PerDay);
        let per_hour = f.take("per_hour").and_then(|n| rate(n, p, "`per_hour`")).map(Often::PerHour);
        let jitter = f.take("jitter").and_then(|n| n.span(p, "`jitter`"));
        let every = f.take("every").and_then(|n| {
            let s = n.span(p, "`every`")?;
            if s.0 < 1_000_000_000 {
                p.at(n, "`every` must be at least 1s");
                return None;
            }
            Some(Often::Every(s, jitter.unwrap_or(Span(s.0 / 20))))
        });
        let at_logon = flag(&f, "at_logon", false, p).then_some(Often::AtLogon);
        let given: Vec<Often> = [per_day, per_hour, every, at_logon].into_iter().flatten().collect();
        if given.len() != 1 {
            p.at(node, "a habit has one of `per_day`, `per_hour`, `every`, `at_logon`");
        }
        let mut doc = Doc::body(&f, format!("{owner}.{id}"), node, p);
        match f.take("steps") {
            Some(n) => doc.steps = steps(n, p),
            None => doc.steps = vec![step(&f, id, p)],
        }
        f.finish(p);
        Some(HabitDoc { often: given.into_iter().next()?, doc })
    }
}

impl BackgroundDoc {
    /// Reads an entry.
    pub fn read(node: &Node, p: &mut Problems) -> Option<BackgroundDoc> {
        let f = node.fields(p, "an entry of background")?;
        let by = f.need(p, "by").and_then(|n| Template::read(n, p, "`by`"));
        let every = f.take("every").and_then(|n| {
            let s = n.span(p, "`every`")?;
            if s.0 < 1_000_000_000 {
                p.at(n, "`every` must be at least 1s");
                return None;
            }
            Some(s)
        });
        let per_hour = match every {
            Some(s) => Some(3.6e12 / s.0 as f64),
            None => f.need(p, "per_hour").and_then(|n| rate(n, p, "`per_hour`")),
        };
        let does = f.need(p, "do").map(|n| action::actions(n, p)).unwrap_or_default();
        f.take("description");
        f.finish(p);
        Some(BackgroundDoc { by: by?, per_hour: per_hour?, every, does, node: node.clone() })
    }
}

fn rate(n: &Node, p: &mut Problems, what: &str) -> Option<f64> {
    let v = n.number::<f64>(p, what)?;
    if !(v > 0.0 && v < 1e7) {
        p.at(n, format!("{what} must be above 0, not {}", n.describe()));
        return None;
    }
    Some(v)
}

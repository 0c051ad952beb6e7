//! Effects as written.

use super::action::{self, Action, What};
use super::condition::Cond;
use super::pattern::Pattern;
use super::scope;
use super::template::Template;
use super::value::{self, Wait};
use crate::activity::Kind;
use crate::world::program::Ticket;
use crate::yaml::{Fields, Node, Problems};

/// What a program leaves behind.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Its id (`schtasks.create`).
    pub id: String,
    /// Image names in lower case.
    pub images: Vec<String>,
    /// Cmdlets and methods.
    pub cmdlets: Vec<String>,
    /// What the arguments must be like.
    pub wants: Vec<Want>,
    /// Added to others instead of standing alone.
    pub also: bool,
    /// How options are written.
    pub style: Style,
    /// Options and positions that become captures.
    pub take: Vec<(Key, String)>,
    /// Switches that become captures.
    pub flags: Vec<(String, String)>,
    /// Captures that are there when the command does not give them.
    pub defaults: Vec<(String, Template)>,
    /// Derived texts.
    pub lets: Vec<(String, Vec<Arm>)>,
    /// Host it works on.
    pub on: Option<Template>,
    /// What must hold for it to succeed.
    pub needs: Vec<Need>,
    /// What it does.
    pub does: Vec<Action>,
    /// How it ends.
    pub exit: Exit,
    /// Lines it prints, for those who read them (`for /f`).
    pub prints: Vec<Template>,
    /// Its own tests.
    pub tests: Vec<Test>,
    /// Why it leaves little.
    pub why: Option<String>,
    /// Where it was written.
    pub node: Node,
}

/// A condition on arguments.
#[derive(Clone, Debug)]
pub enum Want {
    /// All of these are there.
    Has(Vec<String>),
    /// One of these is there.
    Any(Vec<String>),
    /// None of these is there.
    None(Vec<String>),
    /// The n-th argument that is no option is one of these.
    Position(usize, Vec<String>),
    /// The whole argument text matches.
    Regex(Pattern),
    /// There is none.
    Empty,
}

/// One of the texts that a name may stand for.
#[derive(Clone, Debug)]
pub struct Arm {
    /// When it does.
    pub when: Option<Cond>,
    /// The text, or a key of the registry.
    pub is: Template,
    /// What commands before wrote into this value of the key; where none did, it is another text's turn.
    pub of: Option<String>,
}

/// How options are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `/tn x`, `/tn:x`, `-tn x`
    Slash,
    /// `-o x`, `--out=x`
    Dash,
    /// `binPath= x`
    Equals,
    /// Positions only.
    Words,
}

/// What a capture is taken from.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// An option's value.
    Option(String),
    /// A position from 1, or from the end (-1).
    Position(i32),
    /// That position and everything after it.
    From(usize),
}

/// Something that must hold.
#[derive(Clone, Debug)]
pub struct Need {
    /// Elevation is needed: always, or when the condition holds.
    pub elevated: Option<Option<Cond>>,
    /// This must hold.
    pub that: Option<Cond>,
    /// Exit code otherwise.
    pub code: u32,
    /// Time until then.
    pub after: Wait,
    /// What is done instead.
    pub does: Vec<Action>,
}

/// How a program ends.
#[derive(Clone, Debug)]
pub enum Exit {
    /// With a code, after a while.
    Ends(u32, Wait),
    /// Not before the instance does.
    Never,
}

/// A test of an effect.
#[derive(Clone, Debug)]
pub struct Test {
    /// Command line.
    pub run: Template,
    /// What it must leave.
    pub leaves: Vec<Leaf>,
    /// What it must not leave.
    pub not: Vec<Leaf>,
    /// Exit code of the program.
    pub exit: Option<u32>,
    /// Run with an elevated token.
    pub elevated: bool,
    /// Where it was written.
    pub node: Node,
}

/// An activity a test looks for.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its kind.
    pub kind: Kind,
    /// Fields by short name, with `*` for anything.
    pub fields: Vec<(String, String)>,
    /// Where it was written.
    pub node: Node,
}

/// Captures that are always there.
pub const ALWAYS: &[&str] = &["command_line", "arguments", "image", "directory", "block"];

impl Effect {
    /// Number of conditions: of several that match the one with most is taken.
    pub fn weight(&self) -> usize {
        self.wants
            .iter()
            .map(|w| match w {
                Want::Has(l) => l.len(),
                Want::Position(..) | Want::Any(_) | Want::Regex(_) | Want::Empty | Want::None(_) => 1,
            })
            .sum()
    }

    /// Reads one document.
    pub fn read(node: &Node, p: &mut Problems) -> Option<Effect> {
        let f = node.fields(p, "an effect")?;
        let before = p.0.len();
        let id = f.need(p, "effect").and_then(|n| n.text(p, "`effect`")).unwrap_or_default().to_owned();
        let mut e = Effect {
            id,
            images: vec![],
            cmdlets: vec![],
            wants: vec![],
            also: action::flag(&f, "also", false, p),
            style: Style::Slash,
            take: vec![],
            flags: vec![],
            defaults: vec![],
            lets: vec![],
            on: None,
            needs: vec![],
            does: vec![],
            exit: Exit::Ends(0, Wait::Known(value::ms(15, 90))),
            prints: vec![],
            tests: vec![],
            why: f.take("why").and_then(|n| n.text(p, "`why`")).map(str::to_owned),
            node: node.clone(),
        };
        f.take("description");
        if let Some(n) = f.need(p, "match") {
            e.matches(n, p);
        }
        if let Some(n) = f.take("args") {
            e.args(n, p);
        }
        if let Some(n) = f.take("let") {
            e.lets(n, p);
        }
        if let Some(n) = f.take("on") {
            let n = n.get("host").unwrap_or(n);
            e.on = Template::read(n, p, "`on`");
        }
        for n in f.take("needs").map_or(&[][..], |n| n.items()) {
            e.need(n, p);
        }
        if let Some(n) = f.take("does") {
            e.does = action::actions(n, p);
        }
        if let Some(n) = f.take("exit") {
            e.exit = exit(n, p).unwrap_or(e.exit);
        }
        for n in f.take("prints").map_or(&[][..], |n| n.items()) {
            e.prints.extend(Template::read(n, p, "a printed line"));
        }
        for n in f.take("tests").map_or(&[][..], |n| n.items()) {
            e.tests.extend(test(n, p));
        }
        f.finish(p);
        e.check(p);
        (p.0.len() == before).then_some(e)
    }

    fn matches(&mut self, node: &Node, p: &mut Problems) {
        let Some(f) = node.fields(p, "`match`") else { return };
        if let Some(n) = f.take("platform") {
            action::word(n, p, "platform", &[("windows", ())]);
        }
        for n in f.take("image").map_or(&[][..], |n| n.items()) {
            if let Some(t) = n.text(p, "`image`") {
                let t = t.to_lowercase();
                self.images.push(if t.contains('.') { t } else { format!("{t}.exe") });
            }
        }
        for n in f.take("cmdlet").map_or(&[][..], |n| n.items()) {
            self.cmdlets.extend(n.text(p, "`cmdlet`").map(str::to_owned));
        }
        if self.images.is_empty() == self.cmdlets.is_empty() {
            p.at(node, "`match` needs an `image` or a `cmdlet`, one of the two");
        }
        if let Some(args) = f.take("args")
            && let Some(f) = args.fields(p, "`match.args`")
        {
            let words = |n: &Node, p: &mut Problems| -> Vec<String> {
                n.items().iter().filter_map(|n| n.text(p, "an argument")).map(str::to_lowercase).collect()
            };
            if let Some(n) = f.take("has") {
                self.wants.push(Want::Has(words(n, p)));
            }
            if let Some(n) = f.take("any") {
                self.wants.push(Want::Any(words(n, p)));
            }
            if let Some(n) = f.take("none") {
                self.wants.push(Want::None(words(n, p)));
            }
            for (k, v) in f.take("position").map_or(&[][..], |n| n.pairs(p, "`position`")) {
                match k.as_str().and_then(|t| t.parse::<usize>().ok()).filter(|n| *n > 0) {
                    Some(at) => self.wants.push(Want::Position(at, words(v, p))),
                    None => {
                        p.at(k, format!("a position is a number from 1, not {}", k.describe()));
                    }
                }
            }
            for n in f.take("regex").map_or(&[][..], |n| n.items()) {
                let read = |t| if n.file.is_built_in() { Ok(Pattern::known(t)) } else { Pattern::new(t) };
                match n.text(p, "`regex`").map(read) {
                    Some(Ok(re)) => self.wants.push(Want::Regex(re)),
                    Some(Err(why)) => {
                        p.at(n, why);
                    }
                    None => {}
                }
            }
            if action::flag(&f, "empty", false, p) {
                self.wants.push(Want::Empty);
            }
            f.finish(p);
        }
        f.finish(p);
    }

    fn args(&mut self, node: &Node, p: &mut Problems) {
        let Some(f) = node.fields(p, "`args`") else { return };
        let styles =
            [("slash", Style::Slash), ("dash", Style::Dash), ("equals", Style::Equals), ("words", Style::Words)];
        if let Some(n) = f.take("style") {
            self.style = action::word(n, p, "style", &styles).unwrap_or(Style::Slash);
        }
        for (k, v) in f.take("take").map_or(&[][..], |n| n.pairs(p, "`take`")) {
            let (Some(key), Some(name)) = (k.as_str(), v.text(p, "a capture's name")) else { continue };
            let key = match (key.parse::<i32>(), key.strip_suffix("..").and_then(|n| n.parse().ok())) {
                (Ok(0), _) => {
                    p.at(k, "positions count from 1, or from -1 backwards");
                    continue;
                }
                (Ok(n), _) => Key::Position(n),
                (_, Some(n)) => Key::From(n),
                _ => Key::Option(key.to_owned()),
            };
            self.take.push((key, name.to_owned()));
        }
        for (k, v) in f.take("flags").map_or(&[][..], |n| n.pairs(p, "`flags`")) {
            if let (Some(key), Some(name)) = (k.as_str(), v.text(p, "a capture's name")) {
                self.flags.push((key.to_owned(), name.to_owned()));
            }
        }
        for (k, v) in f.take("default").map_or(&[][..], |n| n.pairs(p, "`default`")) {
            if let (Some(key), Some(t)) = (k.as_str(), Template::read(v, p, "a default")) {
                self.defaults.push((key.to_owned(), t));
            }
        }
        f.finish(p);
    }

    fn lets(&mut self, node: &Node, p: &mut Problems) {
        for (k, v) in node.pairs(p, "`let`") {
            let Some(name) = k.as_str() else { continue };
            let mut arms = vec![];
            for n in v.items() {
                if n.as_str().is_some() {
                    arms.extend(Template::read(n, p, "a text").map(|is| Arm { when: None, is, of: None }));
                } else if let Some(f) = n.fields(p, "an alternative") {
                    let (is, of) = match f.take("written") {
                        Some(key) => {
                            let value = f.take("value").and_then(|n| n.text(p, "`value`")).unwrap_or("(Default)");
                            (Template::read(key, p, "`written`"), Some(value.to_owned()))
                        }
                        None => (f.need(p, "is").and_then(|n| Template::read(n, p, "`is`")), None),
                    };
                    let when = match of {
                        Some(_) => f.take("if"),
                        None => f.need(p, "if"),
                    };
                    let when = when.and_then(|n| Cond::read(n, p));
                    arms.extend(is.map(|is| Arm { when, is, of }));
                    f.finish(p);
                }
            }
            self.lets.push((name.to_owned(), arms));
        }
    }

    fn need(&mut self, node: &Node, p: &mut Problems) {
        let Some(f) = node.fields(p, "a need") else { return };
        let elevated = f.take("elevated").and_then(|n| match n.as_str() {
            Some("true") => Some(None),
            _ => Cond::read(n, p).map(Some),
        });
        let that = f.take("that").or_else(|| f.take("if")).and_then(|n| Cond::read(n, p));
        if elevated.is_none() && that.is_none() {
            p.at(node, "a need lacks `elevated` or `that`");
        }
        let mut need = Need { elevated, that, code: 1, after: Wait::Known(value::ms(10, 60)), does: vec![] };
        if let Some(n) = f.take("else")
            && let Some(f) = n.fields(p, "`else`")
        {
            need.code = f.take("exit").and_then(|n| n.number(p, "`exit`")).unwrap_or(1);
            if let Some(w) = f.take("after").and_then(|n| value::wait(n, p, "`after`")) {
                need.after = w;
            }
            need.does = f.take("does").map(|n| action::actions(n, p)).unwrap_or_default();
            f.finish(p);
        }
        f.finish(p);
        self.needs.push(need);
    }

    /// Names that templates and conditions may use.
    pub fn captures(&self) -> Vec<String> {
        let mut names: Vec<String> = ALWAYS.iter().map(|s| (*s).to_owned()).collect();
        names.extend(self.take.iter().map(|(_, n)| n.clone()));
        names.extend(self.flags.iter().map(|(_, n)| n.clone()));
        names.extend(self.defaults.iter().map(|(n, _)| n.clone()));
        names.extend(self.lets.iter().map(|(n, _)| n.clone()));
        for w in &self.wants {
            if let Want::Regex(re) = w {
                names.extend(re.names().map(str::to_owned));
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// Every reference and every name in a condition is a capture or built in.
    fn check(&self, p: &mut Problems) {
        let names = self.captures();
        for (name, _) in &self.defaults {
            let given = |n: &String| n == name;
            if !self.take.iter().any(|(_, n)| given(n))
                && !self.flags.iter().any(|(_, n)| given(n))
                && !self.in_regex(name)
            {
                p.unknown(&self.node, "capture in `default`", name, self.take.iter().map(|(_, n)| &**n));
            }
        }
        let mut look = Check { names: &names, p, node: &self.node };
        self.defaults.iter().for_each(|(_, t)| look.text(t, false));
        for (_, arms) in &self.lets {
            for arm in arms {
                look.cond(&arm.when);
                look.text(&arm.is, false);
            }
        }
        self.on.iter().for_each(|t| look.text(t, false));
        self.prints.iter().for_each(|t| look.text(t, false));
        for n in &self.needs {
            look.cond(&n.elevated.clone().flatten());
            look.cond(&n.that);
            look.wait(&n.after);
            look.actions(&n.does, false);
        }
        look.actions(&self.does, false);
        if let Exit::Ends(_, w) = &self.exit {
            look.wait(w);
        }
    }

    fn in_regex(&self, name: &str) -> bool {
        self.wants.iter().any(|w| matches!(w, Want::Regex(re) if re.names().any(|n| n == name)))
    }
}

struct Check<'a> {
    names: &'a [String],
    p: &'a mut Problems,
    node: &'a Node,
}

impl Check<'_> {
    fn text(&mut self, t: &Template, file: bool) {
        for r in t.refs() {
            if self.names.iter().any(|n| n == r) || file && r == "file" {
                continue;
            }
            if scope::builtin(r) {
                if let Err(why) = scope::parse_builtin(r) {
                    self.p.at(&t.node, why);
                }
                continue;
            }
            let all = self.names.iter().map(|n| &**n).chain(scope::BUILTIN.iter().copied());
            self.p.unknown(&t.node, "capture or reference", r, all);
        }
    }
    fn cond(&mut self, c: &Option<Cond>) {
        let mut asked = vec![];
        c.iter().for_each(|c| c.names(&mut asked));
        for n in asked {
            if !self.names.contains(&n) && !matches!(&*n, "elevated" | "remote" | "reachable") {
                let all = self.names.iter().map(|n| &**n).chain(["elevated", "remote", "reachable"]);
                self.p.unknown(self.node, "capture in a condition", &n, all);
            }
        }
    }
    fn wait(&mut self, w: &Wait) {
        if let Wait::Text(t) = w {
            self.text(t, false);
        }
    }
    fn actions(&mut self, list: &[Action], file: bool) {
        for a in list {
            self.cond(&a.cond);
            a.after.iter().for_each(|w| self.wait(w));
            let mut texts: Vec<&Template> = a.by.iter().collect();
            let mut inner = file;
            match &a.what {
                What::Run(r) => {
                    texts.push(&r.command);
                    if let Some(name) = r.name.as_ref().filter(|_| r.wait) {
                        self.p.at(
                            &name.node,
                            "in an effect a process with a `name` goes on by itself: it needs `wait: false`",
                        );
                    }
                    texts.extend([&r.parent, &r.account, &r.name, &r.directory].into_iter().flatten());
                }
                What::Emit(_, args) => texts.extend(args.iter().map(|(_, t)| t)),
                What::Access { target, trace, .. } => texts.extend(trace.iter().chain([target])),
                What::Inject { target, function, module } => {
                    texts.extend([function, module].into_iter().flatten().chain([target]))
                }
                What::End { process, .. } => texts.push(process),
                What::Connect { to, port, server, .. } => texts.extend(server.iter().chain(port).chain([to])),
                What::Resolve { name, .. } => texts.push(name),
                What::Ticket { of, .. } => match of {
                    Ticket::Service(t) | Ticket::Name(t) | Ticket::Granting(t) => texts.push(t),
                    Ticket::Every | Ticket::Forward => {}
                },
                What::Logon(l) => texts.extend([&l.host, &l.account].into_iter().flatten()),
                What::Share { host, account, .. } => texts.extend(account.iter().chain([host])),
                What::Remote { host, by, .. } => texts.extend([host, by]),
                What::Rewrite { ext, .. } => texts.push(ext),
                What::Files { .. } => inner = true,
                What::Wait(w) => self.wait(w),
                What::Logoff | What::Repeat { .. } | What::Chance { .. } | What::Choose(_) | What::Fork(_) => {}
            }
            texts.into_iter().for_each(|t| self.text(t, file));
            children(&a.what).into_iter().for_each(|l| self.actions(l, inner));
        }
    }
}

/// Actions inside an action.
pub fn children(what: &What) -> Vec<&[Action]> {
    match what {
        What::Logon(l) => vec![&l.then],
        What::Share { then, .. }
        | What::Remote { then, .. }
        | What::Repeat { then, .. }
        | What::Files { then, .. }
        | What::Fork(then) => vec![then],
        What::Chance { then, otherwise, .. } => vec![then, otherwise],
        What::Choose(arms) => arms.iter().map(|(_, l)| &**l).collect(),
        _ => vec![],
    }
}

fn exit(node: &Node, p: &mut Problems) -> Option<Exit> {
    if node.as_str() == Some("never") {
        return Some(Exit::Never);
    }
    if node.as_str().is_some() {
        return node.number(p, "`exit`").map(|n| Exit::Ends(n, Wait::Known(value::ms(15, 90))));
    }
    let f = node.fields(p, "`exit`")?;
    let code = f.take("code").and_then(|n| n.number(p, "`code`")).unwrap_or(0);
    let after = f.take("after").and_then(|n| value::wait(n, p, "`after`")).unwrap_or(Wait::Known(value::ms(15, 90)));
    f.finish(p);
    Some(Exit::Ends(code, after))
}

fn test(node: &Node, p: &mut Problems) -> Option<Test> {
    let f = node.fields(p, "a test")?;
    let run = f.need(p, "run").and_then(|n| Template::read(n, p, "`run`"));
    let leaves = leafs(&f, "leaves", p);
    let not = leafs(&f, "not", p);
    let exit = f.take("exit").and_then(|n| n.number(p, "`exit`"));
    let elevated = action::flag(&f, "elevated", false, p);
    if leaves.is_empty() && not.is_empty() && exit.is_none() {
        p.at(node, "a test lacks `leaves`, `not` or `exit`");
    }
    f.finish(p);
    Some(Test { run: run?, leaves, not, exit, elevated, node: node.clone() })
}

fn leafs(f: &Fields<'_>, name: &'static str, p: &mut Problems) -> Vec<Leaf> {
    let mut out = vec![];
    for n in f.take(name).map_or(&[][..], |n| n.items()) {
        let pairs: Vec<(&Node, Option<&Node>)> = match n.as_str() {
            Some(_) => vec![(n, None)],
            None => n.pairs(p, "an activity").iter().map(|(k, v)| (k, Some(v))).collect(),
        };
        for (k, v) in pairs {
            let word = k.as_str().unwrap_or_default();
            let Some(kind) = Kind::parse(word) else {
                p.unknown(k, "activity", word, Kind::ALL.iter().map(|k| k.name()));
                continue;
            };
            let mut leaf = Leaf { kind, fields: vec![], node: k.clone() };
            for (fk, fv) in v.filter(|v| !v.is_null()).map_or(&[][..], |v| v.pairs(p, "fields of an activity")) {
                let (Some(fk_text), Some(want)) = (fk.as_str(), fv.as_str()) else {
                    p.at(fv, format!("a field's value is text, not {}", fv.describe()));
                    continue;
                };
                let known = leaf_fields(kind);
                if known.contains(&fk_text) {
                    leaf.fields.push((fk_text.to_owned(), want.to_owned()));
                } else {
                    p.unknown(fk, &format!("field of {word}"), fk_text, known);
                }
            }
            out.push(leaf);
        }
    }
    out
}

/// Fields a test may look at.
pub fn leaf_fields(kind: Kind) -> Vec<&'static str> {
    let extra: &[&str] = match kind {
        Kind::ProcessStart => &["program", "command_line", "path"],
        Kind::ProcessAccess => &["target"],
        Kind::NetworkConnect => &["host", "port"],
        Kind::LogonStart | Kind::LogonFail => &["type"],
        Kind::ProcessEnd => &["code"],
        _ => &[],
    };
    let mut all: Vec<&str> = kind.args().iter().map(|(n, _)| *n).filter(|n| !extra.contains(n)).collect();
    all.extend(extra);
    all
}

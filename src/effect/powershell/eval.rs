//! Goes through a script as PowerShell would, as far as its values are known, and tells which commands it calls.
//!
//! No interpreter: what is unknown (files, answers, objects) stays unknown; of an `if` the first arm is taken, a loop
//! over something unknown goes round once, and what stands in `catch` does not happen.

mod command;
mod dotnet;
mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base64::Engine;

use super::parse::{self, number};
use super::tree::{Block, Command, Elem, Expr, Leave, Piece, Stmt, Suffix, Word};
use super::{ALIASES, Arg, Ask, Call, UNKNOWN};

/// Steps of one script.
const STEPS_MAX: usize = 20_000;
/// Commands one script may call.
const CALLS_MAX: usize = 600;
/// Rounds of one loop that are played.
const ROUNDS_MAX: usize = 256;
/// Rounds of a loop that has no end.
const FOREVER_MAX: usize = 12;
/// Functions and texts that call each other.
const CALLS_DEEP_MAX: usize = 6;
/// Characters a value may have; what is longer counts as unknown.
const VALUE_MAX: usize = 32 << 10;
/// Members of a list that are kept.
const LIST_MAX: usize = 512;
/// Lists inside each other.
const LIST_DEEP_MAX: usize = 8;
/// Characters all variables may hold together.
const HELD_MAX: usize = 16 << 20;
/// Characters of a command's arguments: what CreateProcess takes.
const ARGS_MAX: usize = 32_767;
/// Characters a regular expression may have, and the steps it counts for.
const PATTERN_MAX: usize = 200;

/// A value.
#[derive(Clone, Debug)]
enum Val {
    Null,
    Text(String),
    Number(f64),
    Truth(bool),
    List(Vec<Val>),
    Script(String, Block),
    Table(BTreeMap<String, Val>),
    /// An object of [`Eval::objects`].
    Object(usize),
    Unknown,
}

/// An object: its kind in lower case, what it prints as, what was set on it.
#[derive(Clone, Debug, Default)]
struct Object {
    kind: String,
    text: Option<String>,
    set: BTreeMap<String, Val>,
}

/// Cmdlets that give a value, or nothing, and do nothing else.
const VALUES: &[&str] = &[
    "foreach-object",
    "where-object",
    "join-path",
    "split-path",
    "resolve-path",
    "convert-path",
    "get-location",
    "get-random",
    "new-guid",
    "get-date",
    "get-variable",
    "set-variable",
    "new-variable",
    "convertto-securestring",
    "get-credential",
    "get-unique",
    "measure-object",
    "write-host",
    "write-verbose",
    "write-warning",
    "write-error",
    "write-debug",
    "out-null",
    "out-default",
    "set-strictmode",
    "write-progress",
];

type Function = Rc<(Vec<String>, Vec<Option<String>>, Block)>;

pub struct Eval<'a> {
    pub out: Vec<Call>,
    /// Something was too long, too deep or too much.
    pub cut: bool,
    vars: BTreeMap<String, Val>,
    functions: BTreeMap<String, Function>,
    objects: Vec<Object>,
    ask: &'a mut dyn FnMut(Ask<'_>) -> Option<String>,
    steps: usize,
    deep: usize,
    held: usize,
    pipes: u32,
    pipe: u32,
    pending: BTreeSet<String>,
}

impl<'a> Eval<'a> {
    pub fn new(ask: &'a mut dyn FnMut(Ask<'_>) -> Option<String>) -> Eval<'a> {
        Eval {
            out: vec![],
            cut: false,
            vars: BTreeMap::new(),
            functions: BTreeMap::new(),
            objects: vec![],
            ask,
            steps: 0,
            deep: 0,
            held: 0,
            pipes: 0,
            pipe: 0,
            pending: BTreeSet::new(),
        }
    }

    /// A whole text.
    pub fn script(&mut self, text: &str) {
        let (block, whole) = parse::parse(text);
        self.cut |= !whole;
        // a text that only defines functions is a module: somebody will call them
        self.block(&block);
        if self.out.is_empty() {
            let names: Vec<String> = self.pending.iter().cloned().collect();
            for n in names {
                if let Some(f) = self.functions.get(&n).cloned() {
                    self.call_function(&f, &[]);
                }
            }
        }
    }

    fn over(&mut self) -> bool {
        self.steps += 1;
        let over = self.steps > STEPS_MAX || self.out.len() >= CALLS_MAX;
        self.cut |= over;
        over
    }

    /// Runs statements; what the last one gave, and how the block was left.
    fn block(&mut self, b: &Block) -> (Val, Option<Leave>) {
        // functions are known from their definition on; scripts define them first
        let mut all = vec![];
        for s in b.iter() {
            if self.over() {
                break;
            }
            let (v, leave) = self.stmt(s);
            match v {
                Val::Null => {}
                v if all.len() < LIST_MAX => all.push(v),
                _ => {}
            }
            if leave.is_some() {
                return (one(all), leave);
            }
        }
        (one(all), None)
    }

    fn stmt(&mut self, s: &Stmt) -> (Val, Option<Leave>) {
        match s {
            Stmt::Pipe(elems, text) => (self.pipe(elems, text), None),
            Stmt::Assign(target, op, value) => {
                let (v, leave) = self.stmt(value);
                self.assign(target, *op, v);
                (Val::Null, leave)
            }
            Stmt::If(arms, other) => {
                let mut taken: Option<&Block> = None;
                for (c, b) in arms {
                    let (v, _) = self.stmt(c);
                    match truth(&v) {
                        Some(false) => continue,
                        Some(true) => {
                            taken = Some(b);
                            break;
                        }
                        // unknown: the first arm, unless it only gives up
                        None if taken.is_none() && !gives_up(b) => {
                            taken = Some(b);
                            break;
                        }
                        None => {}
                    }
                }
                match taken.or(other.as_ref()) {
                    Some(b) => self.block(b),
                    None => (Val::Null, None),
                }
            }
            Stmt::Each(name, list, body) => {
                let (v, _) = self.stmt(list);
                let items = items(v);
                self.rounds(items, |e, v| {
                    e.vars.insert(name.clone(), v);
                    e.block(body)
                })
            }
            Stmt::For(start, cond, step, body) => {
                if let Some(s) = start {
                    self.stmt(s);
                }
                let mut all = vec![];
                let rounds = if cond.as_ref().is_some_and(|c| forever(c)) { FOREVER_MAX } else { ROUNDS_MAX };
                for _ in 0..rounds {
                    if self.over() {
                        break;
                    }
                    let holds = match cond {
                        Some(c) => {
                            let (v, _) = self.stmt(c);
                            truth(&v)
                        }
                        None => None,
                    };
                    if holds == Some(false) {
                        break;
                    }
                    let (v, leave) = self.block(body);
                    all.push(v);
                    match leave {
                        Some(Leave::Break) => break,
                        Some(l @ (Leave::Return | Leave::Exit)) => return (one(all), Some(l)),
                        _ => {}
                    }
                    // nobody knows how often: once
                    if holds.is_none() || step.is_none() && cond.is_none() {
                        break;
                    }
                    if let Some(s) = step {
                        self.stmt(s);
                    }
                }
                (one(all), None)
            }
            Stmt::Switch(subject, cases) => {
                let (v, _) = self.stmt(subject);
                let subject = self.known(&v).map(|t| t.to_lowercase());
                let mut other = None;
                for (c, b) in cases {
                    let c = self.expr(c);
                    let c = self.text(&c).to_lowercase();
                    if c == "default" {
                        other = Some(b);
                    } else if subject.as_ref().is_none_or(|s| *s == c) {
                        return self.block(b);
                    }
                }
                other.map_or((Val::Null, None), |b| self.block(b))
            }
            Stmt::Try(body, last) => {
                let done = self.block(body);
                if let Some(b) = last {
                    self.block(b);
                }
                done
            }
            Stmt::Function(name, params, body) => {
                let names = params.iter().map(|(n, _)| n.clone()).collect();
                let mut defaults = vec![];
                for (_, d) in params {
                    let v = d.as_ref().map(|d| self.expr(d));
                    defaults.push(v.and_then(|v| self.known(&v)));
                }
                self.functions.insert(name.clone(), Rc::new((names, defaults, body.clone())));
                self.pending.insert(name.clone());
                (Val::Null, None)
            }
            Stmt::Nested(b) => {
                let (v, leave) = self.block(b);
                (v, leave.filter(|l| !matches!(l, Leave::Break | Leave::Continue)))
            }
            Stmt::Leave(how, value) => {
                let v = value.as_ref().map_or(Val::Null, |s| self.stmt(s).0);
                (v, Some(*how))
            }
        }
    }

    fn rounds(
        &mut self,
        items: Vec<Val>,
        mut round: impl FnMut(&mut Self, Val) -> (Val, Option<Leave>),
    ) -> (Val, Option<Leave>) {
        let mut all = vec![];
        self.cut |= items.len() > ROUNDS_MAX;
        for v in items.into_iter().take(ROUNDS_MAX) {
            if self.over() {
                break;
            }
            let (v, leave) = round(self, v);
            if !matches!(v, Val::Null) {
                all.push(v);
            }
            match leave {
                Some(Leave::Break) => break,
                Some(l @ (Leave::Return | Leave::Exit)) => return (one(all), Some(l)),
                _ => {}
            }
        }
        (one(all), None)
    }

    /// A value unless it is too large or too deep.
    fn checked(&mut self, v: Val) -> Val {
        let mut left = VALUE_MAX;
        if fits(&v, &mut left, 0) {
            return v;
        }
        self.cut = true;
        Val::Unknown
    }

    fn assign(&mut self, target: &Expr, op: char, v: Val) {
        let v = self.checked(v);
        self.held += size(&v);
        let v = if self.held > HELD_MAX { Val::Unknown } else { v };
        match target {
            Expr::Var(name) => {
                let v = match op {
                    '=' => v,
                    op => {
                        let old = self.vars.get(name).cloned().unwrap_or(Val::Null);
                        self.binary(&op.to_string(), old, v)
                    }
                };
                if let Some(n) = name.strip_prefix("env:") {
                    let text = self.known(&v);
                    if let Some(t) = text {
                        (self.ask)(Ask::Set(n, &t));
                    }
                }
                let v = self.checked(v);
                self.vars.insert(name.clone(), v);
            }
            Expr::Cast(_, inner) => self.assign(inner, op, v),
            Expr::List(all) => {
                let values = items(v);
                for (i, t) in all.iter().enumerate() {
                    self.assign(t, '=', values.get(i).cloned().unwrap_or(Val::Null));
                }
            }
            Expr::Post(base, more) => {
                let Some((last, before)) = more.split_last() else { return };
                let mut at = self.expr(base);
                for s in before {
                    at = self.suffix(at, s, "");
                }
                match last {
                    Suffix::Member(name, None) => {
                        let n = self.expr(name);
                        let n = self.text(&n).to_lowercase();
                        if let Val::Object(i) = at {
                            self.objects[i].set.insert(n, v);
                        } else if let (Expr::Var(var), Val::Table(mut t), true) = (&**base, at, before.is_empty()) {
                            t.insert(n, v);
                            let t = self.checked(Val::Table(t));
                            self.vars.insert(var.clone(), t);
                        }
                    }
                    Suffix::Index(i) => {
                        let n = self.expr(i);
                        let n = self.text(&n).to_lowercase();
                        if let (Expr::Var(var), Val::Table(mut t)) = (&**base, at) {
                            t.insert(n, v);
                            let t = self.checked(Val::Table(t));
                            self.vars.insert(var.clone(), t);
                        }
                    }
                    Suffix::Member(..) => {}
                }
            }
            _ => {}
        }
    }

    fn pipe(&mut self, elems: &[Elem], text: &str) -> Val {
        self.pipes += 1;
        let outer = std::mem::replace(&mut self.pipe, self.pipes);
        let v = self.pipe_parts(elems, text);
        self.pipe = outer;
        v
    }
    fn pipe_parts(&mut self, elems: &[Elem], text: &str) -> Val {
        let mut input: Option<Val> = None;
        for e in elems {
            if self.over() {
                return Val::Unknown;
            }
            input = Some(match e {
                Elem::Value(e) => self.expr_in(e, text),
                Elem::Command(c) => self.command(c, input.take(), text),
            });
        }
        input.unwrap_or(Val::Null)
    }

    fn emit(&mut self, name: String, args: Vec<Arg>, text: &str, into: Option<String>) {
        let path = name.contains(['\\', '/']) && !name.starts_with('[');
        let mut left = ARGS_MAX;
        let whole = args.len();
        let args: Vec<Arg> = args
            .into_iter()
            .take_while(|a| {
                let fits = a.value.len() <= left;
                left = left.saturating_sub(a.value.len() + 1);
                fits
            })
            .collect();
        self.cut |= args.len() < whole;
        if self.out.len() < CALLS_MAX {
            self.out.push(Call { name, path, args, text: text.to_owned(), into, code: None, pipe: self.pipe });
        } else {
            self.cut = true;
        }
    }

    fn call_function(&mut self, f: &Function, values: &[(Option<String>, Val)]) -> Val {
        if self.deep >= CALLS_DEEP_MAX {
            self.cut = true;
            return Val::Unknown;
        }
        let (names, defaults, body) = &**f;
        let args = "args".to_owned();
        let saved: Vec<(String, Option<Val>)> =
            names.iter().chain([&args]).map(|n| (n.clone(), self.vars.get(n).cloned())).collect();
        for (n, d) in names.iter().zip(defaults) {
            self.vars.insert(n.clone(), d.clone().map_or(Val::Unknown, Val::Text));
        }
        let mut free =
            names.iter().filter(|n| !values.iter().any(|(v, _)| v.as_ref().is_some_and(|v| n.starts_with(&**v))));
        for (n, v) in values {
            let name = match n {
                Some(n) => names.iter().find(|p| p.starts_with(&**n)),
                None => free.next(),
            };
            if let Some(name) = name {
                self.vars.insert(name.clone(), v.clone());
            }
        }
        let plain = values.iter().filter(|(n, _)| n.is_none()).map(|(_, v)| v.clone()).collect();
        self.vars.insert("args".into(), Val::List(plain));
        self.deep += 1;
        let (v, _) = self.block(&body.clone());
        self.deep -= 1;
        for (n, old) in saved {
            match old {
                Some(old) => self.vars.insert(n, old),
                None => self.vars.remove(&n),
            };
        }
        v
    }

    fn object(&mut self, kind: &str, text: Option<String>, set: BTreeMap<String, Val>) -> Val {
        if self.objects.len() >= STEPS_MAX {
            return Val::Unknown;
        }
        self.objects.push(Object { kind: kind.to_owned(), text, set });
        Val::Object(self.objects.len() - 1)
    }

    /// A value as arguments of a command; objects give what was set on them.
    fn arg(&mut self, v: &Val) -> Vec<Arg> {
        match v {
            Val::Script(text, _) => vec![Arg { value: text.clone(), block: true, literal: true, ..Arg::default() }],
            Val::List(l) => {
                let items: Vec<String> = l.iter().map(|v| self.text(v)).collect();
                let value = items.join(",");
                vec![Arg { value, literal: true, items, ..Arg::default() }]
            }
            Val::Object(i) => {
                let o = self.objects[*i].clone();
                let mut out =
                    vec![Arg { value: o.text.unwrap_or_else(|| UNKNOWN.to_string()), literal: true, ..Arg::default() }];
                for (k, v) in o.set.iter().filter(|(_, v)| !matches!(v, Val::Object(_) | Val::Null)) {
                    out.push(Arg { part: true, ..Arg::option(k) });
                    out.push(Arg { value: self.text(v), literal: true, part: true, ..Arg::default() });
                }
                out
            }
            v => vec![Arg { value: self.text(v), literal: !matches!(v, Val::Null), ..Arg::default() }],
        }
    }

    fn expr(&mut self, e: &Expr) -> Val {
        self.expr_in(e, "")
    }

    fn expr_in(&mut self, e: &Expr, text: &str) -> Val {
        if self.over() {
            return Val::Unknown;
        }
        match e {
            Expr::Text(pieces) => {
                let mut out = String::new();
                for p in pieces {
                    match p {
                        Piece::Lit(t) => out.push_str(t),
                        Piece::Var(n) => {
                            let v = self.var(n);
                            out.push_str(&self.text(&v));
                        }
                        Piece::Sub(b) => {
                            let (v, _) = self.block(b);
                            out.push_str(&self.text(&v));
                        }
                    }
                    if out.len() > VALUE_MAX {
                        self.cut = true;
                        return Val::Unknown;
                    }
                }
                Val::Text(out)
            }
            Expr::Number(n) => Val::Number(*n),
            Expr::Var(n) => self.var(n),
            Expr::Group(b) => self.block(b).0,
            Expr::Script(t, b) => Val::Script(t.clone(), b.clone()),
            Expr::Type(n) => Val::Text(n.clone()),
            Expr::List(all) => {
                let l: Vec<Val> = all.iter().take(LIST_MAX).map(|e| self.expr_in(e, text)).collect();
                self.checked(Val::List(l))
            }
            Expr::Table(all) => {
                let mut t = BTreeMap::new();
                for (k, s) in all.iter().take(LIST_MAX) {
                    let (v, _) = self.stmt(s);
                    t.insert(k.clone(), v);
                }
                self.checked(Val::Table(t))
            }
            Expr::Unary(op, e) => {
                let v = self.expr_in(e, text);
                match &**op {
                    "not" => truth(&v).map_or(Val::Unknown, |b| Val::Truth(!b)),
                    "-" => match v {
                        Val::Number(n) => Val::Number(-n),
                        v => v,
                    },
                    "++" | "--" => {
                        if let (Expr::Var(n), Val::Number(x)) = (&**e, &v) {
                            let by = if op == "++" { 1.0 } else { -1.0 };
                            self.vars.insert(n.clone(), Val::Number(x + by));
                        }
                        Val::Null
                    }
                    "join" => Val::Text(items(v).iter().map(|v| self.text(v)).collect()),
                    _ => v,
                }
            }
            Expr::Cast(ty, e) => {
                let v = self.expr_in(e, text);
                self.cast(ty, v)
            }
            Expr::Chain(first, more) => {
                let mut v = self.expr_in(first, text);
                for (op, e) in more {
                    let r = self.expr_in(e, text);
                    v = self.binary(op, v, r);
                }
                v
            }
            Expr::Post(base, more) => {
                let mut more = &more[..];
                let mut v;
                if let (Expr::Type(ty), Some(Suffix::Member(name, args))) = (&**base, more.first()) {
                    let n = self.expr(name);
                    let n = self.text(&n);
                    v = match args {
                        Some(args) => {
                            let args: Vec<Val> = args.iter().map(|a| self.expr_in(a, text)).collect();
                            self.static_call(ty, &n, args, text)
                        }
                        None => self.constant(ty, &n.to_lowercase()),
                    };
                    more = &more[1..];
                } else {
                    v = self.expr_in(base, text);
                }
                for s in more {
                    v = self.suffix(v, s, text);
                }
                v
            }
        }
    }

    fn suffix(&mut self, v: Val, s: &Suffix, text: &str) -> Val {
        match s {
            Suffix::Index(i) => {
                let i = self.expr(i);
                match (v, i) {
                    (Val::List(l), Val::Number(n)) => {
                        let at = if n < 0.0 { l.len() as f64 + n } else { n };
                        l.get(at as usize).cloned().unwrap_or(Val::Null)
                    }
                    (Val::List(l), Val::List(at)) => Val::List(
                        at.iter()
                            .filter_map(|a| if let Val::Number(n) = a { l.get(*n as usize).cloned() } else { None })
                            .collect(),
                    ),
                    (Val::Text(t), Val::Number(n)) => {
                        let len = t.chars().count() as f64;
                        let at = if n < 0.0 { len + n } else { n };
                        t.chars().nth(at.max(0.0) as usize).map_or(Val::Null, |c| Val::Text(c.into()))
                    }
                    (Val::Text(t), Val::List(at)) => {
                        let c: Vec<char> = t.chars().collect();
                        let one = |a: &Val| {
                            if let Val::Number(n) = a {
                                c.get(*n as usize).map(|c| Val::Text((*c).into()))
                            } else {
                                None
                            }
                        };
                        Val::List(at.iter().filter_map(one).collect())
                    }
                    (Val::Table(t), k) => t.get(&self.text(&k).to_lowercase()).cloned().unwrap_or(Val::Null),
                    // one of many looks like all of them
                    (v @ Val::Object(_), Val::Number(_)) => v,
                    _ => Val::Unknown,
                }
            }
            Suffix::Member(name, None) => {
                let n = self.expr(name);
                let n = self.text(&n).to_lowercase();
                self.member(v, &n)
            }
            Suffix::Member(name, Some(args)) => {
                let n = self.expr(name);
                let n = self.text(&n);
                let args: Vec<Val> = args.iter().map(|a| self.expr_in(a, text)).collect();
                self.method(v, &n, args, text)
            }
        }
    }

    fn var(&mut self, name: &str) -> Val {
        if let Some(v) = self.vars.get(name) {
            return v.clone();
        }
        if let Some(n) = name.strip_prefix("env:") {
            return (self.ask)(Ask::Env(n)).map_or(Val::Null, Val::Text);
        }
        match name {
            "true" => Val::Truth(true),
            "false" => Val::Truth(false),
            "null" => Val::Null,
            "home" => (self.ask)(Ask::Env("USERPROFILE")).map_or(Val::Unknown, Val::Text),
            "pwd" => (self.ask)(Ask::Env("CD")).map_or(Val::Unknown, Val::Text),
            "pid" => (self.ask)(Ask::Pid("self")).map_or(Val::Unknown, Val::Text),
            "pshome" => Val::Text(r"C:\Windows\System32\WindowsPowerShell\v1.0".into()),
            "shellid" => Val::Text("Microsoft.PowerShell".into()),
            "profile" => match (self.ask)(Ask::Env("USERPROFILE")) {
                Some(p) => {
                    let text = p + r"\Documents\WindowsPowerShell\Microsoft.PowerShell_profile.ps1";
                    Val::Text(text)
                }
                None => Val::Unknown,
            },
            "_" | "psitem" | "args" | "input" | "matches" | "error" | "host" | "executioncontext" | "myinvocation"
            | "psscriptroot" | "?" | "lastexitcode" | "psversiontable" | "psboundparameters" => Val::Unknown,
            // never set: PowerShell takes it as nothing
            _ => Val::Null,
        }
    }

    /// A value as text; what is unknown is [`UNKNOWN`].
    fn text(&self, v: &Val) -> String {
        match v {
            Val::Null => String::new(),
            Val::Text(t) => t.clone(),
            Val::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 => format!("{}", *n as i64),
            Val::Number(n) => n.to_string(),
            Val::Truth(b) => if *b { "True" } else { "False" }.into(),
            Val::List(l) => {
                let mut out = String::new();
                for (i, v) in l.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    out.push_str(&self.text(v));
                    if out.len() > VALUE_MAX {
                        break;
                    }
                }
                out
            }
            Val::Script(t, _) => t.clone(),
            Val::Table(_) => UNKNOWN.to_string(),
            Val::Object(i) => self.objects[*i].text.clone().unwrap_or_else(|| UNKNOWN.to_string()),
            Val::Unknown => UNKNOWN.to_string(),
        }
    }
    /// Bytes as numbers; they count for themselves, not as members of a list.
    fn numbers(&mut self, b: &[u8]) -> Val {
        if b.len() > VALUE_MAX {
            self.cut = true;
            return Val::Unknown;
        }
        Val::List(b.iter().map(|b| Val::Number(f64::from(*b))).collect())
    }
    fn text_value(&mut self, t: String) -> Val {
        if t.len() > VALUE_MAX {
            self.cut = true;
            return Val::Unknown;
        }
        Val::Text(t)
    }
    /// The text of a value that is known.
    fn known(&self, v: &Val) -> Option<String> {
        match v {
            Val::Unknown | Val::Table(_) => None,
            Val::Object(i) => self.objects[*i].text.clone(),
            v => Some(self.text(v)).filter(|t| *t != UNKNOWN.to_string()),
        }
    }
}

/// Characters of a value, roughly.
fn size(v: &Val) -> usize {
    let mut left = usize::MAX;
    fits(v, &mut left, 0);
    usize::MAX - left
}

/// Takes a value's characters off what is left; false when they are too many or too deep.
fn fits(v: &Val, left: &mut usize, deep: usize) -> bool {
    let own = match v {
        Val::Text(t) | Val::Script(t, _) => t.len() + 1,
        Val::List(_) | Val::Table(_) if deep >= LIST_DEEP_MAX => return false,
        Val::List(l) => {
            if !l.iter().all(|v| fits(v, left, deep + 1)) {
                return false;
            }
            1
        }
        Val::Table(t) => {
            if !t.iter().all(|(k, v)| *left > k.len() && fits(v, left, deep + 1)) {
                return false;
            }
            1
        }
        _ => 1,
    };
    match left.checked_sub(own) {
        Some(n) => {
            *left = n;
            true
        }
        None => false,
    }
}

fn level_of(op: &str) -> Option<()> {
    matches!(op, "contains" | "in" | "is" | "isnot" | "f" | "+" | "-" | "..").then_some(())
}

/// Members of a list; anything else is one.
fn items(v: Val) -> Vec<Val> {
    match v {
        Val::List(l) => l,
        Val::Null => vec![],
        v => vec![v],
    }
}

fn one(mut all: Vec<Val>) -> Val {
    match all.len() {
        0 => Val::Null,
        1 => all.remove(0),
        _ => {
            let mut flat: Vec<Val> = all.into_iter().flat_map(items).collect();
            flat.truncate(LIST_MAX);
            Val::List(flat)
        }
    }
}

fn num(v: &Val) -> Option<f64> {
    match v {
        Val::Number(n) => Some(*n),
        Val::Text(t) => number(t),
        _ => None,
    }
}

fn bytes(v: &Val) -> Option<Vec<u8>> {
    match v {
        Val::List(l) => l.iter().map(|v| if let Val::Number(n) = v { Some(*n as u8) } else { None }).collect(),
        _ => None,
    }
}

fn truth(v: &Val) -> Option<bool> {
    match v {
        Val::Null => Some(false),
        Val::Truth(b) => Some(*b),
        Val::Number(n) => Some(*n != 0.0),
        Val::Text(t) if t.is_empty() => Some(false),
        Val::Text(t) if t.contains(UNKNOWN) => None,
        Val::Text(_) => Some(true),
        Val::List(l) => Some(!l.is_empty()),
        _ => None,
    }
}

/// True for `while ($true)`.
fn forever(c: &Stmt) -> bool {
    match c {
        Stmt::Nested(b) => matches!(&b[..], [s] if forever(s)),
        Stmt::Pipe(e, _) => match &e[..] {
            [Elem::Value(Expr::Var(n))] => n == "true",
            [Elem::Value(Expr::Number(n))] => *n != 0.0,
            _ => false,
        },
        _ => false,
    }
}

/// True for a block that only says something and leaves.
fn gives_up(b: &Block) -> bool {
    let says = |s: &Stmt| match s {
        Stmt::Leave(l, _) => matches!(l, Leave::Exit | Leave::Return | Leave::Continue | Leave::Break),
        Stmt::Pipe(e, _) => {
            matches!(&e[..], [Elem::Command(c)] if matches!(c.words.first(), Some(Word::Value(Expr::Text(p))) if matches!(&p[..], [Piece::Lit(t)] if t.to_ascii_lowercase().starts_with("write-"))))
        }
        _ => false,
    };
    !b.is_empty() && b.iter().all(says)
}

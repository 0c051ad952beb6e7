//! Goes through a script as PowerShell would, as far as its values are known, and tells which commands it calls.
//!
//! No interpreter: what is unknown (files, answers, objects) stays unknown; of an `if` the first arm is taken, a loop
//! over something unknown goes round once, and what stands in `catch` does not happen.

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

    fn command(&mut self, c: &Command, input: Option<Val>, text: &str) -> Val {
        let Some(Word::Value(first)) = c.words.first() else { return Val::Null };
        let head = self.expr_in(first, text);
        if let Val::Script(_, b) = &head {
            let b = b.clone();
            let (v, _) = self.block(&b);
            return v;
        }
        if let Val::Object(_) = head {
            return Val::Unknown;
        }
        let Some(name) = self.known(&head).filter(|n| !n.trim().is_empty()) else { return Val::Unknown };
        let path = name.contains(['\\', '/']);
        let lower = name.to_lowercase();
        let full = ALIASES.iter().find(|(a, _)| *a == lower && !path).map_or(&*name, |(_, n)| n).to_owned();
        let full = full
            .rsplit_once('\\')
            .filter(|(m, n)| n.contains('-') && m.contains("PowerShell"))
            .map_or(full.clone(), |(_, n)| n.to_owned());
        let lower = full.to_lowercase();
        let mut args: Vec<Arg> = vec![];
        let mut blocks: Vec<(Option<String>, Block)> = vec![];
        let mut values: Vec<(Option<String>, Val)> = vec![];
        let mut named: Option<String> = None;
        for w in &c.words[1..] {
            match w {
                Word::Param(n, v) => {
                    args.push(Arg::option(&if v.is_some() { format!("{n}:") } else { n.clone() }));
                    named = Some(n.to_lowercase());
                    if let Some(v) = v {
                        let v = self.expr_in(v, text);
                        args.extend(self.arg(&v));
                        values.push((named.take(), v));
                    }
                }
                Word::Splat(n) => {
                    if let Some(v @ Val::List(_)) = self.vars.get(n).cloned() {
                        for v in items(v) {
                            args.extend(self.arg(&v));
                        }
                    } else if let Some(Val::Table(t)) = self.vars.get(n).cloned() {
                        for (k, v) in t {
                            args.push(Arg::option(&k));
                            if !matches!(v, Val::Truth(_)) {
                                args.extend(self.arg(&v));
                            }
                            values.push((Some(k), v));
                        }
                    }
                }
                Word::Value(e) => {
                    let v = self.expr_in(e, text);
                    if let Val::Script(_, b) = &v {
                        blocks.push((named.clone(), b.clone()));
                    }
                    if let Val::Table(t) = &v {
                        // `-Arguments @{CommandLine = '…'}`: effects take its members like parameters
                        for (k, v) in t.clone() {
                            args.push(Arg::option(&k));
                            args.extend(self.arg(&v));
                        }
                    } else {
                        args.extend(self.arg(&v));
                    }
                    values.push((named.take(), v));
                }
            }
        }
        let into = c.into.as_ref().map(|e| self.expr(e)).and_then(|v| self.known(&v)).filter(|t| !t.is_empty());
        // functions of the script, and cmdlets that run blocks or give values
        if let Some(f) = self.functions.get(&lower).cloned().filter(|_| !path) {
            self.pending.remove(&lower);
            return self.call_function(&f, &values);
        }
        let get = |names: &[&str], at: usize| -> Option<Val> {
            let by_name =
                values.iter().find(|(n, _)| n.as_ref().is_some_and(|n| names.iter().any(|w| w.starts_with(&**n))));
            by_name.or_else(|| values.iter().filter(|(n, _)| n.is_none()).nth(at)).map(|(_, v)| v.clone())
        };
        // those whose value is known; the rest is told below
        let early = match &*lower {
            "select-object" | "sort-object" | "out-string" | "format-table" | "format-list" | "write-output" => {
                into.is_none()
            }
            w => VALUES.contains(&w),
        };
        if early {
            self.emit(full.clone(), args.clone(), text, None);
        }
        match &*lower {
            "foreach-object" => {
                let from = input.map_or_else(|| vec![Val::Unknown], items);
                let Some((_, b)) = blocks.last().cloned() else { return Val::Unknown };
                let (v, _) = self.rounds(from, |e, v| {
                    e.vars.insert("_".into(), v);
                    e.block(&b)
                });
                return v;
            }
            "where-object" => {
                if let Some((_, b)) = blocks.first().cloned() {
                    self.vars.insert("_".into(), Val::Unknown);
                    self.block(&b);
                }
                return Val::Unknown;
            }
            "select-object" | "sort-object" | "write-output" | "out-string" | "format-table" | "format-list" => {
                let passed = get(&["inputobject"], 0).filter(|_| lower == "write-output").or(input.clone());
                if lower == "select-object"
                    && let Some(p) = get(&["expandproperty", "property"], 0)
                    && let (Some(Val::Object(i)), Some(p)) = (input.clone(), self.known(&p))
                {
                    let v = self.member(Val::Object(i), &p.to_lowercase());
                    return v;
                }
                if early {
                    return passed.unwrap_or(Val::Null);
                }
            }
            "join-path" => {
                let (a, b) = (get(&["path"], 0), get(&["childpath"], 1));
                if let (Some(a), Some(b)) = (a, b) {
                    let (a, b) = (self.text(&a), self.text(&b));
                    return Val::Text(format!("{}\\{}", a.trim_end_matches('\\'), b.trim_start_matches('\\')));
                }
                return Val::Unknown;
            }
            "split-path" => {
                let t = get(&["path", "literalpath"], 0).or(input).map(|v| self.text(&v)).unwrap_or_default();
                let leaf = args.iter().any(|a| a.option && a.value.to_lowercase().starts_with("-l"));
                let (dir, file) = t.rsplit_once('\\').unwrap_or(("", &t));
                return Val::Text(if leaf { file.to_owned() } else { dir.to_owned() });
            }
            "resolve-path" | "convert-path" => return get(&["path", "literalpath"], 0).unwrap_or(Val::Unknown),
            "get-location" => return Val::Text((self.ask)(Ask::Env("CD")).unwrap_or_default()),
            "get-random" => {
                let n = |v: Option<Val>| match v {
                    Some(Val::Number(n)) => Some(n),
                    Some(Val::Text(t)) => t.parse().ok(),
                    _ => None,
                };
                if args.iter().any(|a| a.value.to_lowercase().starts_with("-c")) || input.is_some() {
                    return Val::Unknown;
                }
                let (a, b) =
                    (n(get(&["minimum"], 9)).unwrap_or(0.0), n(get(&["maximum"], 0)).unwrap_or(2_147_483_647.0));
                return (self.ask)(Ask::Random(a as i32, (b - 1.0).max(a) as i32)).map_or(Val::Unknown, Val::Text);
            }
            "new-guid" => return (self.ask)(Ask::Guid).map_or(Val::Unknown, Val::Text),
            "get-date" => {
                let f = get(&["format", "uformat"], 5).map(|v| self.text(&v)).unwrap_or_default();
                return (self.ask)(Ask::Date(&f)).map_or(Val::Unknown, Val::Text);
            }
            "get-variable" => {
                let n = get(&["name"], 0).map(|v| self.text(&v).to_lowercase()).unwrap_or_default();
                let v = self.vars.get(&n).cloned().unwrap_or(Val::Unknown);
                return self.object("variable", None, [("value".to_owned(), v)].into());
            }
            "set-variable" | "new-variable" => {
                if let (Some(n), Some(v)) = (get(&["name"], 0), get(&["value"], 1)) {
                    let n = self.text(&n).to_lowercase();
                    self.vars.insert(n, v);
                }
                return Val::Null;
            }
            "invoke-expression" => {
                let code = get(&["command"], 0).or(input);
                let known = code.as_ref().and_then(|v| self.known(v)).filter(|t| !t.contains(UNKNOWN));
                self.emit(full, args, text, None);
                if let Some(code) = known
                    && self.deep < CALLS_DEEP_MAX
                {
                    self.out.last_mut().into_iter().for_each(|c| c.code = Some(code.clone()));
                    self.deep += 1;
                    let (b, whole) = parse::parse(&code);
                    self.cut |= !whole;
                    let (v, _) = self.block(&b);
                    self.deep -= 1;
                    return v;
                }
                return Val::Unknown;
            }
            _ if early => return Val::Null,
            _ => {}
        }
        // what came down the pipe is an argument like any other
        if let Some(v) = input.filter(|v| !matches!(v, Val::Unknown | Val::Null))
            && !path
            && full.contains('-')
        {
            let more: Vec<Arg> = self.arg(&v).into_iter().filter(|a| !a.value.is_empty()).collect();
            if !more.is_empty() {
                args.push(Arg::option("InputObject"));
                args.extend(more);
            }
        }
        let elsewhere = matches!(
            &*lower,
            "invoke-command"
                | "start-job"
                | "register-scheduledjob"
                | "register-objectevent"
                | "start-threadjob"
                | "register-wmievent"
                | "register-cimindicationevent"
        );
        let target = get(&["path", "literalpath", "name", "filepath"], 0);
        self.emit(full, args, text, into);
        if !elsewhere {
            for (_, b) in blocks {
                self.block(&b);
            }
        }
        match &*lower {
            "new-object" => {
                let com = values
                    .iter()
                    .find(|(n, _)| n.as_ref().is_some_and(|n| "comobject".starts_with(&**n) && n.starts_with('c')));
                let kind = com.or_else(|| values.first()).map(|(_, v)| self.text(v)).unwrap_or_default();
                let kind = if com.is_some() { kind } else { kind.rsplit('.').next().unwrap_or(&kind).to_owned() };
                let kind = kind.split('(').next().unwrap_or(&kind).to_lowercase();
                let arg = get(&["argumentlist"], 1).unwrap_or(Val::Null);
                self.object(&kind, None, [("arg".to_owned(), arg)].into())
            }
            "get-process" => match target.and_then(|v| self.known(&v)) {
                Some(n) if !n.contains('*') => {
                    let pid = (self.ask)(Ask::Pid(&n)).map_or(Val::Unknown, Val::Text);
                    self.object("process", Some(n), [("id".to_owned(), pid)].into())
                }
                _ => Val::Unknown,
            },
            "get-item" | "new-item" | "get-childitem" | "get-service" | "get-scheduledtask" | "get-localuser"
            | "get-aduser" => match target.and_then(|v| self.known(&v)).filter(|t| !t.contains(['*', '?'])) {
                Some(n) if lower != "get-childitem" => {
                    let name = n.rsplit('\\').next().unwrap_or(&n).to_owned();
                    let set = [("fullname", n.clone()), ("name", name)];
                    self.object("item", Some(n), set.map(|(k, v)| (k.to_owned(), Val::Text(v))).into())
                }
                _ => Val::Unknown,
            },
            "new-scheduledtaskaction"
            | "new-scheduledtasktrigger"
            | "new-scheduledtaskprincipal"
            | "new-scheduledtask"
            | "new-scheduledtasksettingsset" => {
                let mut set = BTreeMap::new();
                for (n, v) in &values {
                    match (n, v) {
                        // a task holds what its parts were given
                        (_, Val::Object(i)) => set.extend(self.objects[*i].set.clone()),
                        (Some(n), v) => drop(set.insert(n.clone(), v.clone())),
                        (None, v) => drop(set.entry("execute".into()).or_insert_with(|| v.clone())),
                    }
                }
                self.object("task", None, set)
            }
            _ => Val::Unknown,
        }
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
                    out.push(Arg::option(k));
                    out.push(Arg { value: self.text(v), literal: true, ..Arg::default() });
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

    fn member(&mut self, v: Val, name: &str) -> Val {
        match v {
            Val::Object(i) => match self.objects[i].set.get(name).cloned() {
                Some(v) => v,
                None => {
                    // a part of an object is one itself
                    let kind = name.to_owned();
                    self.object(&kind, None, BTreeMap::new())
                }
            },
            Val::Table(t) => t.get(name).cloned().unwrap_or(Val::Null),
            Val::Text(t) if name == "length" => Val::Number(t.chars().count() as f64),
            Val::List(l) if matches!(name, "count" | "length") => Val::Number(l.len() as f64),
            _ => Val::Unknown,
        }
    }

    fn method(&mut self, v: Val, name: &str, args: Vec<Val>, text: &str) -> Val {
        let lower = name.to_lowercase();
        let arg = |e: &Self, i: usize| args.get(i).and_then(|v| e.known(v));
        if let Val::Text(t) = &v {
            let n = |i: usize| if let Some(Val::Number(n)) = args.get(i) { Some(n.max(0.0) as usize) } else { None };
            match &*lower {
                "tostring" => return v,
                "tolower" | "tolowerinvariant" => return Val::Text(t.to_lowercase()),
                "toupper" | "toupperinvariant" => return Val::Text(t.to_uppercase()),
                "trim" => return Val::Text(t.trim().to_owned()),
                "trimstart" | "trimend" => {
                    let set: Vec<char> = arg(self, 0).unwrap_or_else(|| " ".into()).chars().collect();
                    let t = if lower == "trimstart" {
                        t.trim_start_matches(&set[..])
                    } else {
                        t.trim_end_matches(&set[..])
                    };
                    return Val::Text(t.to_owned());
                }
                "replace" => {
                    if let (Some(a), Some(b)) = (arg(self, 0).filter(|a| !a.is_empty()), arg(self, 1))
                        && t.len() * (b.len() + 1) < VALUE_MAX * 8
                    {
                        return self.text_value(t.replace(&a, &b));
                    }
                    return Val::Unknown;
                }
                "substring" => {
                    let start = n(0).unwrap_or(0);
                    let len = n(1).unwrap_or(usize::MAX);
                    return Val::Text(t.chars().skip(start).take(len).collect());
                }
                "split" => {
                    let by: Vec<char> = arg(self, 0).unwrap_or_else(|| " ".into()).chars().collect();
                    return Val::List(t.split(&by[..]).take(LIST_MAX).map(|t| Val::Text(t.to_owned())).collect());
                }
                "tochararray" => return Val::List(t.chars().take(LIST_MAX).map(|c| Val::Text(c.into())).collect()),
                _ => {}
            }
        }
        if matches!(v, Val::List(_) | Val::Number(_) | Val::Truth(_) | Val::Table(_))
            && matches!(&*lower, "tostring" | "add" | "contains" | "containskey")
        {
            return if lower == "tostring" { Val::Text(self.text(&v)) } else { Val::Null };
        }
        if let Val::Script(_, b) = &v {
            let b = b.clone();
            return self.block(&b).0;
        }
        if let Val::Object(i) = &v
            && let Some(encoding) = self.objects[*i].kind.strip_prefix("encoding ").map(str::to_owned)
        {
            return match &*lower {
                "getbytes" => {
                    match arg(self, 0).filter(|t| !super::super::template::has_hole(t) && !t.contains(UNKNOWN)) {
                        Some(t) if encoding == "unicode" => {
                            let b: Vec<u8> = t.encode_utf16().flat_map(u16::to_le_bytes).collect();
                            self.numbers(&b)
                        }
                        Some(t) => self.numbers(t.as_bytes()),
                        None => Val::Unknown,
                    }
                }
                "getstring" => match args.first().and_then(bytes) {
                    Some(b) if encoding == "unicode" => {
                        let units: Vec<u16> = b.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
                        self.text_value(String::from_utf16_lossy(&units))
                    }
                    Some(b) => self.text_value(String::from_utf8_lossy(&b).into_owned()),
                    None => Val::Unknown,
                },
                _ => Val::Unknown,
            };
        }
        let (kind, mut list) = match &v {
            Val::Object(i) => {
                let o = self.objects[*i].clone();
                let mut list: Vec<Arg> = vec![];
                for (k, v) in o.set.iter().filter(|(_, v)| !matches!(v, Val::Object(_) | Val::Null)) {
                    list.push(Arg::option(k));
                    list.push(Arg { value: self.text(v), literal: true, ..Arg::default() });
                }
                (o.kind, list)
            }
            _ => (String::new(), vec![]),
        };
        let mut plain: Vec<Arg> = vec![];
        for a in &args {
            plain.extend(self.arg(a).into_iter().take(1));
        }
        let first = args.first().cloned();
        plain.append(&mut list);
        self.emit(format!("{kind}.{name}"), plain, text, None);
        let block = args.iter().find_map(|a| if let Val::Script(_, b) = a { Some(b.clone()) } else { None });
        if let Some(b) = block {
            self.block(&b);
        }
        // `CreateShortcut(…)` gives a shortcut: what a method makes is known by the method's name
        let made =
            ["create", "get", "new", "open"].iter().find_map(|p| lower.strip_prefix(p)).unwrap_or(&lower).to_owned();
        let set = first.filter(|v| !matches!(v, Val::Unknown | Val::Object(_))).map(|v| ("arg".to_owned(), v));
        match v {
            Val::Object(_) => self.object(&made, None, set.into_iter().collect()),
            _ => Val::Unknown,
        }
    }

    /// `[Type]::Name`
    fn constant(&mut self, ty: &str, name: &str) -> Val {
        let env = match (ty, name) {
            ("environment", "username") => "USERNAME",
            ("environment", "machinename") => "COMPUTERNAME",
            ("environment", "userdomainname") => "USERDOMAIN",
            ("environment", "currentdirectory") => "CD",
            ("environment", "newline") => return Val::Text("\n".into()),
            ("string", "empty") => return Val::Text(String::new()),
            ("path", "directoryseparatorchar") => return Val::Text("\\".into()),
            ("encoding", _) => return self.object(&format!("encoding {name}"), None, BTreeMap::new()),
            _ => return self.object(name, Some(name.to_owned()), BTreeMap::new()),
        };
        (self.ask)(Ask::Env(env)).map_or(Val::Unknown, Val::Text)
    }

    /// `[Type]::Name(…)`
    fn static_call(&mut self, ty: &str, name: &str, args: Vec<Val>, text: &str) -> Val {
        let lower = name.to_lowercase();
        let known = |e: &Self, i: usize| args.get(i).and_then(|v| e.known(v));
        match (ty, &*lower) {
            ("path", "combine") => {
                let parts: Vec<String> = args.iter().map(|v| self.text(v)).collect();
                return self.text_value(parts.iter().map(|p| p.trim_matches('\\')).collect::<Vec<_>>().join("\\"));
            }
            ("path", "gettemppath") => {
                return (self.ask)(Ask::Env("TEMP")).map_or(Val::Unknown, |t| Val::Text(t + "\\"));
            }
            ("path", "getfilename") => {
                return known(self, 0)
                    .map_or(Val::Unknown, |t| Val::Text(t.rsplit('\\').next().unwrap_or(&t).to_owned()));
            }
            ("path", "getfullpath") => return args.into_iter().next().unwrap_or(Val::Unknown),
            ("path", "getrandomfilename") => return Val::Unknown,
            ("guid", "newguid") => return (self.ask)(Ask::Guid).map_or(Val::Unknown, Val::Text),
            ("environment", "getenvironmentvariable") => {
                let n = known(self, 0).unwrap_or_default();
                return (self.ask)(Ask::Env(&n)).map_or(Val::Unknown, Val::Text);
            }
            ("environment", "getfolderpath") => {
                let base = (self.ask)(Ask::Env("USERPROFILE")).unwrap_or_default();
                let rest = match &*known(self, 0).unwrap_or_default().to_lowercase() {
                    "applicationdata" => r"\AppData\Roaming",
                    "localapplicationdata" => r"\AppData\Local",
                    "startup" => r"\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup",
                    "desktop" | "desktopdirectory" => r"\Desktop",
                    "mydocuments" | "personal" => r"\Documents",
                    "userprofile" => "",
                    "system" => return Val::Text(r"C:\Windows\System32".into()),
                    "windows" => return Val::Text(r"C:\Windows".into()),
                    "commonapplicationdata" => return Val::Text(r"C:\ProgramData".into()),
                    "commonstartup" => {
                        return Val::Text(r"C:\ProgramData\Microsoft\Windows\Start Menu\Programs\StartUp".into());
                    }
                    _ => return Val::Unknown,
                };
                return Val::Text(base + rest);
            }
            ("convert", "frombase64string") => {
                let bytes = known(self, 0).and_then(|t| base64::prelude::BASE64_STANDARD.decode(t.trim()).ok());
                return bytes.map_or(Val::Unknown, |b| self.numbers(&b));
            }
            ("convert", "tobase64string") => {
                let Some(b) = args.first().and_then(bytes) else { return Val::Unknown };
                return self.text_value(base64::prelude::BASE64_STANDARD.encode(b));
            }
            ("convert", "toint32" | "tobyte" | "toint16") => {
                let base = if let Some(Val::Number(n)) = args.get(1) { *n as u32 } else { 10 };
                let n = known(self, 0)
                    .filter(|_| (2..=36).contains(&base))
                    .and_then(|t| i64::from_str_radix(t.trim_start_matches("0x"), base).ok());
                return n.map_or(Val::Unknown, |n| Val::Number(n as f64));
            }
            ("string", "join") => {
                let by = known(self, 0).unwrap_or_default();
                let list = args.get(1).cloned().map(items).unwrap_or_default();
                let t: Vec<String> = list.iter().map(|v| self.text(v)).collect();
                return self.text_value(t.join(&by));
            }
            ("string", "concat") => {
                let t: String = args.iter().map(|v| self.text(v)).collect();
                return self.text_value(t);
            }
            ("string", "format") => {
                let f = args.first().cloned().unwrap_or(Val::Unknown);
                let rest = args[1.min(args.len())..].to_vec();
                return self.binary("f", f, Val::List(rest));
            }
            ("regex", "replace") => return Val::Unknown,
            ("type", "gettypefromprogid" | "gettypefromclsid") => {
                let kind = known(self, 0).unwrap_or_default().to_lowercase();
                let server = args.get(1).cloned().unwrap_or(Val::Null);
                return self.object(&kind, None, [("server".to_owned(), server)].into());
            }
            ("activator", "createinstance") => {
                if let Some(Val::Object(i)) = args.first() {
                    let (kind, server) = (self.objects[*i].kind.clone(), self.objects[*i].set.get("server").cloned());
                    let mut list = vec![Arg::option("ComObject"), Arg { value: kind, literal: true, ..Arg::default() }];
                    if let Some(s) = server.and_then(|v| self.known(&v)).filter(|s| !s.is_empty()) {
                        list.extend([Arg::option("Server"), Arg { value: s, literal: true, ..Arg::default() }]);
                    }
                    self.emit("New-Object".into(), list, text, None);
                    return args[0].clone();
                }
                return Val::Unknown;
            }
            ("scriptblock", "create") => {
                let Some(code) = known(self, 0) else { return Val::Unknown };
                let (b, whole) = parse::parse(&code);
                self.cut |= !whole;
                return Val::Script(code, b);
            }
            (_, "new") => {
                let mut list = vec![Arg { value: ty.to_owned(), literal: true, ..Arg::default() }];
                let first = args.first().cloned().unwrap_or(Val::Null);
                list.extend(args.iter().flat_map(|a| self.arg(a)).take(8));
                self.emit("New-Object".into(), list, text, None);
                return self.object(ty, None, [("arg".to_owned(), first)].into());
            }
            _ => {}
        }
        let mut list: Vec<Arg> = vec![];
        for a in &args {
            list.extend(self.arg(a).into_iter().take(1));
        }
        self.emit(format!("[{ty}]::{name}"), list, text, None);
        let first = args.into_iter().next().unwrap_or(Val::Null);
        let made =
            ["create", "get", "new", "open"].iter().find_map(|p| lower.strip_prefix(p)).unwrap_or(&lower).to_owned();
        self.object(&made, None, [("arg".to_owned(), first)].into())
    }

    fn cast(&mut self, ty: &str, v: Val) -> Val {
        match (ty, v) {
            ("char", Val::Number(n)) => char::from_u32(n as u32).map_or(Val::Unknown, |c| Val::Text(c.into())),
            ("char[]", Val::List(l)) => Val::List(l.into_iter().map(|v| self.cast("char", v)).collect()),
            ("char[]", Val::Text(t)) => Val::List(t.chars().take(LIST_MAX).map(|c| Val::Text(c.into())).collect()),
            ("string", v) => Val::Text(self.text(&v)),
            ("int" | "int32" | "long" | "byte" | "double", Val::Text(t)) => {
                number(t.trim()).map_or(Val::Text(t), Val::Number)
            }
            ("scriptblock", Val::Text(t)) => {
                let (b, _) = parse::parse(&t);
                Val::Script(t, b)
            }
            ("type", Val::Text(t)) => Val::Text(t),
            ("wmiclass" | "wmi" | "adsi" | "adsisearcher" | "uri" | "xml" | "wmisearcher", v) => {
                let text = self.known(&v);
                self.emit(
                    format!("[{ty}]"),
                    vec![Arg { value: self.text(&v), literal: true, ..Arg::default() }],
                    "",
                    None,
                );
                self.object(ty, text, [("arg".to_owned(), v)].into())
            }
            (_, v) => v,
        }
    }

    fn binary(&mut self, op: &str, a: Val, b: Val) -> Val {
        let op = if level_of(op).is_none() { op.trim_start_matches(['c', 'i']) } else { op };
        match (op, a, b) {
            ("+", Val::Number(a), Val::Number(b)) => Val::Number(a + b),
            ("+", Val::List(mut a), b) => {
                a.extend(items(b));
                a.truncate(LIST_MAX);
                self.checked(Val::List(a))
            }
            ("+", Val::Table(mut a), Val::Table(b)) => {
                a.extend(b);
                self.checked(Val::Table(a))
            }
            ("+", a, b) => {
                if matches!(a, Val::Null) {
                    return b;
                }
                let t = self.text(&a) + &self.text(&b);
                self.text_value(t)
            }
            ("-", Val::Number(a), Val::Number(b)) => Val::Number(a - b),
            ("*", Val::Number(a), Val::Number(b)) => Val::Number(a * b),
            ("*", Val::Text(t), Val::Number(n)) => {
                let n = n.max(0.0) as usize;
                if t.len().saturating_mul(n) > VALUE_MAX {
                    self.cut = true;
                    return Val::Unknown;
                }
                Val::Text(t.repeat(n))
            }
            ("/", Val::Number(a), Val::Number(b)) if b != 0.0 => Val::Number(a / b),
            ("%", Val::Number(a), Val::Number(b)) if b != 0.0 => Val::Number(a % b),
            ("bxor", Val::Number(a), Val::Number(b)) => Val::Number(((a as i64) ^ (b as i64)) as f64),
            ("..", a, b) => match (num(&a), num(&b)) {
                (Some(a), Some(b)) => {
                    let n = (b - a).abs().min(LIST_MAX as f64 - 1.0) as usize;
                    let by = if b < a { -1.0 } else { 1.0 };
                    Val::List((0..=n).map(|i| Val::Number(a + by * i as f64)).collect())
                }
                _ => Val::Unknown,
            },
            ("f", f, args) => {
                let mut t = self.text(&f);
                for (i, v) in items(args).iter().enumerate().take(64) {
                    let v = self.text(v);
                    let plain = format!("{{{i}}}");
                    if t.len() + v.len() * t.matches(&plain).count() > VALUE_MAX {
                        self.cut = true;
                        return Val::Unknown;
                    }
                    t = t.replace(&plain, &v);
                }
                Val::Text(t)
            }
            ("join", a, b) => {
                let by = self.text(&b);
                let t: Vec<String> = items(a).iter().map(|v| self.text(v)).collect();
                self.text_value(t.join(&by))
            }
            ("split", Val::Text(t), b) => {
                let by = self.text(&b);
                match self.regex(&by) {
                    Some(re) => Val::List(re.split(&t).take(LIST_MAX).map(|t| Val::Text(t.to_owned())).collect()),
                    None => Val::Unknown,
                }
            }
            ("replace", Val::Text(t), b) => {
                let parts = items(b);
                let (a, b) = (parts.first().map(|v| self.text(v)), parts.get(1).map(|v| self.text(v)));
                match self.regex(&a.unwrap_or_default()) {
                    Some(re) if t.len() * (b.as_ref().map_or(0, String::len) + 1) < VALUE_MAX * 8 => {
                        let t = re.replace_all(&t, b.unwrap_or_default()).into_owned();
                        self.text_value(t)
                    }
                    _ => Val::Unknown,
                }
            }
            ("eq" | "ne" | "like" | "notlike" | "lt" | "le" | "gt" | "ge" | "match" | "notmatch", a, b) => {
                self.compare(op, &a, &b)
            }
            ("and", a, b) => match (truth(&a), truth(&b)) {
                (Some(false), _) | (_, Some(false)) => Val::Truth(false),
                (Some(true), Some(true)) => Val::Truth(true),
                _ => Val::Unknown,
            },
            ("or", a, b) => match (truth(&a), truth(&b)) {
                (Some(true), _) | (_, Some(true)) => Val::Truth(true),
                (Some(false), Some(false)) => Val::Truth(false),
                _ => Val::Unknown,
            },
            ("as", a, _) => a,
            _ => Val::Unknown,
        }
    }

    fn regex(&mut self, pattern: &str) -> Option<regex::Regex> {
        self.steps += PATTERN_MAX;
        if pattern.len() > PATTERN_MAX {
            return None;
        }
        super::super::condition::regex(pattern).ok()
    }

    fn compare(&mut self, op: &str, a: &Val, b: &Val) -> Val {
        if let (Some(x), Some(y)) = (num(a), num(b)) {
            return Val::Truth(match op {
                "eq" | "like" => x == y,
                "ne" | "notlike" => x != y,
                "lt" => x < y,
                "le" => x <= y,
                "gt" => x > y,
                "ge" => x >= y,
                _ => return Val::Unknown,
            });
        }
        let (Some(x), Some(y)) = (self.known(a), self.known(b)) else { return Val::Unknown };
        // a value that is filled in later compares with nothing
        if [&x, &y].iter().any(|t| super::super::template::has_hole(t) || t.contains(UNKNOWN)) {
            return Val::Unknown;
        }
        let same = match op {
            "eq" | "ne" => x.eq_ignore_ascii_case(&y),
            "like" | "notlike" => super::super::matching::glob(&y, &x),
            _ => return Val::Unknown,
        };
        Val::Truth(same != matches!(op, "ne" | "notlike"))
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

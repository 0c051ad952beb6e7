//! The grammar. Types are checked as it goes: a formatter that cannot print what stands before it is refused here.

use super::cond::Cond;
use super::lex::{Tok, lex};
use super::{Expr, Spec};
use crate::activity::{Field, Type};
use crate::source::format::{self, Arg, Json, Letters, Pick, Print, Step, Takes};
use crate::yaml::suggest;

mod cond;

/// Depth an expression may nest.
const DEPTH_MAX: usize = 32;

/// What an expression may name beside fields: the tables of its file; and the texts it adds (arguments of `lines`
/// and `each`).
#[derive(Debug, Default)]
pub struct Names {
    /// Names of the tables, in their order.
    pub tables: Vec<String>,
    /// Texts of the file's expressions.
    pub texts: Vec<String>,
}

/// Parses one text.
pub struct Parser<'n> {
    tokens: Vec<Tok>,
    at: usize,
    depth: usize,
    names: &'n mut Names,
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Message without a full stop.
    pub message: String,
    /// Help.
    pub help: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Wrong {
        Wrong { message, help: None }
    }
}

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: Some(help.into()) })
}

const KEYWORDS: &[&str] = &["or", "and", "not", "if", "else", "has", "in", "begins", "ends", "contains"];

impl<'n> Parser<'n> {
    /// An expression that is the whole text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expression(text: &str, names: &'n mut Names) -> Result<Expr, Wrong> {
        let mut p = Parser { tokens: lex(text)?, at: 0, depth: 0, names };
        let e = p.expr()?;
        p.end()?;
        Ok(e)
    }

    /// A condition that is the whole text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn condition(text: &str, names: &'n mut Names) -> Result<Cond, Wrong> {
        let mut p = Parser { tokens: lex(text)?, at: 0, depth: 0, names };
        let c = p.cond()?;
        p.end()?;
        Ok(c)
    }

    /// Applies more formatters (`hex | upper`) to an expression.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn formatters(e: Expr, text: &str, names: &'n mut Names) -> Result<Expr, Wrong> {
        let mut p = Parser { tokens: lex(text)?, at: 0, depth: 0, names };
        p.tokens.insert(0, Tok::Sign("|"));
        let e = p.chain(e)?;
        p.end()?;
        Ok(e)
    }

    fn end(&self) -> Result<(), Wrong> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(t) => wrong(format!("{t} is not expected here"), "`|`, `+`, `or` or `if` may follow a value"),
        }
    }

    fn sign(&mut self, s: &str) -> bool {
        let hit = matches!(self.tokens.get(self.at), Some(Tok::Sign(t)) if *t == s);
        self.at += hit as usize;
        hit
    }

    fn word(&mut self, w: &str) -> bool {
        let hit = matches!(self.tokens.get(self.at), Some(Tok::Word(t)) if t == w);
        self.at += hit as usize;
        hit
    }

    fn next(&mut self, what: &str) -> Result<Tok, Wrong> {
        let t = self.tokens.get(self.at).cloned();
        self.at += 1;
        t.ok_or_else(|| Wrong::from(format!("{what} is missing at the end")))
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}").into());
        }
        let r = f(self);
        self.depth -= 1;
        r
    }

    fn expr(&mut self) -> Result<Expr, Wrong> {
        self.deeper(|p| {
            let mut all = vec![p.join()?];
            while p.word("or") {
                all.push(p.join()?);
            }
            let e = if all.len() == 1 { all.remove(0) } else { Expr::Or(all) };
            if !p.word("if") {
                return Ok(e);
            }
            let c = p.cond()?;
            if !p.word("else") {
                return wrong("`if` without `else`", "write `a if condition else b`");
            }
            Ok(Expr::If(Box::new(c), Box::new(e), Box::new(p.expr()?)))
        })
    }

    fn join(&mut self) -> Result<Expr, Wrong> {
        let mut all = vec![self.pipe()?];
        while self.sign("+") {
            all.push(self.pipe()?);
        }
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        if all.iter().any(|e| e.json() != Some(Json::Text)) {
            return wrong("`+` joins texts only", "use `dec` instead of `number`");
        }
        Ok(Expr::Join(all))
    }

    fn pipe(&mut self) -> Result<Expr, Wrong> {
        let e = match self.next("a value")? {
            Tok::Text(t) => Expr::Const(t, Json::Text),
            Tok::Number(n) => Expr::Const(n.to_string(), Json::Bare),
            Tok::Sign("(") => {
                let e = self.expr()?;
                if !self.sign(")") {
                    return Err("a bracket is not closed".to_string().into());
                }
                e
            }
            Tok::Word(w) if matches!(w.as_str(), "true" | "false" | "null") => Expr::Const(w, Json::Bare),
            Tok::Word(w) if w.ends_with(".hash") => return self.hashes(&w),
            Tok::Word(w) => {
                let field = field(&w)?;
                let spec = Spec { field, pick: Pick::All, print: Print::Plain, letters: Letters::default() };
                let e = self.chain(Expr::Field(spec, Json::Text))?;
                return checked(e);
            }
            t => return wrong(format!("{t} is not a value"), "a field, or a literal in quotes"),
        };
        let e = self.chain(e)?;
        checked(e)
    }

    fn hashes(&mut self, group: &str) -> Result<Expr, Wrong> {
        let fields = match group {
            "process.hash" => [Field::ProcSha1, Field::ProcMd5, Field::ProcSha256, Field::ProcImphash],
            "process.parent.hash" => {
                [Field::ParentProcSha1, Field::ParentProcMd5, Field::ParentProcSha256, Field::ParentProcImphash]
            }
            "dll.hash" => [Field::DllSha1, Field::DllMd5, Field::DllSha256, Field::DllImphash],
            "file.hash" => [Field::FileSha1, Field::FileMd5, Field::FileSha256, Field::FileImphash],
            _ => {
                return wrong(
                    format!("unknown group of hashes `{group}`"),
                    suggest(group, ["process.hash", "process.parent.hash", "dll.hash", "file.hash"]),
                );
            }
        };
        if self.sign("|") && self.word("sysmon_hashes") {
            return Ok(Expr::Hashes(fields));
        }
        wrong(
            format!("`{group}` is a group of fields"),
            format!("write `{group} | sysmon_hashes`, or one of its fields"),
        )
    }

    fn chain(&mut self, mut e: Expr) -> Result<Expr, Wrong> {
        while self.sign("|") {
            let name = match self.next("a formatter")? {
                Tok::Word(w) => w,
                t => return wrong(format!("{t} is not a formatter"), "a formatter is a word, such as `dec`"),
            };
            let Some(f) = format::find(&name) else {
                return wrong(
                    format!("unknown formatter `{name}`"),
                    suggest(&name, format::FORMATTERS.iter().map(|f| f.name)),
                );
            };
            let given = if self.sign(":") { Some(self.next("the argument")?) } else { None };
            let arg = self.argument(f, given)?;
            e = apply(e, f, (f.step)(arg))?;
        }
        Ok(e)
    }

    fn argument(&mut self, f: &format::Formatter, given: Option<Tok>) -> Result<Arg, Wrong> {
        let n = f.name;
        match (f.takes, given) {
            (Takes::Nothing, None) => Ok(Arg::Nothing),
            (Takes::Number { default, .. }, None) => Ok(Arg::Number(default)),
            (Takes::Number { max, .. }, Some(Tok::Number(v))) if v <= max as u64 => Ok(Arg::Number(v as u8)),
            (Takes::Table, Some(Tok::Word(w))) => match self.names.tables.iter().position(|t| *t == w) {
                Some(i) => Ok(Arg::Index(i as u16)),
                None => {
                    wrong(format!("unknown table `{w}`"), suggest(&w, self.names.tables.iter().map(String::as_str)))
                }
            },
            (Takes::Text, Some(Tok::Text(t))) => {
                let i = self.names.texts.iter().position(|x| *x == t).unwrap_or_else(|| {
                    self.names.texts.push(t);
                    self.names.texts.len() - 1
                });
                u16::try_from(i).map(Arg::Index).map_err(|_| "more than 65536 texts".to_string().into())
            }
            (Takes::Nothing, Some(t)) => wrong(format!("`{n}` takes no argument, not {t}"), format!("write `| {n}`")),
            (Takes::Number { max, .. }, Some(t)) => {
                wrong(format!("`{n}` takes a number from 0 to {max}, not {t}"), format!("write `| {n}:{max}`"))
            }
            (Takes::Table, t) => wrong(format!("`{n}` takes the name of a table{}", not(t)), "write `| table:name`"),
            (Takes::Text, t) => {
                wrong(format!("`{n}` takes a quoted text{}", not(t)), format!("write `| {n}:\"\\r\\n\"`"))
            }
        }
    }
}

fn not(t: Option<Tok>) -> String {
    t.map(|t| format!(", not {t}")).unwrap_or_default()
}

fn kind_of(t: Type) -> &'static str {
    match t {
        Type::Text => "text",
        Type::Uint => "a number",
        Type::Bool => "a truth value",
        Type::Time => "a time",
        Type::Guid => "a GUID",
        Type::Entity => "a sensor's identity",
        Type::Ip => "an address",
    }
}

fn field(name: &str) -> Result<Field, Wrong> {
    if KEYWORDS.contains(&name) {
        return Err(format!("`{name}` stands where a field belongs").into());
    }
    match Field::parse(name) {
        Some(f) => Ok(f),
        None => wrong(format!("unknown field `{name}`"), suggest(name, Field::ALL.iter().map(|f| f.name()))),
    }
}

/// A field that no formatter printed must be text or an address.
fn checked(e: Expr) -> Result<Expr, Wrong> {
    if let Expr::Field(s, _) = &e
        && s.print == Print::Plain
        && !matches!(s.field.ty(), Type::Text | Type::Ip)
    {
        let fit: Vec<&str> =
            format::FORMATTERS.iter().filter(|f| f.accepts.contains(&s.field.ty())).map(|f| f.name).collect();
        return wrong(
            format!("`{}` is {} and needs a formatter", s.field, kind_of(s.field.ty())),
            format!("one of {}", fit.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")),
        );
    }
    Ok(e)
}

fn apply(e: Expr, f: &format::Formatter, step: Step) -> Result<Expr, Wrong> {
    let spread = |all: Vec<Expr>| all.into_iter().map(|e| apply(e, f, step)).collect::<Result<Vec<_>, _>>();
    let letters = matches!(step, Step::Case(_) | Step::Percent);
    match e {
        Expr::Field(s, json) => apply_field(s, json, f, step),
        Expr::Const(t, json) => Ok(Expr::Const(
            match step {
                Step::Case(true) => t.to_ascii_uppercase(),
                Step::Case(false) => t.to_ascii_lowercase(),
                Step::Percent => t.replace('%', "%%"),
                // `(a or '-') | dec`: the literal is what is printed instead
                _ => t,
            },
            json,
        )),
        Expr::Or(all) => Ok(Expr::Or(spread(all)?)),
        Expr::If(c, a, b) => Ok(Expr::If(c, Box::new(apply(*a, f, step)?), Box::new(apply(*b, f, step)?))),
        Expr::Join(all) if letters => Ok(Expr::Join(spread(all)?)),
        Expr::Join(_) => wrong(format!("`{}` cannot print joined texts", f.name), "format each part before `+`"),
        Expr::Hashes(_) => wrong(format!("`{}` cannot follow `sysmon_hashes`", f.name), "leave it out"),
    }
}

fn apply_field(mut s: Spec, json: Json, f: &format::Formatter, step: Step) -> Result<Expr, Wrong> {
    let untouched = s.print == Print::Plain;
    let ty = if untouched { s.field.ty() } else { Type::Text };
    let misfit = || {
        let have =
            if untouched { format!("`{}` is {}", s.field, kind_of(ty)) } else { "what stands before is text".into() };
        let fit: Vec<String> =
            format::FORMATTERS.iter().filter(|f| f.accepts.contains(&ty)).map(|f| format!("`{}`", f.name)).collect();
        wrong(format!("{have} and cannot be printed by `{}`", f.name), format!("one of {}", fit.join(", ")))
    };
    if !f.accepts.contains(&ty) {
        return misfit();
    }
    match step {
        Step::Print(print, json) => {
            if !untouched || !s.letters.is_plain() {
                return wrong(format!("`{}` cannot follow another formatter", f.name), "put it first");
            }
            s.print = print;
            Ok(Expr::Field(s, json))
        }
        Step::Pick(pick) => {
            if !untouched || s.pick != Pick::All {
                return wrong(format!("`{}` cannot follow another formatter", f.name), "put it first");
            }
            s.pick = pick;
            Ok(Expr::Field(s, json))
        }
        Step::Case(upper) => {
            s.letters.case = Some(upper);
            Ok(Expr::Field(s, json))
        }
        Step::Percent => {
            s.letters.percent = true;
            Ok(Expr::Field(s, json))
        }
        Step::Hashes => misfit(),
    }
}

//! Expressions of a source into instructions of one encoding.
//!
//! What an encoding writes between two values is one literal, escaped here once. A value that a record shows twice
//! (in its data and in its message) is printed once and copied.

use std::sync::Arc;

use super::encoding::{self, Encoding};
use super::escape::{self, Esc};
use super::expr::{Cond, Expr};
use super::format::Json;
use super::op::{NO_SLOT, Op, Or, Program, SLOTS_MAX};
use super::switch::Policy;
use super::{EventIndex, Source, Table, write};
use crate::activity::View;

/// Slots kept for values shown twice; the rest are marks.
const VALUE_SLOTS: usize = 48;

/// What a stream adds to its records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Static fields (index, sourcetype, tags, labels), appended to each record of a JSON encoding.
    pub fields: &'a [(String, serde_json::Value)],
    /// Truth labels inline: `truth.attack`, `truth.scenario`, `truth.technique`.
    pub labels: bool,
}

/// A source compiled for one encoding.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The envelope.
    pub encoding: Encoding,
    programs: Vec<Program>,
    key: Program,
    tables: Arc<[Table]>,
    texts: Arc<[String]>,
}

impl Source {
    /// Compiles the source for an encoding.
    ///
    /// # Errors
    /// The source does not travel in that encoding, or the encoding has no place for what the options add.
    pub fn writer(&self, encoding: Encoding, options: Options<'_>) -> Result<Writer, String> {
        if !self.encodings.contains(&encoding) {
            let have: Vec<String> = self.encodings.iter().map(|e| format!("`{e}`")).collect();
            return Err(format!("source `{}` has no encoding `{encoding}`; it has {}", self.id, have.join(", ")));
        }
        if encoding == Encoding::EventXml && (!options.fields.is_empty() || options.labels) {
            return Err("encoding `event_xml` has no place for static fields or labels".into());
        }
        if let Some((name, _)) = options.fields.iter().find(|(n, _)| n.is_empty()) {
            return Err(format!("a static field has no name: `{name}`"));
        }
        let mut programs = vec![];
        for event in &self.events {
            let mut b = Builder::default();
            encoding::build(encoding, self, event, options, &mut b);
            programs.push(b.finish());
        }
        let mut b = Builder::default();
        for (i, e) in self.key.iter().enumerate() {
            if i > 0 {
                b.lit("|");
            }
            b.value(e, false, Esc::Raw, "");
        }
        let key = b.finish();
        Ok(Writer { encoding, programs, key, tables: self.tables.clone(), texts: self.texts.clone() })
    }
}

impl Writer {
    /// Appends one record.
    #[inline]
    pub fn render<V: View, P: Policy>(&self, i: EventIndex, view: &V, policy: &P, out: &mut Vec<u8>) {
        write::run(&self.programs[i.0 as usize], self.names(), view, policy, out);
    }
    /// Appends the record's natural key.
    pub fn natural_key<V: View, P: Policy>(&self, view: &V, policy: &P, out: &mut Vec<u8>) {
        write::run(&self.key, self.names(), view, policy, out);
    }
    /// Begins a message.
    pub fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.encoding.frame().0.as_bytes());
    }
    /// Between two records of a message.
    pub fn between(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.encoding.frame().1.as_bytes());
    }
    /// Ends a message.
    pub fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.encoding.frame().2.as_bytes());
    }
    /// Bytes a record of that event is likely to have.
    pub fn size(&self, i: EventIndex) -> usize {
        self.programs[i.0 as usize].size
    }
    /// The instructions of an event.
    pub fn program(&self, i: EventIndex) -> &Program {
        &self.programs[i.0 as usize]
    }
    fn names(&self) -> write::Names<'_> {
        write::Names { tables: &self.tables, texts: &self.texts }
    }
}

/// How a value is written where it stands.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    expr: Expr,
    message: bool,
    esc: Esc,
    /// Leaves get quotes or not by their JSON type.
    by_type: bool,
    /// Stands for what is missing.
    missing: Option<Expr>,
}

/// What an encoding lays out.
#[derive(Clone, Debug)]
enum Item {
    Lit(Vec<u8>),
    Value(Place),
    /// Left out when the value is missing, or (`empty`) when it prints nothing.
    Optional {
        items: Vec<Item>,
        empty: bool,
    },
    /// Takes a comma at the end back.
    TrimComma,
}

/// Collects the layout of a record.
#[derive(Debug, Default)]
pub struct Builder {
    items: Vec<Item>,
}

fn push_lit(items: &mut Vec<Item>, bytes: &[u8]) {
    if let Some(Item::Lit(l)) = items.last_mut() {
        l.extend_from_slice(bytes);
    } else if !bytes.is_empty() {
        items.push(Item::Lit(bytes.to_vec()));
    }
}

impl Builder {
    /// Fixed bytes of the envelope.
    pub fn lit(&mut self, s: &str) {
        push_lit(&mut self.items, s.as_bytes());
    }
    /// Fixed text that needs escaping.
    pub fn text(&mut self, esc: Esc, s: &str) {
        let mut bytes = vec![];
        escape::text(esc, s.as_bytes(), &mut bytes);
        push_lit(&mut self.items, &bytes);
    }
    /// A value; `missing` stands for what the activity lacks.
    pub fn value(&mut self, expr: &Expr, message: bool, esc: Esc, missing: &str) {
        if let Expr::Const(t, _) = expr {
            return self.text(esc, t);
        }
        let missing = Some(Expr::Const(missing.to_owned(), Json::Text));
        let message = message && expr.two_sided();
        self.items.push(Item::Value(Place { expr: expr.clone(), message, esc, by_type: false, missing }));
    }
    /// A JSON value: in quotes or bare by its type; `null` for a bare one, `missing` for a text that is missing.
    pub fn typed(&mut self, expr: &Expr, missing: &str) {
        let missing = match expr.json() {
            Some(Json::Bare) => Expr::Const("null".into(), Json::Bare),
            _ => Expr::Const(missing.to_owned(), Json::Text),
        };
        let place = Place { expr: expr.clone(), message: false, esc: Esc::Json, by_type: true, missing: Some(missing) };
        self.items.push(Item::Value(place));
    }
    /// A part that is left out when its value is missing (`missing` none), or when it prints nothing (`empty`).
    pub fn optional(&mut self, head: &str, expr: &Expr, esc: Esc, missing: Option<&str>, tail: &str, empty: bool) {
        let stands = missing.is_some_and(|m| !m.is_empty() && !expr.may_be_empty());
        let surely = expr.always() || stands || (!empty && missing.is_some());
        if surely || matches!(expr, Expr::Const(t, _) if !t.is_empty()) {
            self.lit(head);
            self.value(expr, false, esc, missing.unwrap_or(""));
            return self.lit(tail);
        }
        let mut items = vec![];
        push_lit(&mut items, head.as_bytes());
        let missing = missing.filter(|m| !m.is_empty()).map(|m| Expr::Const(m.into(), Json::Text));
        items.push(Item::Value(Place { expr: expr.clone(), message: false, esc, by_type: false, missing }));
        push_lit(&mut items, tail.as_bytes());
        self.items.push(Item::Optional { items, empty });
    }
    /// Members of an object, empty ones left out. Any may be: the commas stand behind, and the last one is taken back.
    pub fn members(&mut self, all: &[(String, &Expr)], esc: Esc, missing: &str) {
        for (name, expr) in all {
            self.optional(&format!("\"{name}\":\""), expr, esc, Some(missing), "\",", true);
        }
        self.items.push(Item::TrimComma);
    }
    /// A typed JSON value that is left out with its key when it is missing.
    pub fn optional_typed(&mut self, head: &str, expr: &Expr) {
        let place = Place { expr: expr.clone(), message: false, esc: Esc::Json, by_type: true, missing: None };
        let mut items = vec![];
        push_lit(&mut items, head.as_bytes());
        items.push(Item::Value(place));
        self.items.push(Item::Optional { items, empty: false });
    }

    /// The instructions.
    pub fn finish(self) -> Program {
        let mut c = Compiler::default();
        c.share(&self.items);
        for item in &self.items {
            c.item(item);
        }
        c.done()
    }
}

const fn new_label() -> u16 {
    u16::MAX
}

#[derive(Default)]
struct Compiler {
    program: Program,
    /// Where each label stands.
    labels: Vec<u16>,
    /// Values shown more than once: the place, its slot, whether the slot is filled by now.
    shared: Vec<(Place, u8, bool)>,
    marks: usize,
    fields: usize,
}

impl Compiler {
    /// Finds values that are shown more than once. Only a value outside of every option fills a slot.
    fn share(&mut self, items: &[Item]) {
        fn walk<'a>(items: &'a [Item], sure: bool, out: &mut Vec<(&'a Place, bool)>) {
            for i in items {
                match i {
                    Item::Lit(_) | Item::TrimComma => {}
                    Item::Value(p) => out.push((p, sure)),
                    Item::Optional { items, .. } => walk(items, false, out),
                }
            }
        }
        let mut all = vec![];
        walk(items, true, &mut all);
        for (i, (p, sure)) in all.iter().enumerate() {
            let again = all[i + 1..].iter().any(|(q, _)| alike(p, q));
            let known = self.shared.iter().any(|(q, ..)| q == *p);
            if *sure && again && !known && self.shared.len() < VALUE_SLOTS {
                self.shared.push(((*p).clone(), self.shared.len() as u8, false));
            }
        }
    }

    fn label(&mut self) -> u16 {
        self.labels.push(new_label());
        (self.labels.len() - 1) as u16
    }
    fn place(&mut self, label: u16) {
        self.labels[label as usize] = self.program.ops.len() as u16;
    }
    fn mark(&mut self) -> u8 {
        let slot = VALUE_SLOTS + self.marks % (SLOTS_MAX - VALUE_SLOTS);
        self.marks += 1;
        self.program.ops.push(Op::Mark { slot: slot as u8 });
        slot as u8
    }
    fn literal(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.program.literals.len() as u32;
        self.program.literals.extend_from_slice(bytes);
        (at, bytes.len() as u32)
    }
    fn lit(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let (at, len) = self.literal(bytes);
            self.program.ops.push(Op::Lit { at, len });
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Lit(l) => self.lit(l),
            Item::Value(p) => self.value(p, None),
            Item::TrimComma => self.program.ops.push(Op::TrimComma),
            Item::Optional { items, empty } => {
                let (gone, end) = (self.label(), self.label());
                let known = items.iter().find_map(|i| match i {
                    Item::Value(p) => self.filled(p).map(|(slot, _)| slot),
                    _ => None,
                });
                if let (true, Some(slot)) = (*empty, known) {
                    self.program.ops.push(Op::IfEmpty { slot, to: gone });
                    items.iter().for_each(|i| self.item(i));
                    return self.place(gone);
                }
                let start = self.mark();
                for i in items {
                    match i {
                        Item::Value(p) if *empty => {
                            let before = self.mark();
                            self.value(p, Some(gone));
                            self.program.ops.push(Op::IfNothing { slot: before, to: gone });
                        }
                        Item::Value(p) => self.value(p, Some(gone)),
                        _ => self.item(i),
                    }
                }
                self.program.ops.push(Op::Jump { to: end });
                self.place(gone);
                self.program.ops.push(Op::Undo { slot: start });
                self.place(end);
            }
        }
    }

    /// The slot that holds this value by now, and whether it must get XML entities.
    fn filled(&self, p: &Place) -> Option<(u8, bool)> {
        self.shared.iter().find(|(q, _, filled)| *filled && alike(q, p)).map(|(q, slot, _)| (*slot, q.esc != p.esc))
    }

    /// A value; where it is missing and nothing stands for it, `gone` is where to go.
    fn value(&mut self, p: &Place, gone: Option<u16>) {
        if let Some((slot, xml)) = self.filled(p) {
            return self.program.ops.push(if xml { Op::CopyXml { slot } } else { Op::Copy { slot } });
        }
        let whole = match &p.missing {
            Some(m) => Expr::Or(vec![p.expr.clone(), m.clone()]),
            None => p.expr.clone(),
        };
        let shared = self.shared.iter().position(|(q, _, filled)| !*filled && q == p).filter(|_| gone.is_none());
        let slot = shared.map_or(NO_SLOT, |i| self.shared[i].1);
        let fail = gone.unwrap_or_else(|| self.label());
        let simple = simple_leaf(&whole, p.by_type);
        if let (Some(i), false) = (shared, simple) {
            self.program.ops.push(Op::Mark { slot: self.shared[i].1 });
        }
        self.expr(&whole, p, if simple { slot } else { NO_SLOT }, fail);
        if let (Some(i), false) = (shared, simple) {
            self.program.ops.push(Op::Save { slot: self.shared[i].1 });
        }
        if let Some(i) = shared {
            self.shared[i].2 = true;
        }
        if gone.is_none() {
            self.place(fail);
        }
    }

    /// Falls through when the value was written; goes to `fail` when it is missing, maybe with a part written.
    fn expr(&mut self, e: &Expr, p: &Place, slot: u8, fail: u16) {
        match e {
            Expr::Const(t, j) => {
                let mut bytes = vec![];
                let quote = p.by_type && *j == Json::Text;
                bytes.extend(quote.then_some(b'"'));
                escape::text(p.esc, t.as_bytes(), &mut bytes);
                bytes.extend(quote.then_some(b'"'));
                self.lit(&bytes);
            }
            Expr::Field(..) | Expr::Hashes(_) => self.leaf(e, p, slot, Or::To(fail)),
            Expr::Join(all) => {
                let quote = p.by_type;
                let inner = Place { by_type: false, ..p.clone() };
                self.lit(if quote { b"\"" } else { b"" });
                all.iter().for_each(|e| self.expr(e, &inner, NO_SLOT, fail));
                self.lit(if quote { b"\"" } else { b"" });
            }
            Expr::Or(all) => {
                let flat = flatten(all);
                if let [leaf, Expr::Const(t, _)] = flat.as_slice()
                    && is_bare_leaf(leaf, p.by_type)
                {
                    let mut bytes = vec![];
                    let quote = p.by_type && flat[1].json() == Some(Json::Text);
                    bytes.extend(quote.then_some(b'"'));
                    escape::text(p.esc, t.as_bytes(), &mut bytes);
                    bytes.extend(quote.then_some(b'"'));
                    let (at, len) = self.literal(&bytes);
                    return self.leaf(leaf, p, slot, Or::Lit { at, len });
                }
                let end = self.label();
                for (i, e) in flat.iter().enumerate() {
                    if i + 1 == flat.len() || matches!(e, Expr::Const(..)) {
                        self.expr(e, p, NO_SLOT, fail);
                        break;
                    }
                    let next = self.label();
                    let mark = (!is_bare_leaf(e, p.by_type)).then(|| self.mark());
                    self.expr(e, p, NO_SLOT, next);
                    self.program.ops.push(Op::Jump { to: end });
                    self.place(next);
                    if let Some(slot) = mark {
                        self.program.ops.push(Op::Undo { slot });
                    }
                }
                self.place(end);
            }
            Expr::If(c, a, b) => {
                let (other, end) = (self.label(), self.label());
                let cond = self.condition(c);
                self.program.ops.push(Op::Unless { cond, to: other });
                self.expr(a, p, NO_SLOT, fail);
                self.program.ops.push(Op::Jump { to: end });
                self.place(other);
                self.expr(b, p, NO_SLOT, fail);
                self.place(end);
            }
        }
    }

    fn condition(&mut self, c: &Cond) -> u16 {
        let all = &mut self.program.conditions;
        let i = all.iter().position(|x| x == c).unwrap_or_else(|| {
            all.push(c.clone());
            all.len() - 1
        });
        i as u16
    }

    fn leaf(&mut self, e: &Expr, p: &Place, slot: u8, or: Or) {
        let quote = p.by_type && e.json() == Some(Json::Text);
        if quote {
            self.lit(b"\"");
        }
        self.fields += 1;
        match e {
            Expr::Field(spec, _) => {
                self.program.ops.push(Op::Put { spec: *spec, esc: p.esc, message: p.message, slot, or });
            }
            Expr::Hashes(fields) => self.program.ops.push(Op::Hashes { fields: *fields, esc: p.esc, slot, or }),
            _ => {}
        }
        if quote {
            self.lit(b"\"");
        }
    }

    fn done(mut self) -> Program {
        let at = |label: &mut u16| *label = self.labels[*label as usize];
        for op in &mut self.program.ops {
            match op {
                Op::Put { or: Or::To(to), .. } | Op::Hashes { or: Or::To(to), .. } => at(to),
                Op::IfEmpty { to, .. } | Op::IfNothing { to, .. } | Op::Unless { to, .. } | Op::Jump { to } => at(to),
                _ => {}
            }
        }
        self.program.size = self.program.literals.len() + 40 * self.program.ops.len() + 64;
        self.program
    }
}

/// One instruction, which writes nothing when the value is missing.
fn is_bare_leaf(e: &Expr, by_type: bool) -> bool {
    matches!(e, Expr::Field(..) | Expr::Hashes(_)) && !(by_type && e.json() == Some(Json::Text))
}

fn simple_leaf(e: &Expr, by_type: bool) -> bool {
    match e {
        Expr::Or(all) => match flatten(all).as_slice() {
            [leaf, Expr::Const(..)] => is_bare_leaf(leaf, by_type),
            _ => false,
        },
        e => is_bare_leaf(e, by_type),
    }
}

/// `a or (b or c)` as `a or b or c`, up to the first literal.
fn flatten(all: &[Expr]) -> Vec<Expr> {
    let mut out = vec![];
    for e in all {
        match e {
            Expr::Or(inner) => out.extend(flatten(inner)),
            e => out.push(e.clone()),
        }
    }
    if let Some(i) = out.iter().position(|e| matches!(e, Expr::Const(..))) {
        out.truncate(i + 1);
    }
    out
}

/// The same text, but for XML entities.
fn alike(first: &Place, second: &Place) -> bool {
    first.expr == second.expr
        && first.message == second.message
        && first.by_type == second.by_type
        && (first.esc == second.esc || (first.esc, second.esc) == (Esc::Json, Esc::JsonXml))
        && missing_text(first) == missing_text(second)
}

fn missing_text(p: &Place) -> &str {
    match &p.missing {
        Some(Expr::Const(t, _)) => t,
        _ => "",
    }
}

//! Expressions of a source into instructions of one encoding.
//!
//! What an encoding writes between two values is one literal, escaped here once. A value that a record shows twice
//! (in its data and in its message) is printed once and copied.

mod emit;

use std::sync::Arc;

use super::encoding::{self, Encoding};
use super::escape::{self, Esc};
use super::expr::Expr;
use super::format::Json;
use super::op::Program;
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
        if matches!(encoding, Encoding::EventXml | Encoding::EventXmlPlain)
            && (!options.fields.is_empty() || options.labels)
        {
            return Err(format!("encoding `{encoding}` has no place for static fields or labels"));
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
        emit::program(&self.items)
    }
}

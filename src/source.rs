//! Sources: one activity into the records that one product writes of it.
//!
//! ```text
//! sources/*.yaml --load--> Source (events, expressions) --compile per encoding--> Writer (flat instructions)
//!                                                                    |
//!   activity (View) + what is switched on (Policy) --selects, render-+--> bytes
//! ```
//!
//! `docs/sources.md` is the language. [`Catalogue::load`] reads it; [`Source::events_for`] and [`Source::selects`] say
//! which records an activity makes; a [`Writer`] renders them without allocating, locking or hashing.

pub mod compile;
pub mod encoding;
pub mod escape;
pub mod expr;
pub mod format;
mod load;
pub mod op;
pub mod print;
pub mod switch;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::activity::{Field, Kind, View};
use crate::time::Span;
use crate::yaml::{Node, Problems};
pub use compile::{Options, Writer};
pub use encoding::Encoding;
use expr::{Cond, Expr};
pub use load::FIELDS;
pub use switch::{AllOn, Hash, Policy, PowerShellLog, Subcategory, SysmonRule};

/// Which event of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventIndex(pub u16);

/// Whose hosts have a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Windows hosts.
    Windows,
    /// Linux hosts.
    Linux,
    /// Cloud accounts.
    Cloud,
    /// Sensors on the wire.
    Network,
}

/// From the event to the sensor's writing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Const(Span),
    /// Even between two.
    Range(Span, Span),
    /// Log-normal by its median and 99th percentile.
    LogNormal {
        /// Half are shorter.
        median: Span,
        /// One in a hundred is longer.
        p99: Span,
    },
}

/// The product that writes an event, as its records name it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Product {
    /// Provider name.
    pub name: String,
    /// Provider GUID in lower-case braces.
    pub guid: Option<String>,
    /// Name of the classic event source.
    pub event_source: Option<String>,
    /// Name of the provider as messages show it (`Microsoft Windows security auditing.`).
    pub display: Option<String>,
    /// Version of the product.
    pub version: Option<String>,
}

/// Who wrote a record.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// SID.
    pub sid: Expr,
    /// Account name.
    pub name: Option<Expr>,
    /// Its domain.
    pub domain: Option<Expr>,
    /// `User` or `Well Known Group`.
    pub kind: String,
}

/// Constants of a record's head.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Event id as written (a number, or an ActionType).
    pub id: String,
    /// Version.
    pub version: u32,
    /// Level: 0 log always, 1 critical, 2 error, 3 warning, 4 information, 5 verbose.
    pub level: u32,
    /// Task.
    pub task: u32,
    /// Opcode.
    pub opcode: u32,
    /// Qualifiers of classic events.
    pub qualifiers: Option<u32>,
    /// Keywords.
    pub keywords: u64,
    /// Success or failure of an audit.
    pub audit: Option<bool>,
    /// Task name.
    pub category: Option<String>,
    /// Opcode name.
    pub opcode_name: String,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name on the wire.
    pub name: String,
    /// Left out when its value is missing.
    pub optional: bool,
    /// Its value.
    pub value: Shape,
}

/// The value of a field of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// One value.
    One(Expr),
    /// An object.
    Object(Vec<Column>),
    /// An array.
    Array(Vec<Shape>),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Fixed text.
    Text(String),
    /// A value.
    Value(Expr),
}

/// One event of a source, as meant. Conditional heads were spread: each has its own event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Constants of the head.
    pub head: Head,
    /// Kinds of activity it records.
    pub on: Vec<Kind>,
    /// When.
    pub when: Option<Cond>,
    /// Fields in wire order.
    pub data: Vec<Column>,
    /// Rendered message.
    pub message: Option<Vec<Part>>,
    /// Element and namespace of UserData.
    pub user_data: Option<(String, String)>,
    /// Values have no names on the wire.
    pub unnamed: bool,
    /// Binary of classic events.
    pub binary: Option<Expr>,
    /// Who writes it.
    pub product: Arc<Product>,
    /// From the event to the sensor's writing.
    pub write_after: Delay,
    /// It goes through the source's own queue: what happened first is written first. Events with a `write_after` of
    /// their own do not.
    pub in_turn: bool,
    /// Process and thread that write it.
    pub execution: Option<(Expr, Expr)>,
    /// Account that writes it.
    pub user: Option<User>,
    /// ActivityID.
    pub correlation: Option<Field>,
    /// Printed for what the activity lacks.
    pub missing: String,
}

impl Event {
    /// Event id or ActionType.
    pub fn id(&self) -> &str {
        &self.head.id
    }
}

/// Values and what is printed for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// For texts, numbers (in decimal) and truth values: key, in the data, in messages. Sorted by key.
    pub rows: Vec<(String, String, String)>,
    /// For numbers: key and index of the row, sorted.
    pub numbers: Vec<(u64, u16)>,
    /// For any other value.
    pub other: Option<(String, String)>,
}

/// A log source.
#[derive(Clone, Debug)]
pub struct Source {
    /// `windows.sysmon`.
    pub id: String,
    /// Whose hosts have it.
    pub platform: Platform,
    /// The product.
    pub product: Arc<Product>,
    /// Event log channel, empty where there is none.
    pub channel: String,
    /// Event Hub category, empty where there is none.
    pub category: String,
    /// Computer name as the log prints it.
    pub computer: Expr,
    /// Tenant id.
    pub tenant: Expr,
    /// Envelopes it travels in.
    pub encodings: Vec<Encoding>,
    /// What identifies a record for ever.
    pub key: Vec<Expr>,
    /// Its tables.
    pub tables: Arc<[Table]>,
    /// Texts of its expressions.
    pub texts: Arc<[String]>,
    /// Its events.
    pub events: Vec<Event>,
    by_kind: Vec<Vec<EventIndex>>,
}

impl Source {
    /// Events that may record an activity of that kind, in file order.
    pub fn events_for(&self, kind: Kind) -> &[EventIndex] {
        &self.by_kind[kind as usize]
    }
    /// Kinds of activity it may record.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.iter().copied().filter(|k| !self.events_for(*k).is_empty())
    }
    /// The event.
    pub fn event(&self, i: EventIndex) -> &Event {
        &self.events[i.0 as usize]
    }
    /// Does this activity make that record on a host with that policy?
    pub fn selects<V: View, P: Policy>(&self, i: EventIndex, view: &V, policy: &P) -> bool {
        self.event(i).when.as_ref().is_none_or(|c| c.holds(view, policy))
    }
}

/// All sources that were loaded, by id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    sources: BTreeMap<String, Arc<Source>>,
}

impl Catalogue {
    /// Loads the documents of all source files. A later document of the same id replaces an earlier one from another
    /// file; twice in one file is an error.
    ///
    /// # Errors
    /// Everything wrong in any of them.
    pub fn load(docs: &[Node]) -> Result<Catalogue, Problems> {
        let mut p = Problems::new();
        let mut sources = BTreeMap::new();
        let mut seen: Vec<(&Node, String)> = vec![];
        for doc in docs {
            let Some(source) = load::source(doc, &mut p) else { continue };
            if seen.iter().any(|(d, id)| *id == source.id && d.file.name == doc.file.name) {
                p.at(doc, format!("source `{}` is defined twice in this file", source.id));
            }
            seen.push((doc, source.id.clone()));
            sources.insert(source.id.clone(), Arc::new(source));
        }
        p.or(Catalogue { sources })
    }
    /// The source of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Source>> {
        self.sources.get(id)
    }
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.values()
    }
    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;

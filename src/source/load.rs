//! Sources as written into sources as meant.

use std::sync::Arc;

use super::encoding::Encoding;
use super::expr::{Cond, Expr, Names, Parser};
use super::{Column, Delay, Event, EventIndex, Head, Part, Platform, Product, Shape, Source, Table, User};
use crate::activity::{Field, Kind, Type};
use crate::time::Span;
use crate::yaml::{Data, Fields, Node, Problems, parse_span};

mod event;
mod message;

/// Fields of a source's head, for schemas and editors.
pub const FIELDS: &[&str] = &[
    "source",
    "platform",
    "product",
    "channel",
    "category",
    "computer",
    "tenant",
    "encodings",
    "write_after",
    "execution",
    "user",
    "correlation",
    "key",
    "missing",
    "tables",
    "events",
];

/// What events take from the head unless they say otherwise.
struct Defaults {
    product: Arc<Product>,
    write_after: Delay,
    execution: Option<(Expr, Expr)>,
    user: Option<User>,
    correlation: Option<Field>,
    missing: String,
    rows: bool,
}

/// Loads one document.
pub(super) fn source(doc: &Node, p: &mut Problems) -> Option<Source> {
    let before = p.0.len();
    let f = doc.fields(p, "a source")?;
    let id = f.need(p, "source").and_then(|n| identifier(n, p)).unwrap_or_default();
    let platform = f.need(p, "platform").and_then(|n| platform(n, p)).unwrap_or(Platform::Windows);
    let product = Arc::new(f.take("product").map(|n| product_of(n, p)).unwrap_or_default());
    let channel = text_or(&f, "channel", p);
    let category = text_or(&f, "category", p);
    let encodings = f.need(p, "encodings").map(|n| encodings(n, p)).unwrap_or_default();
    let mut names = Names::default();
    let tables = f.take("tables").map(|n| tables(n, &mut names, p)).unwrap_or_default();
    let computer = f.take("computer").and_then(|n| expression(n, &mut names, p)).unwrap_or(plain(Field::HostName));
    let tenant = f.take("tenant").and_then(|n| expression(n, &mut names, p)).unwrap_or(plain(Field::HostTenant));
    let key = f.need(p, "key").map(|n| n.items()).unwrap_or_default();
    let key = key.iter().filter_map(|n| expression(n, &mut names, p)).collect();
    let defaults = Defaults {
        product: product.clone(),
        write_after: f.take("write_after").and_then(|n| delay(n, p)).unwrap_or(Delay::Const(Span::ZERO)),
        execution: f.take("execution").and_then(|n| execution(n, &mut names, p)),
        user: f.take("user").and_then(|n| user(n, &mut names, p)),
        correlation: f.take("correlation").and_then(|n| correlation(n, p)),
        missing: text_or(&f, "missing", p),
        rows: !encodings.is_empty() && encodings.iter().all(|e| e.is_row()),
    };
    let mut events = vec![];
    if let Some(list) = f.need(p, "events") {
        if !matches!(list.data, Data::Seq(_)) {
            p.at(list, format!("`events` must be a sequence, not {}", list.describe()));
        } else {
            for n in list.items() {
                event::events(n, &defaults, &mut names, &mut events, p);
            }
        }
    }
    needs(&f, &encodings, &product, &channel, &category, &events, p);
    for (k, _) in f.rest() {
        if !k.as_str().is_some_and(|k| k.starts_with("x-")) {
            let word = k.as_str().unwrap_or("").to_owned();
            p.unknown(k, "field of a source", &word, FIELDS.iter().copied());
        }
    }
    if p.0.len() > before {
        return None;
    }
    let mut by_kind = vec![vec![]; Kind::ALL.len()];
    for (i, e) in events.iter().enumerate() {
        for k in &e.on {
            by_kind[*k as usize].push(EventIndex(i as u16));
        }
    }
    Some(Source {
        id,
        platform,
        product,
        channel,
        category,
        computer,
        tenant,
        encodings,
        key,
        tables: tables.into(),
        texts: names.texts.into(),
        events,
        by_kind,
    })
}

/// What the encodings need of the head and of each event.
fn needs(
    f: &Fields<'_>,
    encodings: &[Encoding],
    product: &Product,
    channel: &str,
    category: &str,
    events: &[Event],
    p: &mut Problems,
) {
    let node = f.take("encodings").unwrap_or(f.node);
    for e in encodings {
        if e.is_event_log() {
            if product.name.is_empty() && events.iter().any(|e| e.product.name.is_empty()) {
                p.at(node, format!("encoding `{e}` needs `product: {{name: ...}}`"));
            }
            if channel.is_empty() {
                p.at(node, format!("encoding `{e}` needs `channel`"));
            }
            for bad in events.iter().filter(|e| e.id().parse::<u16>().is_err()) {
                p.at(node, format!("encoding `{e}` needs numbers as event ids, not `{}`", bad.id()));
            }
        }
        if *e == Encoding::DefenderEventhub && category.is_empty() {
            p.at(node, format!("encoding `{e}` needs `category`"));
        }
    }
}

fn plain(field: Field) -> Expr {
    use super::expr::Spec;
    use super::format::{Json, Letters, Pick, Print};
    Expr::Field(Spec { field, pick: Pick::All, print: Print::Plain, letters: Letters::default() }, Json::Text)
}

fn text_or(f: &Fields<'_>, name: &'static str, p: &mut Problems) -> String {
    f.take(name).and_then(|n| n.text(p, name)).unwrap_or_default().into()
}

fn identifier(n: &Node, p: &mut Problems) -> Option<String> {
    let t = n.text(p, "the id of a source")?;
    let good = t.split('.').all(|w| {
        w.starts_with(|c: char| c.is_ascii_lowercase())
            && w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    if !good {
        p.at(n, format!("`{t}` is not an id")).help("lower-case words with dots between, such as `windows.sysmon`");
        return None;
    }
    Some(t.into())
}

fn platform(n: &Node, p: &mut Problems) -> Option<Platform> {
    match n.text(p, "platform")? {
        "windows" => Some(Platform::Windows),
        "linux" => Some(Platform::Linux),
        "cloud" => Some(Platform::Cloud),
        "network" => Some(Platform::Network),
        w => {
            p.unknown(n, "platform", w, ["windows", "linux", "cloud", "network"]);
            None
        }
    }
}

fn product_of(n: &Node, p: &mut Problems) -> Product {
    let Some(f) = n.fields(p, "a product") else { return Product::default() };
    let mut text = |name: &'static str| f.take(name).and_then(|n| n.text(p, name)).map(str::to_owned);
    let product = Product {
        name: text("name").unwrap_or_default(),
        guid: text("guid").map(|g| g.to_ascii_lowercase()),
        event_source: text("event_source"),
        display: text("display"),
        version: text("version"),
    };
    f.finish(p);
    product
}

fn encodings(n: &Node, p: &mut Problems) -> Vec<Encoding> {
    let mut out = vec![];
    for n in n.items() {
        let Some(t) = n.text(p, "an encoding") else { continue };
        match Encoding::parse(t) {
            Some(e) if out.contains(&e) => {
                p.at(n, format!("encoding `{t}` is named twice"));
            }
            Some(e) => out.push(e),
            None => p.unknown(n, "encoding", t, Encoding::ALL.iter().map(|e| e.name())),
        }
    }
    out
}

/// Reads an expression.
pub(super) fn expression(n: &Node, names: &mut Names, p: &mut Problems) -> Option<Expr> {
    let t = n.text(p, "an expression")?;
    match Parser::expression(t, names) {
        Ok(e) => Some(e),
        Err(w) => {
            let problem = p.at(n, w.message);
            if let Some(h) = w.help {
                problem.help(h);
            }
            None
        }
    }
}

/// Reads a condition.
pub(super) fn condition(n: &Node, text: &str, names: &mut Names, p: &mut Problems) -> Option<Cond> {
    match Parser::condition(text, names) {
        Ok(c) => Some(c),
        Err(w) => {
            let problem = p.at(n, w.message);
            if let Some(h) = w.help {
                problem.help(h);
            }
            None
        }
    }
}

fn delay(n: &Node, p: &mut Problems) -> Option<Delay> {
    if !matches!(n.data, Data::Map(_)) {
        let s = n.span(p, "`write_after`")?;
        return positive(n, s, p).map(Delay::Const);
    }
    let f = n.fields(p, "`write_after`")?;
    let range = f.take("range");
    let lognormal = f.take("lognormal");
    f.finish(p);
    if let Some(r) = range {
        let t = r.text(p, "a range")?;
        let ends = t.split_once("..").and_then(|(a, b)| Some((parse_span(a)?, parse_span(b)?)));
        return match ends {
            Some((a, b)) if Span::ZERO <= a && a <= b => Some(Delay::Range(a, b)),
            _ => {
                p.at(r, format!("`{t}` is not a range")).help("write `1ms..5ms`, the shorter first");
                None
            }
        };
    }
    let Some(l) = lognormal else {
        p.at(n, "`write_after` needs a length of time, `range` or `lognormal`");
        return None;
    };
    let f = l.fields(p, "`lognormal`")?;
    let median = f.need(p, "median").and_then(|n| n.span(p, "median"));
    let p99 = f.need(p, "p99").and_then(|n| n.span(p, "p99"));
    f.finish(p);
    let (median, p99) = (median?, p99?);
    if median <= Span::ZERO || p99 < median {
        p.at(l, "`lognormal` needs 0 < median <= p99");
        return None;
    }
    Some(Delay::LogNormal { median, p99 })
}

fn positive(n: &Node, s: Span, p: &mut Problems) -> Option<Span> {
    if s < Span::ZERO {
        p.at(n, format!("{} lies in the past", n.describe()));
        return None;
    }
    Some(s)
}

fn execution(n: &Node, names: &mut Names, p: &mut Problems) -> Option<(Expr, Expr)> {
    let f = n.fields(p, "`execution`")?;
    let process = f.need(p, "process").and_then(|n| number(n, names, p));
    let thread = f.need(p, "thread").and_then(|n| number(n, names, p));
    f.finish(p);
    Some((process?, thread?))
}

/// A bare field of a number, or a number: the head prints it in decimal.
fn number(n: &Node, names: &mut Names, p: &mut Problems) -> Option<Expr> {
    let t = n.text(p, "a number's expression")?;
    let text = match Field::parse(t) {
        Some(f) if f.ty() == Type::Uint => format!("{t} | dec"),
        _ => t.to_owned(),
    };
    match Parser::expression(&text, names) {
        Ok(e) => Some(e),
        Err(w) => {
            p.at(n, w.message).help = w.help;
            None
        }
    }
}

fn user(n: &Node, names: &mut Names, p: &mut Problems) -> Option<User> {
    let f = n.fields(p, "`user`")?;
    let sid = f.need(p, "sid").and_then(|n| expression(n, names, p));
    let name = f.take("name").and_then(|n| expression(n, names, p));
    let domain = f.take("domain").and_then(|n| expression(n, names, p));
    let kind = f.take("type").and_then(|n| n.text(p, "type")).unwrap_or("User").to_owned();
    f.finish(p);
    Some(User { sid: sid?, name, domain, kind })
}

fn correlation(n: &Node, p: &mut Problems) -> Option<Field> {
    let t = n.text(p, "`correlation`")?;
    match Field::parse(t) {
        Some(f) if f.ty() == Type::Guid => Some(f),
        Some(f) => {
            p.at(n, format!("`correlation` must be a GUID, and `{f}` is not"));
            None
        }
        None => {
            let guids = Field::ALL.iter().filter(|f| f.ty() == Type::Guid).map(|f| f.name());
            p.unknown(n, "field", t, guids);
            None
        }
    }
}

fn tables(n: &Node, names: &mut Names, p: &mut Problems) -> Vec<Table> {
    let mut out = vec![];
    for (k, v) in n.pairs(p, "`tables`") {
        names.tables.push(k.as_str().unwrap_or("").to_owned());
        let mut t = Table::default();
        for (key, value) in v.pairs(p, "a table") {
            let Some(key) = key.as_str() else { continue };
            let Some((data, message)) = entry(value, p) else { continue };
            if key == "else" {
                t.other = Some((data, message));
            } else {
                let number = match key.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16).ok(),
                    None => key.parse::<u64>().ok(),
                };
                let key = number.map_or(key.to_owned(), |n| n.to_string());
                t.rows.push((key, data, message));
            }
        }
        t.rows.sort();
        t.numbers = t.rows.iter().enumerate().filter_map(|(i, r)| Some((r.0.parse().ok()?, i as u16))).collect();
        t.numbers.sort_unstable();
        out.push(t);
    }
    out
}

fn entry(n: &Node, p: &mut Problems) -> Option<(String, String)> {
    match &n.data {
        Data::Seq(s) if s.len() == 2 => {
            Some((s[0].text(p, "an entry")?.to_owned(), s[1].text(p, "an entry")?.to_owned()))
        }
        Data::Scalar { text, .. } => Some((text.clone(), text.clone())),
        _ => {
            p.at(n, format!("an entry must be text or [in the data, in the message], not {}", n.describe()));
            None
        }
    }
}

//! Events: heads with conditions spread into events of their own, data, messages.

use super::*;

/// Events one declaration may spread to.
const SPREAD_MAX: usize = 16;

/// A head under construction and the conditions it holds under.
#[derive(Clone)]
struct Variant {
    conditions: Vec<Cond>,
    head: Head,
}

/// Loads one declaration and appends its events.
pub(super) fn events(n: &Node, d: &Defaults, names: &mut Names, out: &mut Vec<Event>, p: &mut Problems) {
    let Some(f) = n.fields(p, "an event") else { return };
    let on = f.need(p, "on").map(|n| kinds(n, p)).unwrap_or_default();
    let when = f.take("when").and_then(|n| condition(n, n.text(p, "`when`")?, names, p));
    let variants = heads(&f, names, p);
    let product = f.take("product").map(|n| Arc::new(product_of(n, p))).unwrap_or_else(|| d.product.clone());
    let missing = match f.take("missing") {
        Some(n) => n.text(p, "missing").unwrap_or_default().to_owned(),
        None => d.missing.clone(),
    };
    let data = f.take("data").map(|n| columns(n, d.rows, names, p)).unwrap_or_default();
    let message = f.take("message").and_then(|n| message::template(n, &data, names, p));
    let user_data = f.take("user_data").and_then(|n| {
        let f = n.fields(p, "`user_data`")?;
        let element = f.need(p, "element").and_then(|n| n.text(p, "element"));
        let xmlns = f.need(p, "xmlns").and_then(|n| n.text(p, "xmlns"));
        f.finish(p);
        Some((element?.to_owned(), xmlns?.to_owned()))
    });
    let unnamed = f.take("unnamed").and_then(|n| n.boolean(p, "`unnamed`")).unwrap_or(false);
    let binary = f.take("binary").and_then(|n| expression(n, names, p));
    let own = f.take("write_after").and_then(|n| delay(n, p));
    let (write_after, in_turn) = (own.unwrap_or(d.write_after), own.is_none());
    let execution = f.take("execution").and_then(|n| execution(n, names, p)).or_else(|| d.execution.clone());
    let user = f.take("user").and_then(|n| user(n, names, p)).or_else(|| d.user.clone());
    let correlation = f.take("correlation").and_then(|n| correlation(n, p)).or(d.correlation);
    f.finish(p);
    for v in variants {
        let mut all: Vec<Cond> = when.iter().cloned().collect();
        all.extend(v.conditions);
        let when = match all.len() {
            0 => None,
            1 => all.pop(),
            _ => Some(Cond::All(all)),
        };
        for e in out.iter() {
            if e.head.id == v.head.id
                && e.when == when
                && let Some(k) = on.iter().find(|k| e.on.contains(k))
            {
                p.at(n, format!("event {} of `{k}` is defined twice", v.head.id)).help("give each its own `when`");
                break;
            }
        }
        out.push(Event {
            head: v.head,
            on: on.clone(),
            when,
            data: data.clone(),
            message: message.clone(),
            user_data: user_data.clone(),
            unnamed,
            binary: binary.clone(),
            product: product.clone(),
            write_after,
            in_turn,
            execution: execution.clone(),
            user: user.clone(),
            correlation,
            missing: missing.clone(),
        });
    }
    if out.len() > u16::MAX as usize {
        p.at(n, format!("more than {} events", u16::MAX));
    }
}

fn kinds(n: &Node, p: &mut Problems) -> Vec<Kind> {
    let mut out = vec![];
    for n in n.items() {
        let Some(t) = n.text(p, "a kind of activity") else { continue };
        match Kind::parse(t) {
            Some(k) if out.contains(&k) => {
                p.at(n, format!("kind `{t}` is named twice"));
            }
            Some(k) => out.push(k),
            None => p.unknown(n, "kind of activity", t, Kind::ALL.iter().map(|k| k.name())),
        }
    }
    out
}

/// The head, spread over its conditions.
fn heads(f: &Fields<'_>, names: &mut Names, p: &mut Problems) -> Vec<Variant> {
    let id = f.need(p, "id").and_then(|n| n.text(p, "id")).unwrap_or_default().to_owned();
    let qualifiers = f.take("qualifiers").and_then(|n| n.number(p, "qualifiers"));
    let opcode_name = f.take("opcode_name").and_then(|n| n.text(p, "opcode_name")).unwrap_or("Info").to_owned();
    let head = Head {
        id,
        version: 0,
        level: 4,
        task: 0,
        opcode: 0,
        qualifiers,
        keywords: 0,
        audit: None,
        category: None,
        opcode_name,
    };
    let mut all = vec![Variant { conditions: vec![], head }];
    let number = |n: &Node, t: &str, p: &mut Problems| -> Option<u64> {
        let v = match t.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16).ok(),
            None => t.parse().ok(),
        };
        if v.is_none() {
            p.at(n, format!("`{t}` is not a number"));
        }
        v
    };
    macro_rules! small {
        ($name:literal, $slot:ident) => {
            spread(f, $name, names, p, &mut all, |head, n, t, p| {
                if let Some(v) = number(n, t, p) {
                    match u32::try_from(v) {
                        Ok(v) => head.$slot = v,
                        Err(_) => {
                            p.at(n, format!("`{t}` is beyond 32 bits"));
                        }
                    }
                }
            });
        };
    }
    small!("version", version);
    small!("level", level);
    small!("task", task);
    small!("opcode", opcode);
    spread(f, "keywords", names, p, &mut all, |head, n, t, p| head.keywords = number(n, t, p).unwrap_or(0));
    spread(f, "audit", names, p, &mut all, |head, n, t, p| match t {
        "success" => (head.audit, head.keywords) = (Some(true), 0x8020_0000_0000_0000),
        "failure" => (head.audit, head.keywords) = (Some(false), 0x8010_0000_0000_0000),
        _ => p.unknown(n, "outcome", t, ["success", "failure"]),
    });
    spread(f, "category", names, p, &mut all, |head, _, t, _| {
        head.category = Some(t.trim_matches('\'').to_owned());
    });
    all
}

/// `A if condition else B if ... else C`: one variant for each; later ones hold where the earlier do not.
fn spread(
    f: &Fields<'_>,
    name: &'static str,
    names: &mut Names,
    p: &mut Problems,
    all: &mut Vec<Variant>,
    mut set: impl FnMut(&mut Head, &Node, &str, &mut Problems),
) {
    let Some(n) = f.take(name) else { return };
    let Some(mut rest) = n.text(p, name) else { return };
    let mut cases: Vec<(Vec<Cond>, &str)> = vec![];
    let mut before: Vec<Cond> = vec![];
    // a category is free text: only a quoted one can be conditional
    let conditional = name != "category" || rest.starts_with('\'');
    while let (true, Some((value, tail))) = (conditional, rest.split_once(" if ")) {
        let Some((cond, other)) = tail.split_once(" else ") else {
            p.at(n, "`if` without `else`").help("write `a if condition else b`");
            return;
        };
        let Some(c) = condition(n, cond, names, p) else { return };
        let mut conds = before.clone();
        conds.push(c.clone());
        cases.push((conds, value.trim()));
        before.push(Cond::Not(Box::new(c)));
        rest = other;
    }
    cases.push((before, rest.trim()));
    if all.len() * cases.len() > SPREAD_MAX {
        p.at(n, format!("the head has more than {SPREAD_MAX} combinations of conditions"));
        return;
    }
    let mut out = vec![];
    for v in all.iter() {
        for (conds, value) in &cases {
            let mut v = v.clone();
            v.conditions.extend(conds.iter().cloned());
            set(&mut v.head, n, value, p);
            out.push(v);
        }
    }
    *all = out;
}

fn columns(n: &Node, rows: bool, names: &mut Names, p: &mut Problems) -> Vec<Column> {
    let mut out: Vec<Column> = vec![];
    let maps = match &n.data {
        Data::Seq(s) => s.as_slice(),
        _ => std::slice::from_ref(n),
    };
    for map in maps {
        for (k, v) in map.pairs(p, "`data`") {
            let name = k.as_str().unwrap_or("");
            let (name, optional) = match name.strip_suffix('?') {
                Some(n) if rows => (n, true),
                _ => (name, false),
            };
            if out.iter().any(|c| c.name == name) {
                p.at(k, format!("`{name}` is given twice"));
            }
            if optional && out.is_empty() {
                p.at(k, format!("`{name}?` is the first of its object and cannot be left out"));
            }
            if let Some(value) = shape(v, rows, names, p) {
                out.push(Column { name: name.to_owned(), optional, value });
            }
        }
    }
    out
}

fn shape(n: &Node, rows: bool, names: &mut Names, p: &mut Problems) -> Option<Shape> {
    match &n.data {
        Data::Scalar { .. } => expression(n, names, p).map(Shape::One),
        _ if !rows => {
            p.at(n, format!("a field of an event log record must be an expression, not {}", n.describe()));
            None
        }
        Data::Map(_) => Some(Shape::Object(columns(n, rows, names, p))),
        Data::Seq(s) => Some(Shape::Array(s.iter().filter_map(|n| shape(n, rows, names, p)).collect())),
    }
}

//! Layouts into instructions.

use super::{Item, Place, VALUE_SLOTS};
use crate::source::escape::{self, Esc};
use crate::source::expr::{Cond, Expr};
use crate::source::format::Json;
use crate::source::op::{NO_SLOT, Op, Or, Program, SLOTS_MAX};

/// The instructions of a layout.
pub(super) fn program(items: &[Item]) -> Program {
    let mut c = Compiler::default();
    c.share(items);
    items.iter().for_each(|i| c.item(i));
    c.done()
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
        let simple = simple_leaf(&whole);
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
                    && is_leaf(leaf)
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
                    let mark = (!is_leaf(e)).then(|| self.mark());
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
        let quoted = p.by_type && e.json() == Some(Json::Text);
        match e {
            Expr::Field(spec, _) => {
                self.program.ops.push(Op::Put { spec: *spec, esc: p.esc, message: p.message, quoted, slot, or });
            }
            Expr::Hashes(fields) => {
                self.program.ops.push(Op::Hashes { fields: *fields, esc: p.esc, quoted, slot, or });
            }
            _ => {}
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
        self.program.literals.extend_from_slice(&[0; crate::source::write::CHUNK]);
        self.program.size = self.program.literals.len() + 40 * self.program.ops.len() + 64;
        self.program
    }
}

/// One instruction, which writes nothing when the value is missing.
fn is_leaf(e: &Expr) -> bool {
    matches!(e, Expr::Field(..) | Expr::Hashes(_))
}

fn simple_leaf(e: &Expr) -> bool {
    match e {
        Expr::Or(all) => match flatten(all).as_slice() {
            [leaf, Expr::Const(..)] => is_leaf(leaf),
            _ => false,
        },
        e => is_leaf(e),
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

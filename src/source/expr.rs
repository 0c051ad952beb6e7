//! Expressions and conditions: from text to typed trees.

mod cond;
mod lex;
mod parse;

pub use cond::{Cond, Orders, Switch, TextTest};
pub use lex::{Tok, lex};
pub use parse::{Names, Parser, Wrong};

use super::format::{Json, Letters, Pick, Print};
use crate::activity::Field;

/// A field and how it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Which field.
    pub field: Field,
    /// Part of it.
    pub pick: Pick,
    /// How.
    pub print: Print,
    /// Changes of letters.
    pub letters: Letters,
}

/// Something that prints a text, or nothing when the activity lacks a field it needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// A constant.
    Const(String, Json),
    /// A field.
    Field(Spec, Json),
    /// Hashes by policy: fields for SHA1, MD5, SHA256, IMPHASH.
    Hashes([Field; 4]),
    /// One after the other.
    Join(Vec<Expr>),
    /// The first that prints.
    Or(Vec<Expr>),
    /// By a condition.
    If(Box<Cond>, Box<Expr>, Box<Expr>),
}

impl Expr {
    /// The JSON type of its value, none where alternatives differ.
    pub fn json(&self) -> Option<Json> {
        match self {
            Expr::Const(_, j) | Expr::Field(_, j) => Some(*j),
            Expr::Hashes(_) | Expr::Join(_) => Some(Json::Text),
            Expr::Or(all) => {
                let first = all.first()?.json()?;
                all.iter().all(|e| e.json() == Some(first)).then_some(first)
            }
            Expr::If(_, a, b) => a.json().filter(|j| b.json() == Some(*j)),
        }
    }
    /// It prints differently in messages.
    pub fn two_sided(&self) -> bool {
        match self {
            Expr::Const(..) | Expr::Hashes(_) => false,
            Expr::Field(s, _) => matches!(s.print, Print::HexInt | Print::Table(_) | Print::Codes(_) | Print::Bits(_)),
            Expr::Join(all) | Expr::Or(all) => all.iter().any(Expr::two_sided),
            Expr::If(_, a, b) => a.two_sided() || b.two_sided(),
        }
    }
    /// It always prints something, and never an empty text.
    pub fn always(&self) -> bool {
        match self {
            Expr::Const(t, _) => !t.is_empty(),
            Expr::Field(..) | Expr::Hashes(_) => false,
            Expr::Join(all) => all.iter().all(|e| matches!(e, Expr::Const(..))) && all.iter().any(Expr::always),
            // a text field may be there and empty
            Expr::Or(all) => all.last().is_some_and(Expr::always) && all.iter().all(|e| !e.may_be_empty()),
            Expr::If(_, a, b) => a.always() && b.always(),
        }
    }
    /// It may print an empty text.
    pub fn may_be_empty(&self) -> bool {
        match self {
            Expr::Const(t, _) => t.is_empty(),
            Expr::Field(s, _) => {
                matches!(
                    s.print,
                    Print::Plain
                        | Print::Table(_)
                        | Print::Codes(_)
                        | Print::Lines(_)
                        | Print::Each(_)
                        | Print::Base64
                        | Print::Bits(_)
                        | Print::Hive(_)
                ) && s.field.ty() != crate::activity::Type::Ip
            }
            Expr::Hashes(_) => true,
            Expr::Join(all) => all.iter().all(Expr::may_be_empty),
            Expr::Or(all) => all.iter().any(Expr::may_be_empty),
            Expr::If(_, a, b) => a.may_be_empty() || b.may_be_empty(),
        }
    }
    /// It stands for nothing but one field's text.
    pub fn field(&self) -> Option<Field> {
        if let Expr::Field(s, _) = self { Some(s.field) } else { None }
    }
}

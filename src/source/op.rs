//! Write instructions: what is left of a source file on the hot path.

use super::escape::Esc;
use super::expr::{Cond, Spec};
use crate::activity::Field;

/// No slot.
pub const NO_SLOT: u8 = u8::MAX;
/// Places of `out` that a program may remember.
pub const SLOTS_MAX: usize = 64;

/// What happens when a value is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Or {
    /// A literal stands for it.
    Lit { at: u32, len: u32 },
    /// Go on there; nothing was written.
    To(u16),
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Copy a literal, escaped at compile time.
    Lit { at: u32, len: u32 },
    /// Print a field, in quotes or not; remember where in a slot.
    Put { spec: Spec, esc: Esc, message: bool, quoted: bool, slot: u8, or: Or },
    /// Print hashes by policy.
    Hashes { fields: [Field; 4], esc: Esc, quoted: bool, slot: u8, or: Or },
    /// Copy what a slot remembers.
    Copy { slot: u8 },
    /// The same, JSON text getting XML entities.
    CopyXml { slot: u8 },
    /// Remember the end of `out` as a slot's start.
    Mark { slot: u8 },
    /// Remember the end of `out` as a slot's end.
    Save { slot: u8 },
    /// Cut `out` back to a slot's start.
    Undo { slot: u8 },
    /// Jump when a slot remembers nothing.
    IfEmpty { slot: u8, to: u16 },
    /// Jump when nothing was written since a slot's start.
    IfNothing { slot: u8, to: u16 },
    /// Jump unless a condition holds.
    Unless { cond: u16, to: u16 },
    /// Take a comma at the end back.
    TrimComma,
    /// Jump.
    Jump { to: u16 },
}

/// Instructions of one event in one encoding.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// In order.
    pub ops: Vec<Op>,
    /// Their literals.
    pub literals: Vec<u8>,
    /// Their conditions.
    pub conditions: Vec<Cond>,
    /// Bytes a record is likely to have.
    pub size: usize,
}

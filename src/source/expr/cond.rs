//! Conditions and their evaluation.

use std::cmp::Ordering;

use crate::activity::{Field, Kind, Value, View};
use crate::source::switch::{Policy, PowerShellLog, Subcategory, SysmonRule};

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cond {
    /// All of them.
    All(Vec<Cond>),
    /// Any of them.
    Any(Vec<Cond>),
    /// Not this.
    Not(Box<Cond>),
    /// The activity's kind.
    Kind(Kind),
    /// The activity has the field.
    Has(Field),
    /// The field is true.
    True(Field),
    /// A test of text.
    Text(Field, TextTest, String),
    /// One of these texts.
    In(Field, Vec<String>),
    /// Comparison with a number: true when the field's order to it is one of these.
    Number(Field, u64, Orders),
    /// Two fields have the same value; false where either is missing.
    Same(Field, Field),
    /// A switch of the policy.
    Switch(Switch),
}

/// Orders that satisfy a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Orders {
    /// Less.
    pub less: bool,
    /// Equal.
    pub equal: bool,
    /// Greater.
    pub greater: bool,
}

/// A test of text, without regard to ASCII case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextTest {
    /// The same.
    Is,
    /// At the start.
    Begins,
    /// At the end.
    Ends,
    /// Anywhere; searched by the byte of the tested text that is rarest in paths.
    Contains { anchor: u8 },
}

/// A question to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Switch {
    /// `policy.sysmon installed`.
    SysmonInstalled,
    /// `policy.sysmon selects RULE`.
    Sysmon(SysmonRule),
    /// `policy.audit logs 'Subcategory' success`.
    Audit(Subcategory, bool),
    /// `policy.audit command_line`.
    CommandLine,
    /// `policy.sacl covers object`.
    Sacl,
    /// `policy.powershell logs LOG`.
    PowerShell(PowerShellLog),
}

impl TextTest {
    /// Does `text` pass? `what` is what it is tested against.
    pub fn holds(self, text: &str, what: &str) -> bool {
        let (t, w) = (text.as_bytes(), what.as_bytes());
        match self {
            TextTest::Is => t.eq_ignore_ascii_case(w),
            TextTest::Begins => t.len() >= w.len() && t[..w.len()].eq_ignore_ascii_case(w),
            TextTest::Ends => t.len() >= w.len() && t[t.len() - w.len()..].eq_ignore_ascii_case(w),
            TextTest::Contains { anchor } => contains(t, w, anchor as usize),
        }
    }
}

/// Bytes of paths and keys, the most frequent first.
const FREQUENT: &[u8] = b"\\ eistronaclmdpuwfhgvybk.:xjqz";

/// Index of the byte to search for.
pub(super) fn anchor(what: &str) -> u8 {
    let rank = |b: u8| FREQUENT.iter().position(|f| *f == b.to_ascii_lowercase()).unwrap_or(FREQUENT.len());
    let best = what.bytes().take(u8::MAX as usize).enumerate().max_by_key(|(_, b)| rank(*b));
    best.map_or(0, |(i, _)| i as u8)
}

/// Does `text` hold `what`, without regard to ASCII case? Paths are full of backslashes, and what is searched begins with
/// one: so the search is for a rarer byte.
fn contains(text: &[u8], what: &[u8], anchor: usize) -> bool {
    let Some(&byte) = what.get(anchor) else { return true };
    memchr::memchr2_iter(byte.to_ascii_lowercase(), byte.to_ascii_uppercase(), text).any(|i| {
        i >= anchor && text.get(i - anchor..i - anchor + what.len()).is_some_and(|part| part.eq_ignore_ascii_case(what))
    })
}

impl Cond {
    /// It asks a policy.
    pub fn asks_policy(&self) -> bool {
        match self {
            Cond::All(all) | Cond::Any(all) => all.iter().any(Cond::asks_policy),
            Cond::Not(c) => c.asks_policy(),
            Cond::Switch(_) => true,
            _ => false,
        }
    }
    /// Fields it reads.
    pub fn fields(&self, out: &mut Vec<Field>) {
        match self {
            Cond::All(all) | Cond::Any(all) => all.iter().for_each(|c| c.fields(out)),
            Cond::Not(c) => c.fields(out),
            Cond::Has(f) | Cond::True(f) | Cond::Text(f, ..) | Cond::In(f, _) | Cond::Number(f, ..) => out.push(*f),
            Cond::Same(a, b) => out.extend([*a, *b]),
            Cond::Kind(_) | Cond::Switch(_) => {}
        }
    }
    /// Is it true?
    pub fn holds<V: View, P: Policy>(&self, view: &V, policy: &P) -> bool {
        match self {
            Cond::All(all) => all.iter().all(|c| c.holds(view, policy)),
            Cond::Any(any) => any.iter().any(|c| c.holds(view, policy)),
            Cond::Not(c) => !c.holds(view, policy),
            Cond::Kind(k) => view.kind() == *k,
            Cond::Has(f) => view.get(*f) != Value::None,
            Cond::True(f) => view.get(*f) == Value::Bool(true),
            Cond::Text(f, test, what) => matches!(view.get(*f), Value::Text(t) if test.holds(t, what)),
            Cond::In(f, words) => {
                matches!(view.get(*f), Value::Text(t) if words.iter().any(|w| w.eq_ignore_ascii_case(t)))
            }
            Cond::Number(f, n, orders) => matches!(view.get(*f), Value::Uint(v) if match v.cmp(n) {
                Ordering::Less => orders.less,
                Ordering::Equal => orders.equal,
                Ordering::Greater => orders.greater,
            }),
            Cond::Same(a, b) => {
                let a = view.get(*a);
                a != Value::None && a == view.get(*b)
            }
            Cond::Switch(s) => match s {
                Switch::SysmonInstalled => policy.sysmon_installed(),
                Switch::Sysmon(rule) => policy.sysmon(*rule, view),
                Switch::Audit(subcategory, success) => policy.audit(*subcategory, *success),
                Switch::CommandLine => policy.command_line(),
                Switch::Sacl => policy.sacl(view),
                Switch::PowerShell(log) => policy.powershell(*log),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn contains_agrees_with_the_plain_way(text in r"[\\aAbBkK_]{0,30}", what in r"[\\aAbBkK_]{0,4}") {
            let test = TextTest::Contains { anchor: anchor(&what) };
            prop_assert_eq!(test.holds(&text, &what), text.to_lowercase().contains(&what.to_lowercase()));
        }
    }
}

//! ATT&CK techniques and tactics: the project's own versioned table, and provisional entries for what newer foreign
//! data names.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// A tactic.
#[derive(Clone, Debug, Deserialize)]
pub struct Tactic {
    /// `TA0002`; empty for provisional ones.
    pub id: String,
    /// `Execution`
    pub name: String,
    /// `execution`
    pub shortname: String,
}

/// A technique.
#[derive(Clone, Debug, Deserialize)]
pub struct Technique {
    /// `T1059.001`
    pub id: String,
    /// `PowerShell`
    pub name: String,
    /// Short names of its tactics.
    pub tactics: Vec<String>,
    /// `Windows`, `Linux`, ...
    pub platforms: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    version: String,
    tactics: Vec<Tactic>,
    techniques: Vec<Technique>,
}

/// All techniques.
#[derive(Debug)]
pub struct Techniques {
    /// Version of ATT&CK the table follows.
    pub version: String,
    /// Tactics in the order of the matrix, provisional ones last.
    pub tactics: Vec<Tactic>,
    by_id: BTreeMap<String, Technique>,
}

/// The built-in table.
pub fn techniques() -> &'static Techniques {
    static TABLE: OnceLock<Techniques> = OnceLock::new();
    TABLE.get_or_init(|| {
        let read = |text: &str| -> Table { serde_json::from_str(text).expect("the built-in table is read by a test") };
        let mut first = read(include_str!("../techniques/attack-18.json"));
        let later = read(include_str!("../techniques/provisional.json"));
        first.tactics.extend(later.tactics);
        let all = first.techniques.into_iter().chain(later.techniques);
        Techniques { version: first.version, tactics: first.tactics, by_id: all.map(|t| (t.id.clone(), t)).collect() }
    })
}

impl Techniques {
    /// A technique by id.
    pub fn get(&self, id: &str) -> Option<&Technique> {
        self.by_id.get(id)
    }
    /// True for a tactic's short name.
    pub fn is_tactic(&self, name: &str) -> bool {
        self.tactics.iter().any(|t| t.shortname == name)
    }
    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Technique> {
        self.by_id.values()
    }
}

/// True for the shape of an id, known or not: `T1059` or `T1059.001`.
pub fn well_formed(id: &str) -> bool {
    let digits = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = id.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((a, b)) => digits(a, 4) && digits(b, 3),
        None => digits(rest, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let t = techniques();
        assert_eq!(t.version, "18");
        assert!(t.iter().count() > 600);
        for x in t.iter() {
            assert!(well_formed(&x.id), "{}", x.id);
            assert!(!x.name.is_empty() && !x.tactics.is_empty(), "{}", x.id);
            assert!(x.tactics.iter().all(|n| t.is_tactic(n)), "{}: {:?}", x.id, x.tactics);
            if let Some((parent, _)) = x.id.split_once('.') {
                assert!(t.get(parent).is_some(), "{} has no parent", x.id);
            }
        }
        for id in ["T1027.018", "T1685", "T1686", "T1688", "T1689", "T1690", "T1059.001"] {
            assert!(t.get(id).is_some(), "{id}");
        }
        assert!(!well_formed("T105") && !well_formed("T1059.1") && !well_formed("TA0001"));
    }

    #[test]
    fn mitre_is_named() {
        let notice = include_str!("../NOTICE");
        assert!(notice.contains("The MITRE Corporation. This work is reproduced and distributed with the permission"));
    }
}

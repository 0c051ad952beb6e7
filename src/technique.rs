//! ATT&CK techniques and tactics: the project's own versioned table, and provisional entries for what newer foreign
//! data names.

use std::collections::BTreeMap;

use crate::yaml::{Node, Problems, parse};

/// A tactic.
#[derive(Clone, Debug)]
pub struct Tactic {
    /// `TA0002`; empty for provisional ones.
    pub id: String,
    /// `Execution`
    pub name: String,
    /// `execution`
    pub short: String,
}

/// A technique.
#[derive(Clone, Debug)]
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

/// All techniques.
#[derive(Clone, Debug, Default)]
pub struct Techniques {
    /// Version of ATT&CK the first table follows.
    pub version: String,
    /// Tactics in the order of the tables.
    pub tactics: Vec<Tactic>,
    by_id: BTreeMap<String, Technique>,
}

impl Techniques {
    /// The built-in tables.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn builtin() -> Techniques {
        let mut nodes = vec![];
        for (name, text) in [
            ("techniques/attack-18.yaml", include_str!("../techniques/attack-18.yaml")),
            ("techniques/provisional.yaml", include_str!("../techniques/provisional.yaml")),
        ] {
            nodes.extend(parse(name, text).expect("a test reads the table"));
        }
        Techniques::load(&nodes).expect("a test reads the table")
    }
    /// Loads tables; a later one may add techniques and tactics, and replace techniques.
    ///
    /// # Errors
    /// Everything wrong in any of them: ids of the wrong form, unknown tactics.
    pub fn load(nodes: &[Node]) -> Result<Techniques, Problems> {
        let mut p = Problems::new();
        let mut all = Techniques::default();
        for n in nodes {
            all.table(n, &mut p);
        }
        p.or(all)
    }
    fn table(&mut self, n: &Node, p: &mut Problems) {
        let Some(f) = n.fields(p, "a table of techniques") else { return };
        let version = f.need(p, "techniques").and_then(|n| n.text(p, "`techniques`")).unwrap_or_default();
        if self.version.is_empty() {
            self.version = version.to_owned();
        }
        f.take("source");
        for t in f.take("tactics").map_or(&[][..], |n| n.items()) {
            let Some(f) = t.fields(p, "a tactic") else { continue };
            let id = f.take("id").and_then(|n| n.as_str()).unwrap_or_default().to_owned();
            let name = f.need(p, "name").and_then(|n| n.text(p, "`name`"));
            let short = f.need(p, "short").and_then(|n| n.text(p, "`short`"));
            f.finish(p);
            if let (Some(name), Some(short)) = (name, short)
                && !self.is_tactic(short)
            {
                self.tactics.push(Tactic { id, name: name.to_owned(), short: short.to_owned() });
            }
        }
        for t in f.need(p, "list").map_or(&[][..], |n| n.items()) {
            let Some(f) = t.fields(p, "a technique") else { continue };
            let id = f.need(p, "id").and_then(|n| n.text(p, "`id`")).unwrap_or_default().to_owned();
            let name = f.need(p, "name").and_then(|n| n.text(p, "`name`")).unwrap_or_default().to_owned();
            let list = |name: &'static str, p: &mut Problems| -> Vec<String> {
                let items = f.take(name).map_or(&[][..], |n| n.items());
                items.iter().filter_map(|n| n.text(p, name)).map(str::to_owned).collect()
            };
            let (tactics, platforms) = (list("tactics", p), list("platforms", p));
            f.finish(p);
            if !well_formed(&id) {
                p.at(t, format!("`{id}` is not a technique: it has the form `T1059` or `T1059.001`"));
            }
            for x in tactics.iter().filter(|x| !self.is_tactic(x)) {
                p.unknown(t, "tactic", x, self.tactics.iter().map(|t| &*t.short));
            }
            if tactics.is_empty() {
                p.at(t, format!("technique `{id}` lacks `tactics`"));
                continue;
            }
            self.by_id.insert(id.clone(), Technique { id, name, tactics, platforms });
        }
        f.finish(p);
    }
    /// A technique by id.
    pub fn get(&self, id: &str) -> Option<&Technique> {
        self.by_id.get(id)
    }
    /// True for a tactic's short name.
    pub fn is_tactic(&self, name: &str) -> bool {
        self.tactics.iter().any(|t| t.short == name)
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
        let t = Techniques::builtin();
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

//! What the data folders say about the world, as written: read once, checked whole, used by [`super::build`].
//!
//! One document, one thing; its first key says of what kind and which. A later document of the same kind and name
//! replaces the earlier one (word lists: list by list), so a user's folder can mend any of the built-in ones.

mod boot;
mod organisation;
mod software;
mod traces;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::world::atlas::{Persona, Platform, Text};
use crate::yaml::{Data, Node, Problems};

pub use boot::{BootRow, BootSet, Place};
pub use organisation::{Culture, ForestData, GroupRow, Maker, OsData, RoleData, ServiceAccountRow, SiteData};
pub use software::{LoadSet, ModuleRow, Package, Program, ServiceRow, Style};
pub use traces::{Frame, TraceSet};

/// Kinds of documents, in the order they are read.
pub const KINDS: [&str; 13] = [
    "os", "role", "maker", "culture", "site", "forest", "services", "modules", "loads", "software", "boot", "traces",
    "ports",
];

/// Everything the data folders say about the world.
#[derive(Clone, Debug, Default)]
pub struct WorldData {
    /// Operating systems.
    pub oses: Vec<OsData>,
    /// Roles of hosts.
    pub roles: Vec<RoleData>,
    /// Makers of machines.
    pub makers: Vec<Maker>,
    /// Cultures that names of people come from.
    pub cultures: Vec<Culture>,
    /// Sites.
    pub sites: Vec<SiteData>,
    /// Groups, service accounts, conventions.
    pub forest: ForestData,
    /// Services of Windows and of packages.
    pub services: Vec<ServiceRow>,
    /// Loadable modules.
    pub modules: Vec<ModuleRow>,
    /// Modules that programs load when they start.
    pub loads: Vec<LoadSet>,
    /// Packages of programs, Windows' own among them.
    pub packages: Vec<Package>,
    /// What runs after boot.
    pub boots: Vec<BootSet>,
    /// Call traces.
    pub traces: Vec<TraceSet>,
    /// Who answers on well-known ports.
    pub servers: Vec<Server>,
    /// Word lists by full name (`documents.invoice`).
    pub words: BTreeMap<Text, Vec<Text>>,
}

/// Who answers on a port where a connection does not say.
#[derive(Clone, Debug)]
pub struct Server {
    /// Port.
    pub port: u16,
    /// Over UDP, not TCP.
    pub udp: bool,
    /// The process in the words of `server` in a step: `system`, `service.KEY`, a program.
    pub by: Text,
    /// Where it is written.
    pub node: Node,
}

/// A condition over words that are true of a host: any of the plain ones, all of those with a plus before them, none of
/// those with a dash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Only {
    any: Vec<Text>,
    all: Vec<Text>,
    none: Vec<Text>,
}

impl Only {
    /// True when the condition names that word.
    pub fn mentions(&self, word: &str) -> bool {
        self.any.iter().chain(&self.all).chain(&self.none).any(|w| &**w == word)
    }
    /// True when the words fit.
    pub fn holds(&self, words: &[&str]) -> bool {
        (self.any.is_empty() || self.any.iter().any(|w| words.contains(&&**w)))
            && self.all.iter().all(|w| words.contains(&&**w))
            && !self.none.iter().any(|w| words.contains(&&**w))
    }
}

/// Words that conditions may use: known before documents are read in detail.
#[derive(Default)]
pub(crate) struct Known {
    conditions: BTreeSet<String>,
    names: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Known {
    /// Reads a condition.
    fn only(&self, node: Option<&Node>, p: &mut Problems) -> Only {
        let mut only = Only::default();
        for item in node.map_or(&[][..], Node::items) {
            let Some(text) = item.text(p, "a condition") else { continue };
            let (list, word) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
                (Some(w), _) => (&mut only.none, w),
                (_, Some(w)) => (&mut only.all, w),
                _ => (&mut only.any, text),
            };
            if self.conditions.contains(word) {
                list.push(word.into());
            } else {
                p.unknown(item, "condition", word, self.conditions.iter().map(String::as_str));
            }
        }
        only
    }
    /// Checks that a document of that kind and name exists.
    fn check(&self, node: &Node, kind: &'static str, word: &str, p: &mut Problems) {
        let none = BTreeSet::new();
        let all = self.names.get(kind).unwrap_or(&none);
        if !all.contains(word) {
            p.unknown(node, kind, word, all.iter().map(String::as_str));
        }
    }
}

/// Kind and name of a document.
fn head<'a>(doc: &'a Node, p: &mut Problems) -> Option<(&'static str, &'a str)> {
    let Data::Map(pairs) = &doc.data else {
        p.at(doc, format!("a document of the world must be a mapping, not {}", doc.describe()));
        return None;
    };
    let (key, value) = pairs.first()?;
    let word = key.as_str().unwrap_or("");
    if word == "background" {
        // stands in the same folder, but is written in the language of scenarios and read by its loader
        return None;
    }
    match KINDS.iter().chain(&["words"]).find(|k| **k == word) {
        Some(kind) => value.text(p, &format!("`{kind}`")).map(|name| (*kind, name)),
        None => {
            p.unknown(key, "kind of document", word, KINDS.iter().chain(&["words"]).copied());
            None
        }
    }
}

/// Puts a thing in place of the one with the same name, or at the end.
fn put<T>(list: &mut Vec<T>, thing: T, same: impl Fn(&T, &T) -> bool) {
    match list.iter().position(|t| same(t, &thing)) {
        Some(i) => list[i] = thing,
        None => list.push(thing),
    }
}

impl WorldData {
    /// Reads all documents of the world's data folders.
    ///
    /// # Errors
    /// Everything that is wrong in any of them: unknown kinds, fields and words, missing fields, broken tables.
    pub fn load(docs: &[Node]) -> Result<WorldData, Problems> {
        let mut p = Problems::new();
        let mut known = Known::default();
        known.conditions.extend(["windows".into(), "linux".into()]);
        let mut sorted: Vec<(&'static str, &str, &Node)> = vec![];
        for doc in docs.iter().filter(|d| !d.is_null()) {
            let Some((kind, name)) = head(doc, &mut p) else { continue };
            known.names.entry(kind).or_default().insert(name.into());
            if matches!(kind, "os" | "role" | "maker" | "software") {
                known.conditions.insert(name.into());
            }
            for tag in doc.get("tags").map_or(&[][..], Node::items) {
                known.conditions.extend(tag.as_str().map(String::from));
            }
            sorted.push((kind, name, doc));
        }
        let mut w = WorldData::default();
        for kind in KINDS {
            if kind == "loads" {
                // packages bring modules that load sets may name
                for (_, _, doc) in sorted.iter().filter(|(k, ..)| *k == "software") {
                    software::modules(doc, &known, &mut w.modules, &mut p);
                }
            }
            for (_, name, doc) in sorted.iter().filter(|(k, ..)| *k == kind) {
                w.document(kind, name, doc, &known, &mut p);
            }
        }
        for (_, name, doc) in sorted.iter().filter(|(k, ..)| *k == "words") {
            words::read(name, doc, &mut w.words, &mut p);
        }
        w.complete(&mut p);
        p.or(w)
    }

    fn document(&mut self, kind: &str, name: &str, doc: &Node, known: &Known, p: &mut Problems) {
        match kind {
            "os" => read(OsData::read(name, doc, p), &mut self.oses, |a, b| a.id == b.id),
            "role" => read(RoleData::read(name, doc, known, p), &mut self.roles, |a, b| a.id == b.id),
            "maker" => read(Maker::read(name, doc, p), &mut self.makers, |a, b| a.id == b.id),
            "culture" => read(Culture::read(name, doc, p), &mut self.cultures, |a, b| a.id == b.id),
            "site" => read(SiteData::read(name, doc, known, p), &mut self.sites, |a, b| a.name == b.name),
            "forest" => self.forest.read(doc, known, p),
            "services" => software::services(doc, known, &mut self.services, p),
            "modules" => software::modules(doc, known, &mut self.modules, p),
            "loads" => software::loads(doc, &self.modules, &mut self.loads, p),
            "software" => {
                if let Some((package, boot)) = Package::read(name, doc, self, known, p) {
                    put(&mut self.packages, package, |a, b| a.id == b.id);
                    if let Some(b) = boot {
                        put(&mut self.boots, b, |a, b| a.id == b.id);
                    }
                }
            }
            "boot" => read(BootSet::read(name, doc, known, p), &mut self.boots, |a, b| a.id == b.id),
            "ports" => self.ports(doc, p),
            _ => read(TraceSet::read(doc, p), &mut self.traces, |a, b| a.id == b.id),
        }
    }

    fn ports(&mut self, doc: &Node, p: &mut Problems) {
        let Some(f) = doc.fields(p, "ports") else { return };
        f.take("ports");
        for (transport, udp) in [("tcp", false), ("udp", true)] {
            let Some(table) = f.take(transport) else { continue };
            for (port, by) in table.pairs(p, &format!("`{transport}`")) {
                let port = port.number(p, "a port");
                let text = by.text(p, "the process on a port");
                if let (Some(port), Some(text)) = (port, text) {
                    let server = Server { port, udp, by: text.into(), node: by.clone() };
                    put(&mut self.servers, server, |a, b| (a.port, a.udp) == (b.port, b.udp));
                }
            }
        }
        f.finish(p);
    }

    /// What no single document can tell.
    fn complete(&self, p: &mut Problems) {
        for (what, missing) in [
            ("operating system", self.oses.is_empty()),
            ("role", self.roles.is_empty()),
            ("maker", self.makers.is_empty()),
            ("culture", self.cultures.is_empty()),
            ("site with `default: true`", !self.sites.iter().any(|s| s.default)),
        ] {
            if missing {
                p.plain(format!("the data of the world has no {what}"));
            }
        }
    }

    /// Checks the personas that packages and groups name against those there are.
    ///
    /// # Errors
    /// Each unknown persona with its place.
    pub fn check_personas(&self, personas: &[Persona]) -> Result<(), Problems> {
        let mut p = Problems::new();
        let nodes =
            self.packages.iter().flat_map(|k| &k.personas).chain(self.forest.groups.iter().flat_map(|g| &g.personas));
        for node in nodes {
            let word = node.as_str().unwrap_or("");
            if !personas.iter().any(|x| *x.id == *word) {
                p.unknown(node, "persona", word, personas.iter().map(|x| &*x.id));
            }
        }
        p.or(())
    }
}

fn read<T>(thing: Option<T>, list: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    if let Some(t) = thing {
        put(list, t, same);
    }
}

/// A list of texts.
fn texts(node: Option<&Node>, p: &mut Problems, what: &str) -> Vec<Text> {
    node.map_or(&[][..], Node::items).iter().filter_map(|n| n.text(p, what).map(Text::from)).collect()
}

/// A mapping of words to weights; a bare word weighs 1.
fn weights(node: Option<&Node>, p: &mut Problems, what: &str) -> Vec<(Text, u32, Node)> {
    let Some(node) = node else { return vec![] };
    match &node.data {
        Data::Map(pairs) => pairs
            .iter()
            .filter_map(|(k, v)| Some((Text::from(k.text(p, what)?), v.number(p, "a weight")?, k.clone())))
            .collect(),
        _ => node.items().iter().filter_map(|k| Some((Text::from(k.text(p, what)?), 1, k.clone()))).collect(),
    }
}

/// Reads `windows` or `linux`.
fn platform(node: Option<&Node>, p: &mut Problems) -> Platform {
    match node.and_then(|n| n.as_str().map(|t| (n, t))) {
        None | Some((_, "windows")) => Platform::Windows,
        Some((_, "linux")) => Platform::Linux,
        Some((n, t)) => {
            p.unknown(n, "platform", t, ["windows", "linux"]);
            Platform::Windows
        }
    }
}

//! The data folders: those built into the binary, and those of the user, which add to or override them by id.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use rayon::prelude::*;

use crate::yaml::{self, Node, Problems};

static SOURCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sources");
static EFFECTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/effects");
static SCENARIOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");
static PERSONAS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/personas");
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");
static WORLD: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/world");
static TECHNIQUES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/techniques");

/// The folders' names, in the order in which they are loaded, and what is built in.
const FOLDERS: [(&str, &Dir<'static>); 7] = [
    ("sources", &SOURCES),
    ("effects", &EFFECTS),
    ("scenarios", &SCENARIOS),
    ("personas", &PERSONAS),
    ("policies", &POLICIES),
    ("world", &WORLD),
    ("techniques", &TECHNIQUES),
];

/// A file that is not YAML (tables).
#[derive(Clone, Debug)]
pub struct Table {
    /// `builtin:world/modules.tsv` or a path.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Everything in the data folders, parsed but not understood.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// `sources/`
    pub sources: Vec<Node>,
    /// `effects/`
    pub effects: Vec<Node>,
    /// `scenarios/`
    pub scenarios: Vec<Node>,
    /// `personas/`
    pub personas: Vec<Node>,
    /// `policies/`
    pub policies: Vec<Node>,
    /// `world/`
    pub world: Vec<Node>,
    /// Tables of `world/`.
    pub tables: Vec<Table>,
    /// `techniques/`
    pub techniques: Vec<Node>,
}

impl Data {
    /// What is built in, then the given folders in order.
    ///
    /// # Errors
    /// Every file that cannot be read or parsed, and a folder that is none.
    pub fn load(folders: &[PathBuf]) -> Result<Data, Problems> {
        let (data, p) = Data::read(folders);
        p.or(data)
    }

    /// As [`Data::load`]: what could be read, and what could not. Loaders go on with the rest, so that one run tells
    /// of everything.
    pub fn read(folders: &[PathBuf]) -> (Data, Problems) {
        let mut p = Problems::new();
        let mut data = Data::default();
        let mut all = vec![];
        for (folder, dir) in FOLDERS {
            let mut files = vec![];
            walk_builtin(dir, &mut files);
            files.sort();
            all.extend(files.into_iter().map(|(path, text)| (folder, format!("builtin:{folder}/{path}"), text)));
        }
        let parsed: Vec<_> = all.par_iter().map(|(_, name, text)| parse(name, text)).collect();
        for ((folder, name, text), parsed) in all.iter().zip(parsed) {
            data.file(folder, name, text, parsed, &mut p);
        }
        for root in folders {
            if !root.is_dir() {
                p.plain(format!("data folder `{}` is not a folder", root.display()));
                continue;
            }
            let mut known = false;
            let before = data.runs().map(|nodes| nodes.len());
            for (folder, _) in FOLDERS {
                let path = root.join(folder);
                if path.is_dir() {
                    known = true;
                    data.folder(folder, &path, &mut p);
                }
            }
            if !known {
                let names: Vec<String> = FOLDERS.iter().map(|(f, _)| format!("`{f}/`")).collect();
                p.plain(format!("data folder `{}` has none of {}", root.display(), names.join(", ")));
            }
            data.give_way(before);
        }
        (data, p)
    }

    /// What plays: scenarios, personas and habits, background.
    fn runs(&mut self) -> [&mut Vec<Node>; 3] {
        [&mut self.scenarios, &mut self.personas, &mut self.world]
    }

    /// Documents among the first of each list give way to later ones of the same id. Effects, sources, policies and the
    /// world's tables know by themselves what overrides what.
    fn give_way(&mut self, before: [usize; 3]) {
        let later: BTreeSet<String> =
            self.runs().into_iter().zip(before).flat_map(|(nodes, n)| nodes[n..].iter().filter_map(identity)).collect();
        for (nodes, n) in self.runs().into_iter().zip(before) {
            let mut i = 0;
            nodes.retain(|node| {
                i += 1;
                i > n || identity(node).is_none_or(|id| !later.contains(&id))
            });
        }
    }

    /// Digest of all of it, for manifests: xxh3-128 in hex.
    pub fn digest(&self) -> String {
        let mut h = xxhash_rust::xxh3::Xxh3::new();
        let mut last: *const yaml::File = std::ptr::null();
        let all = [
            &self.sources,
            &self.effects,
            &self.scenarios,
            &self.personas,
            &self.policies,
            &self.world,
            &self.techniques,
        ];
        for n in all.into_iter().flatten() {
            // the documents of a file stand together
            if !std::ptr::eq(last, &*n.file) {
                last = &*n.file;
                h.update(n.file.text.as_bytes());
            }
        }
        for t in &self.tables {
            h.update(t.text.as_bytes());
        }
        format!("{:032x}", h.digest128())
    }

    fn folder(&mut self, folder: &str, path: &Path, p: &mut Problems) {
        let entries = match std::fs::read_dir(path) {
            Ok(e) => e,
            Err(e) => {
                p.plain(format!("{}: cannot read: {e}", path.display()));
                return;
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.folder(folder, &path, p);
            } else if let Some("yaml" | "yml" | "tsv") = path.extension().and_then(|e| e.to_str()) {
                match std::fs::read(&path).map(String::from_utf8) {
                    Ok(Ok(text)) => {
                        let name = path.display().to_string();
                        self.file(folder, &name, &text, parse(&name, &text), p);
                    }
                    // the loader says which byte is wrong
                    _ => p.0.extend(yaml::read(&path).err().unwrap_or_default().0),
                }
            }
        }
    }

    fn file(&mut self, folder: &str, name: &str, text: &str, parsed: Result<Vec<Node>, Problems>, p: &mut Problems) {
        if is_table(name) {
            self.tables.push(Table { name: name.into(), text: text.into() });
            return;
        }
        match parsed {
            Ok(nodes) => match folder {
                "sources" => &mut self.sources,
                "effects" => &mut self.effects,
                "scenarios" => &mut self.scenarios,
                "personas" => &mut self.personas,
                "policies" => &mut self.policies,
                "world" => &mut self.world,
                _ => &mut self.techniques,
            }
            .extend(nodes),
            Err(e) => p.0.extend(e.0),
        }
    }
}

fn is_table(name: &str) -> bool {
    name.ends_with(".tsv")
}

/// The documents of a file; a table has none.
fn parse(name: &str, text: &str) -> Result<Vec<Node>, Problems> {
    if is_table(name) { Ok(vec![]) } else { yaml::parse(name, text) }
}

/// What a document of what plays is known by: its kind and id; the habits of a role or a program by these; background,
/// which has none, by its file's place in `world/`.
fn identity(node: &Node) -> Option<String> {
    let named = |kind: &str| node.get(kind).and_then(Node::as_str).map(|id| format!("{kind} {id}"));
    if node.get("background").is_some() {
        return node.file.name.rsplit_once("world/").map(|(_, place)| format!("background {place}"));
    }
    let habits = || ["role", "program"].into_iter().find_map(named).filter(|_| node.get("habits").is_some());
    ["scenario", "persona", "script"].into_iter().find_map(named).or_else(habits)
}

fn walk_builtin(dir: &'static Dir<'static>, into: &mut Vec<(String, &'static str)>) {
    for f in dir.files() {
        let path = f.path().to_string_lossy().replace('\\', "/");
        if [".yaml", ".yml", ".tsv"].iter().any(|e| path.ends_with(e)) {
            into.push((path, f.contents_utf8().expect("data files are UTF-8: a test reads them all")));
        }
    }
    for d in dir.dirs() {
        walk_builtin(d, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_built_in_is_read() {
        let d = Data::load(&[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(!d.sources.is_empty());
    }

    #[test]
    fn documents_of_the_user_take_the_place_of_those_built_in() {
        let built_in = Data::load(&[]).unwrap();
        let mut both = Data::load(&[PathBuf::from(env!("CARGO_MANIFEST_DIR"))]).unwrap();
        for (all, one) in both.runs().into_iter().zip(built_in.clone().runs()) {
            let ids = |nodes: &[Node]| nodes.iter().filter_map(identity).collect::<Vec<_>>();
            assert_eq!(ids(all), ids(one));
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("personas")).unwrap();
        std::fs::write(dir.path().join("personas/own.yaml"), "persona: finance\nshare: 0.5\n").unwrap();
        let d = Data::load(&[dir.path().to_owned()]).unwrap();
        let finance = |n: &&Node| n.get("persona").and_then(Node::as_str) == Some("finance");
        assert_eq!(d.personas.len(), built_in.personas.len());
        assert!(d.personas.iter().find(finance).unwrap().get("habits").is_none());
    }

    #[test]
    fn folders_of_the_user_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let e = Data::load(&[dir.path().to_owned(), dir.path().join("absent")]).unwrap_err().to_string();
        let e = e.replace(&dir.path().display().to_string(), "DIR");
        insta::assert_snapshot!(e, @r"
        data folder `DIR` has none of `sources/`, `effects/`, `scenarios/`, `personas/`, `policies/`, `world/`, `techniques/`
        data folder `DIR/absent` is not a folder
        ");
    }
}

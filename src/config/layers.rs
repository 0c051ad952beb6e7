//! From files, environment and `--set` to one tree in which every value still knows where it was written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::yaml::{self, Data, File, Node, Problem, Problems};

/// What a configuration is put together from, in the order in which later parts override earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Built-in configurations to start from: their names and texts.
    pub base: Vec<(&'static str, &'static str)>,
    /// Files of `-c`.
    pub files: Vec<PathBuf>,
    /// Variables of the environment; those that do not begin with [`ENV_PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// Arguments of `--set`, `KEY=VALUE`.
    pub set: Vec<String>,
}

/// `SKIRMISH__STREAMS__SYSMON__RATE` sets `streams.sysmon.rate`.
pub const ENV_PREFIX: &str = "SKIRMISH__";

/// Keys of which a mapping has one at most: giving one in a later layer takes the others away.
const ALTERNATIVES: &[&[&str]] = &[
    &["ramp", "steps", "diurnal", "weekly", "burst", "poisson", "sum"],
    &["per_hour", "at", "share"],
    &["every", "at"],
    &["tz", "site"],
    &["password_file", "password_env"],
    &["token_file", "token_env"],
];

impl Layers {
    /// The merged tree.
    ///
    /// # Errors
    /// Everything that cannot be read or is not one YAML mapping, of all layers.
    pub fn merge(&self) -> Result<Node, Problems> {
        let mut p = Problems::new();
        let mut tree = Node { file: file("configuration", ""), at: 0..0, data: Data::Map(vec![]) };
        let mut lay = |read: Result<Vec<Node>, Problems>, p: &mut Problems| match read {
            Err(e) => p.0.extend(e.0),
            Ok(docs) => match docs.as_slice() {
                [] => {}
                [doc] if doc.is_null() => {}
                [doc] if matches!(doc.data, Data::Map(_)) => merge(&mut tree, doc.clone()),
                [doc] => {
                    p.at(doc, format!("a configuration must be a mapping, not {}", doc.describe()));
                }
                [_, second, ..] => {
                    p.at(second, "a configuration is one document").help("give further ones by a `-c` of their own");
                }
            },
        };
        for (name, text) in &self.base {
            lay(yaml::parse(name, text), &mut p);
        }
        for path in &self.files {
            lay(yaml::read(path), &mut p);
        }
        let environment: BTreeMap<_, _> = self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let path = key.split("__").map(str::to_owned).collect();
                put(&mut tree, path, &format!("environment {name}"), "", value, true, &mut p);
            }
        }
        for argument in &self.set {
            match argument.split_once('=') {
                None => {
                    p.plain(format!("--set {argument}: has no value")).help("write `--set KEY=VALUE`");
                }
                Some((key, value)) => {
                    let prefix = format!("{key}=");
                    put(&mut tree, split(key), &format!("--set {key}"), &prefix, value, false, &mut p);
                }
            }
        }
        p.or(tree)
    }
}

fn file(name: &str, text: &str) -> Arc<File> {
    Arc::new(File { name: name.into(), text: text.into() })
}

/// `a.b."c.d"` in its parts.
fn split(key: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut().expect("never empty").push(c),
        }
    }
    parts
}

/// Lays the value of one key over the tree. `prefix` is what stands before the value in the text that was written.
fn put(tree: &mut Node, path: Vec<String>, name: &str, prefix: &str, value: &str, env: bool, p: &mut Problems) {
    let home = file(name, &format!("{prefix}{value}"));
    if path.iter().any(String::is_empty) {
        p.0.push(Problem { file: Some(home), at: 0..0, message: "a part of the key is empty".into(), help: None });
        return;
    }
    let mut node = match yaml::parse(name, value) {
        Ok(docs) if docs.len() <= 1 => docs.into_iter().next().unwrap_or_else(|| scalar(&home, "")),
        Ok(docs) => {
            p.at(&docs[1], "a value is one document");
            return;
        }
        Err(e) => {
            p.0.extend(e.0.into_iter().map(|mut e| {
                e.at = e.at.start + prefix.len()..e.at.end + prefix.len();
                e.file = Some(home.clone());
                e
            }));
            return;
        }
    };
    rehome(&mut node, &home, prefix.len());
    place(tree, &path, &home, node, env, p);
}

fn scalar(home: &Arc<File>, text: &str) -> Node {
    Node { file: home.clone(), at: 0..0, data: Data::Scalar { text: text.into(), plain: true } }
}

fn rehome(node: &mut Node, home: &Arc<File>, shift: usize) {
    node.file = home.clone();
    node.at = node.at.start + shift..node.at.end + shift;
    match &mut node.data {
        Data::Scalar { .. } => {}
        Data::Seq(s) => s.iter_mut().for_each(|n| rehome(n, home, shift)),
        Data::Map(m) => m.iter_mut().for_each(|(k, v)| {
            rehome(k, home, shift);
            rehome(v, home, shift);
        }),
    }
}

fn place(at: &mut Node, path: &[String], home: &Arc<File>, value: Node, env: bool, p: &mut Problems) {
    let Some((first, rest)) = path.split_first() else {
        merge(at, value);
        return;
    };
    if let Data::Seq(items) = &mut at.data {
        let count = items.len();
        match first.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
            Some(item) => place(item, rest, home, value, env, p),
            None => {
                p.at(&scalar(home, first), format!("`{first}` is no item of a sequence of {count}"))
                    .help("items count from 0");
            }
        }
        return;
    }
    if !matches!(at.data, Data::Map(_)) {
        *at = Node { file: home.clone(), at: 0..0, data: Data::Map(vec![]) };
    }
    let Data::Map(pairs) = &mut at.data else { return };
    let mut key = first.clone();
    if env {
        // the environment knows neither small letters nor hyphens: what is there already says how it is spelt
        let plain = |s: &str| s.to_lowercase().replace('-', "_");
        let known = pairs.iter().filter_map(|(k, _)| k.as_str()).find(|k| plain(k) == plain(&key));
        key = known.map_or_else(|| key.to_lowercase(), str::to_owned);
    }
    if rest.is_empty() {
        merge_pair(pairs, (scalar(home, &key), value));
        return;
    }
    exclude(pairs, &key);
    if !pairs.iter().any(|(k, _)| k.as_str() == Some(&key)) {
        pairs.push((scalar(home, &key), Node { file: home.clone(), at: 0..0, data: Data::Map(vec![]) }));
    }
    let child = pairs.iter_mut().find(|(k, _)| k.as_str() == Some(&key)).expect("pushed if it was not there");
    place(&mut child.1, rest, home, value, env, p);
}

/// Lays one tree over another: mappings key by key, everything else as a whole; nothing (`key: ~`) takes a key away.
fn merge(under: &mut Node, over: Node) {
    let Data::Map(new) = over.data else {
        *under = over;
        return;
    };
    if !matches!(under.data, Data::Map(_)) {
        *under = Node { data: Data::Map(vec![]), ..over };
    }
    let Data::Map(old) = &mut under.data else { return };
    // first all exclusions: what one layer gives twice over is an error of the loader, not settled here
    new.iter().filter_map(|(k, _)| k.as_str()).for_each(|word| exclude(old, word));
    new.into_iter().for_each(|(k, v)| merge_at(old, k, v));
}

fn merge_pair(old: &mut Vec<(Node, Node)>, (key, value): (Node, Node)) {
    exclude(old, key.as_str().unwrap_or(""));
    merge_at(old, key, value);
}

/// Takes away what `word` is an alternative to.
fn exclude(old: &mut Vec<(Node, Node)>, word: &str) {
    let kinds: Vec<&str> = crate::sink::KINDS.iter().map(|k| k.name).collect();
    for group in ALTERNATIVES.iter().copied().chain([kinds.as_slice()]).filter(|g| g.contains(&word)) {
        old.retain(|(k, _)| k.as_str().is_none_or(|k| k == word || !group.contains(&k)));
    }
}

fn merge_at(old: &mut Vec<(Node, Node)>, key: Node, value: Node) {
    let at = old.iter().position(|(k, _)| k.as_str().is_some() && k.as_str() == key.as_str());
    match at {
        Some(i) if value.is_null() => {
            old.remove(i);
        }
        Some(i) => {
            old[i].0 = key;
            merge(&mut old[i].1, value);
        }
        None => old.push((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(n: &Node) -> String {
        match &n.data {
            Data::Scalar { text, .. } => text.clone(),
            Data::Seq(s) => format!("[{}]", s.iter().map(show).collect::<Vec<_>>().join(", ")),
            Data::Map(m) => {
                format!(
                    "{{{}}}",
                    m.iter().map(|(k, v)| format!("{}: {}", show(k), show(v))).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }

    fn layers(base: &'static str, environment: &[(&str, &str)], set: &[&str]) -> Layers {
        Layers {
            base: vec![("base.yaml", base)],
            files: vec![],
            environment: environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            set: set.iter().map(|s| s.to_string()).collect(),
        }
    }

    #[test]
    fn later_layers_override_by_key() {
        let base = "streams: {sys-Mon: {rate: {diurnal: {mean: 1/s}}, to: [{sink: a}, {sink: b}]}}\nseed: 1\n";
        let l = layers(
            base,
            &[("SKIRMISH__STREAMS__SYS_MON__RATE__DIURNAL__MEAN", "7/s"), ("HOME", "/"), ("SKIRMISH__SEED", "3")],
            &["streams.sys-Mon.to.1.topic=t", "seed=4", "sinks.a.kafka.properties.\"linger.ms\"=5"],
        );
        insta::assert_snapshot!(show(&l.merge().unwrap()), @"{streams: {sys-Mon: {rate: {diurnal: {mean: 7/s}}, to: [{sink: a}, {sink: b, topic: t}]}}, seed: 4, sinks: {a: {kafka: {properties: {linger.ms: 5}}}}}");
        let l = layers(base, &[], &["streams.sys-Mon.rate={ramp: {to: 3/s}}", "streams.sys-Mon.to=~"]);
        insta::assert_snapshot!(show(&l.merge().unwrap()), @"{streams: {sys-Mon: {rate: {ramp: {to: 3/s}}}}, seed: 1}");
    }

    #[test]
    fn what_is_wrong_in_a_layer_has_its_place() {
        let l =
            layers("[1, 2]", &[("SKIRMISH__SEED", "[")], &["seed", "a..b=1", "x.y={a: {b: c}", "l=[1, 2]", "l.7=2"]);
        insta::assert_snapshot!(l.merge().unwrap_err(), @"
        base.yaml:1:1: a configuration must be a mapping, not a sequence
        environment SKIRMISH__SEED:1:2: broken YAML: while parsing a node, did not find expected node content
        --set seed: has no value; write `--set KEY=VALUE`
        --set a..b:1:1: a part of the key is empty
        --set x.y:1:15: broken YAML: while parsing a flow mapping, did not find expected ',' or '}'
        --set l.7:1:1: `7` is no item of a sequence of 2; items count from 0
        ");
    }

    #[test]
    fn a_value_of_set_knows_its_column() {
        let tree = layers("", &[], &["streams.x.rate={ramp: 3}"]).merge().unwrap();
        let n = tree.get("streams").unwrap().get("x").unwrap().get("rate").unwrap().get("ramp").unwrap();
        assert_eq!((n.file.name.as_str(), n.file.line_col(n.at.start)), ("--set streams.x.rate", (1, 23)));
    }
}

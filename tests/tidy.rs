//! Imports point one way: down the way of the data. A module may use what stands in its row, nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Module and what it may use, besides itself. Leaves may use leaves.
const TABLE: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("rng", &["time"]),
    ("yaml", &["time"]),
    ("activity", &["time"]),
    ("account", &[]),
    ("batch", &["time"]),
    ("secret", &["yaml"]),
    ("tls", &["yaml"]),
    ("grpc", &["secret", "tls"]),
    ("proto", &[]),
    ("technique", &["yaml"]),
    ("schedule", &["time", "rng", "yaml"]),
    ("pace", &["time"]),
    ("journal", &["time", "yaml"]),
    ("manifest", &["time"]),
    // the world knows neither sources nor sinks; sources and sinks know no world
    ("world", &["time", "rng", "yaml", "activity", "schedule"]),
    ("source", &["time", "rng", "yaml", "activity"]),
    ("sink", &["time", "rng", "yaml", "schedule", "account", "batch", "secret", "tls", "grpc", "proto", "activity"]),
    ("policy", &["yaml", "activity", "source", "time"]),
    ("effect", &["yaml", "activity", "world", "time", "rng", "technique"]),
    ("scenario", &["yaml", "activity", "world", "time", "rng", "technique", "effect"]),
    ("data", &["yaml"]),
    ("client", &["proto", "grpc", "secret", "tls"]),
    ("control", &["proto", "sink", "time"]),
    ("cell", &["time", "rng", "activity", "batch", "schedule", "source", "policy", "world"]),
    ("engine", &["time", "batch", "schedule", "world", "cell"]),
    ("director", &["time", "rng", "world", "engine"]),
    ("config", &["pace", "time", "rng", "yaml", "schedule", "secret", "tls", "sink", "activity"]),
    (
        "plan",
        &[
            "time",
            "rng",
            "yaml",
            "activity",
            "batch",
            "schedule",
            "source",
            "policy",
            "effect",
            "scenario",
            "technique",
            "world",
            "data",
            "cell",
            "engine",
            "director",
            "config",
            "sink",
        ],
    ),
    (
        "app",
        &[
            "time", "rng", "yaml", "account", "batch", "schedule", "world", "cell", "engine", "director", "config",
            "plan", "sink", "control", "proto", "pace", "journal", "manifest",
        ],
    ),
    ("coverage", &["time", "yaml", "policy", "world", "engine", "config", "plan"]),
    ("generate", &["time", "batch", "world", "engine", "journal", "plan", "app"]),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(dir).unwrap().flatten() {
        let p = e.path();
        if p.is_dir() {
            files(&p, into);
        } else if p.extension().is_some_and(|e| e == "rs") {
            into.push(p);
        }
    }
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = vec![];
    files(&src, &mut all);
    let mut wrong = vec![];
    for file in all {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        let Some((_, allowed)) = TABLE.iter().find(|(m, _)| *m == module) else {
            wrong.push(format!("{}: module `{module}` has no row in the table", relative.display()));
            continue;
        };
        if allowed.contains(&"*") {
            continue;
        }
        // what tests at a file's end use is not part of the picture
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let mut used = BTreeSet::new();
        for (i, _) in text.match_indices("crate::") {
            let rest = &text[i + 7..];
            let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !word.is_empty() {
                used.insert(word);
            }
        }
        for u in used {
            let known = TABLE.iter().any(|(m, _)| *m == u);
            if known && u != module && !allowed.contains(&u.as_str()) {
                wrong.push(format!("{} uses crate::{u}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_grows_into_two_ideas() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = vec![];
    files(&src, &mut all);
    let long: Vec<String> = all
        .iter()
        .map(|f| (std::fs::read_to_string(f).unwrap().lines().count(), f))
        .filter(|(n, _)| *n > 1_000)
        .map(|(n, f)| format!("{} {n}", f.strip_prefix(&src).unwrap().display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = vec![];
    files(&src, &mut all);
    for f in all {
        let text = std::fs::read_to_string(&f).unwrap();
        for mark in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")] {
            assert!(!text.contains(mark), "{} contains {mark}", f.display());
        }
    }
}

#[test]
fn every_mutant_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches: Vec<_> =
        std::fs::read_dir(root.join("tests/mutants")).unwrap().flatten().map(|e| e.path()).collect();
    patches.retain(|p| p.extension().is_some_and(|e| e == "patch"));
    assert!(patches.len() >= 4, "{patches:?}");
    if !root.join(".git").exists() {
        return;
    }
    let applies = |p: &&PathBuf| {
        let git = std::process::Command::new("git").args(["apply", "--check"]).arg(p).current_dir(root).output();
        git.is_ok_and(|o| o.status.success())
    };
    let stale: Vec<_> = patches.iter().filter(|p| !applies(p)).collect();
    assert!(stale.is_empty(), "they no longer change what they are about: {stale:?}");
}

//! What is done to a running daemon, with the logical time at which it took effect; `generate --journal` does it again.
//!
//! `journal.jsonl` in the state folder: a line that says which run it is of, then a line for each command, written
//! through to the disk before the command takes effect. It holds what was asked for, never a secret: tokens and
//! passwords belong to the connection and the configuration.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use crate::yaml::{self, Problem, Problems};

/// Version of the file's layout.
const LAYOUT: u32 = 2;

/// The run that a journal is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Of {
    /// Layout of the file.
    journal: u32,
    /// Id of the run.
    pub run: String,
    /// Version of skirmish.
    pub version: String,
    /// Digest of sources, effects, scenarios and policies.
    pub content: String,
    /// Digest of the configuration, as far as records depend on it: [`configuration_digest`].
    pub configuration: String,
    /// Seed of every draw.
    pub seed: u64,
    /// The first instant of logical time, nanoseconds since the epoch: a live run starts where the clock stood.
    pub from: Time,
    /// The earlier run whose record numbers this one went on from; its manifest is kept beside the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A command and when it took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Logical time, nanoseconds since the epoch: the start of a slice.
    pub at: Time,
    /// What was done.
    #[serde(flatten)]
    pub command: Command,
}

/// What can be done to a running daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// A stream has another rate.
    Rate { stream: String, rate: String },
    /// A scenario is played, with these members of its cast and these values of its variables.
    Start {
        scenario: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        cast: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        vars: BTreeMap<String, String>,
        /// That much later, in nanoseconds of logical time.
        #[serde(default, skip_serializing_if = "is_none")]
        delay: Span,
    },
    /// An instance is stopped, or one that waits for its start is called off.
    Stop { instance: u64 },
    /// The same with every instance.
    StopAll,
    /// Logical time stops; no record depends on it.
    Pause,
    /// Logical time goes on.
    Resume,
    /// Configuration and content were read again; the digest of what is in force from here on.
    Reload { content: String },
    /// The run ended.
    End,
}

fn is_none(s: &Span) -> bool {
    *s == Span::ZERO
}

/// Digest of what records depend on in a configuration, as its JSON shows it: not where they
/// go, how many threads make them or when the clock starts.
pub fn configuration_digest(written: &serde_json::Value) -> String {
    let mut kept = serde_json::Map::new();
    for key in ["world", "sensors", "attacks", "collection", "streams"] {
        kept.insert(key.into(), written.get(key).cloned().unwrap_or_default());
    }
    for (_, stream) in kept["streams"].as_object_mut().into_iter().flatten() {
        if let Some(s) = stream.as_object_mut() {
            s.shift_remove("labels");
            // the first delivery's bytes are those that byte rates count
            let first = s.shift_remove("to").and_then(|to| to.get(0).cloned()).unwrap_or_default();
            for key in ["encoding", "fields", "inline_truth"] {
                s.insert(format!("first {key}"), first.get(key).cloned().unwrap_or_default());
            }
        }
    }
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(serde_json::Value::Object(kept).to_string().as_bytes()))
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The run it is of.
    pub of: Of,
    /// What was done, in the order of time.
    pub entries: Vec<Entry>,
    /// A last line that was not written to its end, by a crash, was left out.
    pub torn: bool,
}

impl Of {
    /// The head of a journal.
    pub fn new(run: &str, content: &str, configuration: &str, seed: u64, from: Time) -> Of {
        Of {
            journal: LAYOUT,
            run: run.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            content: content.into(),
            configuration: configuration.into(),
            seed,
            from,
            after: None,
        }
    }
    /// What differs from the run that a journal is to be replayed in, in words; then it would not give the same
    /// records.
    pub fn differs(&self, content: &str, configuration: &str, seed: u64) -> Option<String> {
        if self.seed != seed {
            return Some(format!("the journal is of a run with seed {}, this one has {seed}", self.seed));
        }
        let version = env!("CARGO_PKG_VERSION");
        if self.version != version {
            return Some(format!("the journal is of version {}, this is {version}", self.version));
        }
        if self.content != content {
            return Some("the journal is of a run with other sources, effects, scenarios, policies or world".into());
        }
        let what = "`world`, `sensors`, `attacks`, `collection` or `streams`";
        (self.configuration != configuration)
            .then(|| format!("the journal is of a run with another configuration: {what} differ"))
    }
}

impl Journal {
    /// Begins the journal of a run in a state folder. The journal of an earlier run is kept beside it under its id.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn begin(dir: &Path, of: &Of) -> anyhow::Result<Journal> {
        let path = dir.join("journal.jsonl");
        if let Ok(old) = load(&path) {
            let keep = dir.join(format!("journal-{}.jsonl", old.of.run));
            fs::rename(&path, &keep)
                .with_context(|| format!("cannot keep {} as {}", path.display(), keep.display()))?;
        }
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let mut journal = Journal { path, file };
        journal.line(&serde_json::to_string(of)?)?;
        Ok(journal)
    }
    /// Writes a command down; it is on the disk when this returns.
    ///
    /// # Errors
    /// A file that cannot be written. The command should then not be done.
    pub fn write(&mut self, at: Time, command: Command) -> anyhow::Result<()> {
        self.line(&serde_json::to_string(&Entry { at, command })?)
    }
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let write = |f: &mut File| f.write_all(format!("{line}\n").as_bytes()).and_then(|()| f.sync_data());
        write(&mut self.file).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a journal.
///
/// # Errors
/// Everything that is wrong with it, by line.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let fail = |message: String| {
        let mut p = Problems::new();
        p.plain(message);
        p
    };
    let bytes = fs::read(path).map_err(|e| fail(format!("{name}: cannot read: {e}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| fail(format!("{name}: not UTF-8 from byte {} on", e.utf8_error().valid_up_to())))?;
    parse(&name, text)
}

/// Reads the text of a journal.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: String) -> Result<Loaded, Problems> {
    let file = Arc::new(yaml::File { name: name.into(), text });
    let mut p = Problems::new();
    let mut wrong = |at: usize, message: String, help: Option<String>| {
        p.0.push(Problem { file: Some(file.clone()), at: at..at, message, help });
    };
    let (mut of, mut entries, mut torn, mut at) = (None::<Of>, Vec::<Entry>::new(), false, 0);
    for (i, line) in file.text.split_inclusive('\n').enumerate() {
        let start = at;
        at += line.len();
        if !line.ends_with('\n') {
            torn = true;
            break;
        }
        if i == 0 {
            match serde_json::from_str::<Of>(line) {
                Err(e) => wrong(start, format!("not the head of a journal: {e}"), None),
                Ok(head) if head.journal != LAYOUT => {
                    let help = format!("this skirmish knows layout {LAYOUT}");
                    wrong(start, format!("the journal has layout {}", head.journal), Some(help));
                }
                Ok(head) => of = Some(head),
            }
            continue;
        }
        match serde_json::from_str::<Entry>(line) {
            Err(e) => wrong(start, format!("not an entry of a journal: {e}"), None),
            Ok(e) => {
                if let Some(word) = unknown(line, &e) {
                    wrong(start, format!("unknown field `{word}` of this entry"), None);
                }
                let before = entries.last().map(|e| e.at).or(of.as_ref().map(|of| of.from));
                if before.is_some_and(|b| e.at < b) {
                    wrong(start, format!("{} is before the line above", e.at), None);
                }
                entries.push(e);
            }
        }
    }
    if of.is_none() && p.is_empty() {
        p.plain(format!("{name}: the journal has no head"));
    }
    match of {
        Some(of) if p.is_empty() => Ok(Loaded { of, entries, torn }),
        _ => Err(p),
    }
}

/// A field that the entry does not have. (serde cannot refuse them in a flattened enum.)
fn unknown(line: &str, entry: &Entry) -> Option<String> {
    let written: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let known = serde_json::to_value(entry).ok()?;
    let empty = |k: &str| matches!(entry.command, Command::Start { .. }) && matches!(k, "cast" | "vars" | "delay");
    written.keys().find(|k| known.get(k.as_str()).is_none() && !empty(k)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(run: &str) -> Of {
        Of { version: "0.1.0".into(), ..Of::new(run, "c0ffee", "5eed", 7, Time(1_000)) }
    }
    fn commands() -> Vec<Entry> {
        let one = |k: &str| BTreeMap::from([(k.to_owned(), "x".to_owned())]);
        [
            Command::Rate { stream: "sysmon".into(), rate: "{diurnal: {mean: 5k/s}}".into() },
            Command::Start {
                scenario: "ransomware.hands_on".into(),
                cast: one("pc"),
                vars: one("c2"),
                delay: Span::s(2),
            },
            Command::Start { scenario: "a.b".into(), cast: BTreeMap::new(), vars: BTreeMap::new(), delay: Span::ZERO },
            Command::Stop { instance: 3 },
            Command::StopAll,
            Command::Pause,
            Command::Resume,
            Command::Reload { content: "beef".into() },
            Command::End,
        ]
        .into_iter()
        .enumerate()
        .map(|(i, command)| Entry { at: Time(2_000 + i as i64), command })
        .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut j = Journal::begin(dir.path(), &of("one")).unwrap();
        for e in commands() {
            j.write(e.at, e.command).unwrap();
        }
        let path = dir.path().join("journal.jsonl");
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        {"journal":2,"run":"one","version":"0.1.0","content":"c0ffee","configuration":"5eed","seed":7,"from":1000}
        {"at":2000,"do":"rate","stream":"sysmon","rate":"{diurnal: {mean: 5k/s}}"}
        {"at":2001,"do":"start","scenario":"ransomware.hands_on","cast":{"pc":"x"},"vars":{"c2":"x"},"delay":2000000000}
        {"at":2002,"do":"start","scenario":"a.b"}
        {"at":2003,"do":"stop","instance":3}
        {"at":2004,"do":"stop_all"}
        {"at":2005,"do":"pause"}
        {"at":2006,"do":"resume"}
        {"at":2007,"do":"reload","content":"beef"}
        {"at":2008,"do":"end"}
        "#);
        let loaded = load(&path).unwrap();
        assert_eq!(loaded, Loaded { of: of("one"), entries: commands(), torn: false });
        // the next run keeps it
        Journal::begin(dir.path(), &of("two")).unwrap();
        assert_eq!(load(&dir.path().join("journal-one.jsonl")).unwrap(), loaded);
        assert_eq!(load(&path).unwrap().of.run, "two");
    }

    #[test]
    fn a_line_torn_by_a_crash_is_left_out() {
        let head = serde_json::to_string(&of("one")).unwrap();
        let l = parse("j", format!("{head}\n{{\"at\":2000,\"do\":\"pause\"}}\n{{\"at\":30")).unwrap();
        assert_eq!((l.entries.len(), l.torn), (1, true));
    }

    #[test]
    fn every_wrong_line_is_named() {
        let head = serde_json::to_string(&of("one")).unwrap();
        let text = format!(
            "{head}\n{{\"at\":2000,\"do\":\"paus\"}}\n{{\"at\":5,\"do\":\"pause\"}}\n{{\"do\":\"pause\"}}\n[]\n{{\"at\":9999,\"do\":\"pause\",\"for\":3}}\n"
        );
        insta::assert_snapshot!(parse("j.jsonl", text).unwrap_err(), @"
        j.jsonl:2:1: not an entry of a journal: unknown variant `paus`, expected one of `rate`, `start`, `stop`, `stop_all`, `pause`, `resume`, `reload`, `end` at line 1 column 23
        j.jsonl:3:1: 1970-01-01T00:00:00.000000005Z is before the line above
        j.jsonl:4:1: not an entry of a journal: missing field `at` at line 1 column 14
        j.jsonl:5:1: not an entry of a journal: invalid type: sequence, expected struct Entry at line 1 column 0
        j.jsonl:6:1: unknown field `for` of this entry
        ");
        insta::assert_snapshot!(parse("j.jsonl", head.replace("\"journal\":2", "\"journal\":1") + "\n").unwrap_err(), @"j.jsonl:1:1: the journal has layout 1; this skirmish knows layout 2");
        insta::assert_snapshot!(parse("j.jsonl", String::new()).unwrap_err(), @"j.jsonl: the journal has no head");
    }

    #[test]
    fn a_replay_in_another_run_is_noticed() {
        let o = Of::new("one", "c0ffee", "5eed", 7, Time(0));
        assert_eq!(o.differs("c0ffee", "5eed", 7), None);
        insta::assert_snapshot!(o.differs("c0ffee", "5eed", 8).unwrap(), @"the journal is of a run with seed 7, this one has 8");
        insta::assert_snapshot!(o.differs("tea", "5eed", 7).unwrap(), @"the journal is of a run with other sources, effects, scenarios, policies or world");
        insta::assert_snapshot!(o.differs("c0ffee", "bee", 7).unwrap(), @"the journal is of a run with another configuration: `world`, `sensors`, `attacks`, `collection` or `streams` differ");
    }

    #[test]
    fn where_records_go_changes_no_replay_and_what_makes_them_does() {
        let digest = |text: &str| configuration_digest(&serde_json::from_str(text).unwrap());
        let a = digest(r#"{"world":{"hosts":9},"streams":{"s":{"rate":"3/s","to":[{"sink":"a"}]}},"sinks":{"a":1}}"#);
        let b = digest(r#"{"streams":{"s":{"rate":"3/s","to":[]}},"threads":4,"world":{"hosts":9},"sinks":{}}"#);
        let c = digest(r#"{"world":{"hosts":9},"streams":{"s":{"rate":"4/s","to":[{"sink":"a"}]}},"sinks":{"a":1}}"#);
        assert!(a == b && a != c);
    }

    proptest! {
        #[test]
        fn no_panic_on_any_journal(s in "\\PC{0,60}\n?\\PC{0,60}", cut in 0usize..400) {
            let _ = parse("j", s);
            let mut text = serde_json::to_string(&of("one")).unwrap() + "\n";
            for e in commands() {
                text.push_str(&(serde_json::to_string(&e).unwrap() + "\n"));
            }
            text.truncate(cut.min(text.len()));
            let _ = parse("j", text);
        }
    }
}

//! Names of files, with places to be filled.

use std::path::PathBuf;

use crate::batch::Message;
use crate::sink::Task;
use crate::time::Time;
use crate::yaml::{Node, Problems};

const PLACES: [&str; 6] = ["stream", "source", "encoding", "run", "time", "n"];

/// A path such as `out/{stream}-{n}.jsonl.zst`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Index into [`PLACES`].
    Place(usize),
}

impl Template {
    /// A path without places.
    pub fn literal(path: &str) -> Template {
        Template(vec![Part::Text(path.into())])
    }
    /// The path of who says nothing: never that of an earlier run.
    pub(super) fn default_for(rotating: bool) -> Template {
        let text = if rotating { "skirmish-{run}-{stream}-{n}.jsonl" } else { "skirmish-{run}-{stream}.jsonl" };
        Template::parse(text).expect("its places are known")
    }
    /// Reads a path. Places: `{stream}`, `{source}`, `{encoding}`, `{run}`, `{time}` (release of the first record, as
    /// `20260302T080000Z`) and `{n}` (counts the files, from 0, and leaves out names that exist).
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<Template> {
        let text = node.text(p, "`path`")?;
        match Template::parse(text) {
            Ok(t) => Some(t),
            Err(Some(word)) => {
                p.unknown(node, "place", &word, PLACES);
                None
            }
            Err(None) => {
                p.at(node, format!("a brace is not closed in the path `{text}`"));
                None
            }
        }
    }
    fn parse(mut text: &str) -> Result<Template, Option<String>> {
        let mut parts = vec![];
        while let Some(open) = text.find('{') {
            let close = text[open..].find('}').ok_or(None)? + open;
            let word = &text[open + 1..close];
            let place = PLACES.iter().position(|p| *p == word).ok_or_else(|| Some(word.to_owned()))?;
            parts.extend([Part::Text(text[..open].into()), Part::Place(place)]);
            text = &text[close + 1..];
        }
        parts.push(Part::Text(text.into()));
        Ok(Template(parts))
    }
    /// Whether it has that place.
    pub(super) fn has(&self, place: &str) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Place(i) if PLACES[*i] == place))
    }
    /// The folder, if it does not depend on the records.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self.0.as_slice() {
            [Part::Text(t), rest @ ..] => {
                let in_name = rest.iter().all(|p| !matches!(p, Part::Text(t) if t.contains('/')));
                let folder = if in_name { &t[..t.rfind('/').unwrap_or(0)] } else { return None };
                Some(folder.into())
            }
            _ => None,
        }
    }
    /// Fills what is known from the beginning.
    pub(super) fn bind(&self, task: &Task, delivery: usize) -> Template {
        let info = &task.deliveries[delivery];
        let bound = self.0.iter().map(|p| match p {
            Part::Place(i) => match PLACES[*i] {
                "stream" => Part::Text(info.stream.clone()),
                "source" => Part::Text(info.source.clone()),
                "encoding" => Part::Text(info.encoding.clone()),
                "run" => Part::Text(task.run.id.clone()),
                _ => p.clone(),
            },
            text => text.clone(),
        });
        Template(bound.collect())
    }
    /// Fills what belongs to one file.
    pub(super) fn fill(&self, first: &Message, n: u64) -> PathBuf {
        let mut path = String::new();
        for p in &self.0 {
            match p {
                Part::Text(t) => path.push_str(t),
                Part::Place(i) if PLACES[*i] == "time" => path.push_str(&compact(first.release)),
                Part::Place(_) => path.push_str(&n.to_string()),
            }
        }
        path.into()
    }
}

fn compact(t: Time) -> String {
    let (y, mo, d, h, mi, s) = t.civil();
    format!("{y:04}{mo:02}{d:02}T{h:02}{mi:02}{s:02}Z")
}

//! Word lists: written line by line, or made of patterns over parts.

use std::collections::{BTreeMap, BTreeSet};

use crate::rng::{Rng, purpose};
use crate::world::atlas::Text;
use crate::yaml::{Node, Problems};

use super::texts;

/// Most lines a pattern list makes.
const MADE_MAX: usize = 5_000;

/// Reads a document of word lists into `out`, under `name.list`.
pub(super) fn read(name: &str, doc: &Node, out: &mut BTreeMap<Text, Vec<Text>>, p: &mut Problems) {
    let Some(f) = doc.fields(p, "word lists") else { return };
    f.take("words");
    let mut parts: BTreeMap<&str, Vec<Text>> = BTreeMap::new();
    for (key, list) in f.take("parts").map_or(&[][..], |n| n.pairs(p, "`parts`")) {
        parts.insert(key.as_str().unwrap_or(""), texts(Some(list), p, "a part"));
    }
    for (key, list) in f.take("lists").map_or(&[][..], |n| n.pairs(p, "`lists`")) {
        let lines = texts(Some(list), p, "a word");
        if lines.is_empty() {
            p.at(key, "a word list needs at least one word");
        }
        out.insert(format!("{name}.{}", key.as_str().unwrap_or("")).into(), lines);
    }
    for (key, made) in f.take("made").map_or(&[][..], |n| n.pairs(p, "`made`")) {
        let full = format!("{name}.{}", key.as_str().unwrap_or(""));
        let Some(m) = made.fields(p, "a made list") else { continue };
        let count: usize = m.need(p, "count").and_then(|n| n.number(p, "`count`")).unwrap_or(0);
        let patterns = m.need(p, "of").map_or(&[][..], Node::items);
        if !(1..=MADE_MAX).contains(&count) {
            p.at(made, format!("`count` must be 1 to {MADE_MAX}, not {count}"));
        }
        let good: Vec<&str> = patterns.iter().filter_map(|n| checked(n, &parts, p)).collect();
        m.finish(p);
        if good.is_empty() || count > MADE_MAX {
            continue;
        }
        // drawn by the list's name alone: every world has the same lists, as it has the same dictionaries
        let mut rng = Rng::new(purpose(&full));
        let mut seen = BTreeSet::new();
        let mut lines = vec![];
        for _ in 0..count * 8 {
            let line = fill(good[rng.below(good.len() as u64) as usize], &parts, &mut rng);
            if lines.len() < count && seen.insert(line.clone()) {
                lines.push(line.into());
            }
        }
        out.insert(full.into(), lines);
    }
    f.finish(p);
}

/// A pattern whose slots all exist.
fn checked<'a>(node: &'a Node, parts: &BTreeMap<&str, Vec<Text>>, p: &mut Problems) -> Option<&'a str> {
    let text = node.text(p, "a pattern")?;
    let mut fine = true;
    for slot in text.split('{').skip(1) {
        let word = slot.split_once('}').map_or(slot, |s| s.0);
        if range(word).is_none() && parts.get(word).is_none_or(|l| l.is_empty()) {
            p.unknown(node, "part", word, parts.keys().copied().chain(["1-99"]));
            fine = false;
        }
    }
    fine.then_some(text)
}

/// `1-99`, `001-120`: lowest, highest, digits.
fn range(word: &str) -> Option<(i64, i64, usize)> {
    let (lo, hi) = word.split_once('-')?;
    Some((lo.parse().ok()?, hi.parse().ok()?, lo.len()))
}

fn fill(pattern: &str, parts: &BTreeMap<&str, Vec<Text>>, rng: &mut Rng) -> String {
    let mut out = String::new();
    let mut pieces = pattern.split('{');
    out.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let (word, tail) = piece.split_once('}').unwrap_or((piece, ""));
        match (range(word), parts.get(word)) {
            (Some((lo, hi, digits)), _) => out.push_str(&format!("{:0digits$}", rng.range(lo, hi))),
            (None, Some(list)) => out.push_str(&list[rng.below(list.len() as u64) as usize]),
            (None, None) => {}
        }
        out.push_str(tail);
    }
    out
}

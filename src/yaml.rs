//! YAML with positions: every loader of skirmish reads through this, so that every error names file, line,
//! column, the offending value and what is allowed, and all errors of a load come in one run.
//!
//! A document becomes a tree of [`Node`]s that know where they stand. A loader takes fields out of a mapping
//! with [`Node::fields`]; what it did not take is an unknown field. Aliases are expanded within a budget, so an
//! alias bomb is an error, not a crash.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Mark};

use crate::time::Span;

/// Nodes one file may expand to, aliases included.
pub const NODES_MAX: usize = 1_000_000;
/// Depth one file may nest.
pub const DEPTH_MAX: usize = 64;
/// Bytes one file may have.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A text that was loaded, with the name people know it by.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Path as given, or `builtin:sources/windows.sysmon.yaml`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// One thing wrong with what a user wrote.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Where it was written; none for command lines and the environment.
    pub file: Option<Arc<File>>,
    /// Bytes of `file` that are wrong.
    pub at: Range<usize>,
    /// What is wrong: lower case, no full stop, offending value included.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// All problems of a load.
#[derive(Clone, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

/// A value in a file.
#[derive(Clone, Debug)]
pub struct Node {
    /// The file it stands in.
    pub file: Arc<File>,
    /// The bytes it covers.
    pub at: Range<usize>,
    /// What it is.
    pub data: Data,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Data {
    /// A scalar. `plain` is false when quoted, so that `'7'` stays text.
    Scalar { text: String, plain: bool },
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in written order.
    Map(Vec<(Node, Node)>),
}

impl File {
    /// Part of the binary: tests have seen that it is right.
    pub fn is_built_in(&self) -> bool {
        self.name.starts_with("builtin:")
    }
    /// Line and column (both from 1, column in characters) of a byte.
    pub fn line_col(&self, byte: usize) -> (usize, usize) {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &self.text[..byte];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        (line, before[start..].chars().count() + 1)
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: message; help`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            let (l, c) = file.line_col(self.at.start);
            write!(f, "{}:{l}:{c}: ", file.name)?;
        }
        f.write_str(&self.message)?;
        if let Some(h) = &self.help {
            write!(f, "; {h}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{p}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// Nothing wrong so far.
    pub fn new() -> Problems {
        Problems::default()
    }
    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Notes a problem at a node.
    pub fn at(&mut self, node: &Node, message: impl Into<String>) -> &mut Problem {
        self.push(Problem { file: Some(node.file.clone()), at: node.at.clone(), message: message.into(), help: None })
    }
    /// Notes a problem that has no place in a file.
    pub fn plain(&mut self, message: impl Into<String>) -> &mut Problem {
        self.push(Problem { file: None, at: 0..0, message: message.into(), help: None })
    }
    /// Notes an unknown word with the nearest of those allowed.
    pub fn unknown<'a>(&mut self, node: &Node, what: &str, word: &str, allowed: impl IntoIterator<Item = &'a str>) {
        let help = suggest(word, allowed);
        self.at(node, format!("unknown {what} `{word}`")).help = Some(help);
    }
    fn push(&mut self, p: Problem) -> &mut Problem {
        self.0.push(p);
        self.0.last_mut().expect("just pushed")
    }
    /// `Ok(value)` when nothing is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl Problem {
    /// Adds what would be right.
    pub fn help(&mut self, text: impl Into<String>) {
        self.help = Some(text.into());
    }
}

/// "did you mean `x`?" when a word is near, else the list (at most twelve) of what is allowed.
pub fn suggest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = allowed.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    let lower = word.to_lowercase();
    let near = all
        .iter()
        .map(|a| (strsim::damerau_levenshtein(&lower, &a.to_lowercase()), *a))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, a)| *d <= 1 + a.len().min(word.len()) / 3);
    if let Some((_, a)) = near {
        return format!("did you mean `{a}`?");
    }
    if all.is_empty() {
        return "none is defined".into();
    }
    let more = all.len().saturating_sub(12);
    all.truncate(12);
    let list = all.iter().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("expected one of {list} and {more} more") } else { format!("expected one of {list}") }
}

/// Parses a text into its documents.
///
/// # Errors
/// Broken YAML, an alias bomb, a tag, a duplicate key, nesting beyond [`DEPTH_MAX`].
pub fn parse(name: &str, text: &str) -> Result<Vec<Node>, Problems> {
    let file = Arc::new(File { name: name.into(), text: text.into() });
    let mut p = Problems::new();
    if text.len() > FILE_BYTES_MAX {
        p.plain(format!("{name}: file has {} bytes, at most {FILE_BYTES_MAX} are read", text.len()));
        return Err(p);
    }
    // saphyr marks count characters; a table of byte offsets is needed only for texts beyond ASCII
    let bytes: Option<Vec<usize>> =
        (!text.is_ascii()).then(|| text.char_indices().map(|(i, _)| i).chain([text.len()]).collect());
    let byte = |chars: usize| bytes.as_ref().map_or(chars.min(text.len()), |b| b[chars.min(b.len() - 1)]);
    let range = |m: &Mark| byte(m.start.index())..byte(m.end.index());

    let mut builder = Builder { docs: vec![], stack: vec![], anchors: HashMap::new(), nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, mark) = match event {
            Ok(e) => e,
            Err(e) => {
                let at = byte(e.marker().index());
                p.0.push(Problem {
                    file: Some(file),
                    at: at..at,
                    message: format!("broken YAML: {}", e.info()),
                    help: None,
                });
                return Err(p);
            }
        };
        if let Err(message) = builder.event(event, range(&mark), &file, &mut p) {
            p.0.push(Problem { file: Some(file), at: range(&mark), message, help: None });
            return Err(p);
        }
    }
    p.or(builder.docs)
}

/// Reads a file and parses it.
///
/// # Errors
/// As [`parse`], and a file that cannot be read or is not UTF-8.
pub fn read(path: &std::path::Path) -> Result<Vec<Node>, Problems> {
    let name = path.display().to_string();
    let fail = |m: String| {
        let mut p = Problems::new();
        p.plain(m);
        p
    };
    let bytes = std::fs::read(path).map_err(|e| fail(format!("{name}: cannot read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        fail(format!(
            "{name}: not UTF-8: byte {} is 0x{:02x}",
            e.utf8_error().valid_up_to(),
            e.as_bytes()[e.utf8_error().valid_up_to()]
        ))
    })?;
    parse(&name, &text)
}

struct Builder {
    docs: Vec<Node>,
    stack: Vec<(Range<usize>, Open, usize)>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

enum Open {
    Seq(Vec<Node>),
    Map(Vec<(Node, Node)>, Option<Node>),
}

fn count(n: &Node) -> usize {
    1 + match &n.data {
        Data::Scalar { .. } => 0,
        Data::Seq(s) => s.iter().map(count).sum(),
        Data::Map(m) => m.iter().map(|(k, v)| count(k) + count(v)).sum(),
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Range<usize>, file: &Arc<File>, p: &mut Problems) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err("tags are not supported".into());
                }
                let plain = style == ScalarStyle::Plain;
                let node = Node { file: file.clone(), at, data: Data::Scalar { text: text.into_owned(), plain } };
                self.place(node, anchor, p)
            }
            Event::SequenceStart(anchor, tag) => self.open(at, Open::Seq(vec![]), anchor, tag.is_some()),
            Event::MappingStart(anchor, tag) => self.open(at, Open::Map(vec![], None), anchor, tag.is_some()),
            Event::SequenceEnd | Event::MappingEnd => {
                let (start, open, anchor) = self.stack.pop().ok_or("broken YAML")?;
                let data = match open {
                    Open::Seq(s) => Data::Seq(s),
                    Open::Map(m, _) => Data::Map(m),
                };
                let node = Node { file: file.clone(), at: start.start..at.end.max(start.end), data };
                self.place(node, anchor, p)
            }
            Event::Alias(id) => {
                let (node, size) = self.anchors.get(&id).cloned().ok_or("alias to an unknown anchor")?;
                self.nodes += size;
                self.place(node, 0, p)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Range<usize>, open: Open, anchor: usize, tagged: bool) -> Result<(), String> {
        if tagged {
            return Err("tags are not supported".into());
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        self.stack.push((at, open, anchor));
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize, p: &mut Problems) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("aliases expand to more than {NODES_MAX} nodes"));
        }
        if anchor != 0 {
            let size = count(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.docs.push(node),
            Some((_, Open::Seq(s), _)) => s.push(node),
            Some((_, Open::Map(m, key), _)) => match key.take() {
                None => *key = Some(node),
                Some(k) => {
                    if let (Some(name), true) = (k.as_str(), m.iter().any(|(o, _)| o.as_str() == k.as_str())) {
                        let message = format!("`{name}` is given twice");
                        p.at(&k, message);
                    }
                    m.push((k, node));
                }
            },
        }
        Ok(())
    }
}

impl Node {
    /// The text of a scalar, whatever its style.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
    /// True for nothing at all, `~` and `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
    /// What it is, for messages: "a mapping", "text `x`".
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => "nothing".into(),
            Data::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                format!("`{short}{}`", if short.len() < text.len() { "…" } else { "" })
            }
            Data::Seq(_) => "a sequence".into(),
            Data::Map(_) => "a mapping".into(),
        }
    }
    /// The scalar's text, or a problem.
    pub fn text<'a>(&'a self, p: &mut Problems, what: &str) -> Option<&'a str> {
        match self.as_str() {
            Some(t) if !self.is_null() => Some(t),
            _ => {
                p.at(self, format!("{what} must be text, not {}", self.describe()));
                None
            }
        }
    }
    /// A number or a problem.
    pub fn number<T: std::str::FromStr>(&self, p: &mut Problems, what: &str) -> Option<T> {
        let v = self.as_str().and_then(|t| t.replace('_', "").parse().ok());
        if v.is_none() {
            p.at(self, format!("{what} must be a number, not {}", self.describe()));
        }
        v
    }
    /// A truth value or a problem.
    pub fn boolean(&self, p: &mut Problems, what: &str) -> Option<bool> {
        match self.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                p.at(self, format!("{what} must be true or false, not {}", self.describe()));
                None
            }
        }
    }
    /// A length of time (`3ms`, `2s`, `1.5h`), or a problem.
    pub fn span(&self, p: &mut Problems, what: &str) -> Option<Span> {
        let v = self.as_str().and_then(parse_span);
        if v.is_none() {
            p.at(
                self,
                format!("{what} must be a length of time such as `250ms`, `3s` or `2h`, not {}", self.describe()),
            );
        }
        v
    }
    /// A number of bytes (`4096`, `64KiB`, `32MiB`, `1GB`), or a problem.
    pub fn bytes(&self, p: &mut Problems, what: &str) -> Option<u64> {
        let v = self.as_str().and_then(parse_bytes);
        if v.is_none() {
            p.at(
                self,
                format!("{what} must be a number of bytes such as `64KiB`, `32MiB` or `1GB`, not {}", self.describe()),
            );
        }
        v
    }
    /// A share (`60%` or `0.6`), or a problem.
    pub fn share(&self, p: &mut Problems, what: &str) -> Option<f64> {
        let v = self.as_str().and_then(|t| match t.strip_suffix('%') {
            Some(n) => n.trim().parse::<f64>().ok().map(|n| n / 100.0),
            None => t.parse().ok(),
        });
        match v {
            Some(v) if (0.0..=1.0).contains(&v) => Some(v),
            _ => {
                p.at(self, format!("{what} must be a share such as `60%` or `0.6`, not {}", self.describe()));
                None
            }
        }
    }
    /// The items of a sequence; a single value counts as a sequence of one.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Seq(s) => s,
            _ if self.is_null() => &[],
            _ => std::slice::from_ref(self),
        }
    }
    /// The pairs of a mapping, or a problem.
    pub fn pairs<'a>(&'a self, p: &mut Problems, what: &str) -> &'a [(Node, Node)] {
        match &self.data {
            Data::Map(m) => m,
            _ => {
                p.at(self, format!("{what} must be a mapping, not {}", self.describe()));
                &[]
            }
        }
    }
    /// The mapping as fields to be taken one by one; call [`Fields::finish`] at the end.
    pub fn fields<'a>(&'a self, p: &mut Problems, what: &'a str) -> Option<Fields<'a>> {
        match &self.data {
            Data::Map(m) => Some(Fields { node: self, what, pairs: m, asked: RefCell::default() }),
            _ => {
                p.at(self, format!("{what} must be a mapping, not {}", self.describe()));
                None
            }
        }
    }
    /// The value of a key without ceremony.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(m) => m.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// The fields of a mapping and which of them were asked for.
pub struct Fields<'a> {
    /// The mapping.
    pub node: &'a Node,
    what: &'a str,
    pairs: &'a [(Node, Node)],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The value of an optional field; null counts as absent.
    pub fn take(&self, name: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(name);
        self.pairs.iter().find(|(k, _)| k.as_str() == Some(name)).map(|(_, v)| v).filter(|v| !v.is_null())
    }
    /// The value of a field that must be there.
    pub fn need(&self, p: &mut Problems, name: &'static str) -> Option<&'a Node> {
        let v = self.take(name);
        if v.is_none() {
            p.at(self.node, format!("{} lacks `{name}`", self.what));
        }
        v
    }
    /// The pairs whose key was not asked for so far.
    pub fn rest(&self) -> Vec<&'a (Node, Node)> {
        let asked = self.asked.borrow();
        self.pairs.iter().filter(|(k, _)| !k.as_str().is_some_and(|k| asked.contains(&k))).collect()
    }
    /// Every field that was never asked for is unknown.
    pub fn finish(self, p: &mut Problems) {
        for (k, _) in self.rest() {
            let word = k.as_str().unwrap_or("").to_owned();
            let asked = self.asked.borrow();
            p.unknown(k, &format!("field of {}", self.what), &word, asked.iter().copied());
        }
    }
}

/// `4096`, `64KiB`, `32MiB`, `1.5GB`: binary units with `i`, decimal ones without.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let t = text.trim().replace('_', "");
    let split = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
    let n: f64 = t[..split].parse().ok()?;
    let unit = match t[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    let v = n * unit as f64;
    (v.is_finite() && v < 9e18).then_some(v as u64)
}

/// `250us`, `3ms`, `2s`, `1.5m`, `4h`, `7d`, `2w`.
pub fn parse_span(text: &str) -> Option<Span> {
    let t = text.trim();
    let split = t.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))?;
    let n: f64 = t[..split].parse().ok()?;
    let unit = match t[split..].trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "d" => 86_400e9,
        "w" => 604_800e9,
        _ => return None,
    };
    let ns = n * unit;
    (ns.is_finite() && ns.abs() < 9.2e18).then_some(Span(ns as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_point_at_the_value() {
        let docs = parse("x.yaml", "a: 1\nb:\n  ü: [two, {c: 3}]\n").unwrap();
        let c = docs[0].get("b").unwrap().get("ü").unwrap().items()[1].get("c").unwrap();
        assert_eq!(c.file.line_col(c.at.start), (3, 16));
    }

    #[test]
    fn all_unknown_fields_are_named_with_the_nearest() {
        let docs = parse("x.yaml", "schedle: 1\ncolour: 2\nname: n\n").unwrap();
        let mut p = Problems::new();
        let f = docs[0].fields(&mut p, "a stream").unwrap();
        f.take("schedule");
        f.take("name");
        f.need(&mut p, "source");
        f.finish(&mut p);
        insta::assert_snapshot!(p, @r"
        x.yaml:1:1: a stream lacks `source`
        x.yaml:1:1: unknown field of a stream `schedle`; did you mean `schedule`?
        x.yaml:2:1: unknown field of a stream `colour`; expected one of `name`, `schedule`, `source`
        ");
    }

    #[test]
    fn alias_bombs_and_duplicates_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse("b", &bomb).unwrap_err().to_string().contains("aliases expand"));
        assert!(parse("d", "a: 1\na: 2\n").unwrap_err().to_string().contains("`a` is given twice"));
    }

    #[test]
    fn byte_units() {
        let read = |t| parse_bytes(t);
        assert_eq!(
            [read("4096"), read("64KiB"), read("1.5 GB"), read("2mb"), read("3 parsecs"), read("-1"), read("")],
            [Some(4096), Some(65_536), Some(1_500_000_000), Some(2_000_000), None, None, None]
        );
    }

    proptest! {
        #[test]
        fn no_panic_on_any_text(s in "\\PC{0,200}") {
            let _ = parse("any", &s);
        }
        #[test]
        fn no_panic_on_yaml_like_text(s in "[a-c:\\-\\[\\]{}&*!|>'\"\n ,#%]{0,80}") {
            let _ = parse("any", &s);
        }
    }
}

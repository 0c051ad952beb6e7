//! Text with references, as written; and text with holes, as compiled.
//!
//! While command lines are split and matched they are plain strings in which each value known only at run time is
//! one character of a private plane: a *hole*. Splitters, quoting rules and regular expressions treat it as any
//! other character, and a piece of such a string is still a template.

use std::collections::BTreeMap;

use crate::world::program::{Fmt, Piece, Tpl};
use crate::yaml::{Node, Problems};

/// First character that stands for a hole (supplementary private use area A).
const HOLE_FIRST: u32 = 0xF_0000;
/// Holes one unit may have.
const HOLES_MAX: u32 = 0xFFFD;

/// A text as written: literals and references.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its parts in order.
    pub parts: Vec<Part>,
    /// Where it was written.
    pub node: Node,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Literal text.
    Lit(String),
    /// A reference, dotted, with its formatters.
    Ref(String, Vec<Format>),
}

/// A formatter as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Applied when the slot is filled (or now, when its text is known).
    Run(Fmt),
    /// First word of a command line.
    Program,
    /// All but the first word.
    Arguments,
    /// File name without extension.
    Stem,
    /// Surrounding quotes removed.
    Unquote,
    /// Path made absolute.
    Full,
}

const FORMATS: &[(&str, Format)] = &[
    ("utf16le", Format::Run(Fmt::Utf16le)),
    ("base64", Format::Run(Fmt::Base64)),
    ("hex", Format::Run(Fmt::Hex)),
    ("upper", Format::Run(Fmt::Upper)),
    ("lower", Format::Run(Fmt::Lower)),
    ("double_quotes", Format::Run(Fmt::DoubleQuotes)),
    ("file_name", Format::Run(Fmt::FileName)),
    ("dir_name", Format::Run(Fmt::DirName)),
    ("url", Format::Run(Fmt::Url)),
    ("guid", Format::Run(Fmt::Guid)),
    ("program", Format::Program),
    ("arguments", Format::Arguments),
    ("stem", Format::Stem),
    ("unquote", Format::Unquote),
    ("full", Format::Full),
];

impl Template {
    /// Reads a scalar; an unknown formatter is a problem.
    pub fn read(node: &Node, p: &mut Problems, what: &str) -> Option<Template> {
        if node.as_str() == Some("") && !node.is_null() {
            return Some(Template { parts: vec![], node: node.clone() });
        }
        let text = node.text(p, what)?;
        Some(Template { parts: parts(text, node, p), node: node.clone() })
    }
    /// A text without references (a foreign command line).
    pub fn literal(text: &str, node: &Node) -> Template {
        Template { parts: vec![Part::Lit(text.into())], node: node.clone() }
    }
    /// The text when it has no reference.
    pub fn as_lit(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Lit(t)] => Some(t),
            _ => None,
        }
    }
    /// The references in it.
    pub fn refs(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|p| match p {
            Part::Ref(name, _) => Some(&**name),
            Part::Lit(_) => None,
        })
    }
}

/// Splits a text into literals and references.
fn parts(text: &str, node: &Node, p: &mut Problems) -> Vec<Part> {
    let mut out: Vec<Part> = vec![];
    let lit = |out: &mut Vec<Part>, t: &str| match out.last_mut() {
        Some(Part::Lit(l)) => l.push_str(t),
        _ if t.is_empty() => {}
        _ => out.push(Part::Lit(t.into())),
    };
    let mut rest = text;
    while let Some(i) = rest.find('{') {
        lit(&mut out, &rest[..i]);
        rest = &rest[i..];
        // a reference inside braces of its own: GUIDs are written `{6bdd1fc6-…}`
        if rest.starts_with("{{{")
            && let Some(inside) = inner(&rest[2..])
            && rest[2 + inside.len() + 2..].starts_with("}}")
        {
            lit(&mut out, "{");
            reference(inside, node, p, &mut out);
            lit(&mut out, "}");
            rest = &rest[inside.len() + 6..];
            continue;
        }
        let escaped = rest.starts_with("{{");
        match inner(&rest[if escaped { 1 } else { 0 }..]) {
            Some(inside) if escaped && rest[1 + inside.len() + 2..].starts_with('}') => {
                lit(&mut out, &rest[1..inside.len() + 3]);
                rest = &rest[inside.len() + 4..];
            }
            Some(inside) if !escaped => {
                reference(inside, node, p, &mut out);
                rest = &rest[inside.len() + 2..];
            }
            _ => {
                lit(&mut out, "{");
                rest = &rest[1..];
            }
        }
    }
    lit(&mut out, rest);
    out
}

/// A reference with its formatters.
fn reference(inside: &str, node: &Node, p: &mut Problems, out: &mut Vec<Part>) {
    let mut words = inside.split('|').map(str::trim);
    let name = words.next().unwrap_or_default().to_owned();
    let mut fmts = vec![];
    for w in words {
        match FORMATS.iter().find(|(n, _)| *n == w) {
            Some((_, f)) => fmts.push(*f),
            None => p.unknown(node, "formatter", w, FORMATS.iter().map(|(n, _)| *n)),
        }
    }
    out.push(Part::Ref(name, fmts));
}

/// The inside of `{…}` at the start of a text when it has the shape of a reference.
fn inner(text: &str) -> Option<&str> {
    let body = text.strip_prefix('{')?;
    let end = body.find('}')?;
    let inside = &body[..end];
    let (name, fmts) = inside.split_once('|').map_or((inside, ""), |(n, f)| (n, f));
    let name = name.trim_end();
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let good = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.split('.').all(word)
        && (!inside.contains('|') || fmts.split('|').all(|f| word(f.trim())));
    good.then_some(inside)
}

/// The holes of a unit: what each private character stands for.
#[derive(Clone, Debug, Default)]
pub struct Holes(Vec<Piece>);

impl Holes {
    /// The text of a piece: literal as it is, otherwise the character that stands for it.
    pub fn put(&mut self, piece: Piece) -> String {
        let piece = match piece {
            Piece::Lit(t) => return clean(&t),
            Piece::Group(t, fmts) if fmts.is_empty() => return self.text(&t),
            p => p,
        };
        match self.0.iter().position(|p| *p == piece) {
            Some(i) => hole(i),
            None => self.fresh(piece),
        }
    }
    /// As [`Holes::put`], for a piece that no other equals.
    pub fn fresh(&mut self, piece: Piece) -> String {
        // a unit with more holes than the plane has room for repeats the last one rather than fail
        if self.0.len() <= HOLES_MAX as usize {
            self.0.push(piece);
        }
        hole(self.0.len() - 1)
    }
    /// A template as text with holes.
    pub fn text(&mut self, tpl: &Tpl) -> String {
        tpl.0.iter().map(|p| self.put(p.clone())).collect()
    }
    /// A text with holes as template.
    pub fn tpl(&self, text: &str) -> Tpl {
        let mut out: Vec<Piece> = vec![];
        let mut lit = String::new();
        for c in text.chars() {
            match self.get(c) {
                Some(p) => {
                    if !lit.is_empty() {
                        out.push(Piece::Lit(std::mem::take(&mut lit).into()));
                    }
                    out.push(p.clone());
                }
                None => lit.push(c),
            }
        }
        if !lit.is_empty() {
            out.push(Piece::Lit(lit.into()));
        }
        // there are tens of thousands, most of one piece
        out.shrink_to_fit();
        Tpl(out)
    }
    /// What a character stands for.
    pub fn get(&self, c: char) -> Option<&Piece> {
        is_hole(c).then(|| self.0.get((c as u32 - HOLE_FIRST) as usize)).flatten()
    }
    /// The piece when the whole text is one hole.
    pub fn only(&self, text: &str) -> Option<&Piece> {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => self.get(c),
            _ => None,
        }
    }
}

fn hole(i: usize) -> String {
    char::from_u32(HOLE_FIRST + i as u32).map_or_else(String::new, String::from)
}

/// True for a character that stands for a hole.
pub fn is_hole(c: char) -> bool {
    (HOLE_FIRST..=HOLE_FIRST + HOLES_MAX).contains(&(c as u32))
}

/// True when a text has a hole.
pub fn has_hole(text: &str) -> bool {
    text.chars().any(is_hole)
}

/// A literal without characters that would be taken for holes.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hole(c) { '\u{FFFD}' } else { c }).collect()
}

/// Numbers of random references within a step or one run of an effect: the same text is the same draw.
#[derive(Clone, Debug, Default)]
pub struct Randoms(pub BTreeMap<String, u16>);

/// Applies a formatter to a text that may have holes; none when that can only be done at run time.
pub fn apply(text: &str, f: Format) -> Option<String> {
    use base64::Engine;
    let whole = !has_hole(text);
    Some(match f {
        Format::Program => super::argv::program(text).0,
        Format::Arguments => super::argv::program(text).1.trim_start().to_owned(),
        Format::Unquote => text.trim().trim_matches('"').to_owned(),
        Format::Stem => {
            let name = file_name(text);
            name.rsplit_once('.').map_or(name, |(s, _)| s).to_owned()
        }
        Format::Full => return None,
        Format::Run(Fmt::FileName) if whole || text.contains('\\') => file_name(text).to_owned(),
        Format::Run(Fmt::DirName) if whole || text.contains('\\') => {
            text.rsplit_once('\\').map_or("", |(d, _)| d).to_owned()
        }
        Format::Run(Fmt::Upper) if whole => text.to_uppercase(),
        Format::Run(Fmt::Lower) if whole => text.to_lowercase(),
        Format::Run(Fmt::DoubleQuotes) if whole => text.replace('"', "\"\""),
        Format::Run(Fmt::Base64) if whole => base64::prelude::BASE64_STANDARD.encode(text),
        _ => return None,
    })
}

/// Final component of a Windows path.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::program::Slot;

    fn read(text: &str) -> (Vec<Part>, String) {
        let docs = crate::yaml::parse("t.yaml", &format!("'{}'", text.replace('\'', "''"))).unwrap();
        let mut p = Problems::new();
        let t = Template::read(&docs[0], &mut p, "text").unwrap();
        (t.parts, p.to_string())
    }

    #[test]
    fn only_reference_shaped_braces_are_references() {
        for text in ["${env:x}", "% { $_ }", "{4234d49b-0245}", "{ x }", "{}", "{", "a}b", "{{", "{a b}"] {
            assert_eq!(read(text).0, vec![Part::Lit(text.into())], "{text}");
        }
        assert_eq!(read("a{b.c}d").0[1], Part::Ref("b.c".into(), vec![]));
        assert_eq!(read("{{b}}").0, vec![Part::Lit("{b}".into())]);
        let in_braces = vec![Part::Lit("{".into()), Part::Ref("b".into(), vec![]), Part::Lit("}".into())];
        assert_eq!(read("{{{b}}}").0, in_braces);
        assert_eq!(
            read("{s | utf16le | base64}").0,
            vec![Part::Ref("s".into(), vec![Format::Run(Fmt::Utf16le), Format::Run(Fmt::Base64)])]
        );
        insta::assert_snapshot!(read("{s | bas64}").1, @"t.yaml:1:1: unknown formatter `bas64`; did you mean `base64`?");
    }

    #[test]
    fn holes_survive_a_round_trip() {
        let mut h = Holes::default();
        let tpl =
            Tpl(vec![Piece::Lit("a ".into()), Piece::Slot(Slot::Var(3), vec![Fmt::Upper]), Piece::Lit(" b".into())]);
        let text = h.text(&tpl);
        assert_eq!(text.chars().count(), 5);
        assert_eq!(h.tpl(&text), tpl);
        assert_eq!(h.put(Piece::Lit("\u{F0000}".into())), "\u{FFFD}");
    }
}

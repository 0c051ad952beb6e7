use super::*;
use crate::source::{encoding, format};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sources.md");

/// Replaces what stands between a marker's line and the next `<!-- end -->`.
fn fill(text: &str, marker: &str, table: &str) -> String {
    let start = text.find(marker).expect("the marker");
    let start = start + text[start..].find('\n').unwrap() + 1;
    let end = start + text[start..].find("<!-- end -->").unwrap();
    format!("{}{table}{}", &text[..start], &text[end..])
}

#[test]
fn documentation_lists_every_formatter_and_encoding() {
    let have = std::fs::read_to_string(DOCS).unwrap();
    let want = fill(&have, "<!-- formatters:", &format::document());
    let want = fill(&want, "<!-- encodings:", &encoding::document());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, &want).unwrap();
    } else {
        assert!(have == want, "docs/sources.md is stale: UPDATE_DOCS=1 cargo test source::tests::docs");
    }
}

#[test]
fn the_example_of_the_documentation_loads() {
    let text = std::fs::read_to_string(DOCS).unwrap();
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let c = load(example).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(c.get("windows.sysmon").unwrap().events.len(), 1);
}

#[test]
fn every_built_in_source_loads_and_compiles() {
    let all = built_in();
    assert!(all.iter().count() > 0);
    for s in all.iter() {
        assert!(!s.events.is_empty(), "{} has no events", s.id);
        for e in &s.encodings {
            s.writer(*e, Options::default()).unwrap();
        }
    }
}

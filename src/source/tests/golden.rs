//! Fingerprints: any change of any byte of any record of a shipped source shows here.
//!
//! After a wanted change: `UPDATE_FINGERPRINTS=1 cargo test source::tests::golden`, and read what it changed.

use super::*;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/tests/fingerprints");

fn fingerprints(s: &Source) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for encoding in &s.encodings {
        let w = s.writer(*encoding, Options::default()).unwrap();
        for (i, e) in s.events.iter().enumerate() {
            let mut out = vec![];
            for view in e.on.iter().flat_map(|k| [sample::full(*k), sample::empty(*k)]) {
                w.render(EventIndex(i as u16), &view, &AllOn, &mut out);
                w.natural_key(&view, &AllOn, &mut out);
            }
            let hash = xxhash_rust::xxh3::xxh3_64(&out);
            writeln!(text, "{encoding} {i} {} {} bytes {hash:016x}", e.id(), out.len()).unwrap();
        }
    }
    text
}

#[test]
fn records_of_every_source_keep_their_fingerprint() {
    let update = std::env::var_os("UPDATE_FINGERPRINTS").is_some();
    let mut stale = vec![];
    for s in built_in().iter() {
        let path = format!("{DIR}/{}.txt", s.id);
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        let have = fingerprints(s);
        if update {
            std::fs::create_dir_all(DIR).unwrap();
            std::fs::write(&path, &have).unwrap();
        } else if have != want {
            let line = have.lines().zip(want.lines()).find(|(h, w)| h != w).map_or("a line more or less", |(h, _)| h);
            stale.push(format!("{}: {line}", s.id));
        }
    }
    assert!(
        stale.is_empty(),
        "records changed; if wanted: UPDATE_FINGERPRINTS=1 cargo test source::tests::golden\n{}",
        stale.join("\n")
    );
}

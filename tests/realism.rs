//! What an expert checks first, as properties over generated records: every fact about Windows and its sensors that can be
//! computed from payloads alone, benign and attack records alike.
//!
//! Three runs of the real binary are held against them: an organisation's life under `verbose_lab`, all attack chains without
//! any life around them, and the same organisation under `baseline`. Each property must also find a violation that is planted
//! in a copy of these records, and those that a recording can show are held against the recordings as well.
//! `docs/realism.md` says of each what stands behind it. `PROPERTY=name` shows one property's findings.

#[path = "realism/clocks.rs"]
mod clocks;
#[path = "realism/footprint.rs"]
mod footprint;
#[path = "realism/identity.rs"]
mod identity;
#[path = "realism/joins.rs"]
mod joins;
#[path = "conformance/recorded.rs"]
#[allow(dead_code)] // the conformance test learns models from the same module
mod recorded;
#[path = "realism/records.rs"]
mod records;
#[path = "realism/texture.rs"]
mod texture;

use std::collections::BTreeSet;

use records::{Found, Run, World};

/// One fact and how to see that it holds.
pub struct Property {
    /// As `docs/realism.md` names it.
    pub name: &'static str,
    /// Runs whose records keep it.
    pub over: &'static [Run],
    /// Fewer cases than this in the first of them prove nothing.
    pub least: usize,
    /// The cases looked at, and those that break it.
    pub check: fn(&World, &mut Found),
    /// Breaks it in a copy.
    pub plant: fn(&mut World),
    /// Share of cases that keep it in the recordings (in hundredths); none where they cannot show it.
    pub recorded: Option<usize>,
}

const SECTIONS: [(&str, &[Property]); 5] = [
    ("identity", identity::ALL),
    ("clocks", clocks::ALL),
    ("order and joins", joins::ALL),
    ("footprint", footprint::ALL),
    ("texture", texture::ALL),
];

/// Properties that hold in nineteen of twenty cases so far: two deeds of one process a moment apart, seen by two queues.
const RACES: [&str; 4] = [
    "ports_before_connections",
    "names_before_connections",
    "handles_open_serve_and_close",
    "each_console_has_its_host",
];

fn wanted(p: &Property) -> bool {
    std::env::var("PROPERTY").is_ok_and(|n| p.name.contains(&n)) || std::env::var("PROPERTY").is_err()
}

fn keeps(section: &str) {
    let (_, all) = SECTIONS.iter().find(|(s, _)| *s == section).expect("a section");
    let mut bad = vec![];
    for p in all.iter().filter(|p| wanted(p)) {
        for (i, run) in p.over.iter().enumerate() {
            let f = records::checked(p, records::run(*run));
            println!("{:<32} {run:?}: {} cases, {} against it{}", p.name, f.seen, f.broken, f.said());
            if i == 0 && f.seen < p.least {
                bad.push(format!("{} over {run:?}: only {} cases of at least {}", p.name, f.seen, p.least));
            }
            let slack = if RACES.contains(&p.name) { f.seen / 20 } else { 0 };
            if f.broken > slack {
                bad.push(format!("{} over {run:?}: {} of {}{}", p.name, f.broken, f.seen, f.shown()));
            }
        }
    }
    assert!(bad.is_empty(), "{} properties do not hold:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn identities_agree() {
    keeps("identity");
}

#[test]
fn clocks_agree() {
    keeps("clocks");
}

#[test]
fn order_and_joins_agree() {
    keeps("order and joins");
}

#[test]
fn footprints_are_those_of_the_programs_that_leave_them() {
    keeps("footprint");
}

#[test]
fn texture_is_that_of_an_organisation() {
    keeps("texture");
}

/// A property that cannot fail is none.
#[test]
fn every_property_finds_a_planted_violation() {
    let mut blind = vec![];
    for p in SECTIONS.iter().flat_map(|(_, all)| all.iter()).filter(|p| wanted(p)) {
        let mut world = records::run(p.over[0]).clone();
        let before = records::checked(p, &world).broken;
        (p.plant)(&mut world);
        let after = records::checked(p, &world).broken;
        println!("{:<32} planted: {after} found{}", p.name, if before > 0 { " (of these some before)" } else { "" });
        if after <= before {
            blind.push(p.name);
        }
    }
    assert!(blind.is_empty(), "planted violations not found by {blind:?}");
}

/// The recordings keep them too: what real machines do not do is no fact.
#[test]
fn recordings_keep_the_properties() {
    let recordings = records::recordings();
    if recordings.is_empty() {
        eprintln!("\n### the recordings are not there: properties are not held against them ###\n");
        return;
    }
    let mut bad = vec![];
    for p in SECTIONS.iter().flat_map(|(_, all)| all.iter()).filter(|p| wanted(p)) {
        let Some(share) = p.recorded else { continue };
        let mut sum = Found::default();
        for world in recordings {
            sum.add(records::checked(p, world));
        }
        let kept = (sum.seen - sum.broken.min(sum.seen)) * 100 / sum.seen.max(1);
        println!("{:<32} recorded: {} cases, {kept} % keep it{}", p.name, sum.seen, sum.said());
        if sum.seen == 0 || kept < share {
            bad.push(format!(
                "{}: {} of {} cases, wanted {share} %{}",
                p.name,
                sum.seen - sum.broken,
                sum.seen,
                sum.shown()
            ));
        }
    }
    assert!(bad.is_empty(), "recordings do not keep {}:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn the_document_names_every_property() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/realism.md")).expect("docs/realism.md");
    let named: BTreeSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("| `")).filter_map(|l| l.split('`').next()).collect();
    let ours: BTreeSet<&str> = SECTIONS.iter().flat_map(|(_, all)| all.iter()).map(|p| p.name).collect();
    assert_eq!(SECTIONS.iter().map(|(_, all)| all.len()).sum::<usize>(), ours.len(), "a name is used twice");
    let missing: Vec<_> = ours.difference(&named).collect();
    let old: Vec<_> = named.difference(&ours).collect();
    assert!(missing.is_empty() && old.is_empty(), "docs/realism.md lacks {missing:?} and still has {old:?}");
}

//! Call traces as chains of named places in modules, as written.

use std::collections::BTreeMap;

use crate::world::atlas::Text;
use crate::yaml::{Node, Problems};

/// A frame of a call trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Path as Sysmon prints it; `UNKNOWN` for memory without a module.
    pub path: Text,
    /// Offset in the first build; other builds have their own.
    pub offset: u32,
    /// Some traces lack it.
    pub optional: bool,
}

/// Chains by kind.
#[derive(Clone, Debug)]
pub struct TraceSet {
    /// Its id.
    pub id: Text,
    /// Kind (`svchost.query`) and its chains.
    pub kinds: Vec<(Text, Vec<Vec<Frame>>)>,
}

impl TraceSet {
    pub(super) fn read(doc: &Node, p: &mut Problems) -> Option<TraceSet> {
        let f = doc.fields(p, "call traces")?;
        let id = f.take("traces")?.as_str()?.into();
        let mut places: BTreeMap<String, Frame> = BTreeMap::new();
        for (key, module) in f.need(p, "modules").map_or(&[][..], |n| n.pairs(p, "`modules`")) {
            let Some(m) = module.fields(p, "a module of call traces") else { continue };
            let path: Text = m.need(p, "path").and_then(|n| n.text(p, "`path`")).unwrap_or("").into();
            for (site, at) in m.need(p, "places").map_or(&[][..], |n| n.pairs(p, "`places`")) {
                let name = format!("{}.{}", key.as_str().unwrap_or(""), site.as_str().unwrap_or(""));
                match at.as_str().and_then(|t| u32::from_str_radix(t, 16).ok()) {
                    Some(offset) => drop(places.insert(name, Frame { path: path.clone(), offset, optional: false })),
                    None => drop(p.at(at, format!("an offset must be hexadecimal, not {}", at.describe()))),
                }
            }
            m.finish(p);
        }
        let mut kinds = vec![];
        for (key, chains) in f.need(p, "kinds").map_or(&[][..], |n| n.pairs(p, "`kinds`")) {
            let mut list = vec![];
            for chain in chains.items() {
                let mut frames = vec![];
                for word in chain.text(p, "a chain").unwrap_or("").split_whitespace() {
                    let (name, optional) = word.strip_suffix('?').map_or((word, false), |w| (w, true));
                    match places.get(name) {
                        Some(f) => frames.push(Frame { optional, ..f.clone() }),
                        None if name == "unknown" => {
                            frames.push(Frame { path: "UNKNOWN".into(), offset: 0, optional });
                        }
                        None => p.unknown(chain, "place", name, places.keys().map(String::as_str).chain(["unknown"])),
                    }
                }
                if !frames.is_empty() {
                    list.push(frames);
                }
            }
            if list.is_empty() {
                p.at(key, "a kind of call trace needs a chain");
            }
            kinds.push((key.as_str().unwrap_or("").to_ascii_lowercase().into(), list));
        }
        f.finish(p);
        Some(TraceSet { id, kinds })
    }
}

//! Call traces as chains of places in modules, as written.

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
    /// Kind (`sysmain`) and its chains.
    pub kinds: Vec<(Text, Vec<Vec<Frame>>)>,
}

/// What chains may refer to.
struct Places<'a> {
    modules: BTreeMap<&'a str, Text>,
    tails: BTreeMap<&'a str, Vec<Frame>>,
}

impl TraceSet {
    pub(super) fn read(doc: &Node, p: &mut Problems) -> Option<TraceSet> {
        let f = doc.fields(p, "call traces")?;
        let id = f.take("traces")?.as_str()?.into();
        let mut places = Places { modules: BTreeMap::new(), tails: BTreeMap::new() };
        for (key, path) in f.need(p, "modules").map_or(&[][..], |n| n.pairs(p, "`modules`")) {
            if let Some(t) = path.text(p, "a module's path") {
                places.modules.insert(key.as_str().unwrap_or(""), t.into());
            }
        }
        for (key, chain) in f.take("tails").map_or(&[][..], |n| n.pairs(p, "`tails`")) {
            let frames = places.chain(chain, p);
            places.tails.insert(key.as_str().unwrap_or(""), frames);
        }
        let mut kinds = vec![];
        for (key, chains) in f.need(p, "kinds").map_or(&[][..], |n| n.pairs(p, "`kinds`")) {
            let list: Vec<Vec<Frame>> =
                chains.items().iter().map(|c| places.chain(c, p)).filter(|c| !c.is_empty()).collect();
            if list.is_empty() {
                p.at(key, "a kind of call trace needs a chain");
            }
            kinds.push((key.as_str().unwrap_or("").to_ascii_lowercase().into(), list));
        }
        f.finish(p);
        Some(TraceSet { id, kinds })
    }
}

impl Places<'_> {
    /// `ntdll.9d4c4 kernelbase.2c13e? @rpc unknown`
    fn chain(&self, node: &Node, p: &mut Problems) -> Vec<Frame> {
        let mut frames = vec![];
        for word in node.text(p, "a chain").unwrap_or("").split_whitespace() {
            let (name, optional) = word.strip_suffix('?').map_or((word, false), |w| (w, true));
            if name == "unknown" {
                frames.push(Frame { path: "UNKNOWN".into(), offset: 0, optional });
            } else if let Some(tail) = name.strip_prefix('@') {
                match self.tails.get(tail) {
                    Some(t) => frames.extend(t.iter().cloned()),
                    None => p.unknown(node, "tail", tail, self.tails.keys().copied()),
                }
            } else {
                let (module, offset) = name.rsplit_once('.').unwrap_or((name, ""));
                match (self.modules.get(module), u32::from_str_radix(offset, 16)) {
                    (Some(path), Ok(offset)) => frames.push(Frame { path: path.clone(), offset, optional }),
                    (None, _) => p.unknown(node, "module of call traces", module, self.modules.keys().copied()),
                    _ => {
                        let message = format!("`{name}` must be a module and a hexadecimal offset");
                        p.at(node, message).help("such as `ntdll.9d4c4`");
                    }
                }
            }
        }
        frames
    }
}

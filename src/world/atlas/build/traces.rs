//! Call traces with the offsets of each servicing level.

use crate::rng::{Rng, mix, purpose};
use crate::world::atlas::data::{Frame, WorldData};
use crate::world::atlas::{Text, Traces};
use crate::world::program::Library;

use super::images::{Images, component_revision};

/// Call traces of every kind for each operating system of the atlas.
pub(super) fn traces(data: &WorldData, oses: usize, images: &Images, names: &mut Library) -> Vec<Traces> {
    let mut out: Vec<Traces> = vec![];
    for (kind, chains) in data.traces.iter().flat_map(|t| &t.kinds) {
        let by_os = (0..oses).map(|os| chains.iter().flat_map(|c| texts(c, os, images)).collect()).collect();
        let name = names.name(kind);
        out.retain(|t| t.name != name);
        out.push(Traces { name, by_os });
    }
    out.sort_by_key(|t| t.name);
    out
}

/// The driver keeps no more of a stack (recorded: every fourth of 40,547 traces has 24 frames, none more).
const FRAMES_MAX: usize = 24;

/// The texts of a chain: with its optional frames and without them.
fn texts(chain: &[Frame], os: usize, images: &Images) -> Vec<Text> {
    let print = |with: bool| -> Text {
        let frames = chain.iter().filter(|f| with || !f.optional).take(FRAMES_MAX).map(|f| frame(f, os, images));
        frames.collect::<Vec<_>>().join("|").into()
    };
    if chain.iter().any(|f| f.optional) { vec![print(true), print(false)] } else { vec![print(true)] }
}

/// `C:\Windows\SYSTEM32\ntdll.dll+9d4c4`: a place moves a little with each version of its module.
fn frame(f: &Frame, os: usize, images: &Images) -> String {
    if &*f.path == "UNKNOWN" {
        let at = Rng::new(mix(purpose("unknown frame"), os as u64)).range(0x200_0000_0000, 0x2FF_FFFF_FFFF);
        return format!("UNKNOWN({:016X})", at & !0xF);
    }
    let (data, level) = images.level(os);
    let name = f.path.rsplit('\\').next().unwrap_or("");
    let version = mix(data.binaries as u64, component_revision(data, level, name) as u64);
    let moved = Rng::new(mix(version, purpose(&f.path))).below(0x40) as u32 * 0x40;
    // functions of one module move together, most of them by much the same
    let own = Rng::new(mix(version, f.offset as u64)).below(4) as u32 * 0x10;
    format!("{}+{:x}", f.path, f.offset + moved + own)
}

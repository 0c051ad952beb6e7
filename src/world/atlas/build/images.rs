//! Images and modules in every version in use, and which host has which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::rng::{Rng, mix, purpose};
use crate::world::atlas::data::{OsData, Package, Program, Style, WorldData};
use crate::world::atlas::*;
use crate::world::program::Library;

use super::hosts::Draft;
use super::pick;
use super::share::Share;

/// Machines of one operating system, role, maker and persona have so many different sets of packages.
const VARIANTS: u64 = 5;

/// What runs 32-bit programs, in the order they load it.
const WOW64: [&str; 3] = ["wow64.dll", "wow64win.dll", "wow64cpu.dll"];

/// Versions of a file with the same first parts import the same functions: fixes seldom change that, releases do.
fn imports_family(version: &str) -> &str {
    let parts = if version.starts_with("10.0.") { 3 } else { 1 };
    match version.match_indices(['.', ',']).nth(parts - 1) {
        Some((end, _)) => &version[..end],
        None => version,
    }
}

/// What is installed on a host.
#[derive(Clone)]
pub(super) struct Installed {
    /// Index into [`Atlas::software`].
    pub set: u16,
    /// Packages besides Windows' own (indices into the data).
    pub packages: Arc<[u16]>,
    /// Version of Sysmon.
    pub sysmon: Option<Text>,
}

/// Hashes of a file.
#[derive(Clone)]
struct Hashes {
    md5: Text,
    sha1: Text,
    sha256: Text,
    imphash: Text,
    size: u64,
}

/// How programs load a row of modules.
#[derive(Clone)]
struct Loaded {
    /// Also a 32-bit program loads the system's own.
    native: bool,
    /// Its package (index into the data), and the version that programs of other packages find; none for the system's own.
    package: Option<(usize, Text)>,
}

type SetKey = (u16, u16, Text, Option<Text>, u64);

/// Images and modules so far.
#[derive(Clone)]
pub(super) struct Images {
    data: Arc<WorldData>,
    /// Operating system (index into the data) and revision for each of the atlas'.
    levels: Vec<(usize, u32)>,
    pub images: Vec<Image>,
    pub modules: Vec<Module>,
    pub bases: Vec<Vec<(u16, ImageId)>>,
    pub system_modules: Vec<Vec<(u32, ModuleId)>>,
    pub sets: Vec<Software>,
    hosts: BTreeMap<SetKey, Installed>,
    content: BTreeMap<(u16, Vec<(u16, u16)>), u16>,
    of_package: BTreeMap<(u16, u16, u16), Vec<(u16, ImageId)>>,
    of_module: HashMap<(usize, bool, Text), ModuleId>,
    /// The same without the way over the version's text: every program loads the same few hundred rows.
    of_row: Vec<Vec<(Text, Option<ModuleId>)>>,
    loads: Vec<Loaded>,
    /// Rows of what runs 32-bit programs, in the order they are loaded.
    wow64: Vec<usize>,
    hashes: HashMap<String, Hashes>,
    /// Rows of modules by the package they belong to; the system's own under none.
    rows: BTreeMap<Option<Text>, Vec<usize>>,
    share: Share,
}

fn upper_hex(bytes: &[u8]) -> Text {
    let digit = |n: u8| b"0123456789ABCDEF"[n as usize];
    let mut text = Vec::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|b| text.extend([digit(b >> 4), digit(b & 15)]));
    String::from_utf8(text).expect("digits").into()
}

/// Words that are true of an operating system.
pub(super) fn os_words(os: &OsData) -> Vec<&str> {
    let platform = match os.platform {
        Platform::Windows => "windows",
        Platform::Linux => "linux",
    };
    os.tags.iter().map(|t| &**t).chain([&*os.id, platform]).collect()
}

/// The revision that a component of an operating system has at a servicing level: updates replace some components, some
/// often, some never. Systems of one build (Windows 11 24H2 and Server 2025) get the same ones.
pub(super) fn component_revision(os: &OsData, level: u32, name: &str) -> u32 {
    let who = mix(os.binaries as u64, purpose(&name.to_ascii_lowercase()));
    let heat = 0.01 + 0.3 * libm::pow(Rng::new(who).f64(), 2.0);
    let past = os.revisions.iter().filter(|r| **r <= level);
    past.enumerate()
        .filter(|(i, r)| *i == 0 || Rng::new(mix(who, **r as u64)).chance(heat))
        .map(|(_, r)| *r)
        .last()
        .unwrap_or(level)
}

impl Images {
    pub(super) fn new(world: &Arc<WorldData>, names: &mut Library) -> Images {
        let data = &**world;
        let levels: Vec<(usize, u32)> =
            data.oses.iter().enumerate().flat_map(|(i, o)| o.levels.iter().map(move |l| (i, l.0))).collect();
        let mut images = Images {
            data: world.clone(),
            levels,
            images: vec![],
            modules: vec![],
            bases: vec![],
            system_modules: vec![],
            sets: vec![],
            hosts: BTreeMap::new(),
            content: BTreeMap::new(),
            of_package: BTreeMap::new(),
            of_module: HashMap::new(),
            of_row: vec![],
            loads: vec![],
            wow64: (WOW64.iter()).filter_map(|n| data.modules.iter().position(|m| &*m.name == *n)).collect(),
            hashes: HashMap::new(),
            rows: BTreeMap::new(),
            share: Share::default(),
        };
        images.of_row.resize(data.modules.len() * images.levels.len() * 2, vec![]);
        let packages: BTreeMap<&str, usize> = data.packages.iter().enumerate().map(|(i, k)| (&*k.id, i)).collect();
        for (i, m) in data.modules.iter().enumerate() {
            // a package that is not there has no index either
            let of = |id: &Text| match packages.get(&**id) {
                Some(k) => (*k, data.packages[*k].versions.first().map_or_else(Text::default, |v| v.0.clone())),
                None => (usize::MAX, Text::default()),
            };
            images.loads.push(Loaded {
                native: WOW64.iter().chain(&["ntdll.dll"]).any(|n| m.name.eq_ignore_ascii_case(n)),
                package: m.package.as_ref().map(of),
            });
            images.rows.entry(m.package.clone()).or_default().push(i);
        }
        for os in 0..images.levels.len() as u16 {
            let words = os_words(&data.oses[images.levels[os as usize].0]);
            let mut table = BTreeMap::new();
            for (i, p) in data.packages.iter().enumerate().filter(|(_, p)| p.base && p.only.holds(&words)) {
                let version = usize::from(!p.versions.is_empty());
                table.extend(images.package(i, version, os, names));
            }
            images.bases.push(table.into_iter().collect());
            let modules = images.modules_of(os, &None, &Text::default());
            let mut modules: Vec<_> =
                modules.iter().map(|m| (name_key(images.modules[m.0 as usize].file()), *m)).collect();
            modules.sort_by_key(|m| m.0);
            images.system_modules.push(modules);
        }
        images
    }

    /// Modules of a package, or the system's own, as a servicing level has them, sorted by file name in lower case.
    fn modules_of(&mut self, os: u16, package: &Option<Text>, number: &Text) -> Vec<ModuleId> {
        let rows = self.rows.get(package).cloned().unwrap_or_default();
        let mut list: Vec<(String, ModuleId)> = rows
            .into_iter()
            .filter_map(|i| {
                Some((self.data.modules[i].name.to_ascii_lowercase(), self.module_at(i, os, false, number)?))
            })
            .collect();
        list.sort();
        list.into_iter().map(|(_, id)| id).collect()
    }

    fn os(&self, os: u16) -> &OsData {
        &self.data.oses[self.levels[os as usize].0]
    }

    /// Version text of a component by its template.
    fn version(&self, template: &str, os: u16, name: &str, package: &str) -> Text {
        if !template.contains('{') {
            return template.into();
        }
        let data = self.os(os);
        let mut out = template.to_owned();
        let mut put = |slot: &str, text: &dyn Fn() -> String| {
            if out.contains(slot) {
                out = out.replace(slot, &text());
            }
        };
        put("{version}", &|| package.to_owned());
        put("{net}", &|| data.net.to_string());
        put("{revision}", &|| component_revision(data, self.levels[os as usize].1, name).to_string());
        put("{binaries}", &|| data.binaries.to_string());
        out.into()
    }

    /// Path by its template; `{ni}` and `{sxs}` are directories named by digests.
    fn path(&self, template: &str, os: u16, name: &str, package: &str, version: &str) -> String {
        // per-user programs keep `{profile}` until somebody runs them
        let mut path = self.version(template, os, name, package).to_string();
        for (slot, digits) in [("{ni}", 32), ("{sxs}", 16)] {
            if path.contains(slot) {
                let digest = Md5::digest(format!("directory/{name}/{version}/{}", self.os(os).binaries));
                path = path.replace(slot, &upper_hex(&digest).to_lowercase()[..digits]);
            }
        }
        path
    }

    /// Hashes of a file: a function of its name, version and architecture alone.
    fn hash(&mut self, name: &str, version: &str, x86: bool) -> Hashes {
        let name = name.to_ascii_lowercase();
        let arch = if x86 { "x86" } else { "x64" };
        // the true hashes of these files cannot be known: ones made of name and version agree wherever a file turns up
        let content = format!("{name}/{version}/{arch}");
        if let Some(h) = self.hashes.get(&content) {
            return h.clone();
        }
        let family = imports_family(version);
        let sha256 = Sha256::digest(&content);
        let bits = u64::from(sha256[0]) | u64::from(sha256[1]) << 8 | u64::from(sha256[2]) << 16;
        let hashes = Hashes {
            md5: upper_hex(&Md5::digest(&content)),
            sha1: upper_hex(&Sha1::digest(&content)),
            sha256: upper_hex(&sha256),
            imphash: upper_hex(&Md5::digest(format!("imports/{name}/{family}/{arch}"))),
            size: ((20_480 << (bits % 6)) + (bits >> 3) % 40_000) & !0x1FF,
        };
        self.hashes.insert(content, hashes.clone());
        hashes
    }

    /// Images of a package in a version (0: none, else one more than its index) on an operating system.
    fn package(&mut self, index: usize, version: usize, os: u16, names: &mut Library) -> Vec<(u16, ImageId)> {
        let key = (index as u16, version as u16, os);
        if let Some(list) = self.of_package.get(&key) {
            return list.clone();
        }
        let data = self.data.clone();
        let package = &data.packages[index];
        let words = os_words(&data.oses[self.levels[os as usize].0]);
        let number = number_of(package, version);
        let mut list = vec![];
        for program in package.programs.iter().filter(|p| p.only.holds(&words)) {
            let id = self.image(index, program, &number, os, program.x86, None);
            list.push((names.name(&program.name), id));
            if program.wow64 {
                let path = wow64_path(&program.path);
                let id = self.image(index, program, &number, os, true, Some(&path));
                list.push((names.name(&format!(r"syswow64\{}", program.name)), id));
            }
        }
        self.of_package.insert(key, list.clone());
        list
    }

    fn image(&mut self, index: usize, g: &Program, number: &Text, os: u16, x86: bool, path: Option<&str>) -> ImageId {
        let data = self.data.clone();
        let k = &data.packages[index];
        let version = self.version(&g.version, os, &g.name, number);
        let h = self.hash(&g.name, &version, x86);
        let path = self.path(path.unwrap_or(&g.path), os, &g.name, number, &version);
        let path = self.share.text(&path);
        let signer = self.share.text(&k.common.signer);
        let none = Text::from("-");
        let bare = g.style == Style::Kernel || &*g.description == "-";
        let mut modules = vec![];
        if g.style != Style::Kernel {
            modules.push(self.own_module(k, g, &path, &version, &h, x86));
            let sets = g.loads.map_or(&[][..], |l| &data.loads[l].modules).iter().chain(&k.loads);
            for row in sets.copied() {
                modules.extend(self.module(row, os, x86, index, number));
                if x86 && modules.len() == 2 {
                    for row in self.wow64.clone() {
                        modules.extend(self.module(row, os, false, index, number));
                    }
                    modules.extend(self.module_at(row, os, true, number));
                }
            }
        }
        self.images.push(Image {
            name: path.rsplit(['\\', '/']).next().unwrap_or("").into(),
            path,
            file_version: if bare { none.clone() } else { self.share.text(&version) },
            description: g.description.clone(),
            product: if bare { none.clone() } else { k.common.product.clone() },
            company: if bare { none.clone() } else { k.common.company.clone() },
            original_name: g.original.clone(),
            md5: h.md5,
            sha1: h.sha1,
            sha256: h.sha256,
            imphash: h.imphash,
            size: h.size,
            signer,
            console: matches!(g.style, Style::Console | Style::Dotnet),
            modules,
            auto_elevate: g.elevate,
            wow64: x86,
        });
        ImageId(self.images.len() as u32 - 1)
    }

    /// The image's own load.
    fn own_module(&mut self, k: &Package, g: &Program, path: &Text, version: &Text, h: &Hashes, x86: bool) -> ModuleId {
        let key = (usize::MAX - usize::from(x86), x86, format!("{path}/{version}").into());
        if let Some(id) = self.of_module.get(&key) {
            return *id;
        }
        let signed = &*k.common.signer != "-";
        self.modules.push(Module {
            path: path.clone(),
            file_version: version.clone(),
            description: g.description.clone(),
            product: k.common.product.clone(),
            company: k.common.company.clone(),
            original_name: g.original.clone(),
            md5: h.md5.clone(),
            sha1: h.sha1.clone(),
            sha256: h.sha256.clone(),
            imphash: h.imphash.clone(),
            size: h.size,
            signed,
            signer: k.common.signer.clone(),
            signature_status: self.share.text(if signed { "Valid" } else { "Unavailable" }),
        });
        let id = ModuleId(self.modules.len() as u32 - 1);
        self.of_module.insert(key, id);
        id
    }

    /// A module as a program of a package loads it: `ntdll.dll` of a 32-bit program is the system's own first.
    fn module(&mut self, row: usize, os: u16, x86: bool, package: usize, number: &Text) -> Option<ModuleId> {
        let Loaded { native, package: of } = self.loads[row].clone();
        let x86 = x86 && !native && of.is_none();
        let own = of.filter(|of| of.0 != package);
        self.module_at(row, os, x86, own.as_ref().map_or(number, |of| &of.1))
    }

    fn module_at(&mut self, row: usize, os: u16, x86: bool, number: &Text) -> Option<ModuleId> {
        let place = (row * self.levels.len() + os as usize) * 2 + usize::from(x86);
        if let Some((_, id)) = self.of_row[place].iter().find(|(n, _)| n == number) {
            return *id;
        }
        let id = self.new_module(row, os, x86, number);
        self.of_row[place].push((number.clone(), id));
        id
    }

    fn new_module(&mut self, row: usize, os: u16, x86: bool, number: &str) -> Option<ModuleId> {
        let world = self.data.clone();
        let m = &world.modules[row];
        let data = &world.oses[self.levels[os as usize].0];
        if !m.only.holds(&os_words(data)) {
            return None;
        }
        let version = self.version(&m.version, os, &m.name, number);
        let key = (row, x86, version.clone());
        if let Some(id) = self.of_module.get(&key) {
            return Some(*id);
        }
        let h = self.hash(&m.name, &version, x86);
        let path = self.path(&m.path, os, &m.name, number, &version);
        let path = if x86 { wow64_path(&path) } else { path };
        let signed = &*m.signer != "-";
        let module = Module {
            path: self.share.text(&path),
            file_version: self.share.text(&version),
            description: m.description.clone(),
            product: m.product.clone(),
            company: m.company.clone(),
            original_name: m.original.clone(),
            md5: h.md5,
            sha1: h.sha1,
            sha256: h.sha256,
            imphash: h.imphash,
            size: h.size,
            signed,
            signer: m.signer.clone(),
            signature_status: self.share.text(if signed { "Valid" } else { "Unavailable" }),
        };
        self.modules.push(module);
        let id = ModuleId(self.modules.len() as u32 - 1);
        self.of_module.insert(key, id);
        Some(id)
    }

    /// What a host has.
    pub(super) fn of_host(
        &mut self,
        seed: u64,
        draft: &Draft,
        persona: Option<&Text>,
        names: &mut Library,
    ) -> Installed {
        let variant = Rng::of(seed, draft.index as u64, purpose("software")).below(VARIANTS);
        let key = (draft.os, draft.role, draft.maker.clone(), persona.cloned(), variant);
        if let Some(i) = self.hosts.get(&key) {
            return i.clone();
        }
        let data = self.data.clone();
        let role = &data.roles[draft.role as usize];
        let mut words = os_words(&data.oses[self.levels[draft.os as usize].0]);
        words.extend(role.tags.iter().map(|t| &**t).chain([&*role.id, &*draft.maker]));
        let mut chosen: Vec<(u16, u16)> = vec![];
        for (i, k) in data.packages.iter().enumerate().filter(|(_, k)| !k.base) {
            // a persona decides on its own machines only
            let named = |p: &Text| k.personas.iter().any(|n| n.as_str() == Some(p));
            let whose = k.personas.is_empty() || persona.is_none_or(named);
            if !whose || !k.only.holds(&words) || !self.organisation_has(seed, k) {
                continue;
            }
            let who = mix(purpose(&k.id), mix(purpose(&role.id), variant));
            let mut luck = Rng::of(seed, who, purpose("package")).fork(purpose(persona.map_or("", |p| p)));
            if !luck.chance(k.share) {
                continue;
            }
            let versions: Vec<(u16, u32)> = (1u16..).zip(&k.versions).map(|(i, v)| (i, v.1)).collect();
            let version = pick(&mut Rng::of(seed, who, purpose("version")), &versions).copied().unwrap_or(0);
            chosen.push((i as u16, version));
        }
        let packages: Arc<[u16]> = chosen.iter().map(|c| c.0).collect();
        let sysmon = chosen.iter().find(|c| &*data.packages[c.0 as usize].id == "sysmon");
        let sysmon = sysmon.and_then(|c| Some(data.packages[c.0 as usize].versions.get(c.1 as usize - 1)?.0.clone()));
        let set = match self.content.get(&(draft.os, chosen.clone())) {
            Some(set) => *set,
            None => {
                let mut extra = BTreeMap::new();
                let mut modules = vec![];
                for (k, v) in &chosen {
                    extra.extend(self.package(*k as usize, *v as usize, draft.os, names));
                    let package = &data.packages[*k as usize];
                    let number = number_of(package, *v as usize);
                    modules.extend(self.modules_of(draft.os, &Some(package.id.clone()), &number));
                }
                self.sets.push(Software { base: draft.os, extra: extra.into_iter().collect(), modules });
                let set = self.sets.len() as u16 - 1;
                self.content.insert((draft.os, chosen), set);
                set
            }
        };
        let installed = Installed { set, packages, sysmon };
        self.hosts.insert(key, installed.clone());
        installed
    }

    /// One choice of a group for the whole organisation.
    fn organisation_has(&self, seed: u64, package: &Package) -> bool {
        let Some(group) = &package.one_of else { return true };
        let all: Vec<(&Text, u32)> =
            self.data.packages.iter().filter(|k| k.one_of.as_ref() == Some(group)).map(|k| (&k.id, k.weight)).collect();
        pick(&mut Rng::of(seed, purpose(group), purpose("one of")), &all).is_some_and(|id| **id == package.id)
    }

    /// The same under other numbers of the programs' names.
    pub(super) fn renamed(mut self, to: &[u16]) -> Images {
        for (name, _) in self.bases.iter_mut().chain(self.of_package.values_mut()).flatten() {
            *name = to[*name as usize];
        }
        // these are looked up by name
        self.bases.iter_mut().for_each(|b| b.sort_unstable_by_key(|x| x.0));
        self
    }

    /// Operating system of the data and revision of one of the atlas'.
    pub(super) fn level(&self, os: usize) -> (&OsData, u32) {
        (&self.data.oses[self.levels[os].0], self.levels[os].1)
    }
}

/// A version of a package by its number (0: none, else one more than its index).
fn number_of(package: &Package, version: usize) -> Text {
    version.checked_sub(1).map_or_else(Text::default, |v| package.versions[v].0.clone())
}

/// Where the 32-bit copy of a program or module stands.
fn wow64_path(path: &str) -> String {
    for (from, to) in [
        (r"C:\Windows\System32\", r"C:\Windows\SysWOW64\"),
        (r"\Framework64\", r"\Framework\"),
        (r"\NativeImages_v4.0.30319_64\", r"\NativeImages_v4.0.30319_32\"),
        (r"C:\Program Files\", r"C:\Program Files (x86)\"),
    ] {
        if path.contains(from) {
            return path.replacen(from, to, 1);
        }
    }
    path.replacen(r"C:\Windows\", r"C:\Windows\SysWOW64\", 1)
}

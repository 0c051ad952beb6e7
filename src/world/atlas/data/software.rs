//! Packages of programs, modules, load sets and services, as written.

use crate::world::atlas::Text;
use crate::yaml::{Data, Fields, Node, Problems};

use super::{BootSet, Known, Only, WorldData, put, texts, weights};

/// Version of binaries that belong to Windows itself.
const WINDOWS_VERSION: &str = "10.0.{binaries}.{revision} (WinBuild.160101.0800)";

/// What kind of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With a console: conhost serves it.
    Console,
    /// With windows.
    Gui,
    /// A service or a helper without windows.
    Service,
    /// From the store.
    App,
    /// Managed code, with a console.
    Dotnet,
    /// Not a program on disk: System, Registry.
    Kernel,
}

impl Style {
    const ALL: [(&'static str, Style); 6] = [
        ("console", Style::Console),
        ("gui", Style::Gui),
        ("service", Style::Service),
        ("app", Style::App),
        ("dotnet", Style::Dotnet),
        ("kernel", Style::Kernel),
    ];
}

/// What programs and modules of a package have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// Directory of paths that name no drive; may have `{version}`.
    pub directory: Text,
    /// ProductName.
    pub product: Text,
    /// CompanyName.
    pub company: Text,
    /// Signer, `-` for unsigned.
    pub signer: Text,
    /// Version template: `{binaries}`, `{revision}`, `{net}` of the operating system, `{version}` of the package.
    pub version: Text,
}

/// A program of a package.
#[derive(Clone, Debug)]
pub struct Program {
    /// File name as written.
    pub name: Text,
    /// Path, `{version}` and `{profile}` not yet filled in.
    pub path: Text,
    /// FileDescription.
    pub description: Text,
    /// OriginalFilename.
    pub original: Text,
    /// Version template.
    pub version: Text,
    /// What it is.
    pub style: Style,
    /// There is a 32-bit copy in SysWOW64 too.
    pub wow64: bool,
    /// It is a 32-bit program.
    pub x86: bool,
    /// Its manifest elevates without a prompt.
    pub elevate: bool,
    /// Where it exists.
    pub only: Only,
    /// Index into [`WorldData::loads`], if any fits.
    pub loads: Option<usize>,
}

/// A package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its id.
    pub id: Text,
    /// Part of every machine that `only` fits.
    pub base: bool,
    /// Where it may be installed.
    pub only: Only,
    /// Whose machines have it; anybody's when empty.
    pub personas: Vec<Node>,
    /// Share of these machines that have it.
    pub share: f64,
    /// The organisation has one package of that group.
    pub one_of: Option<Text>,
    /// Weight in its group.
    pub weight: u32,
    /// Common facts.
    pub common: Common,
    /// Versions in use by weight; none for Windows' own.
    pub versions: Vec<(Text, u32)>,
    /// Programs.
    pub programs: Vec<Program>,
    /// Modules that its programs load besides those of their set.
    pub loads: Vec<usize>,
}

/// A module.
#[derive(Clone, Debug)]
pub struct ModuleRow {
    /// File name as written.
    pub name: Text,
    /// Path, `{version}` not yet filled in.
    pub path: Text,
    /// FileDescription.
    pub description: Text,
    /// OriginalFilename.
    pub original: Text,
    /// Version template.
    pub version: Text,
    /// Common facts.
    pub product: Text,
    /// CompanyName.
    pub company: Text,
    /// Signer.
    pub signer: Text,
    /// Where it exists.
    pub only: Only,
    /// Package it belongs to.
    pub package: Option<Text>,
}

/// Modules that a program loads when it starts.
#[derive(Clone, Debug)]
pub struct LoadSet {
    /// File name of the program in lower case, or the name of a style.
    pub name: Text,
    /// Indices into [`WorldData::modules`], in order.
    pub modules: Vec<usize>,
}

/// A service.
#[derive(Clone, Debug)]
pub struct ServiceRow {
    /// Key: `BITS`.
    pub key: Text,
    /// Display name.
    pub display: Text,
    /// `auto start` and the like.
    pub start: Text,
    /// Account as boot data names it.
    pub account: super::Place,
    /// Image path with arguments.
    pub command: Text,
    /// Runs in each user's session.
    pub per_user: bool,
    /// No administrator can stop it.
    pub protected: bool,
    /// Where it exists.
    pub only: Only,
}

impl ServiceRow {
    /// Whether its state follows what administrators ask for: no driver, no session's, not protected.
    pub fn stops(&self) -> bool {
        self.command.to_ascii_lowercase().contains(".exe") && !self.per_user && !self.protected
    }
}

impl Common {
    fn read(f: &Fields<'_>, p: &mut Problems) -> Common {
        let text = |name, default: &str, p: &mut Problems| -> Text {
            f.take(name).and_then(|n| n.text(p, &format!("`{name}`"))).unwrap_or(default).into()
        };
        Common {
            directory: text("directory", r"C:\Windows\System32", p),
            product: text("product", "Microsoft® Windows® Operating System", p),
            company: text("company", "Microsoft Corporation", p),
            signer: text("signer", "Microsoft Windows", p),
            version: text("version", WINDOWS_VERSION, p),
        }
    }
    fn path(&self, path: &str) -> Text {
        // `{version}\x.dll` lies below the directory, `{profile}\x.exe` does not
        let whole = path.contains(r":\") || path.starts_with("{profile}") || path.starts_with('/');
        if whole { path.into() } else { format!(r"{}\{path}", self.directory).into() }
    }
}

/// The cells of a row `[path, description, original name, flags, version]`; the last two may be missing.
fn row<'a>(node: &'a Node, p: &mut Problems, what: &str) -> Option<[&'a str; 5]> {
    let Data::Seq(cells) = &node.data else {
        p.at(
            node,
            format!("{what} must be a row [path, description, original name, flags, version], not {}", node.describe()),
        );
        return None;
    };
    if !(3..=5).contains(&cells.len()) {
        p.at(node, format!("{what} must have 3 to 5 cells, not {}", cells.len()));
        return None;
    }
    let mut out = [""; 5];
    for (cell, text) in cells.iter().zip(&mut out) {
        *text = cell.text(p, &format!("a cell of {what}"))?;
    }
    Some(out)
}

fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

impl Program {
    fn read(node: &Node, common: &Common, loads: &[LoadSet], known: &Known, p: &mut Problems) -> Option<Program> {
        let [path, description, original, flags, version] = row(node, p, "a program")?;
        let kernel = flags.split_whitespace().any(|w| w == "kernel");
        let name = file_name(path);
        let mut program = Program {
            name: name.into(),
            path: if kernel { path.into() } else { common.path(path) },
            description: description.into(),
            original: if original == "=" { name } else { original }.into(),
            version: if version.is_empty() { common.version.clone() } else { version.into() },
            style: Style::Gui,
            wow64: false,
            x86: false,
            elevate: false,
            only: Only::default(),
            loads: None,
        };
        let mut set = None;
        for word in flags.split_whitespace() {
            match word {
                "wow64" => program.wow64 = true,
                "x86" => program.x86 = true,
                "elevate" => program.elevate = true,
                _ => match (word.strip_prefix("only="), word.strip_prefix("loads=")) {
                    (Some(list), _) => program.only = conditions(node, list, known, p),
                    (_, Some(name)) => set = Some(name),
                    _ => match Style::ALL.iter().find(|(n, _)| *n == word) {
                        Some((_, s)) => program.style = *s,
                        None => {
                            let all =
                                Style::ALL.iter().map(|s| s.0).chain(["wow64", "x86", "elevate", "only=", "loads="]);
                            p.unknown(node, "flag", word, all);
                        }
                    },
                },
            }
        }
        let find = |name: &str| loads.iter().position(|l| l.name.eq_ignore_ascii_case(name));
        let style = Style::ALL.iter().find(|s| s.1 == program.style).map_or("", |s| s.0);
        program.loads = match set {
            Some(s) => {
                if find(s).is_none() {
                    p.unknown(node, "load set", s, loads.iter().map(|l| &*l.name));
                }
                find(s)
            }
            None => find(name).or_else(|| find(style)),
        };
        Some(program)
    }
}

fn conditions(node: &Node, list: &str, known: &Known, p: &mut Problems) -> Only {
    let items = list.split(',').map(|w| Node {
        file: node.file.clone(),
        at: node.at.clone(),
        data: Data::Scalar { text: w.into(), plain: true },
    });
    known.only(Some(&Node { file: node.file.clone(), at: node.at.clone(), data: Data::Seq(items.collect()) }), p)
}

impl Package {
    pub(super) fn read(
        id: &str,
        doc: &Node,
        world: &mut WorldData,
        known: &Known,
        p: &mut Problems,
    ) -> Option<(Package, Option<BootSet>)> {
        let f = doc.fields(p, "a package")?;
        f.take("software");
        let base = f.take("base").and_then(|n| n.boolean(p, "`base`")).unwrap_or(false);
        let only = known.only(f.take("only"), p);
        let personas = f.take("personas").map_or(vec![], |n| n.items().to_vec());
        let share = f.take("share").and_then(|n| n.share(p, "`share`")).unwrap_or(1.0);
        let one_of = f.take("one_of").and_then(|n| n.text(p, "`one_of`").map(Text::from));
        let weight = f.take("weight").and_then(|n| n.number(p, "`weight`")).unwrap_or(1);
        let common = Common::read(&f, p);
        let versions: Vec<(Text, u32)> =
            weights(f.take("versions"), p, "a version").into_iter().map(|(v, w, _)| (v, w)).collect();
        let programs = f.take("programs").map_or(&[][..], Node::items);
        let programs: Vec<Program> =
            programs.iter().filter_map(|n| Program::read(n, &common, &world.loads, known, p)).collect();
        f.take("modules");
        let mut loads = vec![];
        for n in f.take("loads").map_or(&[][..], Node::items) {
            loads.extend(n.text(p, "a module").and_then(|t| module(n, t, &world.modules, p)));
        }
        if let Some(list) = f.take("services") {
            service_rows(list, known, &mut world.services, p);
        }
        let boot = f.take("boot").map(|n| BootSet::of_package(id, n, known, p));
        f.finish(p);
        for (what, text) in
            programs.iter().map(|g| (&g.name, &g.path)).chain(programs.iter().map(|g| (&g.name, &g.version)))
        {
            if text.contains("{version}") && versions.is_empty() {
                p.at(doc, format!("`{what}` uses `{{version}}`, but the package has no `versions`"));
            }
        }
        let id = id.into();
        Some((Package { id, base, only, personas, share, one_of, weight, common, versions, programs, loads }, boot))
    }
}

fn module(node: &Node, name: &str, modules: &[ModuleRow], p: &mut Problems) -> Option<usize> {
    let found = modules.iter().position(|m| m.name.eq_ignore_ascii_case(name));
    if found.is_none() {
        p.unknown(node, "module", name, modules.iter().map(|m| &*m.name));
    }
    found
}

/// Reads a document of modules, or the modules of a package.
pub(super) fn modules(doc: &Node, known: &Known, out: &mut Vec<ModuleRow>, p: &mut Problems) {
    let Some(f) = doc.fields(p, "modules") else { return };
    let common = Common::read(&f, p);
    let package = f.take("software").and_then(|n| n.as_str().map(Text::from));
    let rows = if package.is_some() {
        f.take("modules")
    } else {
        f.take("modules");
        f.need(p, "rows")
    };
    for node in rows.map_or(&[][..], Node::items) {
        let Some([path, description, original, flags, version]) = row(node, p, "a module") else { continue };
        let name = file_name(path);
        let mut only = Only::default();
        for word in flags.split_whitespace() {
            match word.strip_prefix("only=") {
                Some(list) => only = conditions(node, list, known, p),
                None => p.unknown(node, "flag", word, ["only="]),
            }
        }
        let row = ModuleRow {
            name: name.into(),
            path: common.path(path),
            description: description.into(),
            original: if original == "=" { name } else { original }.into(),
            version: if version.is_empty() { common.version.clone() } else { version.into() },
            product: common.product.clone(),
            company: common.company.clone(),
            signer: common.signer.clone(),
            only,
            package: package.clone(),
        };
        put(out, row, |a, b| a.name.eq_ignore_ascii_case(&b.name));
    }
    if package.is_none() {
        f.finish(p);
    }
}

/// Reads a document of load sets.
pub(super) fn loads(doc: &Node, modules: &[ModuleRow], out: &mut Vec<LoadSet>, p: &mut Problems) {
    let index: std::collections::BTreeMap<String, usize> =
        modules.iter().enumerate().map(|(i, m)| (m.name.to_ascii_lowercase(), i)).collect();
    let Some(f) = doc.fields(p, "load sets") else { return };
    f.take("loads");
    for (key, list) in f.need(p, "sets").map_or(&[][..], |n| n.pairs(p, "`sets`")) {
        let mut set = vec![];
        for n in list.items() {
            let Some(t) = n.text(p, "a module") else { continue };
            match t.strip_prefix('@') {
                Some(other) => match out.iter().find(|s| *s.name == *other) {
                    Some(o) => set.extend(&o.modules),
                    None => p.unknown(n, "load set", other, out.iter().map(|s| &*s.name)),
                },
                None => match index.get(&t.to_ascii_lowercase()) {
                    Some(i) => set.push(*i),
                    None => drop(module(n, t, modules, p)),
                },
            }
        }
        let name = key.as_str().unwrap_or("").to_ascii_lowercase().into();
        put(out, LoadSet { name, modules: set }, |a, b| a.name == b.name);
    }
    f.finish(p);
}

/// Reads a document of services.
pub(super) fn services(doc: &Node, known: &Known, out: &mut Vec<ServiceRow>, p: &mut Problems) {
    let Some(f) = doc.fields(p, "services") else { return };
    f.take("services");
    if let Some(rows) = f.need(p, "rows") {
        service_rows(rows, known, out, p);
    }
    f.finish(p);
}

const STARTS: [(&str, &str); 5] = [
    ("auto", "auto start"),
    ("demand", "demand start"),
    ("disabled", "disabled"),
    ("boot", "boot start"),
    ("system", "system start"),
];

fn service_rows(rows: &Node, known: &Known, out: &mut Vec<ServiceRow>, p: &mut Problems) {
    for node in rows.items() {
        let cells = texts(Some(node), p, "a cell of a service");
        if !(5..=6).contains(&cells.len()) {
            p.at(node, "a service must be a row [key, display name, start, account, command, flags]");
            continue;
        }
        let Some((_, start)) = STARTS.iter().find(|s| *s.0 == *cells[2]) else {
            p.unknown(node, "start type", &cells[2], STARTS.iter().map(|s| s.0));
            continue;
        };
        // `-k` and `-K`: the registry spells the directory of svchost.exe in two ways, and command lines keep it
        let command = match cells[4].split_at_checked(3) {
            Some(("-k ", rest)) => format!(r"C:\Windows\system32\svchost.exe -k {rest}").into(),
            Some(("-K ", rest)) => format!(r"C:\Windows\System32\svchost.exe -k {rest}").into(),
            _ => cells[4].clone(),
        };
        let mut row = ServiceRow {
            key: cells[0].clone(),
            display: cells[1].clone(),
            start: (*start).into(),
            account: super::Place::named(&cells[3]),
            command,
            per_user: false,
            protected: false,
            only: Only::default(),
        };
        for word in cells.get(5).map_or("", |c| c).split_whitespace() {
            match (word, word.strip_prefix("only=")) {
                ("per_user", _) => row.per_user = true,
                ("protected", _) => row.protected = true,
                (_, Some(list)) => row.only = conditions(node, list, known, p),
                _ => p.unknown(node, "flag", word, ["per_user", "protected", "only="]),
            }
        }
        put(out, row, |a, b| a.key == b.key);
    }
}

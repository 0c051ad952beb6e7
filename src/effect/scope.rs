//! What references may name: the cast, variables and processes of a scenario, and what is always there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::Shell;
use crate::world::atlas::HostId;
use crate::world::atlas::data::Server;
use crate::world::program::{AccountSel, Attr, TimeFmt};
use crate::yaml::suggest;

/// Names that the world has: what scenarios may refer to beside their own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Host roles, in the order of the atlas.
    pub roles: Vec<Arc<str>>,
    /// Personas, in the order of the atlas.
    pub personas: Vec<Arc<str>>,
    /// Word lists, in the order of the atlas.
    pub words: Vec<Arc<str>>,
    /// Kinds of call traces; nobody knows them where there are none.
    pub traces: BTreeSet<Arc<str>>,
    /// File names in lower case of programs that are known without an effect.
    pub programs: BTreeSet<Arc<str>>,
    /// Those among them that are not installed: whoever uses one brings it to a place of his own.
    pub brought: BTreeSet<Arc<str>>,
    /// Hosts by name in lower case, short and full, and by address, where the world is known already.
    pub hosts: BTreeMap<String, HostId>,
    /// Services with programs, by key and by display name in lower case.
    pub services: BTreeMap<String, Service>,
    /// Keys of all services in lower case.
    pub service_keys: BTreeSet<String>,
    /// Who answers on well-known ports.
    pub servers: Vec<Server>,
}

impl Names {
    /// Learns the names of a world's hosts: who types one means that host.
    pub fn meet(&mut self, hosts: impl IntoIterator<Item = (HostId, [String; 3])>) {
        for (id, names) in hosts {
            self.hosts.extend(names.map(|name| (name.to_lowercase(), id)));
        }
    }
}

/// What is known of a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Key.
    pub key: Arc<str>,
    /// Command line of a process of its own.
    pub command: String,
    /// Account it runs as, where that is one of the system's.
    pub account: Option<AccountSel>,
}

/// What a unit (a scenario, a habit, a background entry, a command) can refer to.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Name for messages: "step `open`".
    pub label: String,
    /// Roles in order.
    pub roles: Vec<Role>,
    /// Variables in order.
    pub vars: Vec<Var>,
    /// Named processes in order.
    pub names: Vec<Process>,
    /// Alias and role of the step's `each`.
    pub each: Option<(String, u16)>,
    /// What names of the scenario now compiled begin with (empty, or `step.` inside a played one).
    pub prefix: String,
    /// Roles that a played scenario was given: its name for them (with prefix), role.
    pub lent: BTreeMap<String, u16>,
    /// Alternatives fixed while a command is compiled for each of them.
    pub pinned: BTreeMap<u16, usize>,
}

/// A role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What fills it.
    pub kind: RoleKind,
}

/// What fills a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// One host.
    Host,
    /// Several hosts.
    Hosts,
    /// An account.
    Account,
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Var {
    /// Its name.
    pub name: String,
    /// Its alternatives as texts with holes, when it is a choice; empty when its text is known only at run time.
    pub arms: Vec<String>,
}

/// A process with a name.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// What is typed into it is read by this shell.
    pub shell: Option<Shell>,
    /// It has an elevated token.
    pub elevated: bool,
}

/// A reference that is always there.
#[derive(Clone, Debug, PartialEq)]
pub enum Builtin {
    /// `{host.name}`
    Host(Attr),
    /// `{user.name}`
    User(Attr),
    /// `{program.winword}`
    Program(String),
    /// `{pid.lsass}`
    Pid(String),
    /// `{guid}`
    Guid,
    /// `{hex.8}`
    Hex(u8),
    /// `{letters.6}`
    Letters(u8),
    /// `{number.1.9}`
    Number(i32, i32),
    /// `{word.names.service}`
    Word(String),
    /// `{now.iso}`
    Now(TimeFmt),
    /// A constant.
    Text(&'static str),
}

/// First words of references that are always there.
pub const BUILTIN: &[&str] = &[
    "host",
    "user",
    "program",
    "pid",
    "guid",
    "hex",
    "letters",
    "number",
    "word",
    "now",
    "windows",
    "system32",
    "programdata",
    "public",
    "taskcache",
    "services",
];

const TEXTS: &[(&str, &str)] = &[
    ("windows", r"C:\Windows"),
    ("system32", r"C:\Windows\System32"),
    ("programdata", r"C:\ProgramData"),
    ("public", r"C:\Users\Public"),
    ("taskcache", r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache"),
    ("services", r"HKLM\System\CurrentControlSet\Services"),
];

const HOST: &[(&str, Attr)] = &[
    ("name", Attr::Name),
    ("fqdn", Attr::Full),
    ("ip", Attr::Ip),
    ("domain", Attr::Domain),
    ("netbios", Attr::Netbios),
    ("sid", Attr::Sid),
    ("site", Attr::Given),
    ("role", Attr::Department),
    ("dc", Attr::Dc),
    ("file_server", Attr::FileServer),
    ("guid", Attr::MachineGuid),
    ("temp", Attr::Temp),
];

const ACCOUNT: &[(&str, Attr)] = &[
    ("name", Attr::Name),
    ("upn", Attr::Full),
    ("domain", Attr::Domain),
    ("netbios", Attr::Netbios),
    ("sid", Attr::Sid),
    ("profile", Attr::Profile),
    ("display", Attr::Display),
    ("given", Attr::Given),
    ("family", Attr::Family),
    ("department", Attr::Department),
    ("home", Attr::Home),
    ("temp", Attr::Temp),
];

const NOW: &[(&str, TimeFmt)] = &[
    ("date", TimeFmt::Date),
    ("isodate", TimeFmt::IsoDate),
    ("iso", TimeFmt::Iso),
    ("clock", TimeFmt::Clock),
    ("minute", TimeFmt::Minute),
    ("unix", TimeFmt::Unix),
    ("filetime", TimeFmt::Filetime),
];

/// True when a reference begins with a word that is always there.
pub fn builtin(reference: &str) -> bool {
    BUILTIN.contains(&reference.split('.').next().unwrap_or_default())
}

fn fact(table: &'static [(&'static str, Attr)], what: &str, name: &str) -> Result<Attr, String> {
    let hit = table.iter().find(|(n, _)| *n == name).map(|(_, a)| *a);
    hit.ok_or_else(|| format!("unknown fact of {what} `{name}`; {}", suggest(name, table.iter().map(|(n, _)| *n))))
}

/// A fact about a host.
///
/// # Errors
/// An unknown fact, with the nearest.
pub fn host_fact(name: &str) -> Result<Attr, String> {
    fact(HOST, "a host", name)
}

/// A fact about an account.
///
/// # Errors
/// An unknown fact, with the nearest.
pub fn account_fact(name: &str) -> Result<Attr, String> {
    fact(ACCOUNT, "an account", name)
}

/// Reads a reference that begins with a word that is always there.
///
/// # Errors
/// What is wrong with its form.
pub fn parse_builtin(reference: &str) -> Result<Builtin, String> {
    let (head, rest) = reference.split_once('.').unwrap_or((reference, ""));
    let mut words = rest.split('.');
    let first = words.next().unwrap_or_default();
    let length = || first.parse::<u8>().ok().filter(|n| *n > 0);
    let bad = |want: &str| Err(format!("`{{{reference}}}` must have the form `{{{want}}}`"));
    if let Some((_, t)) = TEXTS.iter().find(|(n, _)| *n == head) {
        return if rest.is_empty() { Ok(Builtin::Text(t)) } else { bad(head) };
    }
    match head {
        "host" => Ok(Builtin::Host(host_fact(if rest.is_empty() { "name" } else { rest })?)),
        "user" => Ok(Builtin::User(account_fact(if rest.is_empty() { "name" } else { rest })?)),
        "program" if !rest.is_empty() => Ok(Builtin::Program(exe(rest))),
        "program" => bad("program.NAME"),
        "pid" if !rest.is_empty() => Ok(Builtin::Pid(rest.to_lowercase())),
        "pid" => bad("pid.NAME"),
        "guid" => Ok(Builtin::Guid),
        "hex" => length().map_or_else(|| bad("hex.8"), |n| Ok(Builtin::Hex(n))),
        "letters" => length().map_or_else(|| bad("letters.6"), |n| Ok(Builtin::Letters(n))),
        "number" => match (first.parse(), words.next().unwrap_or_default().parse()) {
            (Ok(a), Ok(b)) if a <= b => Ok(Builtin::Number(a, b)),
            _ => bad("number.1.9"),
        },
        "word" if !rest.is_empty() => Ok(Builtin::Word(rest.to_owned())),
        "word" => bad("word.LIST"),
        _ => match NOW.iter().find(|(n, _)| *n == rest) {
            Some((_, t)) => Ok(Builtin::Now(*t)),
            None => Err(format!("unknown form of time `{rest}`; {}", suggest(rest, NOW.iter().map(|(n, _)| *n)))),
        },
    }
}

/// Programs of Windows whose extension is another than `.exe`: a search along PATH tries `.com` first, and `.cmd` finds
/// what is nothing else.
const OTHERS: &[&str] =
    &["tree.com", "more.com", "mode.com", "format.com", "chcp.com", "diskcomp.com", "diskcopy.com", "winrm.cmd"];

/// A program's file name: where there is no extension, the one that a search finds, which is nearly always `.exe`.
pub fn exe(name: &str) -> String {
    let name = name.to_lowercase();
    if name.contains('.') {
        return name;
    }
    let other = OTHERS.iter().find(|o| o.split_once('.').is_some_and(|(stem, _)| stem == name));
    other.map_or_else(|| format!("{name}.exe"), |o| (*o).to_owned())
}

impl Scope {
    /// Index of a role.
    pub fn role(&self, name: &str) -> Option<u16> {
        let full = self.full(name);
        self.lent.get(&full).copied().or_else(|| self.roles.iter().position(|r| r.name == full).map(|i| i as u16))
    }
    /// Index of a variable.
    pub fn var(&self, name: &str) -> Option<u16> {
        let full = self.full(name);
        self.vars.iter().position(|r| r.name == full).map(|i| i as u16)
    }
    /// Index of a named process.
    pub fn name(&self, name: &str) -> Option<u16> {
        let full = self.full(name);
        self.names.iter().position(|r| r.name == full).map(|i| i as u16)
    }
    /// A name with the prefix of the scenario now compiled.
    pub fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
    /// Names of roles that can be used now.
    pub fn role_names(&self) -> Vec<&str> {
        self.own(self.roles.iter().map(|r| &*r.name).chain(self.lent.keys().map(|k| &**k)))
    }
    /// Names of variables that can be used now.
    pub fn var_names(&self) -> Vec<&str> {
        self.own(self.vars.iter().map(|v| &*v.name))
    }
    /// Names of processes that can be used now.
    pub fn process_names(&self) -> Vec<&str> {
        self.own(self.names.iter().map(|r| &*r.name))
    }
    /// Every word a reference may begin with.
    pub fn words(&self) -> Vec<&str> {
        let each = self.each.iter().map(|(n, _)| &**n);
        let vars = self.own(self.vars.iter().map(|v| &*v.name));
        self.role_names().into_iter().chain(vars).chain(each).chain(BUILTIN.iter().copied()).collect()
    }
    fn own<'a>(&self, all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        all.filter_map(|n| n.strip_prefix(&*self.prefix)).filter(|n| !n.contains('.')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_built_in_references() {
        assert_eq!(parse_builtin("host"), Ok(Builtin::Host(Attr::Name)));
        assert_eq!(parse_builtin("number.1.9.b"), Ok(Builtin::Number(1, 9)));
        assert_eq!(parse_builtin("program.winword"), Ok(Builtin::Program("winword.exe".into())));
        let bad: Vec<String> = ["host.nme", "hex", "hex.999", "number.9.1", "now.isso", "windows.x", "program", "word"]
            .iter()
            .map(|r| parse_builtin(r).unwrap_err())
            .collect();
        insta::assert_snapshot!(bad.join("\n"), @r"
        unknown fact of a host `nme`; did you mean `name`?
        `{hex}` must have the form `{hex.8}`
        `{hex.999}` must have the form `{hex.8}`
        `{number.9.1}` must have the form `{number.1.9}`
        unknown form of time `isso`; did you mean `iso`?
        `{windows.x}` must have the form `{windows}`
        `{program}` must have the form `{program.NAME}`
        `{word}` must have the form `{word.LIST}`
        ");
    }
}

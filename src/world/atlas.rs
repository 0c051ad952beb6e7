//! What never changes while a world runs: a pure function of the seed, the configuration and the data folders.
//!
//! Hosts, accounts, images and modules are tables; everything refers to them by index. [`build`] makes them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use crate::world::program::Attr;

/// Index of a host in [`Atlas::hosts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostId(pub u32);

/// Index of an account in [`Atlas::accounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub u32);

/// Index of an image in [`Atlas::images`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(pub u32);

/// Index of a module in [`Atlas::modules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModuleId(pub u32);

/// Accounts every Windows host has, at fixed indices of [`Atlas::accounts`].
impl AccountId {
    /// NT AUTHORITY\SYSTEM, S-1-5-18.
    pub const SYSTEM: AccountId = AccountId(0);
    /// NT AUTHORITY\LOCAL SERVICE, S-1-5-19.
    pub const LOCAL_SERVICE: AccountId = AccountId(1);
    /// NT AUTHORITY\NETWORK SERVICE, S-1-5-20.
    pub const NETWORK_SERVICE: AccountId = AccountId(2);
    /// Window Manager\DWM-1, S-1-5-90-0-1.
    pub const DWM_1: AccountId = AccountId(3);
    /// Font Driver Host\UMFD-0, S-1-5-96-0-0.
    pub const UMFD_0: AccountId = AccountId(4);
    /// Font Driver Host\UMFD-1, S-1-5-96-0-1.
    pub const UMFD_1: AccountId = AccountId(5);
    /// NT AUTHORITY\ANONYMOUS LOGON, S-1-5-7.
    pub const ANONYMOUS: AccountId = AccountId(6);
    /// Nobody: S-1-0-0, printed as `-`.
    pub const NOBODY: AccountId = AccountId(7);
    /// First account that is not one of the above.
    pub const FIRST: u32 = 8;
}

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountKind {
    /// One of the well-known ones.
    WellKnown,
    /// A person in the domain.
    Person,
    /// A separate administrative account of a person in the domain.
    Admin,
    /// A service account in the domain.
    Service,
    /// A machine's account in the domain.
    Machine,
    /// Built-in Administrator of the domain, krbtgt.
    BuiltIn,
    /// A local account of a host.
    Local,
}

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// What it is.
    pub kind: AccountKind,
    /// SAM name: `jdoe`, `WS-0412$`, `svc_sql`, `SYSTEM`.
    pub name: Box<str>,
    /// Domain as a token has it: `CORP`, `NT AUTHORITY`, the host's name for local accounts.
    pub domain: Box<str>,
    /// SID as text.
    pub sid: Box<str>,
    /// UPN; empty for well-known and local ones.
    pub upn: Box<str>,
    /// Given name of a person, else empty.
    pub given: Box<str>,
    /// Family name of a person, else empty.
    pub family: Box<str>,
    /// Display name: `Doe, Jane` or `Jane Doe` as the organisation writes it.
    pub display: Box<str>,
    /// Department, else empty.
    pub department: Box<str>,
    /// Index into [`Atlas::personas`] for persons and admins.
    pub persona: Option<u16>,
    /// `C:\Users\jdoe`, `C:\Windows\system32\config\systemprofile`, ...
    pub profile: Box<str>,
    /// The host it belongs to: a person's own machine, a machine account's or local account's host.
    pub host: Option<HostId>,
    /// Group SIDs of its tokens besides the usual ones.
    pub groups: Vec<Box<str>>,
    /// Service principal name of a service account, else empty.
    pub spn: Box<str>,
    /// Member of the local Administrators group of its own host, so it has a linked elevated token.
    pub local_admin: bool,
}

/// A site.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Its name: `Lyon`.
    pub name: Box<str>,
    /// IANA time zone.
    pub tz: Box<str>,
    /// Hosts of role domain controller here (or anywhere when the site has none).
    pub dcs: Vec<HostId>,
    /// File servers here (or anywhere).
    pub file_servers: Vec<HostId>,
    /// Address of the site's web proxy or default gateway.
    pub gateway: Ipv4Addr,
}

/// An operating system with its servicing level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// `Windows 11 Enterprise`.
    pub name: Box<str>,
    /// Build: 22631.
    pub build: u32,
    /// Revision: 4317.
    pub revision: u32,
    /// Version of binaries that come from the image and were never serviced: `10.0.22621.1`.
    pub base: Box<str>,
    /// Windows Server.
    pub server: bool,
}

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Computer name, upper case, at most 15 characters.
    pub name: Box<str>,
    /// `WS-0412.corp.example` as event logs print it.
    pub fqdn: Box<str>,
    /// Index into [`Atlas::roles`].
    pub role: u16,
    /// Index into [`Atlas::sites`].
    pub site: u16,
    /// Index into [`Atlas::oses`].
    pub os: u16,
    /// Cell that owns it.
    pub cell: u16,
    /// Its person, for workstations and laptops.
    pub owner: Option<AccountId>,
    /// Its machine account.
    pub account: AccountId,
    /// First address.
    pub ip: Ipv4Addr,
    /// `00-15-5D-3A-10-0C`.
    pub mac: Box<str>,
    /// Machine GUID, lower case.
    pub machine_guid: Box<str>,
    /// First 32 bits of it: the machine part of Sysmon's GUIDs.
    pub machine_part: u32,
    /// SID of its local account domain (`S-1-5-21-…`), for a domain controller the domain's.
    pub sid: Box<str>,
    /// Defender's device id, 40 hex digits.
    pub device_id: Box<str>,
    /// Index of its boot image in [`Atlas::boots`].
    pub boot: u16,
    /// When it booted last before the world's start, an odd time days or weeks before.
    pub booted: Time,
    /// Boots so far (Sysmon's and the kernel's boot id).
    pub boot_id: u16,
    /// Average offset of its clock.
    pub clock_offset: Span,
    /// Drift of its clock in parts per billion.
    pub clock_drift_ppb: i32,
    /// `15.15` and the like.
    pub sysmon_version: Box<str>,
    /// Index into [`Atlas::volumes`]-style device numbering: the 3 of `\device\harddiskvolume3`.
    pub volume: u8,
    /// Programs installed besides the operating system: image of each program name it has, sorted by name index.
    pub software: u16,
    /// Domain controller it uses.
    pub dc: HostId,
    /// File server it uses.
    pub file_server: HostId,
}

/// An executable: one version of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Full path; `{profile}` stands for the account's profile where a program lives there.
    pub path: Box<str>,
    /// Final file name.
    pub name: Box<str>,
    /// FileVersion resource: `10.0.22621.3672 (WinBuild.160101.0800)`, or `-`.
    pub file_version: Box<str>,
    /// Description, or `-`.
    pub description: Box<str>,
    /// Product, or `-`.
    pub product: Box<str>,
    /// Company, or `-`.
    pub company: Box<str>,
    /// OriginalFilename, or `-`.
    pub original_name: Box<str>,
    /// Upper-case hex.
    pub md5: Box<str>,
    /// Upper-case hex.
    pub sha1: Box<str>,
    /// Upper-case hex.
    pub sha256: Box<str>,
    /// Upper-case hex.
    pub imphash: Box<str>,
    /// Bytes.
    pub size: u64,
    /// Signer, or `-`.
    pub signer: Box<str>,
    /// Console program: conhost serves it.
    pub console: bool,
    /// Modules it loads when it starts, in order.
    pub modules: Vec<ModuleId>,
    /// Highest integrity its manifest asks for without a prompt: runs elevated only when asked.
    pub auto_elevate: bool,
}

/// A loadable module: one version of a DLL (the executable's own image load included).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Module {
    /// Full path.
    pub path: Box<str>,
    /// FileVersion, or `-`.
    pub file_version: Box<str>,
    /// Description, or `-`.
    pub description: Box<str>,
    /// Product, or `-`.
    pub product: Box<str>,
    /// Company, or `-`.
    pub company: Box<str>,
    /// OriginalFilename, or `-`.
    pub original_name: Box<str>,
    /// Upper-case hex.
    pub md5: Box<str>,
    /// Upper-case hex.
    pub sha1: Box<str>,
    /// Upper-case hex.
    pub sha256: Box<str>,
    /// Upper-case hex.
    pub imphash: Box<str>,
    /// Bytes.
    pub size: u64,
    /// Carries a signature.
    pub signed: bool,
    /// Signer, or `-`.
    pub signer: Box<str>,
    /// `Valid`, `Unavailable`, ...
    pub signature_status: Box<str>,
}

/// Which session of a host a boot process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootSession {
    /// Services (session 0) under that account.
    Service(AccountId),
    /// The console session's own processes (winlogon, dwm, csrss) under that account.
    Console(AccountId),
    /// The owner's interactive session; absent where nobody is logged on.
    Owner,
}

/// A process that runs when a host has booted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootProcess {
    /// Program, as an index into the names of the library.
    pub program: u16,
    /// Index of its parent in the same boot image; itself for System.
    pub parent: u16,
    /// Command line; `{sid}`-like slots are not needed here.
    pub command_line: Box<str>,
    /// Session and account.
    pub session: BootSession,
    /// Services it hosts (indices into the names of the library).
    pub services: Vec<u16>,
    /// Starts that long after boot (or after the owner's logon), give or take a third.
    pub after: Span,
    /// Ends soon after it started (smss helpers, userinit): only its start is a fact others point at.
    pub exits: bool,
}

/// What runs on a host of a kind after boot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Boot {
    /// Processes, parents first.
    pub processes: Vec<BootProcess>,
}

/// A persona's day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Persona {
    /// Its id: `finance`.
    pub id: Box<str>,
    /// Usual hours of the working day, local: start, end.
    pub hours: (f32, f32),
    /// Share of people at work on a weekday, on Saturday, on Sunday.
    pub presence: [f32; 3],
    /// Share of people of this persona who work at night.
    pub night: f32,
    /// Departments its people are in, weighted.
    pub departments: Vec<(Box<str>, u32)>,
    /// Share of an organisation's people.
    pub share: f32,
    /// Has a separate administrative account.
    pub admin: bool,
    /// Local administrator of the own machine.
    pub local_admin: bool,
}

/// Lists of words that templates draw from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Words {
    /// Name of each list: `documents.invoice`, `names.service`.
    pub names: Vec<Box<str>>,
    /// Its lines.
    pub lists: Vec<Vec<Box<str>>>,
}

/// The forest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forest {
    /// `corp.example`
    pub dns: Box<str>,
    /// `CORP`
    pub netbios: Box<str>,
    /// `CORP.EXAMPLE`
    pub realm: Box<str>,
    /// `S-1-5-21-…`
    pub sid: Box<str>,
    /// Entra tenant id.
    pub tenant: Box<str>,
}

/// Everything that never changes while a world runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Atlas {
    /// Seed it was built from.
    pub seed: u64,
    /// When the world starts.
    pub start: Time,
    /// The forest.
    pub forest: Forest,
    /// Sites.
    pub sites: Vec<Site>,
    /// Operating systems in use.
    pub oses: Vec<Os>,
    /// Names of host roles: `workstation`, `laptop`, `domain_controller`, `file_server`, `database_server`, ...
    pub roles: Vec<Box<str>>,
    /// Personas.
    pub personas: Vec<Persona>,
    /// Hosts, grouped by cell.
    pub hosts: Vec<Host>,
    /// Accounts.
    pub accounts: Vec<Account>,
    /// Images.
    pub images: Vec<Image>,
    /// Modules.
    pub modules: Vec<Module>,
    /// Boot images.
    pub boots: Vec<Boot>,
    /// For each software set (shared by hosts with the same operating system and packages): image of every program
    /// name of the library, `u32::MAX` where the set has none.
    pub software: Vec<Vec<u32>>,
    /// Word lists.
    pub words: Words,
    /// Call traces by name index of the library: full Sysmon CallTrace texts, one of which is drawn.
    pub traces: Vec<(u16, Vec<Box<str>>)>,
    /// Number of cells.
    pub cells: u16,
}

impl Atlas {
    /// A host.
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0 as usize]
    }
    /// An account.
    pub fn account(&self, id: AccountId) -> &Account {
        &self.accounts[id.0 as usize]
    }
    /// An image.
    pub fn image(&self, id: ImageId) -> &Image {
        &self.images[id.0 as usize]
    }
    /// A module.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0 as usize]
    }
    /// The image a host has for a program (index into the library's names).
    pub fn program(&self, host: HostId, program: u16) -> Option<ImageId> {
        let set = &self.software[self.host(host).software as usize];
        set.get(program as usize).copied().filter(|i| *i != u32::MAX).map(ImageId)
    }
    /// Index of a role.
    pub fn role(&self, name: &str) -> Option<u16> {
        self.roles.iter().position(|r| **r == *name).map(|i| i as u16)
    }
    /// A fact about a host as text.
    pub fn host_attr(&self, id: HostId, attr: Attr) -> &str {
        let h = self.host(id);
        match attr {
            Attr::Name => &h.name,
            Attr::Full => &h.fqdn,
            Attr::Domain => &self.forest.dns,
            Attr::Netbios => &self.forest.netbios,
            Attr::Sid => &h.sid,
            Attr::Given => &self.sites[h.site as usize].name,
            Attr::Department => &self.roles[h.role as usize],
            Attr::Dc => &self.host(h.dc).name,
            Attr::FileServer => &self.host(h.file_server).name,
            Attr::MachineGuid => &h.machine_guid,
            Attr::Temp => r"C:\Windows\Temp",
            _ => "",
        }
    }
}

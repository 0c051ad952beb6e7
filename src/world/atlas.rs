//! What never changes while a world runs: a pure function of the seed, the configuration and the data folders.
//!
//! Hosts, accounts, images and modules are tables; everything refers to them by index. They come from the
//! data folders and a [`Config`]. Texts are shared: ten thousand hosts have few different ones.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use crate::world::program::Attr;

pub mod build;
pub mod config;
pub mod data;
mod query;

pub use build::{Base, build};
pub use config::{Config, RoleConfig, SiteConfig};
pub use data::WorldData;

/// A text shared by whatever has it.
pub type Text = Arc<str>;

/// Index of a host in [`Atlas::hosts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// First account that is not one of the above, or of the window manager in a session of Remote Desktop.
    pub const FIRST: u32 = 22;

    /// Window Manager\DWM-2 and on: of a terminal session from 2 to 8.
    pub const fn dwm(terminal: u8) -> AccountId {
        AccountId(8 + (terminal as u32 - 2) % 7)
    }
    /// Font Driver Host\UMFD-2 and on.
    pub const fn umfd(terminal: u8) -> AccountId {
        AccountId(15 + (terminal as u32 - 2) % 7)
    }
    /// The terminal session that one of the console's own accounts is for; none for any other account.
    pub const fn terminal(self) -> Option<u8> {
        match self.0 {
            4 => Some(0),
            3 | 5 => Some(1),
            8..=14 => Some((self.0 - 6) as u8),
            15..=21 => Some((self.0 - 13) as u8),
            _ => None,
        }
    }
}

/// Terminal sessions beside the console that have accounts of the window manager's own.
pub const TERMINALS: std::ops::RangeInclusive<u8> = 2..=8;

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
    pub name: Text,
    /// Domain as a token has it: `CORP`, `NT AUTHORITY`, the host's name for local accounts.
    pub domain: Text,
    /// SID as text.
    pub sid: Text,
    /// UPN; empty for well-known and local ones.
    pub upn: Text,
    /// Given name of a person, else empty.
    pub given: Text,
    /// Family name of a person, else empty.
    pub family: Text,
    /// Display name: `Doe, Jane` or `Jane Doe` as the organisation writes it.
    pub display: Text,
    /// Department, else empty.
    pub department: Text,
    /// Index into [`Atlas::personas`] for persons and admins.
    pub persona: Option<u16>,
    /// `C:\Users\jdoe`, `C:\Windows\system32\config\systemprofile`, ...
    pub profile: Text,
    /// The host it belongs to: a person's own machine (also for the person's admin account), a machine account's or local
    /// account's host, the server a service account runs on, the first domain controller for built-in ones.
    pub host: Option<HostId>,
    /// SIDs of the domain groups in its tokens, its primary group first (`…-513`); empty for local ones.
    pub groups: Arc<[Text]>,
    /// Service principal name of a service account, else empty.
    pub spn: Text,
    /// Member of the local Administrators group of its own host, so it has a linked elevated token.
    pub local_admin: bool,
}

/// A site.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Its name: `Lyon`.
    pub name: Text,
    /// IANA time zone.
    pub tz: Text,
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
    pub name: Text,
    /// Build: 22631.
    pub build: u32,
    /// Revision: 4317.
    pub revision: u32,
    /// Version of binaries that come from the image and were never serviced: `10.0.22621.1`.
    pub base: Text,
    /// Windows Server.
    pub server: bool,
    /// Family of binaries it shares with its servicing levels: `windows_11_24h2`.
    pub family: Text,
    /// Windows or Linux.
    pub platform: Platform,
}

/// What kind of operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Platform {
    /// Windows client or server.
    Windows,
    /// Linux server.
    Linux,
}

/// What the person of a machine does with it in the evening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evening {
    /// Locks it and lets it run.
    #[default]
    Stay,
    /// Logs off.
    LogOff,
    /// Closes the lid.
    Sleep,
    /// Shuts it down.
    ShutDown,
    /// Locks it, and shuts it down before the weekend.
    Weekend,
}

/// When the machines of a role restart for the updates of a month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// Days after the second Tuesday of the month: first, last.
    pub days: (u8, u8),
    /// Hours of the day, local: first, last.
    pub hours: (f32, f32),
}

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Computer name, upper case, at most 15 characters.
    pub name: Text,
    /// `WS-0412.corp.example` as event logs print it.
    pub fqdn: Text,
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
    /// What that person does with it in the evening.
    pub evening: Evening,
    /// It is carried home.
    pub mobile: bool,
    /// Its machine account.
    pub account: AccountId,
    /// First address.
    pub ip: Ipv4Addr,
    /// `00-15-5D-3A-10-0C`.
    pub mac: Text,
    /// Machine GUID, lower case.
    pub machine_guid: Text,
    /// First 32 bits of it: the machine part of Sysmon's GUIDs.
    pub machine_part: u32,
    /// SID of its local account domain (`S-1-5-21-…`), for a domain controller the domain's.
    pub sid: Text,
    /// Defender's device id, 40 hex digits.
    pub device_id: Text,
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
    pub sysmon_version: Text,
    /// The 3 of `\device\harddiskvolume3`: where C: is.
    pub volume: u8,
    /// Who made it: `dell`, `lenovo`, `hp`, `vmware`, `hyper-v`.
    pub maker: Text,
    /// Index into [`Atlas::software`].
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
    pub path: Text,
    /// Final file name.
    pub name: Text,
    /// FileVersion resource: `10.0.22621.3672 (WinBuild.160101.0800)`, or `-`.
    pub file_version: Text,
    /// Description, or `-`.
    pub description: Text,
    /// Product, or `-`.
    pub product: Text,
    /// Company, or `-`.
    pub company: Text,
    /// OriginalFilename, or `-`.
    pub original_name: Text,
    /// Upper-case hex.
    pub md5: Text,
    /// Upper-case hex.
    pub sha1: Text,
    /// Upper-case hex.
    pub sha256: Text,
    /// Upper-case hex.
    pub imphash: Text,
    /// Bytes.
    pub size: u64,
    /// Signer, or `-`.
    pub signer: Text,
    /// Console program: conhost serves it.
    pub console: bool,
    /// Modules it loads when it starts, in order.
    pub modules: Vec<ModuleId>,
    /// Its manifest elevates an administrator's token without a prompt.
    pub auto_elevate: bool,
    /// 32-bit program on a 64-bit system.
    pub wow64: bool,
}

/// A loadable module: one version of a DLL (the executable's own image load included).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Module {
    /// Full path.
    pub path: Text,
    /// FileVersion, or `-`.
    pub file_version: Text,
    /// Description, or `-`.
    pub description: Text,
    /// Product, or `-`.
    pub product: Text,
    /// Company, or `-`.
    pub company: Text,
    /// OriginalFilename, or `-`.
    pub original_name: Text,
    /// Upper-case hex.
    pub md5: Text,
    /// Upper-case hex.
    pub sha1: Text,
    /// Upper-case hex.
    pub sha256: Text,
    /// Upper-case hex.
    pub imphash: Text,
    /// Bytes.
    pub size: u64,
    /// Carries a signature.
    pub signed: bool,
    /// Signer, or `-`.
    pub signer: Text,
    /// `Valid`, `Unavailable`, ...
    pub signature_status: Text,
}

impl Module {
    /// File name.
    pub fn file(&self) -> &str {
        self.path.rsplit('\\').next().unwrap_or("")
    }
}

/// What names are compared by before they are compared: a hash (FNV-1a) of the name in lower case.
pub fn name_key(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
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
    /// Command line. `{image}` stands for the program's full path, `{profile}` for the account's profile: see
    /// [`Atlas::boot_command_line`].
    pub command_line: Text,
    /// Session and account.
    pub session: BootSession,
    /// Services it hosts (indices into the names of the library).
    pub services: Vec<u16>,
    /// Starts that long after boot (or after the owner's logon), give or take a third.
    pub after: Span,
    /// Ends soon after it started (smss helpers, userinit): only its start is a fact others point at.
    pub exits: bool,
    /// Runs in an app container (integrity `AppContainer`).
    pub app_container: bool,
}

/// What runs on a host of a kind after boot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Boot {
    /// Processes, parents first.
    pub processes: Vec<BootProcess>,
    /// What a desktop beside the console's consists of; parents are counted on from those above.
    pub remote: Vec<BootProcess>,
    /// Programs of the system that run when somebody calls for them, and how they start then.
    pub called: Vec<BootProcess>,
}

/// A persona's day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Persona {
    /// Its id: `finance`.
    pub id: Text,
    /// Usual hours of the working day, local: start, end.
    pub hours: (f32, f32),
    /// Share of people at work on a weekday, on Saturday, on Sunday.
    pub presence: [f32; 3],
    /// Share of people of this persona who work at night.
    pub night: f32,
    /// Hours within which they go to lunch, local.
    pub lunch: (f32, f32),
    /// Share of days on which people with a laptop work at home.
    pub home: f32,
    /// Share of days on which people with a laptop open it again late in the evening.
    pub evening: f32,
    /// Departments its people are in, weighted.
    pub departments: Vec<(Text, u32)>,
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
    pub names: Vec<Text>,
    /// Its lines.
    pub lists: Vec<Vec<Text>>,
}

/// A service known to service control managers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its key, an index into the names of the library (lower case).
    pub name: u16,
    /// Its key as written: `BITS`.
    pub key: Text,
    /// `Background Intelligent Transfer Service`, as 7036 names it.
    pub display: Text,
    /// Image path with arguments.
    pub command: Text,
    /// Account it runs as.
    pub account: AccountId,
    /// Start type as 7045 and 7040 print it: `auto start`, `demand start`, `disabled`, `boot start`, `system start`.
    pub start: Text,
    /// Runs in the session of each user, with a suffix to its name.
    pub per_user: bool,
}

/// A group of the domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// `Domain Admins`.
    pub name: Text,
    /// SID as text.
    pub sid: Text,
    /// `global`, `universal`, `domain local`.
    pub scope: Text,
    /// Roles of the hosts whose local administrators its members are (indices into [`Atlas::roles`]).
    pub administers: Vec<u16>,
}

/// What is installed: the programs of an operating system's servicing level and those of packages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Software {
    /// Index into [`Atlas::bases`].
    pub base: u16,
    /// Images of packages by program (index into the names of the library), sorted; they go before the base's.
    pub extra: Vec<(u16, ImageId)>,
    /// Modules of packages; they go before the operating system's.
    pub modules: Vec<ModuleId>,
}

/// Call traces of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traces {
    /// Kind, an index into the names of the library.
    pub name: u16,
    /// Full Sysmon CallTrace texts for each of [`Atlas::oses`]; one of them is drawn.
    pub by_os: Vec<Vec<Text>>,
}

/// The forest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forest {
    /// `corp.example`
    pub dns: Text,
    /// `CORP`
    pub netbios: Text,
    /// `CORP.EXAMPLE`
    pub realm: Text,
    /// `S-1-5-21-…`
    pub sid: Text,
    /// Entra tenant id.
    pub tenant: Text,
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
    pub roles: Vec<Text>,
    /// When hosts of each role restart for updates.
    pub restarts: Vec<Option<Restart>>,
    /// Personas.
    pub personas: Vec<Persona>,
    /// Hosts, grouped by cell.
    pub hosts: Vec<Host>,
    /// Accounts.
    pub accounts: Vec<Account>,
    /// Each account with the [`name_key`] of its name, sorted.
    pub account_names: Vec<(u32, AccountId)>,
    /// Images.
    pub images: Vec<Image>,
    /// Modules.
    pub modules: Vec<Module>,
    /// Boot images.
    pub boots: Vec<Boot>,
    /// Programs of each operating system's servicing level, sorted by name (index into the names of the library).
    pub bases: Vec<Vec<(u16, ImageId)>>,
    /// [`name_key`] of each module.
    pub module_files: Vec<u32>,
    /// Loadable modules of each operating system's servicing level with their [`name_key`], sorted by it.
    pub system_modules: Vec<Vec<(u32, ModuleId)>>,
    /// Software sets, shared by hosts with the same operating system and packages.
    pub software: Vec<Software>,
    /// Services, sorted by name.
    pub services: Vec<Service>,
    /// Groups of the domain.
    pub groups: Vec<Group>,
    /// Members of Domain Admins who are people.
    pub domain_admins: Vec<AccountId>,
    /// Service accounts with a service principal name.
    pub service_accounts: Vec<AccountId>,
    /// Word lists.
    pub words: Words,
    /// Call traces, sorted by name.
    pub traces: Vec<Traces>,
    /// Number of cells.
    pub cells: u16,
}

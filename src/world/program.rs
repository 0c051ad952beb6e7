//! What scenarios, effects and habits compile to: flat scripts of timed operations with slots to fill.
//!
//! Everything is resolved before a world runs: names are ids, command lines are split, effects are matched and
//! their lines spliced in. At run time a task walks a script, waits, and fills slots. A template never fails.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::atlas::HostId;

/// Index of a script in its [`Library`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScriptId(pub u32);

/// Index of a scenario in its [`Library`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScenarioId(pub u16);

/// A register of a task: holds a process the script started or found.
pub type Reg = u8;
/// Registers of a task. Register 0 is the actor: the process (or, before it, the session) the script runs under.
pub const REGS: usize = 16;

/// A length of time to draw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Dur {
    /// Always that long.
    Fixed(Span),
    /// Uniform between both.
    Range(Span, Span),
    /// Log-normal.
    LogNormal {
        /// Half are shorter.
        median: Span,
        /// One in a hundred is longer.
        p99: Span,
    },
}

/// A whole number to draw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Count {
    /// Always that many.
    Fixed(u32),
    /// Uniform between both.
    Range(u32, u32),
    /// Log-normal, rounded, at least 1.
    LogNormal {
        /// Half are smaller.
        median: f64,
        /// One in a hundred is larger.
        p99: f64,
    },
}

/// Text with slots, filled when the operation happens.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Tpl(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// Literal text.
    Lit(Box<str>),
    /// A reference and its formatters, applied left to right.
    Slot(Slot, Vec<Fmt>),
    /// A template inside whose filled text is formatted as a whole (`{script | utf16le | base64}`).
    Group(Tpl, Vec<Fmt>),
}

/// What a slot refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// A variable of the instance, drawn once when it started.
    Var(u16),
    /// A fact about a role of the cast (a host or an account).
    Role(u16, Attr),
    /// A fact about the member of the step's `each` that this task plays.
    Each(Attr),
    /// A fact about the host the task runs on.
    Host(Attr),
    /// A fact about the account the task's current process runs as.
    User(Attr),
    /// The pid of a process on the task's host.
    Pid(Who),
    /// Full path of a program on the host (index into [`Library::names`]).
    Path(u16),
    /// A random GUID, lower case without braces; the same number gives the same GUID within a task.
    Guid(u16),
    /// Random lower-case hex digits: number, length.
    Hex(u16, u8),
    /// Random letters: number, length.
    Letters(u16, u8),
    /// A random number: number, lowest, highest.
    Num(u16, i32, i32),
    /// One line of a word list of the atlas: number, list.
    Word(u16, u16),
    /// The task's logical time.
    Now(TimeFmt),
}

/// How a time is printed inside a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeFmt {
    /// 20260302
    Date,
    /// 2026-03-02
    IsoDate,
    /// 2026-03-02T08:00:00
    Iso,
    /// 080000
    Clock,
    /// 08:00
    Minute,
    /// Seconds since the epoch.
    Unix,
    /// 100 ns units since 1601, decimal.
    Filetime,
}

/// A fact about a host or an account that text may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attr {
    /// Host: computer name (`WS-0412`). Account: SAM name (`jdoe`).
    Name,
    /// Host: `WS-0412.corp.example`. Account: UPN.
    Full,
    /// Host: first address.
    Ip,
    /// DNS domain, both.
    Domain,
    /// NetBIOS domain, both.
    Netbios,
    /// SID, both.
    Sid,
    /// Account: `C:\Users\jdoe`.
    Profile,
    /// Account: display name.
    Display,
    /// Account: given name. Host: site name.
    Given,
    /// Account: family name.
    Family,
    /// Account: department. Host: role.
    Department,
    /// Host: the domain controller it uses.
    Dc,
    /// Host: the file server of its site.
    FileServer,
    /// Host: machine GUID.
    MachineGuid,
    /// Account: drive or share of the home folder (`\\FS01\home$\jdoe`).
    Home,
    /// A directory that the account may write: `C:\Users\jdoe\AppData\Local\Temp`, `C:\Windows\Temp` for SYSTEM.
    Temp,
}

/// A formatter of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fmt {
    /// UTF-16LE bytes; must be followed by base64 or hex.
    Utf16le,
    /// Standard base64 of the bytes.
    Base64,
    /// Lower-case hex of the bytes.
    Hex,
    /// Upper case.
    Upper,
    /// Lower case.
    Lower,
    /// `"` doubled to `""`.
    DoubleQuotes,
    /// Final file name of a Windows path.
    FileName,
    /// Everything before the final `\`.
    DirName,
    /// Percent-encoding.
    Url,
    /// A GUID that a text stands for: the same for the same text.
    Guid,
    /// As a search along PATH finds it: `C:\Windows\system32` instead of `C:\Windows\System32`.
    ByPath,
}

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostSel {
    /// The one the task runs on.
    Here,
    /// A role of the cast.
    Role(u16),
    /// The member of `each` this task plays.
    Each,
    /// A host by its name.
    Host(HostId),
    /// The domain controller that this host uses.
    Dc,
    /// The file server of this host's site.
    FileServer,
    /// A random host with that role (index into the atlas' roles), the same within a task for the same number.
    Any(u16, u16),
}

/// Which account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountSel {
    /// Whoever the actor runs as.
    Actor,
    /// NT AUTHORITY\SYSTEM.
    System,
    /// NT AUTHORITY\LOCAL SERVICE.
    LocalService,
    /// NT AUTHORITY\NETWORK SERVICE.
    NetworkService,
    /// A role of the cast.
    Role(u16),
    /// The host's own user (persona's owner).
    Owner,
    /// The host's machine account.
    Machine,
    /// A domain administrator.
    DomainAdmin,
}

/// Which process does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// A register of the task.
    Reg(Reg),
    /// The parent of the process in a register.
    ParentOf(Reg),
    /// The service host or program of a service (index into [`Library::names`]); services.exe if it does not run.
    Service(u16),
    /// The first process of that image name on the host (index into [`Library::names`]); System if none.
    Image(u16),
    /// The shell of the owner's session (explorer.exe), or services.exe where nobody is logged on.
    Shell,
    /// A process the instance named in an earlier step (index into the scenario's names), wherever it is.
    Named(u16),
    /// System, pid 4.
    System,
}

/// The role a thing done plays in an attack instance's truth. Nothing of it reaches a benign instance's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Part {
    /// The step's own action.
    Direct,
    /// Done by its processes and sessions, or by a service on its request.
    Effect,
    /// Another machine's or component's reaction.
    Collateral,
}

/// Integrity of a started process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrity {
    /// As its parent's token has it.
    Inherit,
    /// Untrusted: sandboxed pages of browsers.
    Untrusted,
    /// Low, in an app container.
    AppContainer,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High: the elevated token of the account, its linked session.
    High,
    /// System.
    System,
}

/// Starts a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spawn {
    /// Program by file name in lower case (index into [`Library::names`]); the atlas knows path, version, hashes. A
    /// name the atlas does not know is an image of the instance's own: dropped first, with hashes of its own. The
    /// empty name when only `path`, once filled, tells.
    pub program: u16,
    /// Full path when the command names one that is not the program's usual place.
    pub path: Option<Tpl>,
    /// Command line as the process sees it.
    pub command_line: Tpl,
    /// Current directory; the parent's when none.
    pub directory: Option<Tpl>,
    /// Parent.
    pub parent: Who,
    /// Account; its session is the parent's when the account is the parent's, else that account's on the host.
    pub account: AccountSel,
    /// Token's integrity.
    pub integrity: Integrity,
    /// Register that holds it from now on.
    pub reg: Reg,
    /// Name for later steps (index into the scenario's names).
    pub name: Option<u16>,
    /// Service that it is started for (index into [`Library::names`]).
    pub service: Option<u16>,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Dest {
    /// A host of the organisation.
    Host(HostSel),
    /// A name or an address outside (or inside) as text; a name is resolved first.
    Text(Tpl),
}

/// How an attempt to log on ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogonResult {
    /// Success.
    Ok,
    /// Unknown account name.
    NoSuchUser,
    /// Wrong password.
    BadPassword,
    /// Account is locked out.
    Locked,
    /// Account is disabled.
    Disabled,
    /// Password has expired.
    Expired,
}

/// What a ticket is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ticket<A = AccountSel, N = Tpl> {
    /// A service of that account.
    Service(A),
    /// The service of that principal name.
    Name(N),
    /// The services of all accounts that have a principal name, one after another.
    Every,
    /// A copy of the ticket-granting ticket that a service may use elsewhere.
    Forward,
    /// That account's own ticket-granting ticket, without pre-authentication.
    Granting(A),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Starts a process (with image loads, conhost, prefetch as the atlas knows them).
    Spawn(Box<Spawn>),
    /// Ends a process (with its children's conhost); nothing happens when it is not there.
    Exit { who: Who, code: u32 },
    /// Ends the process that is in a register now after a while, while the script goes on; the register may be reused.
    ExitLater { reg: Reg, code: u32, after: Dur },
    /// Any other activity, by a process, with the arguments given; the world supplies the rest.
    Emit { by: Who, kind: Kind, args: Vec<(Field, Tpl)> },
    /// One process opens another: GrantedAccess, and the kind of call trace (index into [`Library::names`]).
    Access { by: Who, target: Who, granted: u32, trace: Option<u16> },
    /// A thread is made in another process; that process belongs to the instance from now on.
    Inject { by: Who, target: Who, function: Option<Tpl>, module: Option<Tpl> },
    /// A connection with its name resolution, ports and the other side's view when it is a host of ours. Port 0 is the one
    /// that the URL in `to` says.
    Connect {
        by: Who,
        to: Dest,
        port: u16,
        udp: bool,
        bytes_out: Count,
        bytes_in: Count,
        server: Option<Who>,
        /// Whoever connects logs on there over it.
        logon: bool,
    },
    /// A name is looked up by a process; `exists` false gives a name error.
    Resolve { by: Who, name: Tpl, exists: bool },
    /// An account logs on to a host (from the task's host when that is another one), with its Kerberos or NTLM exchange. The new
    /// session becomes the actor's session of `then`, which runs there; it ends `hold` after `then` is done.
    Logon {
        by: Who,
        host: HostSel,
        account: AccountSel,
        logon_type: u8,
        result: LogonResult,
        ntlm: bool,
        explicit: bool,
        hold: Dur,
        then: Option<ScriptId>,
    },
    /// The actor's session asks its domain controller for a ticket; `rc4` asks for the weak encryption that can be cracked
    /// offline, `status` is the controller's answer (0: here it is).
    Ticket { by: Who, of: Ticket, rc4: bool, status: u32 },
    /// The session that the task runs under logs off.
    Logoff,
    /// Runs a script on another host in the SMB session that the actor has with it, which is opened when there is none.
    Share { host: HostSel, account: AccountSel, explicit: bool, script: ScriptId },
    /// A service is asked to run or to stop; nothing happens when it is in that state. `start` starts a process of its own
    /// where boot has none for it, `fact` tells the state; `own`: it stops because it is idle, later if it is not.
    Service { name: u16, running: bool, own: bool, start: Option<ScriptId>, fact: ScriptId },
    /// Runs a script on another host under a process there (a service's work on request); does not wait.
    Remote { host: HostSel, by: Who, script: ScriptId },
    /// Runs a script several times, one after another.
    Repeat { times: Count, gap: Dur, script: ScriptId },
    /// Runs a script with a probability.
    Chance { share: f32, then: ScriptId, otherwise: Option<ScriptId> },
    /// Runs one of several scripts by weight.
    Choose { weights: Vec<(u32, ScriptId)> },
    /// Runs the script of the alternative that a variable ([`Draw::Choice`]) took when the instance started, in the
    /// order of its alternatives.
    Switch { var: u16, arms: Vec<ScriptId> },
    /// Runs a script beside this one; registers are copied.
    Fork { script: ScriptId },
    /// Files of the actor's user (or of a share) are rewritten: for each, what `script` says with `{file}` as Var(u16::MAX).
    Files { times: Count, gap: Dur, place: FilePlace, script: ScriptId },
    /// Nothing; only time passes.
    Wait,
}

/// Where existing files are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilePlace {
    /// The documents of the account the actor runs as.
    Documents,
    /// Data on the host (shares of a file server, databases, web roots).
    Data,
}

/// Variable that holds the file inside [`Op::Files`].
pub const FILE_VAR: u16 = u16::MAX;

/// An operation with its time and its place in the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// After the operation before it (or the start of the script).
    pub after: Dur,
    /// Role in the truth of an attack instance.
    pub part: Part,
    /// What happens.
    pub op: Op,
}

/// Operations in order.
pub type Script = Vec<Timed>;

/// What fills a role of a cast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bind {
    /// One host of a role (index into the atlas' roles), optionally of a persona and at a site of another role.
    Host { role: u16, persona: Option<u16> },
    /// Several hosts of a role, reachable from the host of another role (same site first).
    Hosts { role: u16, take: (u32, u32), reach: Option<u16> },
    /// The user of a host bound before.
    UserOf(u16),
    /// An account of a persona.
    User { persona: u16 },
    /// An account that does not exist until the scenario makes it; its name is a variable.
    NewAccount { name: u16 },
    /// Domain administrator.
    DomainAdmin,
    /// A service account with a service principal name.
    ServiceAccount,
    /// The domain controller that the host of another role uses.
    DcOf(u16),
}

/// How a variable is drawn when an instance starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Draw {
    /// Weighted choice of templates (a single one is a constant).
    Choice(Vec<(u32, Tpl)>),
    /// Whole number.
    Number(i64, i64),
    /// A domain from the indicator pool; the kind is `random`, `lookalike`, `dga` or `cdn`.
    Domain(DomainKind),
    /// An address from the indicator pool.
    Address,
    /// A URL below a domain or address given as template: `https://host/path`.
    Url(Tpl),
    /// A plausible document name of that topic (index into the atlas' word lists), with extension.
    Document(u16),
    /// A plausible name for a program, service, task or account (index into the atlas' word lists).
    Name(u16),
    /// A password-like word.
    Password,
    /// Random hex of that length.
    Hex(u8),
    /// A GUID.
    Guid,
}

/// Kind of domain from the indicator pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DomainKind {
    /// Two or three words.
    Random,
    /// Looks like the organisation's own or a known service's.
    Lookalike,
    /// Generated by an algorithm.
    Dga,
}

/// When a step starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its id within the scenario.
    pub id: Box<str>,
    /// ATT&CK technique (`T1059.001`), empty for benign steps without one.
    pub technique: Box<str>,
    /// ATT&CK tactic, its short name (`execution`).
    pub tactic: Box<str>,
    /// Steps that must be done first (indices); empty: the start of the instance.
    pub needs: Vec<u16>,
    /// Pause between the last of these and this step's start.
    pub after: Dur,
    /// Local time of day it starts in, in minutes since midnight: it waits until then. The first may be later than
    /// the second (22:00 to 05:00).
    pub window: Option<(u16, u16)>,
    /// Where its parent has to be started first, that runs elevated.
    pub elevated: bool,
    /// Probability that it happens at all.
    pub chance: f32,
    /// Host it runs on.
    pub host: HostSel,
    /// Role whose members it is played for, one after another (`gap` apart) or all at once.
    pub each: Option<u16>,
    /// Pause between members of `each`, or between repetitions.
    pub gap: Dur,
    /// Members at once instead of one after another.
    pub parallel: bool,
    /// Repetitions.
    pub repeat: Count,
    /// Actor: the account it runs as.
    pub account: AccountSel,
    /// Actor: the process it starts from.
    pub parent: Who,
    /// What is done.
    pub script: ScriptId,
    /// Wait for the script to end before the step counts as done; else it is done when it started.
    pub wait: bool,
}

/// A scenario or a habit, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its id (`ransomware.hands_on`).
    pub id: Box<str>,
    /// True for attacks: truth is written.
    pub attack: bool,
    /// Roles in order: name and what fills it. Role 0 of a habit is the host, role 1 its user.
    pub cast: Vec<(Box<str>, Bind)>,
    /// Variables in order: name and how it is drawn; later ones may refer to earlier ones.
    pub vars: Vec<(Box<str>, Draw)>,
    /// Process names for later steps.
    pub names: Vec<Box<str>>,
    /// Steps.
    pub steps: Vec<Step>,
    /// Lowest number of activities of a kind that an instance leaves.
    pub expect: Vec<(Kind, u32)>,
}

/// When and how often something benign happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rhythm {
    /// So many times a day by a person who is at work.
    PerDay(f64),
    /// By a machine, with that period and jitter, day and night.
    Every(Span, Span),
    /// By a machine, so many times an hour at random times.
    PerHour(f64),
    /// Once when the owner logs on (or the host starts, for servers).
    AtLogon,
}

/// Who lives by a habit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Holder {
    /// A persona's users at their own machines.
    Persona(u16),
    /// Hosts of a role (index into the atlas' roles).
    Role(u16),
    /// Each running process of an image name or service on any host (indices into [`Library::names`]).
    Image(u16),
    /// See `Image`.
    Service(u16),
}

/// A benign habit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Habit {
    /// Who has it.
    pub holder: Holder,
    /// How often.
    pub rhythm: Rhythm,
    /// What it does: a scenario with `attack: false`.
    pub scenario: ScenarioId,
}

/// A small thing a running program does by itself, over and over: one script of [`Op::Emit`], [`Op::Access`],
/// [`Op::Connect`] or a short-lived child. The noise of a machine, and what fill is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Background {
    /// The process that does it ([`Who::Service`], [`Who::Image`], [`Who::Shell`] or [`Who::System`]).
    pub by: Who,
    /// Times per hour and running process.
    pub per_hour: f64,
    /// Period of a timer: it keeps time, from a moment of its own on each host.
    pub every: Option<Span>,
    /// What is done; register 0 is the process.
    pub script: ScriptId,
    /// Activities one run makes, by kind (mean), so that a plan can tell what fill costs.
    pub yields: Vec<(Kind, f32)>,
}

/// All programs of a world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Library {
    /// Scripts.
    pub scripts: Arc<Vec<Script>>,
    /// Scenarios and habits' scenarios.
    pub scenarios: Vec<Scenario>,
    /// Habits.
    pub habits: Vec<Habit>,
    /// Background.
    pub background: Vec<Background>,
    /// Names that operations refer to (programs, services, call traces), lower case.
    pub names: Vec<Box<str>>,
    /// Where each name is.
    #[serde(skip)]
    by_name: HashMap<Box<str>, u16>,
    /// Who answers on a port where a connection does not say: port, over UDP, process.
    pub servers: Vec<(u16, bool, Who)>,
}

impl Library {
    /// Index of a name, added when new.
    pub fn name(&mut self, name: &str) -> u16 {
        if self.by_name.len() < self.names.len() {
            self.by_name = self.names.iter().cloned().zip(0..).collect();
        }
        let name = name.to_ascii_lowercase().into_boxed_str();
        *self.by_name.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            (self.names.len() - 1) as u16
        })
    }
    /// Adds a script.
    pub fn script(&mut self, mut script: Script) -> ScriptId {
        script.shrink_to_fit();
        Arc::make_mut(&mut self.scripts).push(script);
        ScriptId(self.scripts.len() as u32 - 1)
    }
}

impl Tpl {
    /// A literal.
    pub fn lit(text: &str) -> Tpl {
        Tpl(vec![Piece::Lit(text.into())])
    }
    /// The text when it has no slot.
    pub fn as_lit(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Piece::Lit(t)] => Some(t),
            _ => None,
        }
    }
}

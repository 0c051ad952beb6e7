//! Actions as written: what steps, habits and effects do. Read here once for all of them, with every mistake
//! named; turned into operations by [`super::lower`].

use super::condition::Cond;
use super::template::Template;
use super::value::{self, Wait};
use crate::activity::{Field, Kind, Type};
use crate::time::Span;
use crate::world::program::{Count, Dur, FilePlace, Integrity, LogonResult, Ticket};
use crate::yaml::{Fields, Node, Problems};

/// One action with its time.
#[derive(Clone, Debug)]
pub struct Action {
    /// What is done.
    pub what: What,
    /// Who does it; the actor or the effect's process when none.
    pub by: Option<Template>,
    /// Pause after the action before it.
    pub after: Option<Wait>,
    /// Probability that it happens.
    pub chance: Option<f64>,
    /// Happens only when this holds (effects).
    pub cond: Option<Cond>,
    /// Where it was written.
    pub node: Node,
}

/// A shell whose language a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// cmd.exe
    Cmd,
    /// powershell.exe, pwsh.exe
    PowerShell,
}

/// Starts a command line.
#[derive(Clone, Debug)]
pub struct Run {
    /// The command line.
    pub command: Template,
    /// Process it starts from.
    pub parent: Option<Template>,
    /// Account it runs as.
    pub account: Option<Template>,
    /// With the elevated token.
    pub elevated: bool,
    /// Name for later steps.
    pub name: Option<Template>,
    /// Current directory.
    pub directory: Option<Template>,
    /// Its token's integrity, where that is neither its parent's nor what its account and `elevated` say.
    pub integrity: Option<Integrity>,
    /// Whoever starts it waits for its end.
    pub wait: bool,
    /// The text is typed in a shell of that kind (its parent) instead of given to CreateProcess.
    pub shell: Option<Shell>,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum What {
    /// A command line.
    Run(Box<Run>),
    /// An activity with arguments.
    Emit(Kind, Vec<(Field, Template)>),
    /// Opens a process.
    Access { target: Template, granted: u32, trace: Option<Template> },
    /// Makes a thread in a process.
    Inject { target: Template, function: Option<Template>, module: Option<Template> },
    /// Ends a process.
    End { process: Template, code: u32 },
    /// Opens a connection.
    Connect {
        to: Template,
        port: Option<Template>,
        udp: bool,
        out: Count,
        into: Count,
        server: Option<Template>,
        logon: bool,
    },
    /// Looks up a name.
    Resolve { name: Template, exists: bool },
    /// Asks for a service ticket.
    Ticket { of: Ticket<Template, Template>, rc4: bool, status: u32 },
    /// Logs on.
    Logon(Box<Logon>),
    /// Something is done on a server in the client's SMB session.
    Share { host: Template, account: Option<Template>, explicit: bool, then: Vec<Action> },
    /// Logs off.
    Logoff,
    /// Work of a service on another host.
    Remote { host: Template, by: Template, then: Vec<Action> },
    /// Several times.
    Repeat { times: Count, gap: Dur, then: Vec<Action> },
    /// With a probability.
    Chance { share: f64, then: Vec<Action>, otherwise: Vec<Action> },
    /// One of several by weight.
    Choose(Vec<(u32, Vec<Action>)>),
    /// Beside what follows.
    Fork(Vec<Action>),
    /// For existing files.
    Files { times: Count, gap: Dur, place: FilePlace, then: Vec<Action> },
    /// Existing files are read, written and renamed.
    Rewrite { times: Count, gap: Dur, place: FilePlace, ext: Template },
    /// Time passes.
    Wait(Wait),
}

/// A logon.
#[derive(Clone, Debug)]
pub struct Logon {
    /// Host; the step's own when none.
    pub host: Option<Template>,
    /// Account; the actor when none.
    pub account: Option<Template>,
    /// 2, 3, 4, 5, 7, 8, 9, 10 or 11.
    pub logon_type: u8,
    /// How it ends.
    pub result: LogonResult,
    /// By NTLM instead of Kerberos.
    pub ntlm: bool,
    /// With credentials given explicitly.
    pub explicit: bool,
    /// How long the session outlives what is done in it.
    pub hold: Dur,
    /// What is done in it.
    pub then: Vec<Action>,
}

/// Actions that are not plain activities.
const VERBS: &[&str] = &[
    "run",
    "process.access",
    "process.inject",
    "end",
    "connect",
    "resolve",
    "ticket",
    "logon",
    "logoff",
    "share",
    "remote",
    "repeat",
    "chance",
    "choose",
    "fork",
    "files",
    "files.rewrite",
    "wait",
];

/// Kinds without arguments that may be written all the same.
const BARE: &[Kind] = &[
    Kind::SensorStart,
    Kind::SensorStop,
    Kind::HandleClose,
    Kind::HandleDuplicate,
    Kind::SessionLock,
    Kind::SessionUnlock,
    Kind::ClipboardChange,
];

fn plain(kind: Kind) -> bool {
    let made = [Kind::ProcessAccess, Kind::ProcessInject, Kind::NetworkConnect, Kind::NetworkAccept, Kind::NameResolve];
    BARE.contains(&kind) || (!kind.args().is_empty() && !made.contains(&kind))
}

/// Names of all actions.
pub fn names() -> Vec<&'static str> {
    VERBS.iter().copied().chain(Kind::ALL.iter().filter(|k| plain(**k)).map(|k| k.name())).collect()
}

/// True when a key names an action.
pub fn is_action(key: &str) -> bool {
    VERBS.contains(&key) || Kind::parse(key).is_some_and(plain)
}

/// Reads a list of actions.
pub fn actions(node: &Node, p: &mut Problems) -> Vec<Action> {
    node.items().iter().filter_map(|n| action(n, p)).collect()
}

/// Reads one action: a mapping with one action and its modifiers, or a command line.
fn action(node: &Node, p: &mut Problems) -> Option<Action> {
    if let Some(t) = node.as_str() {
        if matches!(t, "logoff") {
            return Some(bare(What::Logoff, node));
        }
        let command = Template::read(node, p, "a command line")?;
        return Some(bare(What::Run(Box::new(Run::of(command))), node));
    }
    let f = node.fields(p, "an action")?;
    let mut common = Common::default();
    let mut found: Option<(&Node, &Node)> = None;
    for (k, v) in f.node.pairs(p, "an action") {
        let key = k.as_str().unwrap_or_default();
        if Common::owns(key, v) {
            continue;
        }
        if found.is_some() {
            p.at(k, format!("an action does one thing: `{key}` belongs into an action of its own"));
            return None;
        }
        found = Some((k, v));
    }
    common.read(&f, p);
    match found {
        Some((k, v)) => pair(k, v, common, p),
        None => {
            p.at(node, "an action lacks what it does");
            None
        }
    }
}

fn bare(what: What, node: &Node) -> Action {
    Action { what, by: None, after: None, chance: None, cond: None, node: node.clone() }
}

/// Reads an action that stands as `key: value` in a mapping of something else.
pub fn single(key: &Node, value: &Node, p: &mut Problems) -> Option<Action> {
    pair(key, value, Common::default(), p)
}

/// Modifiers every action may have.
#[derive(Default)]
pub(super) struct Common {
    by: Option<Template>,
    after: Option<Wait>,
    chance: Option<f64>,
    cond: Option<Cond>,
}

impl Common {
    fn owns(key: &str, value: &Node) -> bool {
        matches!(key, "by" | "after" | "if") || key == "chance" && value.as_str().is_some()
    }
    fn read(&mut self, f: &Fields<'_>, p: &mut Problems) {
        if let Some(n) = f.take("by") {
            self.by = Template::read(n, p, "`by`");
        }
        if let Some(n) = f.take("after") {
            self.after = value::wait(n, p, "`after`");
        }
        if let Some(n) = f.take("chance").filter(|n| n.as_str().is_some()) {
            self.chance = n.share(p, "`chance`");
        }
        if let Some(n) = f.take("if") {
            self.cond = Cond::read(n, p);
        }
    }
    fn action(self, what: What, node: &Node) -> Action {
        let Common { by, after, chance, cond } = self;
        Action { what, by, after, chance, cond, node: node.clone() }
    }
}

impl Run {
    /// A command line with nothing special.
    pub fn of(command: Template) -> Run {
        Run {
            command,
            parent: None,
            account: None,
            elevated: false,
            name: None,
            directory: None,
            integrity: None,
            wait: true,
            shell: None,
        }
    }
}

fn pair(key: &Node, value: &Node, mut common: Common, p: &mut Problems) -> Option<Action> {
    let name = key.as_str().unwrap_or_default();
    let what = match name {
        "run" if value.as_str().is_some() => What::Run(Box::new(Run::of(Template::read(value, p, "`run`")?))),
        "run" => {
            let f = value.fields(p, "`run`")?;
            common.read(&f, p);
            let command = f.need(p, "command").and_then(|n| Template::read(n, p, "`command`"));
            let text = |name: &'static str, p: &mut Problems| f.take(name).and_then(|n| Template::read(n, p, name));
            let run = Run {
                parent: text("parent", p),
                account: text("as", p),
                elevated: flag(&f, "elevated", false, p),
                name: text("name", p),
                directory: text("directory", p),
                integrity: f.take("integrity").and_then(|n| word(n, p, "integrity", INTEGRITIES)),
                wait: flag(&f, "wait", true, p),
                shell: f
                    .take("shell")
                    .and_then(|n| word(n, p, "shell", &[("cmd", Shell::Cmd), ("powershell", Shell::PowerShell)])),
                command: match command {
                    Some(c) => c,
                    None => {
                        f.finish(p);
                        return None;
                    }
                },
            };
            f.finish(p);
            What::Run(Box::new(run))
        }
        "process.access" => {
            let f = value.fields(p, "`process.access`")?;
            common.read(&f, p);
            let target = need_text(&f, "target", p);
            let granted = f.take("granted").map_or(Some(0x1000), |n| mask(n, p));
            let trace = take_text(&f, "trace", p);
            f.finish(p);
            What::Access { target: target?, granted: granted?, trace }
        }
        "process.inject" => {
            let f = value.fields(p, "`process.inject`")?;
            common.read(&f, p);
            let target = need_text(&f, "target", p);
            let (function, module) = (take_text(&f, "function", p), take_text(&f, "module", p));
            f.finish(p);
            What::Inject { target: target?, function, module }
        }
        "end" if value.as_str().is_some() => What::End { process: Template::read(value, p, "`end`")?, code: 0 },
        "end" => {
            let f = value.fields(p, "`end`")?;
            common.read(&f, p);
            let process = need_text(&f, "process", p);
            let code = f.take("code").and_then(|n| n.number(p, "`code`")).unwrap_or(0);
            f.finish(p);
            What::End { process: process?, code }
        }
        "connect" => {
            let f = value.fields(p, "`connect`")?;
            common.read(&f, p);
            let (to, port) = (need_text(&f, "to", p), take_text(&f, "port", p));
            let size = |name: &'static str, p: &mut Problems| f.take(name).and_then(|n| value::count(n, p, name));
            let out = size("out", p).unwrap_or(Count::LogNormal { median: 1200.0, p99: 40_000.0 });
            let into = size("in", p).unwrap_or(Count::LogNormal { median: 6000.0, p99: 900_000.0 });
            let udp = flag(&f, "udp", false, p);
            let logon = flag(&f, "logon", false, p);
            let server = take_text(&f, "server", p);
            f.finish(p);
            What::Connect { to: to?, port, udp, out, into, server, logon }
        }
        "resolve" if value.as_str().is_some() => {
            What::Resolve { name: Template::read(value, p, "`resolve`")?, exists: true }
        }
        "resolve" => {
            let f = value.fields(p, "`resolve`")?;
            common.read(&f, p);
            let name = need_text(&f, "name", p);
            let exists = flag(&f, "exists", true, p);
            f.finish(p);
            What::Resolve { name: name?, exists }
        }
        "ticket" => {
            let f = value.fields(p, "`ticket`")?;
            common.read(&f, p);
            let service = take_text(&f, "service", p).map(Ticket::Service);
            let name = take_text(&f, "spn", p).map(Ticket::Name);
            let granting = take_text(&f, "tgt", p).map(Ticket::Granting);
            let every = flag(&f, "every", false, p).then_some(Ticket::Every);
            let forward = flag(&f, "forward", false, p).then_some(Ticket::Forward);
            let rc4 = flag(&f, "rc4", false, p);
            let status = f.take("result").and_then(|n| word(n, p, "result", TICKETS)).unwrap_or(0);
            f.finish(p);
            let mut of = [service, name, granting, every, forward].into_iter().flatten();
            match (of.next(), of.next()) {
                (Some(of), None) => What::Ticket { of, rc4, status },
                _ => {
                    let one = "`service` (a role), `spn`, `tgt` (a role), `every: true` or `forward: true`";
                    p.at(value, format!("`ticket` needs one of {one}"));
                    return None;
                }
            }
        }
        "logon" => {
            let f = value.fields(p, "`logon`")?;
            common.read(&f, p);
            let logon = Logon {
                host: take_text(&f, "host", p),
                account: take_text(&f, "account", p),
                logon_type: f.take("type").and_then(|n| logon_type(n, p)).unwrap_or(3),
                result: f.take("result").and_then(|n| word(n, p, "result", RESULTS)).unwrap_or(LogonResult::Ok),
                ntlm: flag(&f, "ntlm", false, p),
                explicit: flag(&f, "explicit", false, p),
                hold: f.take("hold").and_then(|n| value::dur(n, p, "`hold`")).unwrap_or(value::ms(900, 14_000)),
                then: f.take("do").map(|n| actions(n, p)).unwrap_or_default(),
            };
            f.finish(p);
            if logon.result != LogonResult::Ok && !logon.then.is_empty() {
                p.at(value, "a logon that fails can do nothing: drop `do` or `result`");
            }
            What::Logon(Box::new(logon))
        }
        "share" => {
            let f = value.fields(p, "`share`")?;
            common.read(&f, p);
            let (host, account) = (take_text(&f, "host", p), take_text(&f, "account", p));
            let explicit = flag(&f, "explicit", false, p);
            let then = f.take("do").map(|n| actions(n, p)).unwrap_or_default();
            f.finish(p);
            let Some(host) = host else {
                p.at(value, "`share` lacks `host`");
                return None;
            };
            What::Share { host, account, explicit, then }
        }
        "logoff" => What::Logoff,
        "remote" => {
            let f = value.fields(p, "`remote`")?;
            if let Some(n) = f.take("after") {
                common.after = value::wait(n, p, "`after`");
            }
            let (host, by) = (need_text(&f, "host", p), need_text(&f, "by", p));
            let then = f.need(p, "do").map(|n| actions(n, p)).unwrap_or_default();
            f.finish(p);
            What::Remote { host: host?, by: by?, then }
        }
        "repeat" => {
            let f = value.fields(p, "`repeat`")?;
            let times = f.need(p, "times").and_then(|n| value::count(n, p, "`times`"));
            let gap = f.take("gap").and_then(|n| value::dur(n, p, "`gap`")).unwrap_or(value::NONE);
            let then = f.need(p, "do").map(|n| actions(n, p)).unwrap_or_default();
            f.finish(p);
            What::Repeat { times: times?, gap, then }
        }
        "chance" => {
            let f = value.fields(p, "`chance`")?;
            let share = f.need(p, "share").and_then(|n| n.share(p, "`share`"));
            let then = f.need(p, "do").map(|n| actions(n, p)).unwrap_or_default();
            let otherwise = f.take("else").map(|n| actions(n, p)).unwrap_or_default();
            f.finish(p);
            What::Chance { share: share?, then, otherwise }
        }
        "choose" => {
            let mut arms = vec![];
            for n in value.items() {
                let Some(f) = n.fields(p, "an alternative of `choose`") else { continue };
                let weight = f.take("weight").map_or(Some(1), |n| n.number::<u32>(p, "`weight`"));
                let then = f.need(p, "do").map(|n| actions(n, p)).unwrap_or_default();
                f.finish(p);
                arms.extend(weight.map(|w| (w, then)));
            }
            if !arms.iter().any(|(w, _)| *w > 0) {
                p.at(value, "`choose` needs an alternative with a weight above 0");
                return None;
            }
            What::Choose(arms)
        }
        "fork" => What::Fork(actions(value.get("do").unwrap_or(value), p)),
        "files" | "files.rewrite" => {
            let f = value.fields(p, name_of(name))?;
            common.read(&f, p);
            let times = f.need(p, "count").and_then(|n| value::count(n, p, "`count`"));
            let gap = f
                .take("gap")
                .and_then(|n| value::dur(n, p, "`gap`"))
                .unwrap_or(Dur::LogNormal { median: Span::ms(18), p99: Span::ms(700) });
            let places = [("documents", FilePlace::Documents), ("data", FilePlace::Data)];
            let place = f.take("place").map_or(Some(FilePlace::Documents), |n| word(n, p, "place", &places));
            if name == "files" {
                let then = f.need(p, "do").map(|n| actions(n, p)).unwrap_or_default();
                f.finish(p);
                What::Files { times: times?, gap, place: place?, then }
            } else {
                let ext = need_text(&f, "ext", p);
                f.finish(p);
                What::Rewrite { times: times?, gap, place: place?, ext: ext? }
            }
        }
        "wait" => What::Wait(value::wait(value, p, "`wait`")?),
        _ => match Kind::parse(name) {
            Some(kind) if plain(kind) => emit(kind, value, &mut common, p)?,
            Some(Kind::NetworkConnect) => return wrong(key, p, "connect"),
            Some(Kind::NameResolve) => return wrong(key, p, "resolve"),
            Some(Kind::ProcessStart) => return wrong(key, p, "run"),
            Some(Kind::ProcessEnd) => return wrong(key, p, "end"),
            Some(Kind::KerberosService | Kind::KerberosTgt) => return wrong(key, p, "ticket"),
            Some(k) if k.name().starts_with("logon.") => return wrong(key, p, "logon"),
            _ => {
                p.unknown(key, "action", name, names());
                return None;
            }
        },
    };
    Some(common.action(what, key))
}

fn wrong(key: &Node, p: &mut Problems, right: &str) -> Option<Action> {
    let name = key.as_str().unwrap_or_default().to_owned();
    p.at(key, format!("`{name}` follows from an action and is not written itself")).help(format!("write `{right}`"));
    None
}

fn name_of(name: &str) -> &'static str {
    VERBS.iter().find(|v| **v == name).copied().unwrap_or("an action")
}

fn emit(kind: Kind, value: &Node, common: &mut Common, p: &mut Problems) -> Option<What> {
    if value.is_null() {
        return Some(What::Emit(kind, vec![]));
    }
    let f = value.fields(p, kind.name())?;
    common.read(&f, p);
    let mut args = vec![];
    for (name, field) in kind.args() {
        if let Some(n) = f.take(name)
            && let Some(t) = Template::read(n, p, name)
        {
            if field.ty() == Type::Uint && t.as_lit().is_some_and(|t| number_word(*field, t).is_none()) {
                p.at(n, format!("`{name}` must be a number, not {}", n.describe()));
            }
            args.push((*field, t));
        }
    }
    f.finish(p);
    Some(What::Emit(kind, args))
}

/// The number that a word stands for in a field: `auto` is a service's start type 2.
pub fn number_word(field: Field, text: &str) -> Option<String> {
    let words: &[(&str, u32)] = match field {
        Field::ServiceStart | Field::ServiceOldStart => &[
            ("boot", 0),
            ("system", 1),
            ("auto", 2),
            ("delayed-auto", 2),
            ("demand", 3),
            ("manual", 3),
            ("disabled", 4),
        ],
        Field::ServiceType => {
            &[("kernel", 1), ("filesys", 2), ("own", 16), ("share", 32), ("interact", 272), ("userown", 80)]
        }
        _ => &[],
    };
    if let Some((_, n)) = words.iter().find(|(w, _)| w.eq_ignore_ascii_case(text)) {
        return Some(n.to_string());
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(h) => u64::from_str_radix(h, 16).ok().map(|n| n.to_string()),
        None => text.parse::<u64>().ok().map(|n| n.to_string()),
    }
}

/// What `integrity` may say: a sandbox that the program starts the process in.
pub const INTEGRITIES: &[(&str, Integrity)] = &[
    ("untrusted", Integrity::Untrusted),
    ("app_container", Integrity::AppContainer),
    ("low", Integrity::Low),
    ("medium", Integrity::Medium),
];

const RESULTS: &[(&str, LogonResult)] = &[
    ("ok", LogonResult::Ok),
    ("no_such_user", LogonResult::NoSuchUser),
    ("bad_password", LogonResult::BadPassword),
    ("locked", LogonResult::Locked),
    ("disabled", LogonResult::Disabled),
    ("expired", LogonResult::Expired),
];

/// What a domain controller may answer to who asks for a service ticket (RFC 4120, 7.5.9).
pub const TICKETS: &[(&str, u32)] =
    &[("ok", 0), ("no_such_service", 0x7), ("no_common_encryption", 0xe), ("user_to_user", 0x1b), ("expired", 0x20)];

/// How a logon may end.
pub fn results() -> Vec<&'static str> {
    RESULTS.iter().map(|(w, _)| *w).collect()
}

/// One of a few words, or a problem with the nearest.
pub fn word<T: Copy>(node: &Node, p: &mut Problems, what: &str, table: &[(&str, T)]) -> Option<T> {
    let text = node.text(p, what)?;
    let hit = table.iter().find(|(w, _)| *w == text).map(|(_, v)| *v);
    if hit.is_none() {
        p.unknown(node, what, text, table.iter().map(|(w, _)| *w));
    }
    hit
}

/// A truth value with a default.
pub fn flag(f: &Fields<'_>, name: &'static str, default: bool, p: &mut Problems) -> bool {
    f.take(name).and_then(|n| n.boolean(p, &format!("`{name}`"))).unwrap_or(default)
}

fn take_text(f: &Fields<'_>, name: &'static str, p: &mut Problems) -> Option<Template> {
    f.take(name).and_then(|n| Template::read(n, p, &format!("`{name}`")))
}

fn need_text(f: &Fields<'_>, name: &'static str, p: &mut Problems) -> Option<Template> {
    f.need(p, name).and_then(|n| Template::read(n, p, &format!("`{name}`")))
}

fn mask(n: &Node, p: &mut Problems) -> Option<u32> {
    let v = n.as_str().and_then(|t| match t.strip_prefix("0x") {
        Some(h) => u32::from_str_radix(h, 16).ok(),
        None => t.parse().ok(),
    });
    if v.is_none() {
        p.at(n, format!("`granted` must be an access mask such as `0x1410`, not {}", n.describe()));
    }
    v
}

fn logon_type(n: &Node, p: &mut Problems) -> Option<u8> {
    let t = n.as_str().and_then(|t| t.parse().ok()).filter(|t| matches!(t, 2..=5 | 7..=11));
    if t.is_none() {
        p.at(n, format!("`type` must be a logon type (2, 3, 4, 5, 7, 8, 9, 10 or 11), not {}", n.describe()));
    }
    t
}

//! Actions become operations: references are resolved, processes get registers, times are summed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::action::{Action, Logon, Run, Shell, What, number_word};
use super::condition::Facts;
use super::run::Exec;
use super::scope::{self, Builtin, Names, RoleKind, Scope};
use super::share::{share_mask, unc};
use super::template::{Format, Holes, Part, Randoms, Template, apply, clean, has_hole};
use super::value::{self, Wait};
use super::{Effects, Notes};
use crate::activity::{Field, Kind, Type};
use crate::world::net;
use crate::world::program::{
    AccountSel, Attr, Dest, Dur, FILE_VAR, Fmt, HostSel, Integrity, Library, Op, Part as Role, Piece, REGS, Reg,
    Script, ScriptId, Slot, Ticket, Timed, Tpl, Who,
};
use crate::yaml::{Node, Problems};

/// A variable with alternatives decides how the text is compiled: compile it once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split(pub u16);

/// Compiles actions of one scenario, habit or background entry.
pub struct Unit<'a> {
    /// All effects.
    pub effects: &'a Effects,
    /// Receives scripts and names.
    pub library: &'a mut Library,
    /// What is wrong.
    pub problems: &'a mut Problems,
    /// What looks wrong.
    pub notes: &'a mut Notes,
    /// Names of the world.
    pub names: &'a Names,
    /// What the unit can refer to.
    pub scope: Scope,
    /// Values known only at run time.
    pub holes: Holes,
    /// Registers in use, one bit each.
    pub regs: u16,
    /// Numbers of random values given so far.
    pub randoms: u16,
    /// Commands inside commands.
    pub depth: u8,
    /// Names that processes get when their program starts: program, name.
    pub wanted: Vec<(String, u16)>,
    /// Lines that the last program printed, where its effect tells.
    pub printed: Vec<String>,
    /// Commands played so far.
    pub commands: u32,
    /// Services whose start is being compiled.
    pub starting: Vec<u16>,
    /// Registry values that the commands so far wrote, by key and value in lower case.
    pub written: BTreeMap<(String, String), String>,
}

/// Commands inside commands that are followed.
pub const DEPTH_MAX: u8 = 12;
/// Commands, builtins and cmdlets included, that one scenario, habit or command line may come to.
pub const COMMANDS_MAX: u32 = 4000;
/// Characters of all environment variables of a process together.
const ENVIRONMENT_MAX: usize = 32_767;

/// Where and as whom something is done.
#[derive(Clone)]
pub struct Frame {
    /// The process (or session, register 0) that does it.
    pub me: Who,
    /// Its place in the truth.
    pub part: Role,
    /// Account started processes get.
    pub account: AccountSel,
    /// Its token is elevated.
    pub elevated: bool,
    /// Integrity of what it starts next, where its own does not tell.
    pub integrity: Option<Integrity>,
    /// Current directory with holes, no final backslash.
    pub cwd: String,
    /// Variables set in the shell so far (upper case).
    pub env: Rc<BTreeMap<String, String>>,
    /// What is typed is read by this shell.
    pub shell: Option<Shell>,
    /// Captures of the effect whose lines these are.
    pub locals: Option<Rc<Locals>>,
    /// Its random values.
    pub draws: Rc<RefCell<Randoms>>,
    /// Processes that it started and named.
    pub own: Rc<RefCell<Vec<(String, Reg)>>>,
    /// Inside `files`: `{file}` is known.
    pub file: bool,
    /// Pause between lines without one.
    pub pace: Dur,
    /// Pause before a process starts.
    pub lead: Dur,
}

/// Captures of an effect.
#[derive(Clone, Debug, Default)]
pub struct Locals {
    /// Text with holes by name.
    pub text: BTreeMap<String, String>,
    /// It works on another host.
    pub remote: bool,
    /// The host it works on is none of ours.
    pub lost: bool,
    /// The caller is elevated.
    pub elevated: bool,
}

impl Facts for Locals {
    fn text(&self, name: &str) -> Option<&str> {
        self.text.get(name).map(|s| &**s)
    }
    fn flag(&self, name: &str) -> Option<bool> {
        match name {
            "elevated" => Some(self.elevated),
            "remote" => Some(self.remote),
            "reachable" => Some(!self.lost),
            _ => None,
        }
    }
}

impl Frame {
    /// The frame of a step.
    pub fn step(account: AccountSel, elevated: bool) -> Frame {
        Frame {
            me: Who::Reg(0),
            part: Role::Direct,
            account,
            elevated: elevated || account == AccountSel::System,
            integrity: None,
            cwd: String::new(),
            env: Rc::default(),
            shell: None,
            locals: None,
            draws: Rc::default(),
            own: Rc::default(),
            file: false,
            pace: value::ms(4, 45),
            lead: value::NONE,
        }
    }
}

impl Frame {
    /// Sets an environment variable; when there is no room for it, it stays as it was.
    pub fn set(&mut self, name: &str, value: &str) {
        let room: usize = self.env.iter().filter(|(k, _)| *k != name).map(|(k, v)| k.len() + v.len() + 2).sum();
        if room + name.len() + value.len() + 2 <= ENVIRONMENT_MAX {
            Rc::make_mut(&mut self.env).insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Appends an operation.
pub fn push(out: &mut Script, after: Dur, part: Role, op: Op) {
    out.push(Timed { after, part, op });
}

impl Unit<'_> {
    /// Counts a command; true when there are more than one text may come to.
    pub fn over(&mut self, node: &Node) -> bool {
        self.commands += 1;
        if self.commands == COMMANDS_MAX {
            self.problems.at(node, format!("this comes to more than {COMMANDS_MAX} commands"));
        }
        self.commands >= COMMANDS_MAX
    }

    /// Actions of a step or an effect, in order.
    ///
    /// # Errors
    /// [`Split`] when a variable's alternatives compile differently.
    pub fn actions(&mut self, f: &Frame, list: &[Action], out: &mut Script) -> Result<(), Split> {
        for a in list {
            self.action(f, a, out)?;
        }
        Ok(())
    }

    fn action(&mut self, f: &Frame, a: &Action, out: &mut Script) -> Result<(), Split> {
        if let Some(c) = &a.cond
            && !self.holds(f, c, &a.node)?
        {
            return Ok(());
        }
        let after = match &a.after {
            Some(w) => self.wait(f, w)?,
            None => f.pace,
        };
        if let Some(share) = a.chance {
            let inner = Action { chance: None, cond: None, after: None, ..a.clone() };
            let then = self.block(f, std::slice::from_ref(&inner))?;
            push(out, after, f.part, Op::Chance { share: share as f32, then, otherwise: None });
            return Ok(());
        }
        let by = match &a.by {
            Some(t) => match self.text(f, t)? {
                Some(t_) => self.who(f, &t_, &t.node),
                None => return Ok(()),
            },
            None => f.me,
        };
        let part = f.part;
        match &a.what {
            What::Run(r) => {
                if after != value::NONE {
                    push(out, after, part, Op::Wait);
                }
                return self.run_action(f, r, out);
            }
            What::Emit(kind, args) => {
                let Some(args) = self.args(f, *kind, args)? else { return Ok(()) };
                if *kind == Kind::ServiceState {
                    return self.service_state(f, by, args, after, &a.node, out);
                }
                self.remember(*kind, &args);
                self.emit(f, by, *kind, args, after, out);
            }
            What::Access { target, granted, trace } => {
                let Some(target) = self.who_of(f, target)? else { return Ok(()) };
                let trace = match trace {
                    Some(t) => self.text(f, t)?.map(|name| self.trace_named(&name, t)),
                    None => None,
                };
                push(out, after, part, Op::Access { by, target, granted: *granted, trace });
            }
            What::Inject { target, function, module } => {
                let Some(target) = self.who_of(f, target)? else { return Ok(()) };
                let (function, module) = (self.maybe(f, function)?, self.maybe(f, module)?);
                push(out, after, part, Op::Inject { by, target, function, module });
            }
            What::End { process, code } => {
                let Some(who) = self.who_of(f, process)? else { return Ok(()) };
                push(out, after, part, Op::Exit { who, code: *code });
            }
            What::Connect { to, port, udp, out: sent, into, server, logon } => {
                let Some(dest) = self.text(f, to)? else { return Ok(()) };
                let Some(port) = self.port(f, to, port.as_ref(), &dest)? else { return Ok(()) };
                let role = to.as_lit().is_some_and(|t| t.to_lowercase().starts_with("any."));
                let host = if role { self.host_named(&dest, to) } else { self.host_of(&dest) };
                let to = match host.filter(|_| !net::loopback(&dest)) {
                    Some(h) => Dest::Host(h),
                    None => Dest::Text(self.holes.tpl(&dest)),
                };
                let server = match server {
                    Some(t) => self.who_of(f, t)?,
                    None => None,
                };
                let (udp, logon) = (*udp, *logon);
                let op = Op::Connect { by, to, port, udp, bytes_out: *sent, bytes_in: *into, server, logon };
                push(out, after, part, op);
            }
            What::Resolve { name, exists } => {
                let Some(name) = self.text(f, name)? else { return Ok(()) };
                push(out, after, part, Op::Resolve { by, name: self.holes.tpl(&name), exists: *exists });
            }
            What::Ticket { of, rc4, status } => {
                let of = match of {
                    Ticket::Service(t) => self.account_named(f, t)?.map(Ticket::Service),
                    Ticket::Granting(t) => self.account_named(f, t)?.map(Ticket::Granting),
                    Ticket::Name(t) => self.text(f, t)?.map(|t| Ticket::Name(self.holes.tpl(&t))),
                    Ticket::Every => Some(Ticket::Every),
                    Ticket::Forward => Some(Ticket::Forward),
                };
                if let Some(of) = of {
                    push(out, after, part, Op::Ticket { by, of, rc4: *rc4, status: *status });
                }
            }
            What::Logon(l) => self.logon(f, by, l, after, out)?,
            What::Share { host, account, explicit, then } => {
                let Some(text) = self.text(f, host)? else { return Ok(()) };
                let Some(host) = self.host_named(&text, host) else { return Ok(()) };
                let account = match account {
                    Some(t) => self.account_named(f, t)?.unwrap_or(AccountSel::Actor),
                    None => f.account,
                };
                let script = self.away(f, AccountSel::Actor, then)?;
                push(out, after, part, Op::Share { host, account, explicit: *explicit, script });
            }
            What::Logoff => push(out, after, part, Op::Logoff),
            What::Remote { host, by, then } => {
                let Some(host_text) = self.text(f, host)? else { return Ok(()) };
                let Some(host) = self.host_named(&host_text, host) else { return Ok(()) };
                let Some(by) = self.who_of(f, by)? else { return Ok(()) };
                let script = self.away(f, f.account, then)?;
                push(out, after, part, Op::Remote { host, by, script });
            }
            What::Repeat { times, gap, then } => {
                let script = self.block(f, then)?;
                push(out, after, part, Op::Repeat { times: *times, gap: *gap, script });
            }
            What::Chance { share, then, otherwise } => {
                let then = self.block(f, then)?;
                let otherwise = if otherwise.is_empty() { None } else { Some(self.block(f, otherwise)?) };
                push(out, after, part, Op::Chance { share: *share as f32, then, otherwise });
            }
            What::Choose(arms) => {
                let mut weights = vec![];
                for (w, then) in arms {
                    weights.push((*w, self.block(f, then)?));
                }
                push(out, after, part, Op::Choose { weights });
            }
            What::Fork(then) => {
                let script = self.block(f, then)?;
                push(out, after, part, Op::Fork { script });
            }
            What::Files { times, gap, place, then } => {
                let script = self.block(&Frame { file: true, ..f.clone() }, then)?;
                push(out, after, part, Op::Files { times: *times, gap: *gap, place: *place, script });
            }
            What::Rewrite { times, gap, place, ext } => {
                let Some(ext) = self.maybe_text(f, ext)? else { return Ok(()) };
                let old = self.holes.put(Piece::Slot(Slot::Var(FILE_VAR), vec![]));
                let (from, to) = (self.holes.tpl(&old), self.holes.tpl(&format!("{old}{ext}")));
                let emit = |kind, args| Timed { after: value::ms(1, 9), part, op: Op::Emit { by, kind, args } };
                let script = self.library.script(vec![
                    emit(Kind::FileModify, vec![(Field::FilePath, from.clone())]),
                    emit(Kind::FileRename, vec![(Field::FileOldPath, from), (Field::FilePath, to)]),
                ]);
                push(out, after, part, Op::Files { times: *times, gap: *gap, place: *place, script });
            }
            What::Wait(w) => {
                let d = self.wait(f, w)?;
                push(out, d, part, Op::Wait);
            }
        }
        Ok(())
    }

    /// The port of a connection: what is written, else what the URL says, which is asked again (0) where it has holes. None
    /// when there is nothing to connect to.
    fn port(&mut self, f: &Frame, to: &Template, port: Option<&Template>, dest: &str) -> Result<Option<u16>, Split> {
        let Some(t) = port else {
            if has_hole(dest) {
                return Ok(Some(if self.host_of(dest).is_some() { 80 } else { 0 }));
            }
            if dest == net::authority(dest) && (f.locals.is_none() || to.as_lit().is_some()) {
                self.problems.at(&to.node, format!("`{dest}` is no URL: a connection to it needs a `port`"));
            }
            return Ok(net::port_of(dest));
        };
        let Some(text) = self.text(f, t)? else { return Ok(None) };
        if let Some(var) = self.choice(&text) {
            return Err(Split(var));
        }
        let port = text.parse::<u16>().ok().filter(|p| *p > 0);
        if port.is_none() && t.as_lit().is_some() {
            self.problems.at(&t.node, format!("a port is a number from 1 to 65535, not `{text}`"));
        }
        Ok(port)
    }

    fn logon(&mut self, f: &Frame, by: Who, l: &Logon, after: Dur, out: &mut Script) -> Result<(), Split> {
        let host = match &l.host {
            Some(t) => match self.text(f, t)? {
                Some(text) => match self.host_named(&text, t) {
                    Some(h) => h,
                    None => return Ok(()),
                },
                None => HostSel::Here,
            },
            None => HostSel::Here,
        };
        let account = match &l.account {
            Some(t) => self.account_named(f, t)?.unwrap_or(AccountSel::Actor),
            None => f.account,
        };
        let then = if l.then.is_empty() { None } else { Some(self.away(f, AccountSel::Actor, &l.then)?) };
        let op = Op::Logon {
            by,
            host,
            account,
            logon_type: l.logon_type,
            result: l.result,
            ntlm: l.ntlm,
            explicit: l.explicit,
            hold: l.hold,
            then,
        };
        push(out, after, f.part, op);
        Ok(())
    }

    /// A script of its own that keeps the registers.
    pub fn block(&mut self, f: &Frame, list: &[Action]) -> Result<ScriptId, Split> {
        let regs = self.regs;
        let mut script = vec![];
        let done = self.actions(f, list, &mut script);
        self.regs = regs;
        done?;
        Ok(self.library.script(script))
    }

    /// A script that runs in another session, perhaps on another host, with registers of its own.
    pub fn away(&mut self, f: &Frame, account: AccountSel, list: &[Action]) -> Result<ScriptId, Split> {
        let regs = std::mem::replace(&mut self.regs, 1);
        let frame = self.away_frame(f, account);
        let mut script = vec![];
        let done = self.actions(&frame, list, &mut script);
        self.regs = regs;
        done?;
        Ok(self.library.script(script))
    }

    /// The frame of what is done in another session: its network logons are elevated, its directory the system's.
    pub fn away_frame(&self, f: &Frame, account: AccountSel) -> Frame {
        Frame {
            me: Who::Reg(0),
            part: if f.part == Role::Direct { Role::Effect } else { f.part },
            account,
            elevated: true,
            cwd: r"C:\Windows\System32".into(),
            env: Rc::default(),
            shell: None,
            ..f.clone()
        }
    }

    fn run_action(&mut self, f: &Frame, r: &Run, out: &mut Script) -> Result<(), Split> {
        let Some(line) = self.text(f, &r.command)? else { return Ok(()) };
        let mut frame = f.clone();
        frame.shell = r.shell.or(f.shell.filter(|_| r.parent.is_none()));
        if let Some(t) = &r.parent {
            let Some(text) = self.text(f, t)? else { return Ok(()) };
            frame.me = self.who(f, &text, &t.node);
            if let Who::Named(i) = frame.me {
                frame.shell = r.shell.or(self.scope.names[i as usize].shell);
                frame.elevated |= self.scope.names[i as usize].elevated;
            }
        }
        if let Some(t) = &r.account
            && let Some(a) = self.account_named(f, t)?
        {
            frame.account = a;
            frame.elevated |= a == AccountSel::System;
        }
        frame.elevated |= r.elevated;
        if let Some(t) = &r.directory
            && let Some(d) = self.text(f, t)?
        {
            frame.cwd = d.trim_end_matches('\\').to_owned();
        }
        frame.integrity = r.integrity;
        let Some(t) = &r.name else { return self.command(&frame, &line, None, r.wait, &r.command.node, out) };
        let Some(name) = self.text(f, t)? else { return Ok(()) };
        if f.locals.is_none() {
            let name = self.scope.name(&name);
            return self.command(&frame, &line, name, r.wait, &r.command.node, out);
        }
        // a process of an effect's own: it goes on beside the effect, which keeps it until it is done
        frame.shell = None;
        let reg = self.beside(&frame, Exec::of(&line), &r.command.node, out)?;
        f.own.borrow_mut().extend(reg.map(|r| (name, r)));
        Ok(())
    }

    /// Arguments of an activity; none when one needs a capture that is not there.
    fn args(
        &mut self,
        f: &Frame,
        kind: Kind,
        args: &[(Field, Template)],
    ) -> Result<Option<Vec<(Field, String)>>, Split> {
        let mut done = vec![];
        for (field, t) in args {
            let Some(mut text) = self.text(f, t)? else { return Ok(None) };
            match field {
                Field::FilePath | Field::FileOldPath if kind != Kind::FileRead => text = self.full_path(f, &text),
                Field::RegistryKey => text = self.registry_key(&text),
                _ if field.ty() == Type::Uint && !has_hole(&text) => match number_word(*field, text.trim()) {
                    Some(n) => text = n,
                    None => continue,
                },
                _ => {}
            }
            done.push((*field, text));
        }
        Ok(Some(done))
    }

    /// Keeps what commands write into the registry, for programs that read it after them.
    fn remember(&mut self, kind: Kind, args: &[(Field, String)]) {
        if !matches!(kind, Kind::RegistrySet | Kind::RegistryDeleteValue | Kind::RegistryDelete) {
            return;
        }
        let of = |field| args.iter().find(|(f, _)| *f == field).map_or("", |(_, t)| &**t);
        let (key, value) = (of(Field::RegistryKey).to_lowercase(), of(Field::RegistryValue).to_lowercase());
        match kind {
            Kind::RegistrySet => drop(self.written.insert((key, value), of(Field::RegistryData).to_owned())),
            Kind::RegistryDeleteValue => drop(self.written.remove(&(key, value))),
            // the key and what is below it
            _ => self.written.retain(|(k, _), _| {
                k.strip_prefix(&*key).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('\\'))
            }),
        }
    }

    /// What commands before wrote into a value of the registry, if any did.
    pub fn written(&mut self, key: &str, value: &str) -> Option<String> {
        let key = self.registry_key(key).to_lowercase();
        self.written.get(&(key, value.to_lowercase())).cloned()
    }

    /// An activity; a file on another host's share is written there by its System process, in a network logon.
    pub fn emit(&mut self, f: &Frame, by: Who, kind: Kind, args: Vec<(Field, String)>, after: Dur, out: &mut Script) {
        let path = args.iter().find(|(k, _)| *k == Field::FilePath).map(|(_, p)| p.clone()).unwrap_or_default();
        // what is written beside a file is a stream of it
        let (kind, args) = match kind {
            Kind::FileCreate | Kind::FileModify if is_stream(&path) => {
                (Kind::FileStream, args.into_iter().filter(|(k, _)| *k == Field::FilePath).collect())
            }
            _ => (kind, args),
        };
        let old = args.iter().find(|(k, _)| *k == Field::FileOldPath).map(|(_, p)| p.clone()).unwrap_or_default();
        if kind == Kind::FileRename && unc(&path).is_some() != unc(&old).is_some() {
            // what moves to another machine is copied and deleted
            let one = |p: String| vec![(Field::FilePath, p)];
            self.emit(f, by, Kind::FileRead, one(old.clone()), after, out);
            self.emit(f, by, Kind::FileCreate, one(path), after, out);
            return self.emit(f, by, Kind::FileDelete, one(old), after, out);
        }
        if let Some((host, share, file)) = unc(&path)
            && let Some(mask) = share_mask(kind)
        {
            match self.host_of(host) {
                Some(HostSel::Here) => {}
                Some(to) => {
                    let script = self.on_share(f, kind, share, file, mask, &args);
                    push(
                        out,
                        after,
                        f.part,
                        Op::Share { host: to, account: AccountSel::Actor, explicit: false, script },
                    );
                    return;
                }
                // what is written to a machine that is none of ours is not seen here
                None => return,
            }
        }
        let mut args: Vec<(Field, Tpl)> = args.iter().map(|(k, v)| (*k, self.holes.tpl(v))).collect();
        if kind.on_request() && by != f.me {
            args.push((Field::ClientPid, Tpl(vec![Piece::Slot(Slot::Pid(f.me), vec![])])));
        }
        push(out, after, f.part, Op::Emit { by, kind, args });
    }

    /// A registry key with its hive in short form, as sensors print it.
    pub fn registry_key(&mut self, key: &str) -> String {
        let key = key.trim().trim_matches('"');
        // hives of applications have no short form: \REGISTRY\A\{...}
        if strip_prefix_ignore_case(key, r"\REGISTRY\A\").is_some() {
            return key.to_owned();
        }
        // `Microsoft.PowerShell.Core\Registry::HKEY_…`, `HKLM:Software`, `\Registry\Machine\…`
        let key = key.rsplit_once("::").map_or(key, |(_, k)| k).trim_start_matches('\\');
        let key = key.replace(":\\", "\\").replacen(
            ':',
            "\\",
            usize::from(key.split('\\').next().is_some_and(|h| h.len() > 5 && h.contains(':'))),
        );
        let key = key.trim_end_matches('\\').to_owned();
        let (hive, rest) = key.split_once('\\').unwrap_or((&key, ""));
        let hive = match &*hive.trim_end_matches(':').to_ascii_uppercase() {
            "HKLM" | "HKEY_LOCAL_MACHINE" => "HKLM".to_owned(),
            "HKCR" | "HKEY_CLASSES_ROOT" => "HKCR".to_owned(),
            "HKU" | "HKEY_USERS" => "HKU".to_owned(),
            "HKCU" | "HKEY_CURRENT_USER" => {
                let sid = self.holes.put(Piece::Slot(Slot::User(Attr::Sid), vec![]));
                if let Some(r) = strip_prefix_ignore_case(rest, r"Software\Classes\") {
                    return format!(r"HKU\{sid}_Classes\{r}");
                }
                format!(r"HKU\{sid}")
            }
            _ => return key,
        };
        let mut rest = rest.to_owned();
        for proper in [r"SOFTWARE\", r"System\CurrentControlSet\"] {
            if hive == "HKLM"
                && let Some(r) = strip_prefix_ignore_case(&rest, proper)
            {
                rest = format!("{proper}{r}");
            }
        }
        if rest.is_empty() { hive } else { format!("{hive}\\{rest}") }
    }

    /// A duration with its captures filled in; a few seconds when they are known only at run time.
    pub fn wait(&mut self, f: &Frame, w: &Wait) -> Result<Dur, Split> {
        match w {
            Wait::Known(d) => Ok(*d),
            Wait::Text(t) => {
                let text = self.text(f, t)?.unwrap_or_default();
                Ok(value::parse_dur(&text).unwrap_or(value::ms(900, 4200)))
            }
        }
    }

    /// A register that is free.
    pub fn reg(&mut self, node: &Node) -> Reg {
        match (1..REGS as u16).find(|r| self.regs & (1 << r) == 0) {
            Some(r) => {
                self.regs |= 1 << r;
                r as Reg
            }
            None => {
                self.problems.at(node, format!("a command keeps more than {} processes at once", REGS - 1));
                REGS as Reg - 1
            }
        }
    }

    /// Gives a register back.
    pub fn free(&mut self, reg: Reg) {
        self.regs &= !(1 << reg);
    }

    fn maybe_text(&mut self, f: &Frame, t: &Template) -> Result<Option<String>, Split> {
        self.text(f, t)
    }

    fn maybe(&mut self, f: &Frame, t: &Option<Template>) -> Result<Option<Tpl>, Split> {
        match t {
            Some(t) => Ok(self.text(f, t)?.map(|t| self.holes.tpl(&t))),
            None => Ok(None),
        }
    }
}

/// True for `file:stream`.
fn is_stream(path: &str) -> bool {
    let name = super::template::file_name(path);
    let name = if name == path && path.as_bytes().get(1) == Some(&b':') { &path[2..] } else { name };
    name.split_once(':').is_some_and(|(file, stream)| {
        !file.is_empty() && !stream.is_empty() && !stream.starts_with(':') && !stream.contains("://")
    })
}

/// Rest of a text after a prefix, upper and lower case alike.
pub fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

impl Unit<'_> {
    /// The text of a template; none when it uses a capture that is not there.
    ///
    /// # Errors
    /// [`Split`] never for itself; for symmetry with what it is used in.
    pub fn text(&mut self, f: &Frame, t: &Template) -> Result<Option<String>, Split> {
        let mut out = String::new();
        for part in &t.parts {
            match part {
                Part::Lit(l) => out.push_str(&clean(l)),
                Part::Ref(name, fmts) => match self.reference(f, name, fmts, &t.node) {
                    Some(text) => out.push_str(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(out))
    }

    fn reference(&mut self, f: &Frame, name: &str, fmts: &[Format], node: &Node) -> Option<String> {
        let mut text = self.named(f, name, node)?;
        let mut rest = vec![];
        for fmt in fmts {
            match (rest.is_empty(), fmt) {
                (true, Format::Full) => text = self.full_path(f, &text),
                (true, _) if let Some(t) = apply(&text, *fmt) => text = t,
                (_, Format::Run(f)) => rest.push(*f),
                _ => {
                    self.problems.at(node, format!("a formatter of `{{{name}}}` works on known text only"));
                }
            }
        }
        if rest.is_empty() {
            return Some(text);
        }
        let piece = match self.holes.only(&text) {
            Some(Piece::Slot(s, have)) => Piece::Slot(*s, have.iter().copied().chain(rest).collect()),
            _ => Piece::Group(self.holes.tpl(&text), rest),
        };
        Some(self.holes.put(piece))
    }

    fn named(&mut self, f: &Frame, name: &str, node: &Node) -> Option<String> {
        if name == "file" && f.file {
            return Some(self.holes.put(Piece::Slot(Slot::Var(FILE_VAR), vec![])));
        }
        if let Some(locals) = &f.locals {
            if let Some(t) = locals.text.get(name) {
                return Some(t.clone());
            }
            if !scope::builtin(name) {
                return None;
            }
        }
        let (head, attr) = name.split_once('.').unwrap_or((name, ""));
        if f.locals.is_none() {
            if let Some(i) = self.scope.var(name) {
                return Some(self.var(i));
            }
            let each = self.scope.each.clone().filter(|(n, _)| n == head);
            let role = self.scope.role(head);
            if let Some(kind) = each
                .as_ref()
                .map(|(_, i)| self.scope.roles[*i as usize].kind)
                .or(role.map(|i| self.scope.roles[i as usize].kind))
            {
                if kind == RoleKind::Hosts && each.is_none() {
                    self.problems
                        .at(node, format!("role `{head}` has several members"))
                        .help(format!("write `each: {head}, as: m` and `{{m.name}}`"));
                    return Some(String::new());
                }
                let attr = if attr.is_empty() { "name" } else { attr };
                let fact = if kind == RoleKind::Account { scope::account_fact(attr) } else { scope::host_fact(attr) };
                return Some(match fact {
                    Ok(a) if each.is_some() => self.holes.put(Piece::Slot(Slot::Each(a), vec![])),
                    Ok(a) => self.holes.put(Piece::Slot(Slot::Role(role.unwrap_or(0), a), vec![])),
                    Err(why) => {
                        self.problems.at(node, format!("`{{{name}}}`: {why}"));
                        String::new()
                    }
                });
            }
            if !scope::builtin(name) {
                self.problems.unknown(node, "role, variable or reference", head, self.scope.words());
                return Some(String::new());
            }
        }
        let slot = match scope::parse_builtin(name) {
            Err(why) => {
                self.problems.at(node, why);
                return Some(String::new());
            }
            Ok(Builtin::Text(t)) => return Some(t.to_owned()),
            Ok(Builtin::Host(a)) => Slot::Host(a),
            Ok(Builtin::User(a)) => Slot::User(a),
            Ok(Builtin::Program(n)) => Slot::Path(self.library.name(&n)),
            Ok(Builtin::Pid(n)) => Slot::Pid(match &*n {
                "self" => f.me,
                n => match self.scope.name(n) {
                    Some(i) => Who::Named(i),
                    None => Who::Image(self.library.name(&scope::exe(n))),
                },
            }),
            Ok(Builtin::Now(t)) => Slot::Now(t),
            Ok(Builtin::Guid) => Slot::Guid(self.draw(f, name)),
            Ok(Builtin::Hex(n)) => Slot::Hex(self.draw(f, name), n),
            Ok(Builtin::Letters(n)) => Slot::Letters(self.draw(f, name), n),
            Ok(Builtin::Number(a, b)) => Slot::Num(self.draw(f, name), a, b),
            Ok(Builtin::Word(list)) => {
                let shorter = list.rsplit_once('.').map(|(l, _)| l);
                let find = |n: &str| self.names.words.iter().position(|w| **w == *n);
                match find(&list).or(shorter.and_then(find)) {
                    Some(i) => Slot::Word(self.draw(f, name), i as u16),
                    None => {
                        self.problems.unknown(node, "word list", &list, self.names.words.iter().map(|w| &**w));
                        return Some(String::new());
                    }
                }
            }
        };
        Some(self.holes.put(Piece::Slot(slot, vec![])))
    }

    /// A variable: its text where that is known, else a hole.
    fn var(&mut self, i: u16) -> String {
        let v = &self.scope.vars[i as usize];
        match (v.arms.len(), self.scope.pinned.get(&i)) {
            (1, _) => v.arms[0].clone(),
            (_, Some(arm)) => v.arms[*arm].clone(),
            _ => self.holes.put(Piece::Slot(Slot::Var(i), vec![])),
        }
    }

    fn draw(&mut self, f: &Frame, name: &str) -> u16 {
        let next = self.randoms;
        let n = *f.draws.borrow_mut().0.entry(name.to_owned()).or_insert(next);
        self.randoms = self.randoms.saturating_add((n == next) as u16);
        n
    }

    /// Whether a condition holds: over the captures of an effect, or the variables of a scenario.
    ///
    /// # Errors
    /// [`Split`] when a variable's alternatives decide it.
    pub fn holds(&mut self, f: &Frame, c: &super::condition::Cond, node: &crate::yaml::Node) -> Result<bool, Split> {
        let mut locals = f.locals.as_deref().cloned().unwrap_or_default();
        if f.locals.is_none() {
            let mut names = vec![];
            c.names(&mut names);
            for n in names {
                let Some(var) = self.scope.var(&n) else {
                    let all = self.scope.var_names();
                    self.problems.unknown(node, "variable", &n, all);
                    continue;
                };
                if self.scope.vars[var as usize].arms.is_empty() {
                    self.problems
                        .at(node, format!("`{n}` is only known when an instance starts: `if` needs a `choice`"));
                }
                let part = super::template::Part::Ref(n.clone(), vec![]);
                let t = Template { parts: vec![part], node: node.clone() };
                if let Some(text) = self.text(f, &t)? {
                    locals.text.insert(n, text);
                }
            }
        }
        self.split_on(c, &locals)?;
        Ok(c.holds(&locals))
    }

    fn who_of(&mut self, f: &Frame, t: &Template) -> Result<Option<Who>, Split> {
        Ok(self.text(f, t)?.map(|text| self.who(f, &text, &t.node)))
    }

    /// A process by the words `by`, `parent` and `target` use.
    pub fn who(&mut self, f: &Frame, text: &str, node: &Node) -> Who {
        let word = text.trim().trim_matches('"');
        let lower = word.to_lowercase();
        match &*lower {
            "self" => return f.me,
            "actor" => return Who::Reg(0),
            "parent" => {
                return match f.me {
                    Who::Reg(r) => Who::ParentOf(r),
                    other => other,
                };
            }
            "shell" => return Who::Shell,
            "system" => return Who::System,
            _ => {}
        }
        if f.locals.is_none()
            && let Some(i) = self.scope.name(word)
        {
            return Who::Named(i);
        }
        if let Some((_, reg)) = f.own.borrow().iter().rev().find(|(n, _)| n == word) {
            return Who::Reg(*reg);
        }
        // what an effect takes from a command line may name anything; a story says what it means
        let story = f.locals.is_none() && !has_hole(&lower);
        if let Some(s) =
            lower.strip_prefix("service.").or_else(|| lower.strip_prefix("svchost.").filter(|s| *s != "exe"))
        {
            let services = &self.names.service_keys;
            if story && !services.is_empty() && !services.contains(s) {
                self.problems.unknown(node, "service", s, services.iter().map(String::as_str));
            }
            return Who::Service(self.library.name(s));
        }
        // a word that an effect's file has as it stands, not one from a command line
        let written = node.as_str() == Some(text) && !lower.contains('.');
        if lower.contains('.') || !story {
            let image = scope::exe(super::template::file_name(&lower));
            let programs = &self.names.programs;
            let known = programs.is_empty() || programs.contains(&*image) || self.effects.knows(&image);
            if (story || written) && !known {
                let all = self.scope.process_names().into_iter().chain(programs.iter().map(|n| &**n));
                self.problems.unknown(node, "program", &image, all);
            }
            return Who::Image(self.library.name(&image));
        }
        let words = ["self", "parent", "shell", "system", "actor"];
        self.problems.unknown(node, "process", word, self.scope.process_names().into_iter().chain(words));
        Who::Reg(0)
    }

    /// A host that a text comes down to, if it is one of the world's.
    pub fn host_of(&self, text: &str) -> Option<HostSel> {
        let t = text.trim().trim_matches('"').trim_start_matches('\\');
        let lower = t.to_lowercase();
        match &*lower {
            "" | "here" | "." | "localhost" | "127.0.0.1" | "::1" => return Some(HostSel::Here),
            "dc" => return Some(self.scope.role("dc").map_or(HostSel::Dc, HostSel::Role)),
            "file_server" => return Some(self.scope.role("file_server").map_or(HostSel::FileServer, HostSel::Role)),
            _ => {}
        }
        if let Some(role) = lower.strip_prefix("any.") {
            return self.names.roles.iter().position(|r| **r == *role).map(|i| HostSel::Any(i as u16, 0));
        }
        if self.scope.each.as_ref().is_some_and(|(n, _)| *n == lower) {
            return Some(HostSel::Each);
        }
        if let Some(i) = self.scope.role(t).filter(|i| self.scope.roles[*i as usize].kind == RoleKind::Host) {
            return Some(HostSel::Role(i));
        }
        if let Some(host) = self.names.hosts.get(net::authority(&lower)) {
            return Some(HostSel::Host(*host));
        }
        // `{s.name}`, `{s.name}.corp.example`
        let (first, rest) = (t.chars().next()?, t.char_indices().nth(1).map_or("", |(i, _)| &t[i..]));
        if !(rest.is_empty() || rest.starts_with('.')) {
            return None;
        }
        let named = |a: &Attr| matches!(a, Attr::Name | Attr::Full | Attr::Ip);
        match self.holes.get(first)? {
            Piece::Slot(Slot::Role(i, a), _) if named(a) && self.scope.roles[*i as usize].kind == RoleKind::Host => {
                Some(HostSel::Role(*i))
            }
            Piece::Slot(Slot::Role(_, Attr::Dc) | Slot::Host(Attr::Dc), _) => Some(HostSel::Dc),
            Piece::Slot(Slot::Role(_, Attr::FileServer) | Slot::Host(Attr::FileServer), _) => Some(HostSel::FileServer),
            Piece::Slot(Slot::Each(a), _) if named(a) => Some(HostSel::Each),
            Piece::Slot(Slot::Host(a), _) if named(a) => Some(HostSel::Here),
            _ => None,
        }
    }

    /// A host that must be one; text of a foreign command that names no host of ours is none without a problem.
    fn host_named(&mut self, text: &str, t: &Template) -> Option<HostSel> {
        let hit = self.host_of(text);
        if hit.is_none() && t.as_lit().is_some() {
            let words = ["here", "dc", "file_server", "any.ROLE"];
            self.problems.unknown(&t.node, "host", text, self.scope.role_names().into_iter().chain(words));
        }
        hit
    }

    /// A kind of call trace that `world/traces/` has.
    fn trace_named(&mut self, name: &str, t: &Template) -> u16 {
        let known = &self.names.traces;
        if !known.is_empty() && !known.contains(name) && t.as_lit().is_some() {
            self.problems.unknown(&t.node, "kind of call trace", name, known.iter().map(|n| &**n));
        }
        self.library.name(name)
    }

    /// An account by the words `account` and `as` use.
    pub fn account_named(&mut self, f: &Frame, t: &Template) -> Result<Option<AccountSel>, Split> {
        let Some(text) = self.text(f, t)? else { return Ok(None) };
        let hit = self.account_of(&text);
        if hit.is_none() && t.as_lit().is_some() {
            let words = ACCOUNTS.iter().map(|(n, _)| *n);
            self.problems.unknown(&t.node, "account", &text, self.scope.role_names().into_iter().chain(words));
        }
        Ok(hit)
    }

    /// The account that a text comes down to.
    pub fn account_of(&self, text: &str) -> Option<AccountSel> {
        let t = text.trim().trim_matches('"');
        let name = t.rsplit_once('\\').map_or(t, |(_, n)| n);
        let name = name.split_once('@').map_or(name, |(n, _)| n);
        let lower = name.to_lowercase().replace(' ', "");
        if let Some((_, a)) = ACCOUNTS.iter().find(|(n, _)| *n == lower || n.replace('_', "") == lower) {
            return Some(*a);
        }
        if let Some(i) = self.scope.role(name).filter(|i| self.scope.roles[*i as usize].kind == RoleKind::Account) {
            return Some(AccountSel::Role(i));
        }
        match self.holes.only(name)? {
            Piece::Slot(Slot::Role(i, Attr::Name | Attr::Full), f)
                if f.iter().all(|f| matches!(f, Fmt::Lower | Fmt::Upper)) =>
            {
                Some(AccountSel::Role(*i))
            }
            Piece::Slot(Slot::User(Attr::Name | Attr::Full), _) => Some(AccountSel::Actor),
            _ => None,
        }
    }
}

const ACCOUNTS: &[(&str, AccountSel)] = &[
    ("actor", AccountSel::Actor),
    ("system", AccountSel::System),
    ("localsystem", AccountSel::System),
    ("local_service", AccountSel::LocalService),
    ("network_service", AccountSel::NetworkService),
    ("owner", AccountSel::Owner),
    ("machine", AccountSel::Machine),
    ("domain_admin", AccountSel::DomainAdmin),
];

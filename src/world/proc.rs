//! Processes: how they start, what they load, who serves their console, how they end.

use crate::activity::{Field, Kind};
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, BootProcess, Image};
use crate::world::fact::Val;
use crate::world::host::{EARLY, Level, Luid, OWN_IMAGES, Proc, ProcRef, SYSTEM_LUID, Snap};
use crate::world::instance::{InstId, hex};
use crate::world::program::{Integrity, Spawn, Tpl, Who};
use crate::world::state::{State, Task, What};
use crate::world::texts::TextId;

/// A process about to start.
pub struct Start<'a> {
    /// Program (index into the library's names).
    pub program: u16,
    /// Full path when it is not the program's own.
    pub path: &'a str,
    /// Command line.
    pub command_line: &'a str,
    /// Current directory, empty for the parent's.
    pub directory: &'a str,
    /// Parent.
    pub parent: ProcRef,
    /// Account.
    pub account: AccountId,
    /// Its session.
    pub luid: Luid,
    /// Integrity.
    pub integrity: Integrity,
    /// Truth.
    pub tag: u32,
    /// Whose tool it is when the atlas does not know the program.
    pub inst: InstId,
    /// Terminal session, where it is another than the parent's or that of its logon.
    pub terminal: Option<u8>,
}

impl<'a> Start<'a> {
    /// A process as a boot image has it; `line` is its command line on the host.
    pub fn of_boot(
        b: &BootProcess,
        line: &'a str,
        parent: ProcRef,
        (account, luid): (AccountId, Luid),
        tag: u32,
    ) -> Start<'a> {
        Start {
            program: b.program,
            path: "",
            command_line: line,
            directory: r"C:\Windows\system32\",
            parent,
            account,
            luid,
            integrity: if b.app_container { Integrity::AppContainer } else { Integrity::Inherit },
            tag,
            inst: InstId(0),
            terminal: None,
        }
    }
}

impl State {
    /// Slot of the first process of a program.
    pub fn image_slot(&self, host: u32, program: u16) -> Option<u16> {
        self.slots_of(host, program).next()
    }

    /// The process of a program that a story means: the youngest of its own, else anyone's.
    pub(super) fn image_slot_of(&self, host: u32, program: u16, inst: InstId) -> Option<u16> {
        let procs = &self.hosts[host as usize].procs;
        let own = |slot: &u16| self.tag_of(procs[*slot].snap.tag).is_some_and(|t| t.inst == inst);
        let start = |slot: &u16| procs[*slot].snap.start;
        let youngest = || self.slots_of(host, program).filter(own).max_by_key(start);
        // what people and machines do every day goes through the programs that are open
        (!inst.everyday()).then(youngest).flatten().or_else(|| self.image_slot(host, program))
    }

    /// Slots of the living processes of a program: those of the boot image, then the others.
    pub(super) fn slots_of(&self, host: u32, program: u16) -> impl Iterator<Item = u16> + '_ {
        let h = &self.hosts[host as usize];
        let boot = self.atlas().host(self.host_id(host)).boot;
        let known = self.shared().habits.slots(boot, program).iter().copied();
        known.filter(move |slot| h.procs.is(*slot, program)).chain(h.procs.others(program))
    }

    /// Second of an instant by a host's clock.
    pub(super) fn second(&self, host: u32, t: crate::time::Time) -> u32 {
        self.hosts[host as usize].second(self.atlas().host(self.host_id(host)), t)
    }

    /// What is known of the parent of a living process.
    pub(super) fn parent(&self, host: u32, p: &Proc) -> Snap {
        self.hosts[host as usize].parent(p).snap()
    }

    /// Slot of the owner's shell.
    pub fn shell_slot(&self, host: u32) -> Option<u16> {
        let h = &self.hosts[host as usize];
        h.owner?;
        self.image_slot(host, self.shared().habits.explorer)
    }

    /// Starts a program; false when it is somebody's everyday program that this host does not have.
    pub(super) fn spawn_op(&mut self, t: &mut Task, s: &Spawn, tag: u32) -> bool {
        let unknown = self.atlas().program(self.host_id(t.host), s.program).is_none();
        if unknown && t.inst.id.everyday() {
            return false;
        }
        let parent = self.find(t.host, s.parent, t.inst.id, &t.regs);
        let Some(p) = self.proc(parent) else { return true };
        let psnap = p.snap;
        let command_line = self.filled(t, &s.command_line);
        let path = s.path.as_ref().map_or(String::new(), |p| self.filled(t, p));
        let directory = s.directory.as_ref().map_or(String::new(), |d| self.filled(t, d));
        use crate::world::program::AccountSel;
        let (account, luid) = match s.account {
            AccountSel::Actor if t.regs.actor() == parent || psnap.account == t.account => {
                // under a session of its own (a network logon's service child) the task's session rules
                if t.closes.is_some() { (self.token_of(t), t.luid) } else { (psnap.account, psnap.luid) }
            }
            AccountSel::Actor => (self.token_of(t), t.luid),
            // a step of SYSTEM whose process is somebody else's is that one's: nobody becomes SYSTEM by starting something
            AccountSel::System if psnap.account != AccountId::SYSTEM && self.by_system(t) => {
                (psnap.account, psnap.luid)
            }
            AccountSel::System => (AccountId::SYSTEM, SYSTEM_LUID),
            sel => {
                let host = self.host_id(t.host);
                let account = match sel {
                    AccountSel::Role(r) => match t.inst.roles.get(r as usize) {
                        Some(crate::world::instance::Bound::Account(a)) => *a,
                        _ => t.account,
                    },
                    other => self.account_on(host, other, t.account),
                };
                self.session_for(t.host, account, &psnap, &t.inst)
            }
        };
        let start = Start {
            program: s.program,
            path: &path,
            command_line: &command_line,
            directory: &directory,
            parent,
            account,
            luid,
            integrity: s.integrity,
            tag,
            inst: t.inst.id,
            terminal: None,
        };
        let child = self.spawn(t.host, &start);
        t.regs.set(s.reg, child);
        if let Some(service) = s.service {
            self.serves(t.host, service, child);
        }
        if let Some(n) = s.name {
            self.named.insert((t.inst.id, n, t.host), child);
        }
        true
    }

    /// Whether a task's step says SYSTEM for all it does.
    fn by_system(&self, t: &Task) -> bool {
        let scenario = self.library().scenarios.get(t.inst.scenario.0 as usize);
        let step = scenario.and_then(|s| s.steps.get(t.step as usize));
        step.is_some_and(|s| s.account == crate::world::program::AccountSel::System)
    }

    /// Image of a program on a host: the atlas', or one of the instance's own.
    fn image_for(&mut self, host: u32, s: &Start<'_>) -> u32 {
        if let Some(i) = self.atlas().program(self.host_id(host), s.program) {
            return i.0;
        }
        let name = self.library().names[s.program as usize].clone();
        let seed = mix(mix(self.shared().seed, s.inst.0), purpose(&name));
        let mut rng = Rng::new(seed);
        let upper = |rng: &mut Rng, n| crate::world::atlas::Text::from(hex(rng, n).to_uppercase());
        let md5 = upper(&mut rng, 32);
        if let Some(i) = self.own_images.iter().position(|i| i.md5 == md5) {
            return OWN_IMAGES + i as u32;
        }
        let dash = || crate::world::atlas::Text::from("-");
        let image = Image {
            path: format!(r"C:\Users\Public\{name}").into(),
            name: name.as_ref().into(),
            file_version: dash(),
            description: dash(),
            product: dash(),
            company: dash(),
            original_name: dash(),
            md5,
            sha1: upper(&mut rng, 40),
            sha256: upper(&mut rng, 64),
            imphash: upper(&mut rng, 32),
            size: 40_000 + rng.below(4_000_000),
            signer: dash(),
            console: rng.chance(0.6),
            // what it loads are modules of the host it runs on
            modules: vec![],
            auto_elevate: false,
            wow64: false,
        };
        self.own_images.push(image);
        OWN_IMAGES + self.own_images.len() as u32 - 1
    }

    /// Starts a process now: the start, its console host, the modules it loads.
    pub fn spawn(&mut self, host: u32, s: &Start<'_>) -> ProcRef {
        self.spawn_in(host, s, None)
    }

    /// Starts a process now, where `place` says so in the slot of a boot process and its terminal session.
    pub(super) fn spawn_in(&mut self, host: u32, s: &Start<'_>, place: Option<(u16, u8)>) -> ProcRef {
        let now = self.now;
        let image = self.image_for(host, s);
        let (console, own_path) = {
            let i = self.image(image);
            (i.console, i.path.clone())
        };
        let p = self.hosts[host as usize].procs[s.parent.slot];
        let session = self.hosts[host as usize].session(s.luid).map(|i| self.hosts[host as usize].sessions[i]);
        let (mut luid, mut logon, mut terminal) = (s.luid, p.snap.logon, p.snap.terminal);
        let (mut level, mut elevation) = (p.snap.level, p.snap.elevation);
        if let Some(x) = session {
            logon = self.second(host, x.start);
            terminal =
                if x.terminal == 0 && matches!(x.logon_type, 3 | 4 | 5 | 9) { p.snap.terminal } else { x.terminal };
            if s.account != p.snap.account || x.luid != p.snap.luid {
                level = if s.account.0 < AccountId::FIRST {
                    Level::System
                } else if x.elevated || x.logon_type == 5 {
                    Level::High
                } else {
                    Level::Medium
                };
                elevation = if x.linked == 0 {
                    1
                } else if x.elevated {
                    2
                } else {
                    3
                };
            }
        }
        match s.integrity {
            Integrity::Inherit => {}
            Integrity::Untrusted => level = Level::Untrusted,
            Integrity::AppContainer => level = Level::AppContainer,
            Integrity::Low => level = Level::Low,
            Integrity::Medium => level = Level::Medium,
            // an application pool or a service under a person's account is as high as an administrator, not the system
            Integrity::System if s.account.0 >= AccountId::FIRST => level = Level::High,
            Integrity::System => level = Level::System,
            Integrity::High if s.account == AccountId::SYSTEM => level = Level::System,
            Integrity::High => {
                level = Level::High;
                if let Some(x) = session.filter(|x| x.linked != 0 && !x.elevated) {
                    luid = x.linked;
                    elevation = 2;
                    if let Some(l) = self.hosts[host as usize].session(x.linked) {
                        logon = self.second(host, self.hosts[host as usize].sessions[l].start);
                    }
                }
            }
        }
        let path = if !s.path.is_empty() && !s.path.eq_ignore_ascii_case(&own_path) {
            self.texts.keep_once(s.path)
        } else if own_path.contains("{profile}") {
            let profile = self.atlas().account(s.account).profile.clone();
            self.texts.keep_once(&own_path.replace("{profile}", &profile))
        } else {
            TextId::EMPTY
        };
        let directory = if s.directory.is_empty() {
            self.texts.retain(p.snap.directory)
        } else {
            self.texts.keep_once(s.directory)
        };
        let boot = self.atlas().host(self.host_id(host)).boot;
        let shared_line = place.and_then(|(slot, _)| self.shared().habits.line(boot, slot));
        let command_line = shared_line.unwrap_or_else(|| self.texts.keep_once(s.command_line));
        let h = &mut self.hosts[host as usize];
        let pid = match place {
            Some((slot, _)) if slot < EARLY => h.early_pid(slot),
            _ => h.new_pid(),
        };
        if let Some(t) = place.map(|(_, t)| t).or(s.terminal) {
            terminal = t;
        }
        let snap = Snap {
            pid,
            image,
            start: now,
            key: h.new_key(),
            command_line,
            directory,
            path,
            account: s.account,
            luid,
            logon,
            terminal,
            level,
            elevation,
            tag: if s.tag != 0 { s.tag } else { p.snap.tag },
        };
        let shares_console = p.console && console;
        let grand = h.parent(&p);
        let parent = h.adopt_of(&p.snap, &mut self.texts);
        let proc = Proc { snap, program: s.program, parent, conhost: 0, console, ending: false };
        let slot = match place {
            Some((slot, _)) => {
                h.procs.put(slot, proc);
                slot
            }
            None => h.procs.add(proc),
        };
        let me = ProcRef { host, slot, key: snap.key };
        let tag = snap.tag;
        // parts of the kernel are no programs: nobody tells of their start
        if place.is_some() && self.image(image).modules.is_empty() {
            return me;
        }
        if self.wants(Kind::ProcessStart) {
            let i = self.fact(Kind::ProcessStart, host, now, &snap, tag);
            let f = self.facts.get_mut(i);
            (f.parent, f.grand) = (p.snap, grand);
            self.done(i);
        }
        self.load_modules(host, &snap, &p.snap, tag);
        if let Some(trace) = self.shared().habits.create_trace {
            self.access(s.parent, me, 0x1f_ffff, Some(trace), tag, now);
        }
        if console && !shares_console && place.is_none() && s.program != self.shared().habits.conhost {
            self.at(now + Span::us(900 + (snap.key as i64 * 37) % 2_300), What::Console(me));
        }
        me
    }

    /// The console host of a program that brought no console along, a moment after its start.
    pub(super) fn console(&mut self, of: ProcRef) {
        let Some(p) = self.proc(of).copied() else { return };
        let conhost = Start {
            program: self.shared().habits.conhost,
            path: "",
            command_line: r"\??\C:\Windows\system32\conhost.exe 0xffffffff -ForceV1",
            directory: r"C:\Windows",
            parent: of,
            account: p.snap.account,
            luid: p.snap.luid,
            integrity: Integrity::Inherit,
            tag: self.collateral(p.snap.tag),
            inst: InstId(0),
            terminal: None,
        };
        let c = self.spawn(of.host, &conhost);
        if let Some(p) = self.hosts[of.host as usize].procs.get_mut(of.slot) {
            p.conhost = c.slot + 1;
        }
    }

    /// The same step's collateral tag; 0 stays 0.
    pub fn collateral(&mut self, tag: u32) -> u32 {
        match self.tag_of(tag) {
            None => 0,
            Some(t) => self.tag(t.collateral()),
        }
    }

    fn load_modules(&mut self, host: u32, snap: &Snap, parent: &Snap, tag: u32) {
        if !self.wants(Kind::ImageLoad) {
            return;
        }
        let shared = self.shared().clone();
        let mut times = Loads::of(snap);
        let modules = if snap.image >= OWN_IMAGES {
            &shared.habits.plain_modules[shared.atlas.host(self.host_id(host)).os as usize]
        } else {
            &shared.atlas.images[snap.image as usize].modules
        };
        for (k, module) in modules.iter().enumerate() {
            let i = self.fact(Kind::ImageLoad, host, times.next(k), snap, tag);
            // a program that was put elsewhere is loaded from there, its own image before all else
            let own = match k == 0 && snap.image < OWN_IMAGES && snap.path != TextId::EMPTY {
                true => Some(Val::Text(self.texts.retain(snap.path))),
                false => self.module_path(*module, snap.account),
            };
            let f = self.facts.get_mut(i);
            (f.module, f.parent) = (module.0, *parent);
            f.extra.extend(own.map(|path| (Field::DllPath, path)));
            self.done(i);
        }
    }

    /// Until when a process is still loading what it was started with, or one that it started is.
    fn busy_until(&self, r: ProcRef, p: &Proc) -> Time {
        let modules = self.image(p.snap.image).modules.len();
        let mut times = Loads::of(&p.snap);
        let mut until = (0..modules).map(|k| times.next(k)).last().unwrap_or(p.snap.start) + Span::us(100);
        let h = &self.hosts[r.host as usize];
        for (slot, c) in h.procs.iter() {
            if c.ending && h.parent(c).key == p.snap.key {
                let child = ProcRef { host: r.host, slot, key: c.snap.key };
                until = until.max(self.busy_until(child, c) + Span::us(300));
            }
        }
        until
    }

    /// Ends a process, if it still lives, and its console host with it. One that has not loaded all its modules yet, or
    /// waits for one that has not, ends when that is done.
    pub fn end_process(&mut self, r: ProcRef, code: u32, time: Time) {
        let Some(p) = self.proc(r).copied() else { return };
        if r.slot == 0 {
            return; // System does not end
        }
        let until = self.busy_until(r, &p);
        if time < until {
            if let Some(p) = self.hosts[r.host as usize].procs.get_mut(r.slot) {
                p.ending = true;
            }
            return self.at(until, What::End(r, code));
        }
        if p.conhost > 0 {
            let slot = p.conhost - 1;
            let c = self.proc_ref(r.host, slot);
            let h = &self.hosts[r.host as usize];
            let child = &h.procs[slot];
            if child.alive() && h.parent(child).key == p.snap.key {
                self.end_process(c, 0, time + Span::us(600 + (p.snap.key as i64 * 53) % 1_900));
            }
        }
        let parent = self.parent(r.host, &p);
        if self.wants(Kind::ProcessEnd) {
            let i = self.fact(Kind::ProcessEnd, r.host, time, &p.snap, p.snap.tag);
            let f = self.facts.get_mut(i);
            f.extra.push((Field::ProcExitCode, Val::Uint(code as u64)));
            f.parent = parent;
            self.done(i);
        }
        let h = &mut self.hosts[r.host as usize];
        h.procs.remove(r.slot);
        h.remember(p.snap.pid);
        let parent = h.orphan(p.parent);
        for t in [p.snap.command_line, p.snap.directory, p.snap.path, parent] {
            self.texts.release(t);
        }
        self.close_behind(r.host, p.snap.luid, time);
    }

    /// One process opens another.
    pub fn access(&mut self, by: ProcRef, target: ProcRef, granted: u32, trace: Option<u16>, tag: u32, time: Time) {
        if !self.wants(Kind::ProcessAccess) {
            return;
        }
        let (Some(p), Some(q)) = (self.proc(by).copied(), self.proc(target).copied()) else { return };
        let i = self.fact(
            Kind::ProcessAccess,
            by.host,
            time + Span::us(150),
            &p.snap,
            if tag != 0 { tag } else { p.snap.tag },
        );
        let parent = self.parent(by.host, &p);
        let f = self.facts.get_mut(i);
        (f.target, f.parent) = (q.snap, parent);
        f.extra.push((Field::AccessGranted, Val::Uint(granted as u64)));
        let draw = f.draw;
        let shared = self.shared().clone();
        let kind = trace.unwrap_or(shared.habits.generic_trace);
        let host = self.host_id(by.host);
        if let Some((text, outside)) = shared.habits.trace(&shared.atlas, host, kind, draw >> 7) {
            let id = match outside {
                true => {
                    let text = own_memory(self.texts.get(text), p.snap.key);
                    self.texts.keep(&text)
                }
                false => text,
            };
            self.facts.get_mut(i).extra.push((Field::AccessCallTrace, Val::Text(id)));
        }
        self.done(i);
    }

    pub(super) fn inject(
        &mut self,
        t: &mut Task,
        by: Who,
        target: Who,
        function: Option<&Tpl>,
        module: Option<&Tpl>,
        tag: u32,
    ) {
        let by = self.find(t.host, by, t.inst.id, &t.regs);
        let target = self.find(t.host, target, t.inst.id, &t.regs);
        let (Some(p), Some(q)) = (self.proc(by).copied(), self.proc(target).copied()) else { return };
        self.access(by, target, 0x1f_ffff, None, tag, self.now);
        let i = self.fact(Kind::ProcessInject, t.host, self.now + Span::us(700), &p.snap, tag);
        let parent = self.parent(t.host, &p);
        let f = self.facts.get_mut(i);
        (f.target, f.parent) = (q.snap, parent);
        for (field, tpl) in [(Field::InjectFunction, function), (Field::InjectModule, module)] {
            if let Some(tpl) = tpl {
                let text = self.filled(t, tpl);
                let id = self.texts.keep(&text);
                self.facts.get_mut(i).extra.push((field, Val::Text(id)));
            }
        }
        let address = 0x7ff0_0000_0000u64 | (self.facts.get(i).draw & 0xff_ffff_f000);
        self.facts.get_mut(i).extra.push((Field::InjectAddress, Val::Uint(address)));
        self.done(i);
        // what it does from now on is the instance's doing
        self.own(target.host, target.slot, tag);
    }

    /// A process's doings are a step's from now on.
    pub(super) fn own(&mut self, host: u32, slot: u16, tag: u32) {
        if let Some(p) = self.hosts[host as usize].procs.get_mut(slot) {
            p.snap.tag = tag;
        }
    }

    /// Ends a process at a later time.
    pub fn end_later(&mut self, r: ProcRef, after: Span) {
        self.at(self.now + after, What::End(r, 0));
    }
}

/// When a process loads its modules, one after another: a few tens of milliseconds for a program of usual size. A function
/// of the process, so that its end can be told apart from them without remembering them.
struct Loads {
    time: Time,
    rng: Rng,
}

impl Loads {
    fn of(snap: &Snap) -> Loads {
        Loads { time: snap.start, rng: Rng::of(snap.key, snap.pid as u64, purpose("modules")) }
    }
    /// Of the next module, the `k`th.
    fn next(&mut self, k: usize) -> Time {
        self.time = self.time + Span::us(if k < 4 { self.rng.range(80, 900) } else { self.rng.range(60, 1_300) });
        self.time
    }
}

/// A call trace whose frames outside any module stand where this process has such memory.
fn own_memory(text: &str, key: u64) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, frame) in text.split('|').enumerate() {
        if n > 0 {
            out.push('|');
        }
        if frame.starts_with("UNKNOWN(") {
            let at = 0x7ff8_0000_0000 + (mix(key, purpose("heap")) & 0x7_ffff_0000) + (mix(key, n as u64) & 0xfff0);
            out.push_str(&format!("UNKNOWN({at:016X})"));
        } else {
            out.push_str(frame);
        }
    }
    out
}

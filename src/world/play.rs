//! How instances, steps and scripts are played.

mod sessions;
mod slots;

use std::sync::Arc;

use crate::activity::{Field, Kind, Type};
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, HostId, ModuleId};
use crate::world::fact::Val;
use crate::world::host::{Luid, ProcRef, Regs, Snap};
use crate::world::instance::{self, Bound, Choices, InstId, Ready, Run, account_attr, role_attr, task_seed};
use crate::world::logon::random_guid;
use crate::world::net::{authority, loopback};
use crate::world::program::{
    AccountSel, Attr, Count, Dur, FILE_VAR, FilePlace, Fmt, Integrity, Library, Op, Part, Piece, ScenarioId, ScriptId,
    Slot, TimeFmt, Timed, Tpl, Who,
};
use crate::world::state::{Body, Frame, Play, State, Task, What};
use crate::world::text::format;
use crate::world::texts::TextId;

/// Operations one task may do at one instant before it yields: a script that never waits must not hold the world.
const OPS_AT_ONCE_MAX: u32 = 10_000;
/// How long an intruder waits before a machine that is off is tried again.
const BACK: Span = Span::s(300);
/// Frames a task may nest.
const FRAMES_MAX: usize = 24;

/// Draws a length of time, never negative.
pub fn draw(d: Dur, rng: &mut Rng) -> Span {
    Span(match d {
        Dur::Fixed(s) => s.0,
        Dur::Range(a, b) => rng.range(a.0, b.0),
        Dur::LogNormal { median, p99 } => rng.lognormal(median.0 as f64, p99.0.max(median.0 + 1) as f64) as i64,
    })
    .max_zero()
}

/// Draws a count.
pub fn draw_count(c: Count, rng: &mut Rng) -> u32 {
    match c {
        Count::Fixed(n) => n,
        Count::Range(a, b) => rng.range(a as i64, b as i64) as u32,
        Count::LogNormal { median, p99 } => (rng.lognormal(median, p99.max(median + 1e-9)).min(1e6) as u32).max(1),
    }
}

impl Span {
    /// Zero where it is negative.
    pub fn max_zero(self) -> Span {
        Span(self.0.max(0))
    }
}

/// Whether a script does nothing in an instance: what it would do is for other alternatives of a variable. Who does
/// nothing needs no session for it.
fn idle(library: &Library, script: ScriptId, inst: &instance::Inst) -> bool {
    library.scripts[script.0 as usize].iter().all(|t| match &t.op {
        Op::Switch { var, arms } => {
            let arm = inst.choices.get(*var as usize).and_then(|c| arms.get(*c as usize));
            arm.is_none_or(|arm| idle(library, *arm, inst))
        }
        _ => false,
    })
}

enum Next {
    Again,
    Wait(Span),
    End,
}

impl State {
    /// Starts an instance at home here. One that cannot be cast leaves nothing.
    pub fn launch(&mut self, id: InstId, scenario: ScenarioId, seed: u64, choices: &Choices, given: &[Bound]) {
        let shared = self.shared().clone();
        let now = self.now;
        let ready = |h: HostId| match shared.atlas.host(h).owner {
            Some(o) if shared.benign => match shared.presence(o, now).0 {
                crate::world::day::Presence::Working { .. } => Ready::AtWork,
                _ if shared.is_up(h, now) => Ready::On,
                _ => Ready::Not,
            },
            _ => Ready::AtWork,
        };
        let (atlas, casting, library) = (&shared.atlas, &shared.casting, &shared.library);
        let bound = instance::bind(atlas, casting, library, id, scenario, seed, now, choices, given, &ready);
        if let Ok(inst) = bound {
            self.begin(Arc::new(inst));
        }
    }

    /// Starts a benign instance: role 0 is the host, role 1 its user, other roles are cast.
    pub fn begin(&mut self, inst: Arc<instance::Inst>) {
        let steps = self.library().scenarios[inst.scenario.0 as usize].steps.len();
        let id = inst.id;
        self.runs.insert(id, Run { inst, open: vec![u32::MAX; steps], last: 0 });
        self.start_ready(id);
    }

    /// Starts every step whose needs are met.
    fn start_ready(&mut self, id: InstId) {
        let shared = self.shared().clone();
        loop {
            let Some(run) = self.runs.get(&id) else { return };
            let inst = run.inst.clone();
            let steps = &shared.library.scenarios[inst.scenario.0 as usize].steps;
            let ready = (0..steps.len())
                .find(|i| run.open[*i] == u32::MAX && steps[*i].needs.iter().all(|n| run.open[*n as usize] == 0));
            let Some(i) = ready else {
                if run.open.iter().all(|o| *o == 0) {
                    self.runs.remove(&id);
                    self.named.retain(|(of, ..), _| *of != id);
                }
                return;
            };
            let step = &steps[i];
            let mut rng = Rng::of(inst.seed, i as u64, purpose("step"));
            let happens = rng.chance(step.chance as f64) && !idle(&shared.library, step.script, &inst);
            let plays = if happens { self.plays(&inst, i as u16, &mut rng) } else { vec![] };
            let run = self.runs.get_mut(&id).expect("looked up above");
            run.open[i] = plays.len() as u32;
            run.last = i as u16;
            for (time, host, play) in plays {
                if self.local(host).is_some() {
                    self.at(time, What::Mail(Box::new(Body::Play(play))));
                } else {
                    self.send(host, time, Body::Play(play));
                }
            }
        }
    }

    /// The plays of a step: for each member and repetition a time and a host.
    fn plays(&mut self, inst: &Arc<instance::Inst>, i: u16, rng: &mut Rng) -> Vec<(Time, HostId, Play)> {
        let shared = self.shared().clone();
        let step = &shared.library.scenarios[inst.scenario.0 as usize].steps[i as usize];
        let mut time = self.now + draw(step.after, rng);
        let members: Vec<Option<HostId>> = match step.each.map(|r| &inst.roles[r as usize]) {
            None => vec![None],
            Some(Bound::Hosts(h)) => h.iter().map(|h| Some(*h)).collect(),
            Some(Bound::Host(h)) => vec![Some(*h)],
            Some(Bound::Account(a)) => vec![shared.atlas.account(*a).host],
            Some(Bound::New(_)) => vec![],
        };
        let mut plays = vec![];
        for (m, each) in members.into_iter().enumerate() {
            for r in 0..draw_count(step.repeat, rng) {
                if !plays.is_empty() && !step.parallel {
                    time = time + draw(step.gap, rng);
                }
                let host = match step.host {
                    crate::world::program::HostSel::Each => each,
                    crate::world::program::HostSel::Role(role) => match &inst.roles[role as usize] {
                        Bound::Host(h) => Some(*h),
                        Bound::Hosts(h) => each.filter(|e| h.contains(e)).or(h.first().copied()),
                        Bound::Account(a) => shared.atlas.account(*a).host,
                        Bound::New(_) => None,
                    },
                    // a habit is played where its first role is
                    crate::world::program::HostSel::Here => match inst.roles.first() {
                        Some(Bound::Host(h)) => Some(*h),
                        _ => None,
                    },
                    _ => None,
                };
                let Some(host) = host else { continue };
                if let Some((from, to)) = step.window {
                    time = self.within_window(host, time, from, to, rng);
                }
                let account = match step.account {
                    AccountSel::Role(r) => match &inst.roles[r as usize] {
                        Bound::Account(a) => *a,
                        Bound::Host(h) => shared.atlas.host(*h).account,
                        _ => AccountId::SYSTEM,
                    },
                    other => self.account_on(host, other, AccountId::SYSTEM),
                };
                plays.push((
                    time,
                    host,
                    Play {
                        inst: inst.clone(),
                        step: i,
                        script: step.script,
                        host,
                        parent: step.parent,
                        account,
                        each,
                        seed: task_seed(inst.seed, i, m as u64, r),
                        named: task_seed(inst.seed, i, m as u64, r),
                        home: Some(self.cell),
                        early: !step.wait,
                        part: 0,
                    },
                ));
            }
        }
        plays
    }

    /// The first instant from `time` on that lies in a window of a host's local day, somewhere in its first half hour.
    fn within_window(&mut self, host: HostId, time: Time, from: u16, to: u16, rng: &mut Rng) -> Time {
        let Some(local) = self.zone_hours(host, time) else { return time };
        let minute = local * 60.0;
        let (from, to) = (from as f64, to as f64);
        let inside = if from <= to { minute >= from && minute < to } else { minute >= from || minute < to };
        if inside {
            return time;
        }
        let wait = (from - minute).rem_euclid(1440.0) * 60.0;
        time + Span((wait * 1e9) as i64) + Span::s(rng.range(0, 1_800))
    }

    /// A play of a step came to its end.
    pub fn step_done(&mut self, inst: InstId, step: u16) {
        if let Some(run) = self.runs.get_mut(&inst) {
            run.open[step as usize] = run.open[step as usize].saturating_sub(1);
            if run.open[step as usize] == 0 {
                self.start_ready(inst);
            }
        }
    }

    /// An account by selector on a host.
    pub fn account_on(&self, host: HostId, sel: AccountSel, actor: AccountId) -> AccountId {
        let h = self.atlas().host(host);
        match sel {
            AccountSel::Actor => actor,
            AccountSel::System => AccountId::SYSTEM,
            AccountSel::LocalService => AccountId::LOCAL_SERVICE,
            AccountSel::NetworkService => AccountId::NETWORK_SERVICE,
            AccountSel::Owner => h.owner.unwrap_or(actor),
            AccountSel::Machine => h.account,
            AccountSel::DomainAdmin => {
                let casting = &self.shared().casting;
                let own = |a: &AccountId| casting.own_admin.get(a).copied();
                let own = own(&actor).or_else(|| h.owner.as_ref().and_then(own));
                own.or_else(|| casting.admins.first().copied()).unwrap_or(actor)
            }
            AccountSel::Role(_) => actor,
        }
    }

    /// Plays a script on a host of ours, under a session when one was opened for it.
    pub fn play(&mut self, p: Play, session: Option<(Luid, Span)>) {
        let Some(host) = self.local(p.host) else { return };
        if p.inst.attack {
            self.rouse(host);
        }
        if !self.hosts[host as usize].up() {
            // an intruder waits until the machine is back
            if p.inst.attack && self.shared().benign {
                return self.at(self.now + BACK, What::Mail(Box::new(Body::Play(p))));
            }
            if let Some(home) = p.home {
                self.send_cell(home, self.now, Body::Done { inst: p.inst.id, step: p.step });
            }
            return;
        }
        if session.is_none()
            && let Some(caller) = self.borrows(host, &p)
        {
            return self.take_credentials(p, caller);
        }
        if session.is_none() && self.needs_session(host, &p) {
            return self.arrive_by_network(p);
        }
        let actor = self.actor(host, &p);
        let snap = self.proc(actor).map_or(Snap::default(), |p| p.snap);
        // a step that nobody waits for counts as done when it starts
        let home = match (p.early, p.home) {
            (true, Some(home)) => {
                self.send_cell(home, self.now, Body::Done { inst: p.inst.id, step: p.step });
                None
            }
            (_, home) => home,
        };
        let (account, luid) = match session {
            Some((luid, _)) => (p.account, luid),
            // who is not SYSTEM starts nothing as SYSTEM
            None if p.account == AccountId::SYSTEM && snap.pid != 0 && snap.account != AccountId::SYSTEM => {
                (snap.account, snap.luid)
            }
            None => self.session_for(host, p.account, &snap, &p.inst),
        };
        let task = Task {
            inst: p.inst,
            step: p.step,
            host,
            each: p.each,
            regs: Regs::of(actor),
            account,
            luid,
            seed: p.seed,
            named: p.named,
            rng: Rng::of(p.seed, 0, purpose("task")),
            frames: self.frames(p.script),
            file: TextId::EMPTY,
            handle: Default::default(),
            home,
            part: p.part,
            tag: 0,
            closes: session,
            fill: self.filling,
            ready: false,
            hurry: false,
        };
        self.add_task(task);
    }

    /// The process a play starts from. A program that is to start it and does not run is started first, as its user
    /// would; on a host where nobody is logged on, somebody's commands come in by WMI.
    fn actor(&mut self, host: u32, p: &Play) -> ProcRef {
        let none = Regs::default();
        // somebody's shell is that of his own desktop
        if let Who::Shell = p.parent
            && let Some(own) = self.shell_of(host, p.account, p.inst.id)
        {
            return own;
        }
        if let Some(found) = self.lookup(host, p.parent, p.inst.id, &none) {
            return found;
        }
        let person = p.account.0 >= AccountId::FIRST;
        match p.parent {
            Who::Image(program) if let Some(usual) = self.usual(host, program) => usual,
            Who::Image(program) if person => {
                let step = &self.library().scenarios[p.inst.scenario.0 as usize].steps[p.step as usize];
                let integrity = if step.elevated { Integrity::High } else { Integrity::Inherit };
                self.ensure(host, program, p.account, integrity, &p.inst)
            }
            Who::Shell | Who::Named(_) if person && self.shell_slot(host).is_none() => {
                let wmi = self.shared().habits.wmiprvse;
                match self.image_slot(host, wmi) {
                    Some(slot) => self.proc_ref(host, slot),
                    None => self.ensure(host, wmi, AccountId::NETWORK_SERVICE, Integrity::Inherit, &p.inst),
                }
            }
            _ => self.find(host, p.parent, p.inst.id, &none),
        }
    }

    /// Who does something. A person's program (a package's, not the system's) that does not run is started first.
    fn doer(&mut self, t: &Task, who: Who) -> ProcRef {
        if let Who::Image(program) = who
            && t.account.0 >= AccountId::FIRST
            && t.inst.id.everyday()
            && self.active(t.host)
            && self.image_slot(t.host, program).is_none()
            && self.atlas().is_packaged(self.host_id(t.host), program)
        {
            return self.ensure(t.host, program, t.account, Integrity::Inherit, &t.inst);
        }
        if let Who::Image(program) = who
            && self.image_slot(t.host, program).is_none()
            && let Some(usual) = self.usual(t.host, program)
        {
            return usual;
        }
        self.find(t.host, who, t.inst.id, &t.regs)
    }

    /// Starts a program that is expected to run: a person's from the shell, a service's from its service host.
    fn ensure(
        &mut self,
        host: u32,
        program: u16,
        account: AccountId,
        integrity: Integrity,
        inst: &instance::Inst,
    ) -> ProcRef {
        let shared = self.shared().clone();
        let id = self.host_id(host);
        let wmi = program == shared.habits.wmiprvse;
        let parent = if wmi { Who::Service(shared.habits.name("dcomlaunch")) } else { Who::Shell };
        let own = self.shell_of(host, account, inst.id).filter(|_| !wmi);
        let parent = own.unwrap_or_else(|| self.find(host, parent, InstId(0), &Regs::default()));
        let Some(image) = shared.atlas.program(id, program) else { return parent };
        let path = shared.atlas.path_of(shared.atlas.image(image), account).into_owned();
        let snap = self.proc(parent).map_or(Snap::default(), |p| p.snap);
        let (account, luid) = self.session_for(host, account, &snap, inst);
        let line = if wmi { format!("{} -secured -Embedding", path.to_lowercase()) } else { format!("\"{path}\" ") };
        self.spawn(
            host,
            &super::proc::Start {
                program,
                path: "",
                command_line: &line,
                directory: if wmi { r"C:\Windows\system32\" } else { "" },
                parent,
                account,
                luid,
                integrity,
                tag: 0,
                inst: InstId(0),
                terminal: None,
            },
        )
    }

    /// Adds a task and lets it go on now.
    pub fn add_task(&mut self, task: Task) {
        let i = match self.free_tasks.pop() {
            Some(i) => i,
            None => {
                self.tasks.push(None);
                self.tasks.len() as u32 - 1
            }
        };
        let task = match self.spare.tasks.pop() {
            Some(mut kept) => {
                *kept = task;
                kept
            }
            None => Box::new(task),
        };
        self.tasks[i as usize] = Some(task);
        self.step_task(i);
    }

    /// The frames of a task that begins with a script.
    pub fn frames(&mut self, script: ScriptId) -> Vec<Frame> {
        let mut frames = self.spare.frames.pop().unwrap_or_default();
        frames.push(Frame { script, pc: 0, left: 0, gap: Dur::Fixed(Span::ZERO), files: None });
        frames
    }

    /// An empty text to put something together in; [`State::text_back`] takes it back.
    pub fn text(&mut self) -> String {
        self.spare.texts.pop().unwrap_or_default()
    }

    /// Takes back what [`State::text`] gave.
    pub fn text_back(&mut self, mut text: String) {
        text.clear();
        self.spare.texts.push(text);
    }

    /// The process a selector means on a host, when there is one.
    pub fn lookup(&self, host: u32, who: Who, inst: InstId, regs: &Regs) -> Option<ProcRef> {
        let slot = match who {
            Who::Reg(r) => return Some(regs.get(r)).filter(|r| r.host == host && self.proc(*r).is_some()),
            Who::Named(n) => {
                return self.named.get(&(inst, n, host)).copied().filter(|r| self.proc(*r).is_some());
            }
            Who::Service(name) => self.service_slot(host, name),
            Who::Image(name) => self.image_slot_of(host, name, inst),
            Who::Shell => self.shell_slot(host),
            Who::ParentOf(_) | Who::System => return Some(self.find(host, who, inst, regs)),
        };
        slot.map(|s| self.proc_ref(host, s))
    }

    /// The process a selector means on a host; System where there is none.
    pub fn find(&self, host: u32, who: Who, inst: InstId, regs: &Regs) -> ProcRef {
        let h = &self.hosts[host as usize];
        let slot = match who {
            Who::Reg(r) => {
                let r = regs.get(r);
                if r.key != 0 && r.host == host && self.proc(r).is_some() { Some(r.slot) } else { Some(0) }
            }
            Who::ParentOf(r) => self
                .proc(regs.get(r))
                .and_then(|p| h.procs.iter().find(|(_, q)| q.snap.key == h.parent(p).key))
                .map(|(slot, _)| slot),
            Who::Service(name) => self.service_slot(host, name).or(Some(h.services)),
            Who::Image(name) => self.image_slot_of(host, name, inst),
            Who::Shell => self.shell_slot(host).or(Some(h.services)),
            Who::Named(n) => self.named.get(&(inst, n, host)).filter(|r| self.proc(**r).is_some()).map(|r| r.slot),
            Who::System => Some(0),
        };
        // a named process that is gone: its work goes on from the shell
        let slot = match (slot, who) {
            (None, Who::Named(_) | Who::ParentOf(_)) => self.shell_slot(host).unwrap_or(h.services),
            // a program that does not run: what it would have done is done by the shell, or by nobody in particular
            (None, Who::Image(_)) => self.shell_slot(host).unwrap_or(h.services),
            (s, _) => s.unwrap_or(0),
        };
        self.proc_ref(host, slot)
    }

    /// Goes on with a task until it waits or ends.
    pub fn step_task(&mut self, i: u32) {
        let Some(mut t) = self.tasks[i as usize].take() else { return };
        let outer = std::mem::replace(&mut self.filling, t.fill);
        let mut next = Next::Again;
        for _ in 0..OPS_AT_ONCE_MAX {
            next = self.next_op(&mut t);
            if !matches!(next, Next::Again) {
                break;
            }
        }
        self.filling = outer;
        match next {
            Next::End => {
                self.texts.release(t.file);
                self.texts.release(t.handle.1);
                self.texts.release(t.handle.2);
                self.free_tasks.push(i);
                if let Some((luid, hold)) = t.closes {
                    self.at(self.now + hold, What::LogOff(t.host, luid));
                }
                if let Some(home) = t.home {
                    let done = Body::Done { inst: t.inst.id, step: t.step };
                    if home == self.cell {
                        self.at(self.now, What::Mail(Box::new(done)));
                    } else {
                        self.send_cell(home, self.now, done);
                    }
                }
                let mut frames = std::mem::take(&mut t.frames);
                frames.clear();
                self.spare.frames.push(frames);
                self.spare.tasks.push(t);
            }
            Next::Wait(d) => {
                self.tasks[i as usize] = Some(t);
                self.at(self.now + d, What::Task(i));
            }
            Next::Again => {
                self.tasks[i as usize] = Some(t);
                self.at(self.now + Span::ms(1), What::Task(i));
            }
        }
    }

    fn next_op(&mut self, t: &mut Task) -> Next {
        let shared = self.shared().clone();
        let Some(frame) = t.frames.last_mut() else { return Next::End };
        let script = &shared.library.scripts[frame.script.0 as usize];
        let Some(Timed { after, part, op }) = script.get(frame.pc as usize) else {
            if frame.left > 0 {
                frame.left -= 1;
                frame.pc = 0;
                // every repetition draws its own names
                t.seed = mix(t.seed, frame.left as u64);
                t.named = mix(t.named, frame.left as u64);
                let (gap, files) = (frame.gap, frame.files);
                if let Some(place) = files {
                    self.next_file(t, place);
                }
                return Next::Wait(draw(gap, &mut t.rng));
            }
            t.frames.pop();
            t.ready = false;
            return Next::Again;
        };
        if !t.ready {
            t.ready = true;
            let d = draw(*after, &mut t.rng);
            if d.0 > 0 && !t.hurry {
                return Next::Wait(d);
            }
        }
        t.ready = false;
        t.frames.last_mut().expect("still there").pc += 1;
        self.perform(t, op, *part)
    }

    fn push(&mut self, t: &mut Task, script: ScriptId, times: u32, gap: Dur, files: Option<FilePlace>) {
        if times > 0 && t.frames.len() < FRAMES_MAX {
            if let Some(place) = files {
                self.next_file(t, place);
            }
            t.frames.push(Frame { script, pc: 0, left: times - 1, gap, files });
        }
    }

    fn perform(&mut self, t: &mut Task, op: &Op, part: Part) -> Next {
        let tag = self.task_tag(t, part);
        let frame = matches!(
            op,
            Op::Repeat { .. } | Op::Chance { .. } | Op::Choose { .. } | Op::Switch { .. } | Op::Files { .. } | Op::Wait
        );
        t.hurry &= frame;
        match op {
            // who does not have the program does something else
            Op::Spawn(s) => {
                if !self.spawn_op(t, s, tag) {
                    for r in t.regs.iter().filter(|r| **r != t.regs.actor()) {
                        self.end_later(*r, Span::ms(80));
                    }
                    t.frames.clear();
                    return Next::End;
                }
            }
            Op::Exit { who, code } => {
                if let Some(p) = self.lookup(t.host, *who, t.inst.id, &t.regs) {
                    self.end_process(p, *code, self.now);
                }
            }
            Op::Switch { var, arms } => {
                let i = t.inst.choices.get(*var as usize).copied().unwrap_or(0) as usize;
                if let Some(s) = arms.get(i) {
                    self.push(t, *s, 1, Dur::Fixed(Span::ZERO), None);
                }
            }
            Op::ExitLater { reg, code, after } => {
                let d = draw(*after, &mut t.rng);
                self.at(self.now + d, What::End(t.regs.get(*reg), *code));
            }
            Op::Emit { by, kind, args } => self.emit(t, *by, *kind, args, tag),
            Op::Access { by, target, granted, trace } => {
                let by = self.find(t.host, *by, t.inst.id, &t.regs);
                if let Some(target) = self.lookup(t.host, *target, t.inst.id, &t.regs) {
                    self.access(by, target, *granted, *trace, tag, self.now);
                }
            }
            Op::Inject { by, target, function, module } => {
                self.inject(t, *by, *target, function.as_ref(), module.as_ref(), tag)
            }
            Op::Connect { by, to, port, udp, bytes_out, bytes_in, server, logon } => {
                let by = self.doer(t, *by);
                let bytes = (draw_count(*bytes_out, &mut t.rng) as u64, draw_count(*bytes_in, &mut t.rng) as u64);
                return Next::Wait(self.connect_op(t, by, to, *port, *udp, bytes, *server, *logon, tag));
            }
            Op::Resolve { by, name, exists } => {
                let by = self.doer(t, *by);
                let name = self.filled(t, name);
                let name = authority(&name);
                // an address needs no look-up
                if !loopback(name) && name.parse::<std::net::IpAddr>().is_err() {
                    self.resolve(by, name, *exists, tag, self.now);
                }
            }
            Op::Logon { by, host, account, logon_type, result, ntlm, explicit, hold, then } => {
                self.logon_op(t, *by, *host, *account, *logon_type, *result, *ntlm, *explicit, *hold, *then, part, tag);
            }
            Op::Share { host, account, explicit, script } => {
                let (wait, again) = self.share_op(t, *host, *account, *explicit, *script, part, tag);
                if let Some(frame) = t.frames.last_mut().filter(|_| again) {
                    // the same once more, now that there is a connection
                    (frame.pc, t.ready) = (frame.pc - 1, true);
                }
                return Next::Wait(wait);
            }
            Op::Service { name, running, own, start, fact } => {
                use super::service::Request;
                let soon = Dur::Fixed(Span::ZERO);
                match self.service_op(t, *name, *running, *own, *start, *fact, tag) {
                    Request::Nothing => {}
                    Request::Play(then, first) => {
                        then.into_iter().chain(first).for_each(|s| self.push(t, s, 1, soon, None))
                    }
                    Request::Later(wait) => {
                        if let Some(frame) = t.frames.last_mut() {
                            (frame.pc, t.ready) = (frame.pc - 1, true);
                        }
                        return Next::Wait(wait);
                    }
                }
            }
            Op::Ticket { by, of, rc4, status } => self.ticket(t, *by, of, *rc4, *status, tag),
            Op::Logoff => self.log_off(t.host, t.luid, true),
            Op::Remote { host, by, script } => {
                let to = self.select(t, *host);
                let account = self.account_on(to, AccountSel::System, AccountId::SYSTEM);
                let play = t.play(*script, to, *by, account, purpose("remote"), part);
                self.send(to, self.now, Body::Play(play));
            }
            Op::Repeat { times, gap, script } => {
                let n = draw_count(*times, &mut t.rng);
                self.push(t, *script, n, *gap, None);
            }
            Op::Files { times, gap, place, script } => {
                let n = draw_count(*times, &mut t.rng);
                self.push(t, *script, n, *gap, Some(*place));
            }
            Op::Chance { share, then, otherwise } => {
                let yes = t.rng.chance(*share as f64);
                if let Some(s) = if yes { Some(*then) } else { *otherwise } {
                    self.push(t, s, 1, Dur::Fixed(Span::ZERO), None);
                }
            }
            Op::Choose { weights } => {
                let total: u32 = weights.iter().map(|(w, _)| w).sum();
                let mut x = t.rng.below(total as u64) as u32;
                let chosen = weights.iter().find(|(w, _)| {
                    let here = x < *w;
                    x = x.saturating_sub(*w);
                    here
                });
                if let Some((_, script)) = chosen {
                    self.push(t, *script, 1, Dur::Fixed(Span::ZERO), None);
                }
            }
            Op::Fork { script } => {
                let mut child = t.clone();
                child.frames = self.frames(*script);
                child.home = None;
                child.closes = None;
                child.seed = mix(t.seed, t.rng.u64());
                child.rng = Rng::of(child.seed, 0, purpose("task"));
                self.texts.retain(child.file);
                child.handle = Default::default();
                self.add_task(child);
            }
            Op::Wait => {}
        }
        Next::Again
    }

    /// Makes the fact of an `Emit`.
    fn emit(&mut self, t: &mut Task, by: Who, kind: Kind, args: &[(Field, Tpl)], tag: u32) {
        // what nobody records still happens: the program that does it is started, the machine goes down
        if !self.wants(kind) && kind != Kind::SystemShutdown {
            if let Who::Image(_) = by {
                self.doer(t, by);
            }
            return;
        }
        if kind == Kind::ShareAccess && self.connected(t, args) {
            return;
        }
        let by = self.doer(t, by);
        let Some(proc) = self.proc(by).copied() else { return };
        if kind == Kind::ImageLoad
            && let [(Field::DllPath, tpl)] = args
        {
            // a module without a path is one of the system's or a package's: where it is not installed none is loaded,
            // and what a program loads when it starts is not loaded again
            let name = self.filled(t, tpl);
            if !name.contains('\\') {
                let Some(m) = self.module_on(t.host, proc.snap.image, &name) else { return };
                if self.image(proc.snap.image).modules.contains(&m) {
                    return;
                }
            }
        }
        let key = (Field::ObjectType, Tpl::lit("Key"));
        let before = match kind {
            Kind::HandleRequest if args.contains(&key) => self.audited_copy(t.host, &proc.snap, tag),
            _ => None,
        };
        let i = self.fact(kind, t.host, self.now, &proc.snap, tag);
        if let Some(draw) = before {
            self.facts.get_mut(i).draw = draw;
        }
        let client = self.client(t, kind, &proc.snap);
        let parent = self.parent(t.host, &proc);
        let f = self.facts.get_mut(i);
        f.parent = parent;
        if let Some(client) = client {
            (f.subject, f.subject_luid) = client;
        }
        let mut buf = self.text();
        for (field, tpl) in args {
            buf.clear();
            self.fill(t, tpl, &mut buf);
            let val = match field.ty() {
                Type::Uint => Val::Uint(parse_uint(&buf)),
                Type::Bool => Val::Bool(buf == "true"),
                Type::Guid => match parse_guid(&buf) {
                    Some(g) => Val::Guid(g),
                    None => continue,
                },
                _ => {
                    // the system's own hive is that of nobody in particular
                    if *field == Field::RegistryKey && buf.starts_with(r"HKU\S-1-5-18\") {
                        buf.replace_range(4..12, ".DEFAULT");
                    }
                    Val::Text(self.texts.keep(&buf))
                }
            };
            self.facts.get_mut(i).extra.push((*field, val));
        }
        self.text_back(buf);
        self.complete(i, t);
        let kind = self.facts.get(i).find(Field::ShutdownType);
        self.done(i);
        if let Some(Val::Text(kind)) = kind {
            let restart = self.texts.get(kind) != "power off";
            self.ordered_down(t.host, restart);
        }
    }

    /// The module a process of that image finds on a host under a file name: its program's own version goes first.
    fn module_on(&self, host: u32, image: u32, name: &str) -> Option<ModuleId> {
        let atlas = self.atlas();
        let own = self.image(image).modules.get(1..).unwrap_or_default();
        atlas.named_among(own, name).or_else(|| atlas.module_named(self.host_id(host), name))
    }

    /// The path of a module that lies in a user's profile; none where the table's own path will do.
    pub(super) fn module_path(&mut self, module: ModuleId, account: AccountId) -> Option<Val> {
        let atlas = self.atlas();
        let tail = atlas.module(module).path.strip_prefix("{profile}")?;
        let path = format!("{}{tail}", atlas.account(account).profile);
        Some(Val::Text(self.texts.keep(&path)))
    }

    /// To audit the opening of a key the kernel copies the handle into its own table and closes the copy, before the
    /// request itself is written: 4690, 4658, 4656, 4663, 4658 (recorded for nine of ten openings). Returns the draw that
    /// gives the handle.
    fn audited_copy(&mut self, host: u32, by: &Snap, tag: u32) -> Option<u64> {
        if !self.wants(Kind::HandleDuplicate) && !self.wants(Kind::HandleClose) {
            return None;
        }
        let i = self.fact(Kind::HandleDuplicate, host, self.now, by, tag);
        let f = self.facts.get_mut(i);
        f.target = Snap { pid: 4, ..Snap::default() };
        let draw = f.draw;
        let kind = Val::Text(self.texts.keep("Key"));
        self.facts.get_mut(i).extra.push((Field::ObjectType, kind));
        self.done(i);
        let i = self.fact(Kind::HandleClose, host, self.now, by, tag);
        let kind = Val::Text(self.texts.keep("Key"));
        let f = self.facts.get_mut(i);
        f.draw = draw;
        f.extra.push((Field::HandleId, Val::Uint(super::view::copied_handle(draw))));
        f.extra.push((Field::ObjectType, kind));
        self.done(i);
        Some(draw)
    }

    /// Adds what follows from the arguments of a fact: full registry path, module, creation time, accounts.
    fn complete(&mut self, i: u32, t: &mut Task) {
        let f = self.facts.get(i);
        let text = |f: &crate::world::fact::Fact, field| match f.find(field) {
            Some(Val::Text(id)) => Some(id),
            _ => None,
        };
        match f.kind {
            // what is done through a handle names the object and the handle of the request that opened it
            Kind::HandleRequest => {
                let draw = f.draw;
                let (kind, name) = (text(f, Field::ObjectType), text(f, Field::ObjectName));
                let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
                let held = (draw, self.texts.retain(kind), self.texts.retain(name));
                let old = std::mem::replace(&mut t.handle, held);
                self.texts.release(old.1);
                self.texts.release(old.2);
            }
            Kind::ObjectAccess | Kind::ObjectDelete | Kind::HandleClose | Kind::HandleDuplicate => {
                let (draw, kind, name) = t.handle;
                let given = text(f, Field::ObjectName);
                let same = given.is_none_or(|g| self.texts.get(g) == self.texts.get(name));
                if kind != TextId::EMPTY && same {
                    if text(f, Field::ObjectType).is_none() {
                        let kind = Val::Text(self.texts.retain(kind));
                        self.facts.get_mut(i).extra.push((Field::ObjectType, kind));
                    }
                    if given.is_none() {
                        let name = Val::Text(self.texts.retain(name));
                        self.facts.get_mut(i).extra.push((Field::ObjectName, name));
                    }
                    self.facts.get_mut(i).draw = draw;
                }
            }
            // the server audits the client's session, not the process that serves it
            Kind::ShareAccess | Kind::ShareCheck => {
                let sessions = &self.hosts[t.host as usize].sessions;
                let from = sessions.iter().find(|s| s.luid != 0 && s.luid == t.luid).and_then(|s| s.from);
                if let Some((ip, port)) = from {
                    let f = self.facts.get_mut(i);
                    (f.subject, f.subject_luid) = (t.account, t.luid);
                    f.extra.push((Field::SourceIp, Val::Ip(ip)));
                    f.extra.push((Field::SourcePort, Val::Uint(port as u64)));
                }
            }
            Kind::ScriptBlock => {
                let draw = f.draw;
                let id = random_guid(draw, mix(draw, purpose("script")));
                self.facts.get_mut(i).extra.push((Field::ScriptId, Val::Guid(id)));
            }
            // the run and its end are told by one task: they share its seed
            Kind::TaskRun | Kind::TaskEnd => {
                let id = random_guid(t.seed, mix(t.seed, purpose("instance")));
                self.facts.get_mut(i).extra.push((Field::TaskInstance, Val::Guid(id)));
            }
            Kind::NetworkBind | Kind::NetworkListen => {
                let udp = text(f, Field::NetworkTransport).is_some_and(|t| self.texts.get(t) == "udp");
                self.facts.get_mut(i).extra.push((Field::NetworkIana, Val::Uint(if udp { 17 } else { 6 })));
                self.device(i);
            }
            Kind::RegistrySet
            | Kind::RegistryDeleteValue
            | Kind::RegistryCreate
            | Kind::RegistryDelete
            | Kind::RegistryRename => {
                let key = text(f, Field::RegistryKey).unwrap_or_default();
                let value = text(f, Field::RegistryValue).unwrap_or_default();
                let mut path = self.text();
                path.push_str(self.texts.get(key));
                if value != TextId::EMPTY {
                    path.push('\\');
                    path.push_str(self.texts.get(value));
                }
                let id = self.texts.keep(&path);
                self.text_back(path);
                self.facts.get_mut(i).extra.push((Field::RegistryPath, Val::Text(id)));
            }
            Kind::ImageLoad => {
                if let Some(id) = text(f, Field::DllPath) {
                    let (image, account, given) = (f.proc.image, f.proc.account, self.texts.get(id).contains('\\'));
                    let name = self.texts.get(id).rsplit('\\').next().unwrap_or("");
                    if let Some(m) = self.module_on(t.host, image, name) {
                        self.facts.get_mut(i).module = m.0;
                        // the table's own path is the module's; one loaded from elsewhere keeps the path given
                        if !given {
                            let own = self.module_path(m, account);
                            let f = self.facts.get_mut(i);
                            f.extra.retain(|(field, _)| *field != Field::DllPath);
                            f.extra.extend(own.map(|path| (Field::DllPath, path)));
                            self.texts.release(id);
                        }
                    }
                }
            }
            Kind::FileCreate | Kind::FileStream => {
                let now = self.now;
                self.facts.get_mut(i).extra.push((Field::FileCreated, Val::Time(now)));
                self.stream_hashes(i);
            }
            _ => self.complete_object(i, t),
        }
    }
}

/// The sixteen bytes of a GUID in printed order, with or without braces.
pub fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let hex: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'{' | b'}' | b'-')).collect();
    let mut g = [0; 16];
    if hex.len() != 32 {
        return None;
    }
    for (b, pair) in g.iter_mut().zip(hex.chunks(2)) {
        *b = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(g)
}

/// Decimal or `0x` hexadecimal; 0 for anything else.
pub fn parse_uint(text: &str) -> u64 {
    let t = text.trim();
    match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
        Some(h) => u64::from_str_radix(h, 16).unwrap_or(0),
        None => t.parse().unwrap_or(0),
    }
}

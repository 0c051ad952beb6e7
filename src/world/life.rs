//! What becomes of machines and their people in a day: signing in, locking, leaving, and the habits that go with it.
//!
//! One event per host walks along its person's day ([`crate::world::day`]); what is done about it depends on how the
//! machine stands at that moment.

use serde::{Deserialize, Serialize};

use crate::activity::{Field, Kind};
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, Evening};
use crate::world::day::Presence;
use crate::world::fact::Val;
use crate::world::host::{Luid, ProcRef, Session, Snap};
use crate::world::instance::{Bound, InstId};
use crate::world::program::{LogonResult, Rhythm};
use crate::world::state::{LogOn, State, What};

/// Something that happens with a machine or its person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// The person's day goes on.
    Day,
    /// The person signs in.
    SignIn,
    /// Nobody has touched the machine for a while.
    Lock,
    /// The person has gone, but something kept the machine from going to rest.
    Leave,
    /// The lid is closed.
    Sleep,
    /// A restart for updates is due.
    Update,
    /// Services stop and the machine goes off.
    Stop {
        /// And comes up again.
        restart: bool,
    },
    /// The machine comes up.
    Start,
}

/// A policy of many organisations: locked after so long without input.
const IDLE_LOCK: Span = Span::s(900);
/// A session that ends only with the machine, or by its person.
pub const FOREVER: Span = Span(i64::MAX);
/// How long something that holds a machine is waited for before it is asked again.
pub(super) const HELD: Span = Span::s(1_200);

impl State {
    pub(super) fn turn(&mut self, host: u32, turn: Turn) {
        match turn {
            Turn::Day => self.day_goes_on(host),
            Turn::SignIn => self.sign_in(host),
            Turn::Lock if self.hosts[host as usize].away => self.lock(host),
            Turn::Lock => {}
            Turn::Leave if self.hosts[host as usize].away => self.leave(host),
            Turn::Leave => {}
            Turn::Sleep if self.hosts[host as usize].away && self.hosts[host as usize].on => {
                let h = &mut self.hosts[host as usize];
                (h.on, h.asleep) = (false, true);
            }
            Turn::Sleep => {}
            Turn::Update => self.update(host),
            Turn::Stop { restart } => self.stop(host, restart),
            Turn::Start => self.start(host),
        }
    }

    /// Draws for one moment of one host.
    pub(super) fn moment(&self, host: u32, what: &str) -> Rng {
        Rng::of(self.shared().seed, self.host_id(host).0 as u64, mix(purpose(what), self.now.0 as u64))
    }

    /// Plans the days, restarts and timers of every host, and its first noise.
    pub fn wake(&mut self, days: bool) {
        for host in 0..self.hosts.len() as u32 {
            let id = self.host_id(host);
            let mut rng = Rng::of(self.shared().seed, id.0 as u64, purpose("wake"));
            let first = self.now + self.first_noise(host, &mut rng);
            self.stir_noise(host, first);
            let boot = self.atlas().host(id).boot;
            for entry in self.shared().clone().habits.noise(boot).timers.iter() {
                self.next_timer(host, *entry, true);
            }
            if days {
                if let Some(owner) = self.atlas().host(id).owner {
                    let (_, until) = self.shared().presence(owner, self.now);
                    self.at(until, What::Turn(host, Turn::Day));
                }
                if let Some(t) = self.shared().next_restart(id, self.now) {
                    self.at(t, What::Turn(host, Turn::Update));
                }
            }
            if self.active(host) {
                self.stir(host, self.now + Span::ms(rng.range(0, 300_000)));
            }
            for habit in self.habits_by_clock(host) {
                let period = super::state::mean_gap(&self.library().habits[habit as usize].rhythm).0.max(1);
                let mut phase = Rng::of(self.shared().seed, id.0 as u64, mix(purpose("timer"), habit as u64));
                let first = self.now + Span((phase.f64() * period as f64) as i64);
                self.at(first, What::Timer(host, habit));
            }
        }
    }

    /// Somebody is at the machine.
    pub fn active(&self, host: u32) -> bool {
        let h = &self.hosts[host as usize];
        h.on && h.owner.is_some() && !h.away
    }

    /// How much is going on at a machine by its person: all or nothing; a machine of nobody is always at work.
    pub fn at_work(&self, host: u32) -> f64 {
        let owned = self.atlas().host(self.host_id(host)).owner.is_some();
        f64::from(u8::from(!owned || self.active(host)))
    }

    /// Lets the person's habits begin, unless they go on already.
    fn stir(&mut self, host: u32, first: Time) {
        let h = &mut self.hosts[host as usize];
        if !h.busy {
            h.busy = true;
            self.at(first, What::Habit(host));
        }
    }

    /// Lets the machine's programs make noise, unless they do already.
    pub(super) fn stir_noise(&mut self, host: u32, first: Time) {
        let h = &mut self.hosts[host as usize];
        if !h.noisy {
            h.noisy = true;
            self.at(first, What::Noise(host));
        }
    }

    fn day_goes_on(&mut self, host: u32) {
        let Some(owner) = self.atlas().host(self.host_id(host)).owner else { return };
        let (presence, until) = self.shared().presence(owner, self.now);
        match presence {
            Presence::Working { home } => self.come(host, home),
            Presence::Away => self.step_away(host),
            Presence::Gone => self.leave(host),
        }
        self.at(until, What::Turn(host, Turn::Day));
    }

    fn come(&mut self, host: u32, home: bool) {
        let mut rng = self.moment(host, "arrive");
        let now = self.now;
        let h = &mut self.hosts[host as usize];
        (h.home, h.away) = (home, false);
        if h.asleep {
            (h.asleep, h.on) = (false, true);
            self.stir_noise(host, now + Span::ms(rng.range(300, 4_000)));
        }
        let h = &self.hosts[host as usize];
        if !h.on {
            self.start(host);
            self.at(now + Span::ms(rng.range(38_000, 160_000)), What::Turn(host, Turn::SignIn));
        } else if h.owner.is_none() || h.locked {
            self.at(now + Span::ms(rng.range(900, 14_000)), What::Turn(host, Turn::SignIn));
        } else {
            self.stir(host, now + Span::ms(rng.range(1_000, 60_000)));
        }
    }

    /// The person signs in at the machine, or unlocks it; now and then with a wrong password first.
    fn sign_in(&mut self, host: u32) {
        let h = &self.hosts[host as usize];
        let id = self.host_id(host);
        let Some(owner) = self.atlas().host(id).owner else { return };
        if !h.on || h.away || (h.owner.is_some() && !h.locked) {
            return;
        }
        let (unlocks, home) = (h.owner.is_some(), h.home);
        let mut rng = self.moment(host, "sign in");
        let wrong = rng.chance(0.035);
        if wrong {
            self.at(self.now + Span::ms(rng.range(3_000, 16_000)), What::Turn(host, Turn::SignIn));
        }
        self.ask_logon(LogOn {
            host: id,
            account: owner,
            // away from the network the password is checked against the cache
            logon_type: match (unlocks, home) {
                (true, _) => 7,
                (false, true) => 11,
                (false, false) => 2,
            },
            result: if wrong { LogonResult::BadPassword } else { LogonResult::Ok },
            ntlm: false,
            from: None,
            guid: super::logon::guid_bytes(rng.u64(), rng.u64()),
            hold: if unlocks { Span::ms(rng.range(30, 900)) } else { FOREVER },
            then: None,
            tag: None,
            typed: None,
            caller: None,
            link: 0,
            terminal: 0,
        });
    }

    /// The owner of a machine has a session now.
    pub(super) fn signed_in(&mut self, host: u32, luid: Luid) {
        let now = self.now;
        let mut rng = self.moment(host, "signed in");
        let h = &mut self.hosts[host as usize];
        h.owner = h.session(luid).map(|i| i as u16);
        h.locked = false;
        let boot = h.boot_id;
        self.logon_screen(host, false);
        self.at(now, What::Rise { host, boot, session: true, at: 0 });
        for habit in self.habits_at_logon(host) {
            self.at(now + Span::ms(rng.range(12_000, 200_000)), What::Timer(host, habit));
        }
        self.stir(host, now + Span::ms(rng.range(20_000, 180_000)));
    }

    /// The owner of a machine has unlocked it.
    pub(super) fn unlocked(&mut self, host: u32) {
        let now = self.now;
        self.hosts[host as usize].locked = false;
        self.owner_fact(host, Kind::SessionUnlock, now + Span::ms(90));
        self.logon_screen(host, false);
        let gap = self.moment(host, "unlocked").range(2_000, 60_000);
        self.stir(host, now + Span::ms(gap));
    }

    fn step_away(&mut self, host: u32) {
        let mut rng = self.moment(host, "step away");
        self.hosts[host as usize].away = true;
        // by hand, or by itself when nobody comes back in time
        let after = if rng.chance(0.7) { Span::ms(rng.range(400, 20_000)) } else { IDLE_LOCK };
        self.at(self.now + after, What::Turn(host, Turn::Lock));
    }

    fn lock(&mut self, host: u32) {
        let h = &mut self.hosts[host as usize];
        if !h.on || h.locked || h.owner.is_none() {
            return;
        }
        h.locked = true;
        self.owner_fact(host, Kind::SessionLock, self.now);
        self.logon_screen(host, true);
    }

    /// A fact about the owner's session on the console.
    fn owner_fact(&mut self, host: u32, kind: Kind, time: Time) {
        let h = &self.hosts[host as usize];
        if let Some(s) = h.owner.map(|o| h.sessions[o as usize]) {
            self.session_fact(host, &s, kind, time);
        }
    }

    /// A fact about a session at a screen.
    pub(super) fn session_fact(&mut self, host: u32, s: &Session, kind: Kind, time: Time) {
        if !self.wants(kind) {
            return;
        }
        let snap = Snap {
            account: s.account,
            luid: s.luid,
            logon: self.second(host, s.start),
            terminal: s.terminal,
            ..Snap::default()
        };
        let i = self.fact(kind, host, time, &snap, s.tag);
        let f = self.facts.get_mut(i);
        f.account = s.account;
        f.extra.push((Field::LogonId, Val::Uint(s.luid as u64)));
        f.extra.push((Field::LogonType, Val::Uint(s.logon_type as u64)));
        self.done(i);
    }

    /// The screen that asks for a password comes or goes.
    fn logon_screen(&mut self, host: u32, shown: bool) {
        let x = &self.shared().habits;
        let (program, boot) = (x.logonui, self.atlas().host(self.host_id(host)).boot);
        let slot = self.atlas().boots[boot as usize].processes.iter().position(|p| p.program == program);
        let Some(slot) = slot.map(|s| s as u16) else { return };
        let alive = self.hosts[host as usize].procs[slot].alive();
        if shown && !alive {
            self.rise(host, slot);
        } else if !shown && alive {
            let p = self.proc_ref(host, slot);
            self.end_later(p, Span::ms(700));
        }
    }

    fn leave(&mut self, host: u32) {
        let id = self.host_id(host);
        let mut rng = self.moment(host, "leave");
        self.hosts[host as usize].away = true;
        if !self.hosts[host as usize].on {
            return;
        }
        if self.held(host) {
            self.lock(host);
            self.at(self.now + HELD, What::Turn(host, Turn::Leave));
            return;
        }
        if self.hosts[host as usize].updates {
            return self.go_down(host, true, "updates");
        }
        let weekend = (self.shared().local_date(id, self.now) + 3).rem_euclid(7) >= 4;
        let evening = if self.stays(host) { Evening::Stay } else { self.atlas().host(id).evening };
        match (evening, weekend) {
            (Evening::ShutDown, _) | (Evening::Weekend, true) => self.go_down(host, false, "person"),
            (Evening::LogOff, _) => self.sign_out(host),
            (Evening::Sleep, _) => {
                self.lock(host);
                self.at(self.now + Span::ms(rng.range(2_000, 90_000)), What::Turn(host, Turn::Sleep));
            }
            (Evening::Stay, _) | (Evening::Weekend, false) => {
                let after = if rng.chance(0.75) { Span::ms(rng.range(300, 9_000)) } else { IDLE_LOCK };
                self.at(self.now + after, What::Turn(host, Turn::Lock));
            }
        }
    }

    /// An intruder's work keeps a machine up: its person stays late, or leaves it on.
    pub(super) fn held(&self, host: u32) -> bool {
        let attack = |id: &InstId| self.runs.get(id).is_some_and(|r| r.inst.attack) || !id.everyday();
        self.tasks.iter().flatten().any(|t| t.host == host && t.inst.attack)
            || self.named.iter().any(|((id, ..), p)| p.host == host && attack(id) && self.proc(*p).is_some())
    }

    /// The first desktop and the first laptop of a cell run on, so that in every part of the world something does.
    pub(super) fn stays(&self, host: u32) -> bool {
        let mobile = |h: u32| self.atlas().host(self.host_id(h)).mobile;
        !(0..host).any(|h| self.atlas().host(self.host_id(h)).owner.is_some() && mobile(h) == mobile(host))
    }

    /// The owner's session ends with all its processes.
    pub(super) fn sign_out(&mut self, host: u32) {
        let Some(o) = self.hosts[host as usize].owner else { return };
        let s = self.hosts[host as usize].sessions[o as usize];
        self.forget(host);
        self.hosts[host as usize].owner = None;
        self.hosts[host as usize].locked = false;
        self.log_off(host, s.luid, true);
        self.logon_screen(host, true);
    }

    /// Ends what was going on on a host; those who wait for it are told. What intruders do is theirs to end.
    pub(super) fn forget(&mut self, host: u32) {
        let id = self.host_id(host);
        self.unlink(host);
        let mut dropped = vec![];
        for i in 0..self.tasks.len() {
            let Some(t) = self.tasks[i].as_ref().filter(|t| t.host == host && !t.inst.attack) else {
                continue;
            };
            // what belongs to nobody but the machine goes on while the machine does
            if !t.inst.id.everyday() && self.hosts[host as usize].on {
                continue;
            }
            let t = self.tasks[i].take().expect("just looked at");
            self.drop_task(i as u32, *t);
            dropped.push(i as u32);
        }
        if !dropped.is_empty() {
            self.queue.retain(|e| !matches!(e.0.what, What::Task(t) if dropped.contains(&t)));
        }
        self.runs.retain(|_, r| r.inst.attack || r.inst.roles.first() != Some(&Bound::Host(id)));
        let runs = &self.runs;
        self.named.retain(|(i, ..), p| p.host != host || runs.contains_key(i) || !i.everyday());
    }

    /// Habits that come by the clock, day and night: those of the role, and of the person what has a period.
    fn habits_by_clock(&self, host: u32) -> Vec<u32> {
        let habits = &self.library().habits;
        let [persona, role, programs] = self.habits_of(host);
        let timed = |h: &&u32| matches!(habits[**h as usize].rhythm, Rhythm::Every(..));
        let clock = |h: &&u32| !matches!(habits[**h as usize].rhythm, Rhythm::AtLogon);
        persona.iter().filter(timed).chain(role.iter().chain(programs).filter(clock)).copied().collect()
    }

    /// Habits that come with the logon of a person, or the start of a server.
    pub(super) fn habits_at_logon(&self, host: u32) -> Vec<u32> {
        let habits = &self.library().habits;
        let [persona, role, programs] = self.habits_of(host);
        let at_logon = |h: &&u32| matches!(habits[**h as usize].rhythm, Rhythm::AtLogon);
        persona.iter().chain(role).chain(programs).filter(at_logon).copied().collect()
    }

    /// A habit's time has come, and the next time is planned.
    pub(super) fn timer(&mut self, host: u32, habit: u32) {
        let shared = self.shared().clone();
        let h = &shared.library.habits[habit as usize];
        let persona = matches!(h.holder, crate::world::program::Holder::Persona(_));
        let now = if persona { self.active(host) } else { self.hosts[host as usize].on };
        let now = now && self.busy(host, self.moment(host, "load").u64());
        if now {
            self.start_habit(host, h.scenario);
        }
        let mean = super::state::mean_gap(&h.rhythm);
        let mut rng = self.moment(host, "timer");
        let next = match h.rhythm {
            Rhythm::AtLogon => return,
            Rhythm::Every(period, jitter) => period + Span(rng.range(-jitter.0.min(period.0 / 2), jitter.0)),
            _ => rng.exponential(mean),
        };
        self.at(self.now + Span(next.0.max(1_000_000)), What::Timer(host, habit));
    }

    /// Starts a process of the boot image in its own slot, unless it runs.
    pub(super) fn rise(&mut self, host: u32, slot: u16) -> Option<ProcRef> {
        self.rise_for(host, slot, 0)
    }

    /// The same on somebody's request.
    pub(super) fn rise_for(&mut self, host: u32, slot: u16, tag: u32) -> Option<ProcRef> {
        let shared = self.shared().clone();
        let id = self.host_id(host);
        let atlas = &shared.atlas;
        let b = &atlas.boots[atlas.host(id).boot as usize].processes[slot as usize];
        let h = &self.hosts[host as usize];
        let image = atlas.program(id, b.program);
        if h.procs[slot].alive() || image.is_none() {
            return None;
        }
        let session = self.boot_session(host, b.session)?;
        let parent = self.proc_ref(host, b.parent);
        if slot != 0 && self.proc(parent).is_none() {
            return None;
        }
        let line = atlas.boot_command_line(b, image, session.0);
        let start = super::proc::Start::of_boot(b, &line, parent, session, tag);
        let terminal = u8::from(!matches!(b.session, crate::world::atlas::BootSession::Service(_)));
        Some(self.spawn_in(host, &start, Some((slot, terminal))))
    }

    /// The account and session of a boot process; services of their own accounts get their session now.
    fn boot_session(&mut self, host: u32, session: crate::world::atlas::BootSession) -> Option<(AccountId, Luid)> {
        use crate::world::atlas::BootSession as B;
        match session {
            B::Owner => {
                let h = &self.hosts[host as usize];
                h.owner.map(|o| (h.sessions[o as usize].account, h.sessions[o as usize].luid))
            }
            B::Service(account) | B::Console(account) => self.own_session(host, account),
        }
    }
}

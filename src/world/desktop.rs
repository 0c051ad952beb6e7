//! Desktops beside the console's: what a logon over Remote Desktop starts, and how it goes with its session.

use crate::time::Span;
use crate::world::atlas::{AccountId, AccountKind, BootProcess, BootSession, TERMINALS};
use crate::world::host::{Luid, ProcRef, Session};
use crate::world::instance::InstId;
use crate::world::logon::guid_bytes;
use crate::world::proc::Start;
use crate::world::state::{Body, KerberosAsk, LogOn, Play, State, Tag, What};

/// A person looks at a new desktop that long before the first deed, at least.
const LOOK: Span = Span::ms(1_800);

impl State {
    /// A free number for a terminal session.
    pub(super) fn new_terminal(&self, host: u32) -> u8 {
        let h = &self.hosts[host as usize];
        let taken = |n: &u8| {
            h.procs.living().any(|p| p.snap.terminal == *n)
                || h.sessions.iter().any(|s| s.luid != 0 && s.terminal == *n)
        };
        TERMINALS.clone().find(|n| !taken(n)).unwrap_or(*TERMINALS.end())
    }

    /// A connection of Remote Desktop is there: the client's user is known by a network logon, and the screen that the
    /// logon follows on is made.
    pub(super) fn open_screen(&mut self, host: u32, l: LogOn) {
        let terminal = self.new_terminal(host);
        let mut rng = self.moment(host, "screen");
        // network level authentication: who connects is known before a session is made
        self.log_on(LogOn { logon_type: 3, then: None, hold: Span::ms(rng.range(900, 4_000)), ..l.clone() });
        let desk = Desk { terminal, luid: 0, tag: self.other_tag(l.tag), since: self.now };
        self.desk_next(host, desk, 0, None);
        // the host itself asks for the tickets of an interactive logon
        let id = self.host_id(host);
        let (dc, ip) = (self.atlas().host(id).dc, self.atlas().host(id).ip);
        let kind = self.atlas().account(l.account).kind;
        let guid = guid_bytes(rng.u64(), rng.u64());
        let mut time = self.now + Span::ms(rng.range(900, 2_200));
        if !l.ntlm && !matches!(kind, AccountKind::Local | AccountKind::WellKnown) {
            for service in [None, Some(id)] {
                let port = self.hosts[host as usize].new_port(false);
                let ask = KerberosAsk {
                    account: l.account,
                    service,
                    service_account: None,
                    guid,
                    ip,
                    port,
                    rc4: false,
                    ntlm: false,
                    bare: false,
                    forward: false,
                    status: 0,
                };
                let tag = l.tag.map(Tag::collateral);
                self.send(dc, time, Body::Kerberos { dc, ask, tag });
                time = time + Span::ms(rng.range(3, 12));
            }
        }
        self.send(id, time + Span::ms(rng.range(25, 60)), Body::LogOn(LogOn { terminal, guid, ..l }));
    }

    /// The person's part of a desktop starts; what was to be done there follows when the shell is up.
    pub(super) fn open_desktop(&mut self, host: u32, s: &Session, then: Option<(Play, Span)>) {
        let desk = Desk { terminal: s.terminal, luid: s.luid, tag: s.tag, since: self.now };
        self.desk_next(host, desk, 0, then.map(Box::new));
    }

    /// The next process of a desktop: of the screen before the logon, of the person after it.
    pub(super) fn desk_next(&mut self, host: u32, desk: Desk, from: u16, then: Option<Box<(Play, Span)>>) {
        let h = &self.hosts[host as usize];
        if !h.on || h.falling || desk.luid != 0 && h.session(desk.luid).is_none_or(|i| h.sessions[i].closing) {
            return self.give_up(then.map(|t| t.0));
        }
        let shared = self.shared().clone();
        let boot = &shared.atlas.boots[shared.atlas.host(self.host_id(host)).boot as usize];
        let service = shared.habits.name("termservice");
        let linked =
            |b: &BootProcess| boot.processes.get(b.parent as usize).is_some_and(|p| p.services.contains(&service));
        // the console has its screen from boot on
        let mine = |b: &BootProcess| match b.session {
            // what serves the connection is not for the console
            BootSession::Owner => desk.luid != 0 && (desk.terminal > 1 || !linked(b)),
            _ => desk.luid == 0 && desk.terminal > 1,
        };
        let mut rng = self.moment(host, "desktop");
        let Some(k) = (from as usize..boot.remote.len()).find(|k| mine(&boot.remote[*k])) else {
            self.desk_done(host, desk);
            if let Some(then) = then {
                let (p, hold) = *then;
                self.play(p, Some((desk.luid, hold)));
            }
            return;
        };
        let b = &boot.remote[k];
        let at = desk.since + b.after;
        if at > self.now {
            return self.at(at + Span::us(rng.range(300, 40_000)), What::Desk { host, desk, at: k as u16, then });
        }
        let started = self.desk_process(host, &desk, b);
        // what the person does begins once the shell is there
        let shell = started.is_some() && b.program == shared.habits.explorer;
        let then = match then {
            Some(then) if shell => {
                let (p, hold) = *then;
                let wait = LOOK + Span::ms(rng.range(200, 6_000));
                self.at(self.now + wait, What::AtDesk { host, luid: desk.luid, play: Box::new((p, hold)) });
                None
            }
            then => then,
        };
        self.at(self.now + Span::us(rng.range(1_700, 30_000)), What::Desk { host, desk, at: k as u16 + 1, then });
    }

    /// What was waiting for a desktop is done there.
    pub(super) fn at_desk(&mut self, host: u32, luid: Luid, play: (Play, Span)) {
        match self.hosts[host as usize].session(luid) {
            Some(_) => self.play(play.0, Some((luid, play.1))),
            None => self.give_up(Some(play.0)),
        }
    }

    /// A desktop has gone before what was to be done there: whoever waits for it is told.
    fn give_up(&mut self, play: Option<Play>) {
        if let Some(p) = play
            && let Some(home) = p.home
        {
            self.send_cell(home, self.now, Body::Done { inst: p.inst.id, step: p.step });
        }
    }

    fn desk_process(&mut self, host: u32, desk: &Desk, b: &BootProcess) -> Option<ProcRef> {
        let shared = self.shared().clone();
        let id = self.host_id(host);
        shared.atlas.program(id, b.program)?;
        let processes = &shared.atlas.boots[shared.atlas.host(id).boot as usize];
        let parent = match processes.processes.len() {
            n if (b.parent as usize) < n => b.parent,
            n => {
                let program = processes.remote[b.parent as usize - n].program;
                let snap = |k: &u16| self.hosts[host as usize].procs[*k].snap;
                let here = self.slots_of(host, program);
                here.max_by_key(|k| (snap(k).terminal == desk.terminal, snap(k).key))?
            }
        };
        let parent = self.proc_ref(host, parent);
        self.proc(parent)?;
        let session = match b.session {
            BootSession::Owner => {
                let s = self.hosts[host as usize].session(desk.luid).map(|i| self.hosts[host as usize].sessions[i])?;
                (s.account, s.luid)
            }
            BootSession::Console(AccountId::DWM_1) => self.own_session(host, AccountId::dwm(desk.terminal))?,
            BootSession::Console(AccountId::UMFD_1) => self.own_session(host, AccountId::umfd(desk.terminal))?,
            BootSession::Service(account) | BootSession::Console(account) => self.own_session(host, account)?,
        };
        let line = shared.atlas.boot_command_line(b, shared.atlas.program(id, b.program), session.0);
        let terminal = (!matches!(b.session, BootSession::Service(_))).then_some(desk.terminal);
        let start = Start { terminal, ..Start::of_boot(b, &line, parent, session, desk.tag) };
        Some(self.spawn(host, &start))
    }

    /// Programs that only begin a desktop end.
    fn desk_done(&mut self, host: u32, desk: Desk) {
        let shared = self.shared().clone();
        let boot = &shared.atlas.boots[shared.atlas.host(self.host_id(host)).boot as usize];
        let ends: Vec<u16> = boot.remote.iter().filter(|b| b.exits).map(|b| b.program).collect();
        let mut rng = self.moment(host, "desktop");
        let h = &self.hosts[host as usize];
        let over = |p: &crate::world::host::Proc| ends.contains(&p.program) && p.snap.start >= desk.since;
        let others = h.procs.iter().filter(|(slot, _)| *slot >= h.procs.boot_slots());
        let over: Vec<u16> = others.filter(|(_, p)| over(p)).map(|(slot, _)| slot).collect();
        for slot in over {
            let p = self.proc_ref(host, slot);
            self.end_later(p, Span::ms(rng.range(200, 2_500)));
        }
    }

    /// The session of an account of the system's or a service's own; it begins now where there is none.
    pub(super) fn own_session(&mut self, host: u32, account: AccountId) -> Option<(AccountId, Luid)> {
        let find = |s: &State| {
            let all = &s.hosts[host as usize].sessions;
            all.iter().find(|x| x.luid != 0 && !x.closing && x.account == account).map(|x| x.luid)
        };
        if find(self).is_none() {
            self.service_logon(host, account);
        }
        find(self).map(|luid| (account, luid))
    }

    /// A program of the system that does not run is started as it usually is: by the machine's boot, or when it is called
    /// for. None where it has no usual way, or nobody is there whose it would be.
    pub(super) fn usual(&mut self, host: u32, program: u16) -> Option<ProcRef> {
        let shared = self.shared().clone();
        let boot = &shared.atlas.boots[shared.atlas.host(self.host_id(host)).boot as usize];
        let up = self.now > self.hosts[host as usize].booted + Span::s(600);
        if !up || shared.atlas.is_packaged(self.host_id(host), program) {
            return None;
        }
        let desk = |s: &Session| Desk { terminal: s.terminal, luid: s.luid, tag: 0, since: s.start };
        if let Some(slot) =
            boot.processes.iter().position(|b| b.program == program && !b.exits && b.services.is_empty())
        {
            return self.rise(host, slot as u16);
        }
        let b = boot.called.iter().find(|b| b.program == program)?;
        let h = &self.hosts[host as usize];
        let at = h.owner.map(|o| desk(&h.sessions[o as usize]));
        let at = match (b.session, at) {
            (BootSession::Owner, None) => return None,
            (_, at) => at.unwrap_or(Desk { terminal: 0, luid: 0, tag: 0, since: self.now }),
        };
        let started = self.desk_process(host, &at, b)?;
        if b.exits {
            let mut rng = self.moment(host, "called");
            self.end_later(started, Span::s(rng.range(20, 900)));
        }
        Some(started)
    }

    /// The shell in which an account works on a host, for a story: a desktop that another story opened is not its own.
    pub(super) fn shell_of(&self, host: u32, account: AccountId, inst: InstId) -> Option<ProcRef> {
        let own = |k: &u16| {
            let p = &self.hosts[host as usize].procs[*k];
            p.snap.account == account && self.tag_of(p.snap.tag).is_none_or(|t| t.inst == inst)
        };
        let slot = self.slots_of(host, self.shared().habits.explorer).find(own)?;
        Some(self.proc_ref(host, slot))
    }

    /// Processes of a desktop that go with its session, youngest first.
    pub(super) fn of_desktop(&self, host: u32, s: &Session) -> Vec<u16> {
        let h = &self.hosts[host as usize];
        let mut mine = h.of_session(s);
        if s.logon_type == 10 && TERMINALS.contains(&s.terminal) {
            let here = h.procs.iter().rev().filter(|(_, p)| p.snap.terminal == s.terminal).map(|(slot, _)| slot);
            let more: Vec<u16> = here.filter(|slot| !mine.contains(slot)).collect();
            mine.extend(more);
        }
        mine
    }

    /// Tag of what other components do for a step.
    fn other_tag(&mut self, tag: Option<Tag>) -> u32 {
        tag.map_or(0, |t| self.tag(t.collateral()))
    }
}

/// A desktop that is being made.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Desk {
    /// Its terminal session.
    pub terminal: u8,
    /// The person's session, 0 while there is only the screen.
    pub luid: Luid,
    /// Truth.
    pub tag: u32,
    /// When that part of it began.
    pub since: crate::time::Time,
}

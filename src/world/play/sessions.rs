//! Whose session a play runs in: one that is there, a network logon, new credentials beside the caller's own.

use super::*;
use crate::world::host::Luid;

impl State {
    /// Whether a play is by somebody of the domain who has no session on the host yet.
    pub(super) fn needs_session(&self, host: u32, p: &Play) -> bool {
        use crate::world::atlas::AccountKind as K;
        let kind = self.atlas().account(p.account).kind;
        matches!(kind, K::Person | K::Admin | K::Service | K::BuiltIn)
            && !self.hosts[host as usize]
                .sessions
                .iter()
                .any(|s| (s.account == p.account || s.outbound == Some(p.account)) && self.open_to(s, &p.inst))
    }

    /// Lets a play begin with a network logon from where its instance is at home.
    pub(super) fn arrive_by_network(&mut self, p: Play) {
        let first = p.inst.roles.iter().find_map(|b| match b {
            Bound::Host(h) if *h != p.host => Some(*h),
            _ => None,
        });
        let mut rng = Rng::of(p.seed, 0, purpose("session"));
        let from = first.map(|h| (h, 49_152 + rng.below(16_000) as u16));
        self.begin_with_logon(p, if from.is_some() { 3 } else { 2 }, from, None, (3, 40), rng);
    }

    /// The session of a play's parent, when the play is by another account of the domain than that process has: whoever
    /// runs things under somebody's process as somebody else took new credentials (`runas /netonly`, a made token).
    pub(super) fn borrows(&self, host: u32, p: &Play) -> Option<(AccountId, Luid)> {
        use crate::world::atlas::AccountKind as K;
        let Who::Named(_) = p.parent else { return None };
        let parent = self.lookup(host, p.parent, p.inst.id, &Regs::default())?;
        let snap = self.proc(parent)?.snap;
        let kind = self.atlas().account(p.account).kind;
        let other = snap.account != p.account && matches!(kind, K::Person | K::Admin | K::Service | K::BuiltIn);
        let h = &self.hosts[host as usize];
        let has = h.session(snap.luid).is_some_and(|i| h.sessions[i].outbound == Some(p.account));
        (other && !has).then_some((snap.account, snap.luid))
    }

    /// Lets a play begin with new credentials beside the session of its parent.
    pub(super) fn take_credentials(&mut self, p: Play, caller: (AccountId, Luid)) {
        let rng = Rng::of(p.seed, 0, purpose("session"));
        self.begin_with_logon(p, 9, None, Some(caller), (60, 2_400), rng);
    }

    /// Asks for the logon that a play begins with; it is held for some seconds after the play.
    fn begin_with_logon(
        &mut self,
        p: Play,
        logon_type: u8,
        from: Option<(HostId, u16)>,
        caller: Option<(AccountId, Luid)>,
        hold: (i64, i64),
        mut rng: Rng,
    ) {
        let tag = p.inst.attack.then(|| crate::world::state::Tag {
            inst: p.inst.id,
            scenario: p.inst.scenario,
            step: p.step,
            part: Part::Effect as u8,
        });
        self.ask_logon(crate::world::state::LogOn {
            host: p.host,
            account: p.account,
            logon_type,
            result: crate::world::program::LogonResult::Ok,
            ntlm: false,
            from,
            guid: crate::world::logon::guid_bytes(rng.u64(), rng.u64()),
            hold: Span::s(rng.range(hold.0, hold.1)),
            then: Some(p),
            tag,
            typed: None,
            caller,
            link: 0,
            terminal: 0,
        });
    }

    /// The account that a task's processes run as: its own, or that of the session whose credentials are new.
    pub(in crate::world) fn token_of(&self, t: &Task) -> AccountId {
        let h = &self.hosts[t.host as usize];
        match h.session(t.luid).map(|i| h.sessions[i]) {
            Some(s) if s.outbound.is_some() => s.account,
            _ => t.account,
        }
    }

    /// Whether what an instance does may be done in a session: one that an attack opened is that attack's alone.
    pub(super) fn open_to(&self, s: &crate::world::host::Session, inst: &instance::Inst) -> bool {
        s.luid != 0 && !s.closing && self.tag_of(s.tag).is_none_or(|t| inst.attack && t.inst == inst.id)
    }

    /// The session an account has on a host: the actor's own, a living one, else the actor's.
    pub fn session_for(&self, host: u32, account: AccountId, actor: &Snap, inst: &instance::Inst) -> (AccountId, Luid) {
        let h = &self.hosts[host as usize];
        let outbound = h.session(actor.luid).and_then(|i| h.sessions[i].outbound);
        if actor.pid != 0 && (actor.account == account || outbound == Some(account)) {
            return (account, actor.luid);
        }
        match self.hosts[host as usize].sessions.iter().find(|s| s.account == account && self.open_to(s, inst)) {
            Some(s) => (account, s.luid),
            None if actor.pid != 0 => (actor.account, actor.luid),
            None => (AccountId::SYSTEM, crate::world::host::SYSTEM_LUID),
        }
    }
}

//! SMB sessions: one for each client, user and server. It opens with the first use of a share and ends some minutes after
//! the last.

use serde::{Deserialize, Serialize};

use crate::activity::Field;
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, HostId};
use crate::world::host::Luid;
use crate::world::instance::InstId;
use crate::world::logon::guid_bytes;
use crate::world::program::{AccountSel, Dur, HostSel, LogonResult, Part, ScriptId, Tpl, Who};
use crate::world::state::{Body, LogOn, State, Task};

/// Whose session it is: host, account that works there, server; an attack has its own.
pub type LinkKey = (u32, AccountId, HostId, InstId);

/// The client's side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Names it on both sides.
    pub id: u64,
    /// Whom the server knows it by: who gave other credentials is somebody else there.
    pub account: AccountId,
    /// Port of its connection.
    pub port: u16,
    /// The logon has been asked for.
    pub open: bool,
    /// From then on the server takes requests.
    pub ready: Time,
    /// The client lets go of it then, unless it is used before.
    pub until: Time,
}

/// The server's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// The same as the client's.
    pub id: u64,
    /// Last used.
    pub last: Time,
    /// Shares that were connected to in it, by name.
    pub shares: Vec<u64>,
}

/// How long a session outlives its last use. A client drops an idle connection after 600 s (`KeepConn` of the workstation
/// service), a server after 15 minutes (`autodisconnect` of the server service); both look in intervals.
fn idle(id: u64) -> Span {
    Span::s(605 + (mix(id, purpose("idle")) % 290) as i64)
}

/// A client's view of a session ends so long before the server's, so that no request comes too late.
const MARGIN: Span = Span::s(3);
/// A connection is logged on to within that time.
const OPENING: Span = Span::s(30);

impl State {
    /// Does something on a server in the session that the task's account has with it. Returns how long the caller waits,
    /// and whether it asks again then, because the connection had to be opened first.
    pub(super) fn share_op(
        &mut self,
        t: &mut Task,
        host: HostSel,
        account: AccountSel,
        explicit: bool,
        then: ScriptId,
        part: Part,
        tag: u32,
    ) -> (Span, bool) {
        let (to, here) = (self.select(t, host), self.host_id(t.host));
        if to == here {
            let hold = Dur::Range(Span::s(9), Span::s(16));
            self.logon_op(
                t,
                Who::Reg(0),
                host,
                account,
                3,
                LogonResult::Ok,
                false,
                explicit,
                hold,
                Some(then),
                part,
                tag,
            );
            return (Span::ZERO, false);
        }
        let account = self.logon_account(t, to, account);
        let key: LinkKey = (t.host, t.account, to, if t.inst.attack { t.inst.id } else { InstId(0) });
        let now = self.now;
        // what was opened with other credentials serves whoever names none
        let given = matches!(self.links.get(&key), Some(l) if explicit && l.account != account);
        let link = self.links.get(&key).copied().filter(|l| l.until > now && !given);
        let Some(link) = link else {
            self.links.retain(|k, l| k.0 != t.host || l.until > now);
            let mut rng = Rng::new(t.rng.u64());
            let system = self.proc_ref(t.host, 0);
            let h = self.atlas().host(to);
            let (name, ip) = (h.fqdn.to_string(), h.ip);
            let bytes = (rng.lognormal(60_000.0, 4e6) as u64, rng.lognormal(4_000.0, 60_000.0) as u64);
            let wait = self.connect(system, Some(to), &name, ip, 445, false, bytes, Some(Who::System), tag, rng.u64());
            let port = self.hosts[t.host as usize].last_port();
            let link = Link { id: rng.u64(), account, port, open: false, ready: now, until: now + OPENING };
            self.links.insert(key, link);
            return (wait + Span::us(rng.range(2_000, 12_000)), true);
        };
        let mut rng = Rng::new(t.rng.u64());
        let hold = idle(link.id);
        let logon = LogOn {
            host: to,
            account: link.account,
            logon_type: 3,
            result: LogonResult::Ok,
            ntlm: false,
            from: Some((here, link.port)),
            guid: guid_bytes(mix(link.id, 1), mix(link.id, 2)),
            hold,
            then: Some(t.play(then, to, Who::System, link.account, rng.u64(), part)),
            tag: self.tag_of(tag),
            typed: None,
            caller: None,
            link: link.id,
            terminal: 0,
        };
        let ready = match link.open {
            true => {
                // one request after another; another machine is reached in the next slice at the earliest
                let time = (now + Span::us(rng.range(300, 2_500))).max(link.ready + Span::us(rng.range(9_000, 16_000)));
                let time = time.max(Time::of_slice(now.slice() + 1) + Span::us(rng.range(0, 9_000)));
                self.send(to, time, Body::Share(logon));
                time
            }
            false => {
                if explicit {
                    self.explicit(t, Who::Reg(0), to, link.account, tag);
                }
                self.ask_logon(logon)
            }
        };
        let link = Link { open: true, ready, until: ready + hold - MARGIN, ..link };
        self.links.insert(key, link);
        (ready - now, false)
    }

    /// A request comes in over a session that is there; over one that is not, it is opened anew.
    pub(super) fn share(&mut self, l: LogOn) {
        let Some(host) = self.local(l.host) else { return };
        let now = self.now;
        let served = self.served.range_mut((host, 0)..=(host, Luid::MAX)).find(|(_, s)| s.id == l.link);
        let open = served.map(|((_, luid), s)| {
            s.last = now;
            *luid
        });
        match (open, l.then) {
            (Some(luid), Some(play)) => {
                if l.tag.is_some() {
                    self.rouse(host);
                }
                self.play(play, Some((luid, l.hold)));
            }
            (None, then) => self.log_on(LogOn { then, ..l }),
            _ => {}
        }
    }

    /// A session that a client opened with its first request.
    pub(super) fn serve(&mut self, host: u32, luid: Luid, id: u64) {
        self.served.insert((host, luid), Served { id, last: self.now, shares: vec![] });
    }

    /// Whether a session of a server is still in use.
    pub(super) fn in_use(&self, host: u32, luid: Luid) -> bool {
        let Some(s) = self.served.get(&(host, luid)) else { return false };
        self.now < s.last + idle(s.id)
            || self.tasks.iter().flatten().any(|t| t.host == host && t.luid == luid && t.closes.is_some())
    }

    /// Whether a share has been connected to in the task's session already; from now on it has.
    pub(super) fn connected(&mut self, t: &Task, args: &[(Field, Tpl)]) -> bool {
        if !self.served.contains_key(&(t.host, t.luid)) {
            return false;
        }
        let Some((_, name)) = args.iter().find(|(f, _)| *f == Field::ShareName) else { return false };
        let name = self.filled(t, name).bytes().fold(0, |n, b| mix(n, u64::from(b.to_ascii_lowercase())));
        let shares = &mut self.served.get_mut(&(t.host, t.luid)).expect("looked up above").shares;
        let before = shares.contains(&name);
        if !before {
            shares.push(name);
        }
        before
    }

    /// A client lets go of its sessions: its person signs out, or it goes down.
    pub(super) fn unlink(&mut self, host: u32) {
        let gone: Vec<(HostId, u64)> = (self.links.iter())
            .filter(|(k, l)| k.0 == host && k.3 == InstId(0) && l.open && l.until > self.now)
            .map(|(k, l)| (k.2, l.id))
            .collect();
        self.links.retain(|k, _| k.0 != host || k.3 != InstId(0));
        for (to, link) in gone {
            self.send(to, self.now, Body::Unshare { host: to, link });
        }
    }

    /// A client let go of a session here.
    pub(super) fn unshare(&mut self, host: HostId, link: u64) {
        let Some(host) = self.local(host) else { return };
        let found = self.served.range((host, 0)..=(host, Luid::MAX)).find(|(_, s)| s.id == link);
        let Some(luid) = found.map(|((_, luid), _)| *luid) else { return };
        self.served.remove(&(host, luid));
        self.log_off(host, luid, false);
    }
}

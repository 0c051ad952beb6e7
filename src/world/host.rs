//! What a host remembers: processes, sessions and counters.

use serde::{Deserialize, Serialize};

use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, HostId};
use crate::world::table::Table;
use crate::world::texts::{TextId, Texts};

/// Id of a logon session. Windows counts in 64 bits, but from zero at each boot: half of them are enough.
pub type Luid = u32;

/// LUIDs that every Windows host has.
pub const SYSTEM_LUID: Luid = 0x3e7;
/// See [`SYSTEM_LUID`].
pub const LOCAL_SERVICE_LUID: Luid = 0x3e5;
/// See [`SYSTEM_LUID`].
pub const NETWORK_SERVICE_LUID: Luid = 0x3e4;

/// Images at or above this index belong to the cell ([`crate::world::state::State::own_images`]), not to the atlas.
pub const OWN_IMAGES: u32 = 1 << 31;

/// Processes of a boot image that have low pids.
pub const EARLY: u16 = 14;

/// A token's integrity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Level {
    /// S-1-16-0
    Untrusted,
    /// S-1-16-4096 in an app container: Sysmon tells these two apart
    AppContainer,
    /// S-1-16-4096
    Low,
    /// S-1-16-8192
    #[default]
    Medium,
    /// S-1-16-12288
    High,
    /// S-1-16-16384
    System,
}

/// A logon session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// LUID; 0 marks a free slot.
    pub luid: Luid,
    /// LUID of the linked session of a UAC pair, 0 for none.
    pub linked: Luid,
    /// Whose.
    pub account: AccountId,
    /// When it began.
    pub start: Time,
    /// 2, 3, 5, 10, ...
    pub logon_type: u8,
    /// Terminal session number of its processes.
    pub terminal: u8,
    /// Full token with administrative rights.
    pub elevated: bool,
    /// Truth of the instance that opened it, 0 for none.
    pub tag: u32,
    /// Where it came from over the network: address and port.
    pub from: Option<(std::net::Ipv4Addr, u16)>,
    /// Account that a new-credentials session (type 9) is towards other hosts; `account` is what it stays here.
    pub outbound: Option<AccountId>,
    /// It ends with the last of its processes.
    pub closing: bool,
}

/// A process as others see it, also after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snap {
    /// Process id; 0 is nobody.
    pub pid: u32,
    /// Image (index into the atlas, or the cell's own above [`OWN_IMAGES`]).
    pub image: u32,
    /// When it started.
    pub start: Time,
    /// Boot id << 48 | sequence number.
    pub key: u64,
    /// Command line.
    pub command_line: TextId,
    /// Current directory.
    pub directory: TextId,
    /// Full path when it is not the image's own (per-user programs, renamed copies).
    pub path: TextId,
    /// Account of the token.
    pub account: AccountId,
    /// Its session.
    pub luid: Luid,
    /// When that began by the host's clock, in seconds since 1970: what products make of a logon needs no more.
    pub logon: u32,
    /// Terminal session.
    pub terminal: u8,
    /// Integrity.
    pub level: Level,
    /// TokenElevationType: 1 default, 2 full, 3 limited.
    pub elevation: u8,
    /// Truth: which step's doing it is, 0 for none.
    pub tag: u32,
}

/// A running process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proc {
    /// What others see.
    pub snap: Snap,
    /// Program (index into the library's names).
    pub program: u16,
    /// Its parent when it started, among what the host keeps of parents; [`NO_PARENT`] for none.
    pub parent: u16,
    /// Slot of the console host that serves it, plus one; 0 for none.
    pub conhost: u16,
    /// It has a console (its own or its parent's).
    pub console: bool,
    /// It has been told to end, but still loads what it is made of.
    pub ending: bool,
}

impl Snap {
    /// Nobody.
    const NOBODY: Snap = Snap {
        pid: 0,
        image: 0,
        start: Time(0),
        key: 0,
        command_line: TextId::EMPTY,
        directory: TextId::EMPTY,
        path: TextId::EMPTY,
        account: AccountId::SYSTEM,
        luid: 0,
        logon: 0,
        terminal: 0,
        level: Level::Medium,
        elevation: 0,
        tag: 0,
    };
}

impl Proc {
    /// What stands where no process is.
    pub const NOBODY: Proc =
        Proc { snap: Snap::NOBODY, program: 0, parent: NO_PARENT, conhost: 0, console: false, ending: false };
    /// Whether it is one.
    #[inline]
    pub fn alive(&self) -> bool {
        self.snap.key != 0
    }
}

impl Default for Proc {
    fn default() -> Proc {
        Proc::NOBODY
    }
}

impl Default for Snap {
    fn default() -> Snap {
        Snap::NOBODY
    }
}

/// What is kept of a parent that may have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Image.
    pub image: u32,
    /// When it started.
    pub start: Time,
    /// Boot id << 48 | sequence number.
    pub key: u64,
    /// Full path when it is not the image's own.
    pub path: TextId,
}

impl Parent {
    /// What is kept of a process.
    pub fn of(s: &Snap) -> Parent {
        Parent { pid: s.pid, image: s.image, start: s.start, key: s.key, path: s.path }
    }
    /// What is known of it when it is only remembered.
    pub fn snap(&self) -> Snap {
        Snap { pid: self.pid, image: self.image, start: self.start, key: self.key, path: self.path, ..Snap::default() }
    }
}

/// See [`Proc::parent`].
pub const NO_PARENT: u16 = u16::MAX;

/// A parent with the living processes that it started. Most processes of a host have one of a few parents, so each is kept once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Who.
    pub parent: Parent,
    /// Living processes that it started; 0 marks a free place.
    pub children: u16,
}

/// A process on a host, as long as it is the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcRef {
    /// Index into the cell's hosts.
    pub host: u32,
    /// Slot.
    pub slot: u16,
    /// Key it must still have.
    pub key: u64,
}

/// Processes that a task holds, by register; the first is who acts. Most hold two or three, and thousands of tasks wait at
/// once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Regs {
    first: [ProcRef; 3],
    more: Vec<ProcRef>,
}

impl Regs {
    /// Only who acts.
    pub fn of(actor: ProcRef) -> Regs {
        Regs { first: [actor, ProcRef::default(), ProcRef::default()], more: vec![] }
    }
    /// What a register holds; nobody where nothing was put.
    pub fn get(&self, r: u8) -> ProcRef {
        let r = r as usize;
        self.first.get(r).or_else(|| self.more.get(r - self.first.len())).copied().unwrap_or_default()
    }
    /// Puts a process into a register.
    pub fn set(&mut self, r: u8, p: ProcRef) {
        let r = r as usize;
        match self.first.get_mut(r) {
            Some(place) => *place = p,
            None => {
                let r = r - self.first.len();
                self.more.resize(self.more.len().max(r + 1), ProcRef::default());
                self.more[r] = p;
            }
        }
    }
    /// Who acts.
    pub fn actor(&self) -> ProcRef {
        self.first[0]
    }
    /// All that are held, who acts first.
    pub fn iter(&self) -> impl Iterator<Item = &ProcRef> {
        self.first.iter().chain(&self.more).filter(|r| r.key != 0)
    }
}

/// What a host remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Who it is in the atlas.
    pub id: HostId,
    /// Last boot.
    pub booted: Time,
    /// Boots so far.
    pub boot_id: u16,
    /// Processes; those of the boot image have its indices as slots.
    pub procs: Table,
    /// What is kept of their parents.
    pub parents: Vec<Kept>,
    /// Sessions; the first three are SYSTEM, LOCAL SERVICE and NETWORK SERVICE.
    pub sessions: Vec<Session>,
    /// The owner's session (index), if somebody is logged on.
    pub owner: Option<u16>,
    /// Processes started since boot.
    pub sequence: u64,
    /// The latest start of a process that is told of.
    pub started: Time,
    /// Last LUID handed out.
    pub luid: Luid,
    /// Ephemeral port counters: TCP, UDP.
    pub ports: [u16; 2],
    /// Draws of this host.
    pub rng: Rng,
    /// Slots of what sensors name all the time: lsass, services, event log, Sysmon.
    pub lsass: u16,
    /// See `lsass`.
    pub services: u16,
    /// See `lsass`.
    pub eventlog: u16,
    /// See `lsass`.
    pub sensor: u16,
    /// Runs now.
    pub on: bool,
    /// Sleeps, because the population follows a schedule.
    pub parked: bool,
    /// Until then it does not go to sleep.
    pub kept_until: Time,
    /// Part of what it would do that it does: the load of a host that never sleeps follows the others.
    pub load: f32,
    /// Its lid is closed: what it was doing goes on when it wakes.
    pub asleep: bool,
    /// Its owner's session is locked.
    pub locked: bool,
    /// Its owner is not at it.
    pub away: bool,
    /// Its owner works at home today.
    pub home: bool,
    /// It has been asked to go off.
    pub falling: bool,
    /// A restart for updates waits until it is not in the way.
    pub updates: bool,
    /// The owner's habits have an entry in the queue.
    pub busy: bool,
    /// Its programs' noise has an entry in the queue.
    pub noisy: bool,
    /// How slow this boot is.
    pub pace: f32,
    /// From then on the sensor writes what it has seen.
    pub sensor_at: Time,
    /// Pids handed out or freed last are not given out again at once: the start of a process may still be moved back.
    pub recent: [u32; 24],
}

impl Default for AccountId {
    fn default() -> AccountId {
        AccountId::SYSTEM
    }
}

impl Default for Rng {
    fn default() -> Rng {
        Rng::new(0)
    }
}

impl Host {
    /// A pid that no living process has. Windows hands out handles of a table with a free list: multiples of four
    /// over a wide range, old numbers again and again.
    pub fn new_pid(&mut self) -> u32 {
        self.new_pid_beside(|h, pid| h.procs.living().any(|p| p.snap.pid == pid))
    }
    /// As [`Host::new_pid`], where it is known which are taken.
    pub fn new_pid_beside(&mut self, taken: impl Fn(&Host, u32) -> bool) -> u32 {
        loop {
            let wide = if self.rng.chance(0.85) { 3_000 } else { 7_500 };
            let n = 200 + self.rng.below(wide) as u32;
            let pid = 4 * n;
            if !is_thread(self.id, n) && !self.recent.contains(&pid) && !taken(self, pid) {
                self.remember(pid);
                return pid;
            }
        }
    }
    /// Keeps a pid from being given out again soon.
    pub fn remember(&mut self, pid: u32) {
        self.recent.rotate_right(1);
        self.recent[0] = pid;
    }
    /// A low pid for one of the first processes of a boot, in the order of the boot image.
    pub fn early_pid(&mut self, slot: u16) -> u32 {
        let mut n = 22 + slot as u32 * 14 + self.rng.below(13) as u32;
        while is_thread(self.id, n) || self.procs.living().any(|p| p.snap.pid == 4 * n) {
            n += 1;
        }
        4 * n
    }
    /// A new LUID: a counter since boot that tokens and other kernel objects advance as well. Recorded on one controller:
    /// steps of 20 to 50 within a burst of logons, some 6,000 in the 23 quiet seconds after it.
    pub fn new_luid(&mut self, now: Time) -> Luid {
        // a run that knows nothing of an earlier one begins above it: quiet time counts by the clock
        let own = (mix(self.id.0 as u64, purpose("luid")) % 0x400_0000) as Luid;
        let quiet = 0x2_0000 + own + now.second().rem_euclid(60 * 86_400) as Luid * 0x180;
        let last = self.luid.max(quiet);
        // after some fifty million logons without a boot low numbers come again
        let last = if last > Luid::MAX - 0x100 { quiet } else { last };
        self.luid = last + 0x13 + self.rng.below(0x2c) as Luid;
        self.luid
    }
    /// The next process key.
    pub fn new_key(&mut self) -> u64 {
        self.sequence += 1;
        (self.boot_id as u64) << 48 | self.sequence
    }
    /// The next ephemeral port (49152 to 65535; two families, mostly ascending).
    pub fn new_port(&mut self, udp: bool) -> u16 {
        let p = &mut self.ports[udp as usize];
        *p = (*p + 1 + (mix(*p as u64, purpose("port")) % 3) as u16) % 16_384;
        49_152 + *p
    }
    /// The port that the last connection has.
    pub fn last_port(&self) -> u16 {
        49_152 + self.ports[0]
    }
    /// The parent of a living process; nobody where it has none.
    pub fn parent(&self, p: &Proc) -> Parent {
        self.parents.get(p.parent as usize).filter(|_| p.alive()).map_or_else(Parent::default, |k| k.parent)
    }
    /// Keeps a parent for one more process: its place, and whether it is new there.
    pub fn adopt(&mut self, parent: Parent) -> (u16, bool) {
        let known = self.parents.iter().position(|k| k.children > 0 && k.parent.key == parent.key);
        let place = known.or_else(|| self.parents.iter().position(|k| k.children == 0)).unwrap_or(self.parents.len());
        if place == self.parents.len() {
            grow(&mut self.parents);
            self.parents.push(Kept::default());
        }
        let k = &mut self.parents[place];
        k.parent = parent;
        k.children += 1;
        (place as u16, known.is_none())
    }
    /// Keeps a process as the parent of one more: its place.
    pub fn adopt_of(&mut self, parent: &Snap, texts: &mut Texts) -> u16 {
        let (place, new) = self.adopt(Parent::of(parent));
        if new {
            texts.retain(parent.path);
        }
        place
    }
    /// One process less of a parent; gives back the parent's path with the last one.
    pub fn orphan(&mut self, place: u16) -> TextId {
        match self.parents.get_mut(place as usize) {
            Some(k) => {
                k.children -= 1;
                if k.children == 0 { k.parent.path } else { TextId::EMPTY }
            }
            None => TextId::EMPTY,
        }
    }
    /// Slots of the living processes of a session and of the one it is linked with, youngest first.
    pub fn of_session(&self, s: &Session) -> Vec<u16> {
        let of = |luid: Luid| luid != 0 && (luid == s.luid || luid == s.linked);
        let all = self.procs.iter().rev();
        all.filter(|(_, p)| of(p.snap.luid)).map(|(slot, _)| slot).collect()
    }
    /// A session's index by LUID.
    pub fn session(&self, luid: Luid) -> Option<usize> {
        self.sessions.iter().position(|s| s.luid == luid)
    }
    /// Puts a session into a free place behind the fixed ones.
    pub fn open(&mut self, s: Session) -> usize {
        match self.sessions.iter().skip(3).position(|s| s.luid == 0) {
            Some(i) => {
                self.sessions[i + 3] = s;
                i + 3
            }
            None => {
                grow(&mut self.sessions);
                self.sessions.push(s);
                self.sessions.len() - 1
            }
        }
    }
    /// Second since 1970 of an instant by the host's clock: what GUIDs are made of.
    pub fn second(&self, atlas: &crate::world::atlas::Host, t: Time) -> u32 {
        self.clock(atlas, t).second() as u32
    }
    /// What the host's clock shows at an instant: it counts in steps of 100 ns, as a FILETIME does.
    pub fn clock(&self, atlas: &crate::world::atlas::Host, t: Time) -> Time {
        const SECOND: i64 = 1_000_000_000;
        let (up, drift) = (t.0 - self.booted.0, atlas.clock_drift_ppb as i64);
        // seconds and the rest apart: their product with the drift does not fit in 64 bits
        let since = up / SECOND * drift + up % SECOND * drift / SECOND;
        // time service pulls it back: the drift is a saw tooth of an hour
        let shown = t + atlas.clock_offset + Span(since.rem_euclid(3_600 * drift.abs().max(1) + 1));
        Time(shown.0.div_euclid(100) * 100)
    }
}

impl Host {
    /// What the kernel's coarse clock shows at an instant: the host's clock as of its last timer interrupt. Interrupts come
    /// every 15.625 ms, more often while some program has asked for it, which lasts for minutes: as long as a call, a film
    /// or a busy page does (recorded: 98 of 100 registry, image and access times of most hosts on that grid, of two in five
    /// off it; process starts and connections off it everywhere).
    pub fn tick(&self, atlas: &crate::world::atlas::Host, t: Time) -> Time {
        const WINDOW: i64 = 7 * 60 * 1_000_000_000;
        let c = self.clock(atlas, t).0;
        let machine = mix(atlas.machine_part as u64, self.boot_id as u64);
        let step = match mix(machine, c.div_euclid(WINDOW) as u64) % 100 {
            0..=7 => 1_000_000,
            8..=11 => 3_906_250,
            12..=15 => 7_812_500,
            _ => 15_625_000,
        };
        let phase = (machine % 15_625_000) as i64;
        Time((c - phase).div_euclid(step) * step + phase)
    }
}

/// Makes room by a few places at a time: a host of many has no need to double what it holds.
pub(super) fn grow<T>(v: &mut Vec<T>) {
    if v.len() == v.capacity() {
        v.reserve_exact(8);
    }
}

/// Process and thread ids come from one table: whether a number of it (an id over four) is a thread's on this host, so
/// that no thread ever has the id of a process.
pub fn is_thread(host: HostId, n: u32) -> bool {
    mix(host.0 as u64 ^ purpose("ids"), n as u64) & 1 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_hold_what_was_put() {
        let p = |key| ProcRef { key, ..ProcRef::default() };
        let mut r = Regs::of(p(1));
        r.set(15, p(16));
        r.set(2, p(3));
        assert_eq!((r.get(0), r.get(1), r.get(2), r.get(9), r.get(15)), (p(1), p(0), p(3), p(0), p(16)));
        assert_eq!(r.iter().map(|p| p.key).collect::<Vec<_>>(), [1, 3, 16]);
    }

    #[test]
    fn a_parent_is_kept_as_long_as_a_child_lives() {
        let mut h = Host::default();
        let of_parent = |parent| Proc { parent, snap: Snap { key: 9, ..Snap::default() }, ..Proc::default() };
        let of = |key| Parent { key, pid: 4 * key as u32, ..Parent::default() };
        let (a, new) = h.adopt(of(1));
        assert_eq!((new, h.adopt(of(1))), (true, (a, false)));
        let (b, _) = h.adopt(of(2));
        assert_ne!(a, b);
        h.orphan(a);
        assert_eq!(h.parent(&of_parent(a)), of(1));
        h.orphan(a);
        assert_eq!(h.adopt(of(3)), (a, true), "its place is free");
        assert_eq!(h.parent(&of_parent(NO_PARENT)), Parent::default());
    }

    #[test]
    fn pids_are_multiples_of_four_and_never_alive_twice() {
        let mut h = Host { rng: Rng::new(3), ..Host::default() };
        for _ in 0..2_000 {
            let pid = h.new_pid();
            assert_eq!(pid % 4, 0);
            assert!(!h.procs.living().any(|p| p.snap.pid == pid));
            h.procs.add(Proc { snap: Snap { pid, key: pid as u64, ..Snap::default() }, ..Proc::default() });
        }
    }
}

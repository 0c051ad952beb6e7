//! The state a world starts in: as after weeks of running.

use std::sync::Arc;

use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, BootSession, Evening, HostId};
use crate::world::day::Presence;
use crate::world::fact::Facts;
use crate::world::host::{
    EARLY, Host, LOCAL_SERVICE_LUID, Level, Luid, NETWORK_SERVICE_LUID, NO_PARENT, Proc, SYSTEM_LUID, Session, Snap,
};
use crate::world::state::{Handle, Shared, State, Tag};
use crate::world::table::Table;
use crate::world::texts::{TextId, Texts};

impl State {
    /// A cell's world in steady state at `now`: everybody is where the day has them.
    pub fn new(shared: Arc<Shared>, cell: u16, now: Time) -> State {
        let days = shared.benign;
        let range = shared.atlas.hosts_of_cell(cell);
        let mut s = State {
            cell,
            first: range.start,
            hosts: Vec::with_capacity(range.len()),
            texts: Texts::default(),
            own_images: vec![],
            queue: Default::default(),
            tasks: vec![],
            free_tasks: vec![],
            runs: Default::default(),
            named: Default::default(),
            daemons: Default::default(),
            links: Default::default(),
            served: Default::default(),
            tags: vec![Tag::default()],
            facts: Facts::default(),
            made: vec![],
            mail: vec![],
            n: 0,
            started: 0,
            now,
            filling: false,
            held: Default::default(),
            offsets: (vec![], Time(i64::MIN)),
            drawn: vec![0; crate::activity::Kind::ALL.len()],
            shared: Some(Handle::new(shared.clone())),
            spare: Default::default(),
        };
        s.texts.attach(shared.habits.fixed.clone());
        for id in range {
            let id = HostId(id);
            let stand = if days { standing(&shared, id, now) } else { Standing::at_work(&shared, id, now) };
            let h = booted(&shared, &mut s.texts, id, now, &stand);
            s.hosts.push(h);
            let host = s.hosts.len() as u32 - 1;
            if !stand.on && !stand.asleep && !s.stays(host) {
                s.cut(host);
            }
            // what runs on for others' sake does so locked
            let stays = s.stays(host);
            let h = &mut s.hosts[host as usize];
            (h.on, h.asleep) = (stand.on || stays, stand.asleep && !stays);
        }
        if shared.benign {
            s.wake(days);
        }
        s
    }

    /// Writes processes and sessions as they stand, one JSON object a line: what a script needs to resolve parents and
    /// logons from before the first record. `docs/boot_state.md` lists the fields.
    ///
    /// # Errors
    /// What the writer says.
    pub fn boot_state(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        for h in &self.hosts {
            let a = self.atlas().host(h.id);
            let second = |t: Time| h.second(a, t);
            let owner = a.owner.map(|o| self.atlas().account(o));
            let persona = owner.and_then(|o| o.persona).map(|p| &*self.atlas().personas[p as usize].id);
            let line = serde_json::json!({
                "type": "host", "host": &*a.fqdn, "role": &*self.atlas().roles[a.role as usize],
                "site": &*self.atlas().sites[a.site as usize].name, "owner": owner.map(|o| &*o.name), "persona": persona,
                "on": h.on, "boot": h.boot_id,
            });
            writeln!(out, "{line}")?;
            for (_, p) in h.procs.iter() {
                let (s, parent) = (&p.snap, h.parent(p));
                let own = self.texts.get(s.path);
                let image = self.image(s.image);
                let account = self.atlas().account(s.account);
                let line = serde_json::json!({
                    "type": "process", "host": &*a.fqdn, "pid": s.pid, "machine": a.machine_part, "second": second(s.start),
                    "key": s.key, "image": if own.is_empty() { &*image.path } else { own },
                    "command_line": self.texts.get(s.command_line), "parent_pid": parent.pid, "parent_key": parent.key,
                    "user": &*account.name, "domain": &*account.domain, "sid": &*account.sid, "logon_id": s.luid,
                    "session": s.terminal, "integrity": format!("{:?}", s.level), "elevation": s.elevation.max(1),
                    "sha256": &*image.sha256,
                });
                writeln!(out, "{line}")?;
            }
            for s in h.sessions.iter().filter(|s| s.luid != 0) {
                let account = self.atlas().account(s.account);
                let line = serde_json::json!({
                    "type": "session", "host": &*a.fqdn, "logon_id": s.luid, "linked_id": s.linked, "second": second(s.start),
                    "logon_type": s.logon_type, "user": &*account.name, "domain": &*account.domain, "sid": &*account.sid,
                    "elevated": s.elevated,
                });
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Attaches what is shared to a state that was loaded.
    pub fn attach(&mut self, shared: Arc<Shared>) {
        self.texts.attach(shared.habits.fixed.clone());
        self.shared = Some(Handle::new(shared));
    }
}

/// How a machine stands when a world begins.
struct Standing {
    booted: Time,
    /// When its owner's session began, if there is one.
    session: Option<Time>,
    on: bool,
    asleep: bool,
    /// Its owner is in a pause, or gone.
    away: bool,
    home: bool,
}

impl Standing {
    /// The owner came this morning, or the last working morning before the world starts, and is at it.
    fn at_work(shared: &Shared, id: HostId, now: Time) -> Standing {
        let a = shared.atlas.host(id);
        let mut rng = Rng::of(shared.seed, id.0 as u64, purpose("owner since"));
        let since = Time((now - Span::s(rng.range(1_200, 7_200))).0.max((a.booted + Span::s(90)).0));
        Standing {
            booted: a.booted,
            session: a.owner.map(|_| since),
            on: true,
            asleep: false,
            away: false,
            home: false,
        }
    }
}

impl Shared {
    /// Whether a machine is on at an instant of its owner's days, and somebody logged on.
    pub(super) fn is_up(&self, id: HostId, now: Time) -> bool {
        let s = standing(self, id, now);
        s.on && !s.asleep && s.session.is_some()
    }
}

/// How a machine stands at an instant of its owner's days.
fn standing(shared: &Shared, id: HostId, now: Time) -> Standing {
    let a = shared.atlas.host(id);
    let mut rng = Rng::of(shared.seed, id.0 as u64, purpose("standing"));
    let restarted = shared.last_restart(id, now).map_or(a.booted, |t| t.max(a.booted));
    let mut s = Standing { booted: restarted, session: None, on: true, asleep: false, away: false, home: false };
    let Some(owner) = a.owner else { return s };
    let (presence, _) = shared.presence(owner, now);
    s.away = !matches!(presence, Presence::Working { .. });
    s.home = matches!(presence, Presence::Working { home: true });
    let gone = presence == Presence::Gone;
    let weekday = |t: Time| (shared.local_date(id, t) + 3).rem_euclid(7);
    let (came, left) = shared.last_day(owner, now).unwrap_or((now - Span::s(40_000), now - Span::s(9_000)));
    let before = Span::ms(rng.range(60_000, 200_000));
    match a.evening {
        Evening::ShutDown => {
            s.on = !gone;
            (s.booted, s.session) = (came - before, Some(came));
        }
        Evening::Weekend => {
            // the week's first day at work
            let monday = shared.local_time(id, shared.local_date(id, came) - weekday(came), 0.0);
            let first = shared.first_day(owner, monday, now).unwrap_or(came);
            s.on = !(gone && weekday(left) >= 4);
            (s.booted, s.session) = (first - before, Some(first));
        }
        Evening::LogOff => s.session = (!gone).then_some(came),
        Evening::Stay | Evening::Sleep => {
            s.asleep = gone && a.evening == Evening::Sleep;
            s.on = !s.asleep;
            s.session = shared.first_day(owner, s.booted, now);
        }
    }
    // a session begins after its boot, and both before now
    s.session = s.session.map(|t| Time(t.0.max((s.booted + Span::s(60)).0).min((now - Span::s(20)).0)));
    if let Some(since) = s.session {
        s.booted = Time(s.booted.0.min((since - Span::s(40)).0));
    }
    s
}

/// A host as it stands some time after its boot.
fn booted(shared: &Shared, texts: &mut Texts, id: HostId, now: Time, stand: &Standing) -> Host {
    let atlas = &shared.atlas;
    let a = atlas.host(id);
    let boot = &atlas.boots[a.boot as usize];
    let mut rng = Rng::of(shared.seed, id.0 as u64, purpose("boot"));
    // where no earlier run is known, the clock goes on between them
    let least = shared.ids.get(id.0 as usize).copied().unwrap_or_default();
    let mut h = Host {
        id,
        booted: stand.booted,
        boot_id: a.boot_id.max(least.0),
        luid: least.1.max(0x1_0000),
        away: stand.away,
        locked: stand.away && stand.session.is_some(),
        home: stand.home,
        pace: 1.0,
        procs: Table::of_boot(boot.processes.len()),
        rng: Rng::of(shared.seed, id.0 as u64, purpose("life")),
        ports: [rng.below(16_384) as u16, rng.below(16_384) as u16],
        on: true,
        load: 1.0,
        kept_until: crate::world::power::NEVER,
        ..Host::default()
    };
    let fixed = |luid, account| Session {
        luid,
        account,
        start: stand.booted,
        logon_type: 5,
        elevated: true,
        ..Session::default()
    };
    h.sessions = vec![
        fixed(SYSTEM_LUID, AccountId::SYSTEM),
        fixed(LOCAL_SERVICE_LUID, AccountId::LOCAL_SERVICE),
        fixed(NETWORK_SERVICE_LUID, AccountId::NETWORK_SERVICE),
    ];
    for account in [AccountId::UMFD_0, AccountId::UMFD_1, AccountId::DWM_1] {
        h.luid += 0x13 + rng.below(0x1400) as Luid;
        let luid = h.luid;
        let terminal = u8::from(account != AccountId::UMFD_0);
        h.sessions.push(Session {
            luid,
            account,
            start: stand.booted + Span::s(4),
            logon_type: 2,
            terminal,
            ..Session::default()
        });
    }
    // services under accounts of their own
    for b in &boot.processes {
        if let BootSession::Service(account) | BootSession::Console(account) = b.session
            && !h.sessions.iter().any(|s| s.account == account)
        {
            let start = stand.booted + Span(b.after.0 * 9 / 10);
            let luid = h.new_luid(start);
            h.sessions.push(Session { luid, account, start, logon_type: 5, elevated: true, ..Session::default() });
        }
    }
    if let (Some(owner), Some(since)) = (a.owner, stand.session) {
        let admin = atlas.account(owner).local_admin;
        h.luid = h.luid.max(least.1);
        let (full, limited) = (h.new_luid(since), if admin { h.new_luid(since) } else { 0 });
        let s = |luid, linked, elevated| Session {
            luid,
            linked,
            account: owner,
            start: since,
            logon_type: 2,
            terminal: 1,
            elevated,
            tag: 0,
            from: None,
            outbound: None,
            closing: false,
        };
        if admin {
            h.sessions.push(s(full, limited, true));
            h.sessions.push(s(limited, full, false));
        } else {
            h.sessions.push(s(full, 0, false));
        }
        h.owner = Some(h.sessions.len() as u16 - 1);
    }
    let mut begun = Vec::with_capacity(boot.processes.len());
    // a bit for each pid (a multiple of four) that a living process has
    let mut taken = [0u64; 128];
    let images = shared.habits.images(a);
    let holds = |taken: &[u64; 128], pid: u32| taken[pid as usize / 256 % 128] >> (pid / 4 % 64) & 1 == 1;
    for (i, b) in boot.processes.iter().enumerate() {
        let session = match b.session {
            BootSession::Service(account) | BootSession::Console(account) => {
                h.sessions.iter().position(|s| s.account == account).unwrap_or(0)
            }
            BootSession::Owner => match h.owner {
                Some(o) => o as usize,
                None => usize::MAX,
            },
        };
        let parent: Snap = begun.get(b.parent as usize).copied().unwrap_or_default();
        let (account, s) = match h.sessions.get(session) {
            Some(s) => (s.account, *s),
            None => (AccountId::SYSTEM, h.sessions[0]),
        };
        let base = if b.session == BootSession::Owner { s.start } else { stand.booted };
        let jitter = 0.67 + 0.66 * rng.f64();
        let start = base + Span((b.after.0 as f64 * jitter) as i64);
        // of a session that has just begun everything is there
        let start = Time(start.0.min((now - Span::ms(2_000 - 8 * (i as i64).min(200))).0));
        let start = if i > 0 { Time(start.0.max(parent.start.0 + 1_700_000)) } else { start };
        h.sequence += 1 + rng.below(3);
        let owner_level = match (account.0 >= AccountId::FIRST, s.logon_type) {
            (true, 5) => Level::High,
            (true, _) => Level::Medium,
            _ => Level::System,
        };
        let pid = match i {
            0 => 4,
            _ if i < EARLY as usize => h.early_pid(i as u16),
            _ => h.new_pid_beside(|_, pid| holds(&taken, pid)),
        };
        let pid = if holds(&taken, pid) { h.new_pid_beside(|_, pid| holds(&taken, pid)) } else { pid };
        let image = images[i];
        let path = match image.map(|x| atlas.image(x)) {
            Some(x) if x.path.starts_with("{profile}") => texts.keep_once(&atlas.path_of(x, account)),
            _ => TextId::EMPTY,
        };
        let terminal = match b.session {
            BootSession::Service(_) => 0,
            _ => 1,
        };
        let snap = Snap {
            pid,
            image: image.map_or(u32::MAX >> 1, |i| i.0),
            start,
            key: (h.boot_id as u64) << 48 | h.sequence,
            command_line: shared
                .habits
                .line(a.boot, i as u16)
                .unwrap_or_else(|| texts.keep_once(&atlas.boot_command_line(b, image, account))),
            directory: TextId::fixed(0),
            path,
            account,
            luid: s.luid,
            logon: h.second(a, s.start),
            terminal,
            level: if b.app_container { Level::AppContainer } else { owner_level },
            elevation: if s.linked != 0 { 3 } else { 1 },
            tag: 0,
        };
        begun.push(snap);
        let lives = !b.exits
            // the screen that asks for a password is there when it asks
            && (b.program != shared.habits.logonui || h.owner.is_none() || h.locked)
            && image.is_some()
            && (b.session != BootSession::Owner || h.owner.is_some());
        let slot = i as u16;
        let parent = if lives { h.adopt_of(&parent, texts) } else { NO_PARENT };
        h.procs.put(slot, Proc { snap, program: b.program, parent, ..Proc::default() });
        if lives {
            taken[pid as usize / 256 % 128] |= 1 << (pid / 4 % 64);
        } else {
            h.procs.remove(slot);
        }
        let name = b.program;
        if name == shared.habits.lsass {
            h.lsass = slot;
        } else if name == shared.habits.services_exe {
            h.services = slot;
        } else if name == shared.habits.sysmon {
            h.sensor = slot;
        }
        if b.services.contains(&shared.habits.event_log) {
            h.eventlog = slot;
        }
    }
    // processes started and gone since boot: a few a minute
    let minutes = ((now - stand.booted).0 / 60_000_000_000).max(1) as u64;
    h.sequence += minutes * (2 + mix(shared.seed, id.0 as u64) % 3);
    if least.0 == 0 {
        h.sequence += now.second().rem_euclid(30 * 86_400) as u64 / 10;
    }
    h.luid = h.luid.max(least.1);
    h
}

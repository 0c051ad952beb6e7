//! The state a world starts in: as after weeks of running.

use std::sync::Arc;

use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, BootSession, HostId};
use crate::world::fact::Facts;
use crate::world::host::{
    Host, LOCAL_SERVICE_LUID, Level, NETWORK_SERVICE_LUID, Parent, Proc, SYSTEM_LUID, Session, Snap,
};
use crate::world::state::{Handle, Shared, State, Tag};
use crate::world::texts::{TextId, Texts};

impl State {
    /// A cell's world in steady state at `now`.
    pub fn new(shared: Arc<Shared>, cell: u16, now: Time) -> State {
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
            shared: Some(Handle::new(shared.clone())),
            spare: Default::default(),
        };
        for id in range {
            let h = booted(&shared, &mut s.texts, HostId(id), now);
            s.hosts.push(h);
        }
        if shared.benign {
            s.wake();
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
            let second = |t: Time| h.clock(a, t).second();
            for p in h.procs.iter().filter(|p| p.alive) {
                let s = &p.snap;
                let own = self.texts.get(s.path);
                let image = self.image(s.image);
                let account = self.atlas().account(s.account);
                let line = serde_json::json!({
                    "type": "process", "host": &*a.fqdn, "pid": s.pid, "machine": a.machine_part, "second": second(s.start),
                    "key": s.key, "image": if own.is_empty() { &*image.path } else { own },
                    "command_line": self.texts.get(s.command_line), "parent_pid": p.parent.pid, "parent_key": p.parent.key,
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
        self.shared = Some(Handle::new(shared));
    }
}

/// A host as it stands some time after its boot.
fn booted(shared: &Shared, texts: &mut Texts, id: HostId, now: Time) -> Host {
    let atlas = &shared.atlas;
    let a = atlas.host(id);
    let boot = &atlas.boots[a.boot as usize];
    let mut rng = Rng::of(shared.seed, id.0 as u64, purpose("boot"));
    // where no earlier run is known, the clock goes on between them
    let least = shared.ids.get(id.0 as usize).copied().unwrap_or_default();
    let mut h = Host {
        id,
        booted: a.booted,
        boot_id: a.boot_id.max(least.0),
        luid: 0x1_0000,
        rng: Rng::of(shared.seed, id.0 as u64, purpose("life")),
        ports: [rng.below(16_384) as u16, rng.below(16_384) as u16],
        on: true,
        load: 1.0,
        kept_until: crate::world::power::NEVER,
        ..Host::default()
    };
    let fixed =
        |luid, account| Session { luid, account, start: a.booted, logon_type: 5, elevated: true, ..Session::default() };
    h.sessions = vec![
        fixed(SYSTEM_LUID, AccountId::SYSTEM),
        fixed(LOCAL_SERVICE_LUID, AccountId::LOCAL_SERVICE),
        fixed(NETWORK_SERVICE_LUID, AccountId::NETWORK_SERVICE),
    ];
    // the owner came this morning, or the last working morning before the world starts
    let owner_since = a.owner.map(|_| {
        let back = Span::s(rng.range(1_200, 7_200));
        Time((now - back).0.max((a.booted + Span::s(90)).0))
    });
    for account in [AccountId::UMFD_0, AccountId::UMFD_1, AccountId::DWM_1] {
        h.luid += 0x13 + rng.below(0x1400);
        let luid = h.luid;
        let terminal = u8::from(account != AccountId::UMFD_0);
        h.sessions.push(Session {
            luid,
            account,
            start: a.booted + Span::s(4),
            logon_type: 2,
            terminal,
            ..Session::default()
        });
    }
    if let (Some(owner), Some(since)) = (a.owner, owner_since) {
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
        };
        if admin {
            h.sessions.push(s(full, limited, true));
            h.sessions.push(s(limited, full, false));
        } else {
            h.sessions.push(s(full, 0, false));
        }
        h.owner = Some(h.sessions.len() as u16 - 1);
    }
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
        let parent = h.procs.get(b.parent as usize).copied().unwrap_or_default();
        let (account, s) = match h.sessions.get(session) {
            Some(s) => (s.account, *s),
            None => (AccountId::SYSTEM, h.sessions[0]),
        };
        let base = if b.session == BootSession::Owner { s.start } else { a.booted };
        let jitter = 0.67 + 0.66 * rng.f64();
        let start = base + Span((b.after.0 as f64 * jitter) as i64);
        let start = if i > 0 { Time(start.0.max(parent.snap.start.0 + 1_700_000)) } else { start };
        h.sequence += 1 + rng.below(3);
        let line = atlas.boot_command_line(id, b, account);
        let owner_level = if account.0 >= AccountId::FIRST { Level::Medium } else { Level::System };
        let pid = match i {
            0 => 4,
            _ if i < 14 => {
                let mut n = 22 + i as u32 * 14 + rng.below(13) as u32;
                while crate::world::host::is_thread(id, n) || h.procs.iter().any(|p| p.snap.pid == 4 * n) {
                    n += 1;
                }
                4 * n
            }
            _ => h.new_pid(),
        };
        let pid = if h.procs.iter().any(|p| p.alive && p.snap.pid == pid) { h.new_pid() } else { pid };
        let image = atlas.program(id, b.program).map_or(u32::MAX >> 1, |i| i.0);
        let path = match image {
            x if x < atlas.images.len() as u32 && atlas.images[x as usize].path.contains("{profile}") => {
                texts.keep(&atlas.path_of(&atlas.images[x as usize], account))
            }
            _ => TextId::EMPTY,
        };
        let terminal = match b.session {
            BootSession::Service(_) => 0,
            _ => 1,
        };
        let snap = Snap {
            pid,
            image,
            start,
            key: (h.boot_id as u64) << 48 | h.sequence,
            command_line: texts.keep(&line),
            directory: texts.keep(r"C:\Windows\system32\"),
            path,
            account,
            luid: s.luid,
            logon: s.start,
            terminal,
            level: if b.app_container { Level::Low } else { owner_level },
            elevation: if s.linked != 0 { 3 } else { 1 },
        };
        let p = Proc {
            snap,
            program: b.program,
            parent: Parent {
                pid: parent.snap.pid,
                image: parent.snap.image,
                start: parent.snap.start,
                key: parent.snap.key,
                path: texts.retain(parent.snap.path),
            },
            tag: 0,
            conhost: 0,
            console: false,
            ending: false,
            alive: !b.exits
                && image < atlas.images.len() as u32
                && (b.session != BootSession::Owner || h.owner.is_some()),
        };
        h.procs.push(p);
        let slot = i as u16;
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
    h.boot_slots = h.procs.len() as u16;
    // processes started and gone since boot: a few a minute
    let minutes = ((now - a.booted).0 / 60_000_000_000).max(1) as u64;
    h.sequence += minutes * (2 + mix(shared.seed, id.0 as u64) % 3);
    if least.0 == 0 {
        h.sequence += now.second().rem_euclid(30 * 86_400) as u64 / 10;
    }
    h.luid = h.luid.max(least.1);
    h
}

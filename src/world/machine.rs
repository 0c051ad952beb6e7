//! Machines go off and come up: in what order things end, and what starts again with new keys.

use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::atlas::AccountId;
use crate::world::fact::Val;
use crate::world::host::{LOCAL_SERVICE_LUID, Luid, NETWORK_SERVICE_LUID, Proc, SYSTEM_LUID, Session, Snap};
use crate::world::life::{FOREVER, HELD, Turn};
use crate::world::program::LogonResult;
use crate::world::state::{Body, LogOn, State, Task, What};
use crate::world::table::Table;

/// From the request to the stop of services.
const WARNING: (i64, i64) = (2_500, 9_000);
/// Firmware and kernel, before the first process.
const FIRMWARE: (i64, i64) = (14_000, 75_000);

impl State {
    /// A machine is asked to go off (or to restart), by its person or for updates.
    pub(super) fn go_down(&mut self, host: u32, restart: bool, reason: &str) {
        let mut rng = self.moment(host, "down");
        let h = &mut self.hosts[host as usize];
        if !h.on || h.falling {
            return;
        }
        h.falling = true;
        h.updates = false;
        let shell = if reason == "person" { self.shell_slot(host) } else { None };
        let service = self.service_slot(host, self.shared().habits.update_service);
        let slot = shell.or(service).unwrap_or(self.hosts[host as usize].services);
        let snap = self.hosts[host as usize].procs[slot].snap;
        if self.wants(Kind::SystemShutdown) {
            let kind = if restart { "restart" } else { "power off" };
            let (reason, kind) = (self.texts.keep(reason), self.texts.keep(kind));
            let i = self.fact(Kind::SystemShutdown, host, self.now, &snap, 0);
            let f = self.facts.get_mut(i);
            f.extra.push((Field::ShutdownReason, Val::Text(reason)));
            f.extra.push((Field::ShutdownType, Val::Text(kind)));
            self.done(i);
        }
        self.sign_out(host);
        self.at(self.now + Span::ms(rng.range(WARNING.0, WARNING.1)), What::Turn(host, Turn::Stop { restart }));
    }

    /// Somebody's command takes a machine down, whatever goes on there.
    pub(super) fn ordered_down(&mut self, host: u32, restart: bool) {
        if !self.shared().benign || self.hosts[host as usize].falling {
            return;
        }
        self.hosts[host as usize].falling = true;
        let after = self.moment(host, "ordered").range(WARNING.0, WARNING.1);
        self.at(self.now + Span::ms(after), What::Turn(host, Turn::Stop { restart }));
    }

    /// Services stop, one after another; the sensor and the event log are among the last, and then the machine is off.
    pub(super) fn stop(&mut self, host: u32, restart: bool) {
        if !self.hosts[host as usize].on {
            return;
        }
        let mut rng = self.moment(host, "stop");
        let shared = self.shared().clone();
        let (sensor, eventlog) = (self.hosts[host as usize].sensor, self.hosts[host as usize].eventlog);
        let mut time = self.now;
        for slot in (1..self.hosts[host as usize].procs.slots()).rev() {
            let p = self.hosts[host as usize].procs[slot];
            let core = slot == sensor || slot == eventlog || shared.habits.core.contains(&p.program);
            // programs of the kernel and of the session manager are never seen to end
            if p.alive() && !core {
                self.end_process(self.proc_ref(host, slot), 0, time);
                time = time + Span::us(rng.range(300, 60_000));
            }
        }
        for (kind, slot) in [(Kind::SensorStop, sensor), (Kind::SystemShutdown, eventlog), (Kind::SystemShutdown, 0)] {
            time = time + Span::ms(rng.range(40, 700));
            let p = self.hosts[host as usize].procs[slot];
            // slot 0 stands for the kernel; a host without that sensor has its default slot, the kernel's
            if p.alive() && (slot != 0 || kind != Kind::SensorStop) && self.wants(kind) {
                let i = self.fact(kind, host, time, &p.snap, 0);
                self.done(i);
            }
        }
        self.cut(host);
        if restart {
            let wait = Span::ms(rng.range(FIRMWARE.0, FIRMWARE.1));
            self.at(time + wait, What::Turn(host, Turn::Start));
        }
    }

    /// A machine has no power: nothing of it is left but its counters.
    pub(super) fn cut(&mut self, host: u32) {
        self.hosts[host as usize].on = false;
        self.forget(host);
        let h = &mut self.hosts[host as usize];
        let texts = &mut self.texts;
        for p in h.procs.living() {
            for t in [p.snap.command_line, p.snap.directory, p.snap.path] {
                texts.release(t);
            }
        }
        for k in h.parents.drain(..).filter(|k| k.children > 0) {
            texts.release(k.parent.path);
        }
        h.procs.end();
        h.sessions.truncate(3);
        self.daemons.retain(|(h, _), _| *h != host);
        self.links.retain(|k, _| k.0 != host);
        self.served.retain(|(h, _), _| *h != host);
        let h = &mut self.hosts[host as usize];
        (h.owner, h.locked, h.falling, h.asleep) = (None, false, false, false);
        // a number that a later boot hands out again must not end what is new
        self.queue.retain(|e| !matches!(e.0.what, What::LogOff(of, _) if of == host));
    }

    /// A machine comes up: a new boot with new numbers; processes follow one another as the boot image says.
    pub(super) fn start(&mut self, host: u32) {
        if self.hosts[host as usize].on {
            return;
        }
        if self.hosts[host as usize].asleep {
            self.cut(host);
        }
        let mut rng = self.moment(host, "start");
        let shared = self.shared().clone();
        let id = self.host_id(host);
        let boot = &shared.atlas.boots[shared.atlas.host(id).boot as usize];
        let now = self.now;
        let h = &mut self.hosts[host as usize];
        h.on = true;
        h.booted = now;
        h.boot_id += 1;
        h.sequence = 0;
        h.luid = 0x6000 + rng.below(0x6000) as Luid;
        h.procs = Table::of_boot(boot.processes.len());
        for s in &mut h.sessions {
            s.start = now;
        }
        h.pace = (0.75 + rng.f64() * 0.6) as f32;
        // what happens before the sensor's service runs is kept by its driver and written then
        let sensor = boot.processes.get(h.sensor as usize).filter(|_| h.sensor != 0);
        h.sensor_at = sensor.map_or(now, |b| now + Span((b.after.0 as f64 * h.pace as f64) as i64) + Span::ms(900));
        let boot_id = h.boot_id;
        let at = now + Span::ms(rng.range(1_200, 2_600));
        self.at(at, What::Rise { host, boot: boot_id, session: false, at: 0 });
        self.stir_noise(host, at + Span::s(25));
        if shared.atlas.host(id).owner.is_none() {
            for habit in self.habits_at_logon(host) {
                self.at(now + Span::ms(rng.range(50_000, 260_000)), What::Timer(host, habit));
            }
        }
    }

    /// The next process of a boot, or of a session, starts.
    pub(super) fn rise_next(&mut self, host: u32, boot: u16, session: bool, at: u16) {
        let shared = self.shared().clone();
        let h = &self.hosts[host as usize];
        if h.boot_id != boot || !h.on || h.falling || (session && h.owner.is_none()) {
            return;
        }
        let image = self.atlas().host(self.host_id(host)).boot;
        let order = &shared.habits.order(image, session);
        let Some(slot) = order.get(at as usize).copied() else { return };
        let processes = &shared.atlas.boots[image as usize].processes;
        let mut rng = self.moment(host, "rise");
        if slot == 0 {
            self.kernel(host);
        } else {
            let b = &processes[slot as usize];
            if let Some(p) = self.rise(host, slot) {
                self.risen(host, slot);
                if b.exits && !processes.iter().enumerate().any(|(k, q)| q.parent == slot && k != slot as usize) {
                    self.end_later(p, Span::ms(rng.range(150, 3_000)));
                }
            }
            let parent = self.proc_ref(host, b.parent);
            let more = order[at as usize + 1..].iter().any(|s| processes[*s as usize].parent == b.parent);
            if processes[b.parent as usize].exits && !more {
                self.end_later(parent, Span::ms(rng.range(200, 2_500)));
            }
        }
        if let Some(next) = order.get(at as usize + 1) {
            let h = &self.hosts[host as usize];
            let base = match h.owner.filter(|_| session) {
                Some(o) => h.sessions[o as usize].start,
                None => h.booted,
            };
            let due = base + Span((processes[*next as usize].after.0 as f64 * h.pace as f64) as i64);
            let due = due.max(self.now) + Span::us(rng.range(1_700, 60_000));
            self.at(due, What::Rise { host, boot, session, at: at + 1 });
        }
    }

    /// The kernel's own process: nobody sees it start.
    fn kernel(&mut self, host: u32) {
        let now = self.now;
        let id = self.host_id(host);
        let shared = self.shared().clone();
        let program = shared.atlas.boots[shared.atlas.host(id).boot as usize].processes[0].program;
        let Some(image) = shared.atlas.program(id, program) else { return };
        let h = &mut self.hosts[host as usize];
        let snap = Snap {
            pid: 4,
            image: image.0,
            start: now,
            key: h.new_key(),
            account: AccountId::SYSTEM,
            luid: SYSTEM_LUID,
            logon: h.second(shared.atlas.host(id), h.booted),
            level: crate::world::host::Level::System,
            elevation: 1,
            ..Snap::default()
        };
        h.procs.put(0, Proc { snap, program, ..Proc::default() });
        if self.wants(Kind::SystemBoot) {
            let i = self.fact(Kind::SystemBoot, host, now, &snap, 0);
            self.done(i);
        }
    }

    /// What comes with the start of a process of the boot image: the audit, the event log, the sensor, service states.
    fn risen(&mut self, host: u32, slot: u16) {
        let shared = self.shared().clone();
        let id = self.host_id(host);
        let h = &self.hosts[host as usize];
        let snap = h.procs[slot].snap;
        let now = self.now;
        let tell = |s: &mut State, kind, after| {
            if s.wants(kind) {
                let i = s.fact(kind, host, now + after, &snap, 0);
                s.done(i);
            }
        };
        let (lsass, eventlog, sensor) = (h.lsass, h.eventlog, h.sensor);
        if slot == lsass {
            tell(self, Kind::SystemBoot, Span::ms(60));
            for (account, luid) in [
                (AccountId::SYSTEM, SYSTEM_LUID),
                (AccountId::NETWORK_SERVICE, NETWORK_SERVICE_LUID),
                (AccountId::LOCAL_SERVICE, LOCAL_SERVICE_LUID),
            ] {
                self.fixed_logon(host, account, luid);
            }
        } else if slot == eventlog {
            tell(self, Kind::SystemBoot, Span::ms(240));
        }
        if slot == sensor && sensor != 0 {
            tell(self, Kind::SensorStart, Span::ms(700));
            self.hosts[host as usize].sensor_at = now + Span::ms(740);
        }
        if self.wants(Kind::ServiceState) {
            let services = &shared.atlas.boots[shared.atlas.host(id).boot as usize].processes[slot as usize].services;
            let by = self.hosts[host as usize].procs[self.hosts[host as usize].services].snap;
            for (k, s) in services.iter().filter_map(|s| shared.atlas.service(*s)).enumerate() {
                let texts = [&*s.key, &*s.display, "running"].map(|t| self.texts.keep(t));
                let i = self.fact(Kind::ServiceState, host, now + Span::ms(30 + 9 * k as i64), &by, 0);
                let f = self.facts.get_mut(i);
                let fields = [Field::ServiceName, Field::ServiceDisplay, Field::ServiceState];
                f.extra.extend(fields.into_iter().zip(texts.map(Val::Text)));
                self.done(i);
            }
        }
    }

    /// A session that every boot opens under a number of its own.
    fn fixed_logon(&mut self, host: u32, account: AccountId, luid: Luid) {
        let logon_type = if account == AccountId::SYSTEM { 0 } else { 5 };
        let l = self.machine_logon(host, account, logon_type);
        let s = Session { luid, account, start: self.now, logon_type, elevated: true, ..Session::default() };
        self.open_facts(host, &l, &s);
    }

    /// A service's or the console's own account gets its session.
    pub(super) fn service_logon(&mut self, host: u32, account: AccountId) {
        let console = account.terminal().is_some();
        let l = self.machine_logon(host, account, if console { 2 } else { 5 });
        self.log_on(l);
    }

    fn machine_logon(&self, host: u32, account: AccountId, logon_type: u8) -> LogOn {
        let mut rng = self.moment(host, "machine logon");
        LogOn {
            host: self.host_id(host),
            account,
            logon_type,
            result: LogonResult::Ok,
            ntlm: false,
            from: None,
            guid: super::logon::guid_bytes(rng.u64(), rng.u64()),
            hold: FOREVER,
            then: None,
            tag: None,
            typed: None,
            caller: None,
            link: 0,
            terminal: 0,
        }
    }

    /// The restart for a month's updates is due: at once where nobody works, else when the person goes.
    pub(super) fn update(&mut self, host: u32) {
        let id = self.host_id(host);
        if self.held(host) {
            return self.at(self.now + HELD, What::Turn(host, Turn::Update));
        }
        if let Some(next) = self.shared().next_restart(id, self.now) {
            self.at(next, What::Turn(host, Turn::Update));
        }
        let h = &self.hosts[host as usize];
        let waits = !h.on || (h.owner.is_some() && !h.away);
        self.hosts[host as usize].updates = true;
        if !waits {
            self.go_down(host, true, "updates");
        }
    }

    /// A task ends before its time; who waits for it is told.
    pub(super) fn drop_task(&mut self, i: u32, t: Task) {
        self.texts.release(t.file);
        self.texts.release(t.handle.1);
        self.texts.release(t.handle.2);
        self.free_tasks.push(i);
        if let Some(home) = t.home {
            let done = Body::Done { inst: t.inst.id, step: t.step };
            self.send_cell(home, self.now, done);
        }
    }
}

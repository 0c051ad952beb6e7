//! What people and machines do by themselves: habits, and the background of running programs that fill is made of.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::activity::Kind;
use crate::rng::{Rng, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, Atlas, HostId, ImageId, ModuleId};
use crate::world::host::{Luid, Regs, SYSTEM_LUID, Snap};
use crate::world::instance::{Bound, Inst, InstId};
use crate::world::program::{Holder, Library, Op, Rhythm, ScenarioId, ScriptId, Who};
use crate::world::state::{Body, Play, State, Task, What, mean_gap};
use crate::world::texts::TextId;

/// Names the engine itself must know, looked up once.
#[derive(Debug, Default)]
pub struct Index {
    names: BTreeMap<Box<str>, u16>,
    by_ip: BTreeMap<Ipv4Addr, HostId>,
    by_name: BTreeMap<Box<str>, HostId>,
    /// Images of the processes of a boot, by software and boot image.
    images: HashMap<(u16, u16), Box<[Option<ImageId>]>>,
    /// For each boot image: slot of the process that hosts a service.
    services: Vec<BTreeMap<u16, u16>>,
    servers: BTreeMap<(u16, bool), Who>,
    /// Habits by persona, role, boot image.
    personas: Vec<Vec<u32>>,
    roles: Vec<Vec<u32>>,
    programs: Vec<Vec<u32>>,
    /// Background entries that apply to each boot image, with cumulative weights (in thousandths of runs an hour).
    noise: Vec<Noise>,
    kernels: Vec<String>,
    /// Document names.
    pub documents: u16,
    /// Programs the engine starts or looks for itself.
    pub explorer: u16,
    /// See `explorer`.
    pub conhost: u16,
    /// See `explorer`.
    pub winlogon: u16,
    /// See `explorer`.
    pub wmiprvse: u16,
    /// The service that looks up names.
    pub resolver: u16,
    /// Call trace of process creation, if the atlas has one.
    pub create_trace: Option<u16>,
    /// Call trace of anything else.
    pub generic_trace: u16,
    /// Modules of a program nobody knows, for each operating system.
    pub plain_modules: Vec<Vec<ModuleId>>,
    /// Instance that background belongs to.
    pub nobody: Option<Arc<Inst>>,
    /// Names of event log, Sysmon and services processes, for boot.
    pub sysmon: u16,
    /// Service name of the event log.
    pub event_log: u16,
    /// Service that restarts machines for updates.
    pub update_service: u16,
    /// Asks for a password.
    pub logonui: u16,
    /// Programs that end with the machine, unseen.
    pub core: Vec<u16>,
    /// Boot processes of each boot image in the order they start: the machine's, the owner's session's.
    orders: Vec<[Vec<u16>; 2]>,
    /// Command lines of boot processes that are the same on every host, by boot image: indices into `fixed`.
    lines: Vec<Vec<Option<u32>>>,
    /// Slots of a boot image's processes by program.
    slots: Vec<BTreeMap<u16, Vec<u16>>>,
    /// Call traces by kind and operating system, as the atlas has them: their texts among `fixed`, and whether they have frames
    /// outside any module.
    traces: Vec<Vec<Vec<(u32, bool)>>>,
    /// Texts that every cell shares.
    pub fixed: Arc<[crate::world::atlas::Text]>,
    /// See `explorer`.
    pub lsass: u16,
    /// See `explorer`.
    pub services_exe: u16,
}

/// Background of a boot image.
#[derive(Debug, Default)]
pub struct Noise {
    /// Entries of [`Library::background`].
    pub entries: Vec<u32>,
    /// Cumulative weights.
    pub cumulative: Vec<u32>,
    /// Runs an hour of all together.
    pub per_hour: f64,
    /// Entries that keep time.
    pub timers: Vec<u32>,
}

/// What any program loads.
const PLAIN: [&str; 8] = [
    "ntdll.dll",
    "kernel32.dll",
    "kernelbase.dll",
    "msvcrt.dll",
    "advapi32.dll",
    "sechost.dll",
    "rpcrt4.dll",
    "ws2_32.dll",
];

/// One of two runs comes at once after another: activity is self-exciting.
const BURST: f64 = 0.7;
/// One of two things a person does comes soon after another.
const TOGETHER: f64 = 0.55;
/// Pauses between such series, against the mean: what comes together is made up by them.
const APART: f64 = 1.9;
/// Typical pause within a burst.
const BURST_MEDIAN: Span = Span::ms(12);
/// One pause in a hundred within a burst is longer.
const BURST_P99: Span = Span::ms(1_500);

/// How much more the programs of a machine do while its owner works with it. The figures of `world/background` are those
/// of a machine left alone. Recorded workstations in use start 200 to 600 processes an hour and write 10 to 60 verbose
/// records a second; left alone ours would come to 75 and 2.6.
const AT_WORK: f64 = 4.0;

impl Index {
    /// Looks up everything once.
    pub fn new(atlas: &Atlas, library: &Library, seed: u64, start: Time) -> Index {
        let mut x = Index::default();
        for (i, n) in library.names.iter().enumerate() {
            x.names.insert(n.clone(), i as u16);
        }
        x.kernels = atlas.oses.iter().map(|o| format!("10.0.{}.{}", o.build, o.revision)).collect();
        for (i, h) in atlas.hosts.iter().enumerate() {
            let id = HostId(i as u32);
            x.by_ip.insert(h.ip, id);
            x.by_name.insert(h.name.to_ascii_lowercase().into(), id);
            x.by_name.insert(h.fqdn.to_ascii_lowercase().into(), id);
        }
        for b in &atlas.boots {
            let mut services = BTreeMap::new();
            for (slot, p) in b.processes.iter().enumerate() {
                for s in &p.services {
                    services.insert(*s, slot as u16);
                }
            }
            x.services.push(services);
        }
        x.servers = library.servers.iter().map(|(port, udp, who)| ((*port, *udp), *who)).collect();
        x.programs = vec![vec![]; atlas.boots.len()];
        x.personas = vec![vec![]; atlas.personas.len()];
        x.roles = vec![vec![]; atlas.roles.len()];
        for (i, h) in library.habits.iter().enumerate() {
            match h.holder {
                Holder::Persona(p) => x.personas[p as usize].push(i as u32),
                Holder::Role(r) => x.roles[r as usize].push(i as u32),
                // a program's habits are those of the machines that it runs on from their boot on
                Holder::Image(p) => {
                    for (b, image) in atlas.boots.iter().enumerate() {
                        if image.processes.iter().any(|q| q.program == p && !q.exits) {
                            x.programs[b].push(i as u32);
                        }
                    }
                }
                Holder::Service(s) => {
                    for b in (0..atlas.boots.len()).filter(|b| x.services[*b].contains_key(&s)) {
                        x.programs[b].push(i as u32);
                    }
                }
            }
        }
        x.documents =
            atlas.words.names.iter().position(|n| n.starts_with("documents.")).unwrap_or(usize::from(u16::MAX)) as u16;
        x.explorer = x.name("explorer.exe");
        x.conhost = x.name("conhost.exe");
        x.winlogon = x.name("winlogon.exe");
        x.wmiprvse = x.name("wmiprvse.exe");
        x.resolver = x.name("dnscache");
        x.sysmon = x.name("sysmon64.exe");
        x.event_log = x.name("eventlog");
        x.lsass = x.name("lsass.exe");
        x.services_exe = x.name("services.exe");
        x.update_service = x.name("usosvc");
        x.logonui = x.name("logonui.exe");
        x.core = ["system", "registry", "memcompression", "smss.exe", "csrss.exe", "wininit.exe", "winlogon.exe"]
            .iter()
            .chain(&["services.exe", "lsass.exe", "lsaiso.exe"])
            .map(|n| x.name(n))
            .collect();
        x.boots(atlas);
        for (i, h) in atlas.hosts.iter().enumerate() {
            let of = |p: &crate::world::atlas::BootProcess| atlas.program(HostId(i as u32), p.program);
            let all = || atlas.boots[h.boot as usize].processes.iter().map(of).collect();
            x.images.entry((h.software, h.boot)).or_insert_with(all);
        }
        x.generic_trace = x.name("generic");
        let create = x.name("create_process");
        x.create_trace = atlas.traces.iter().any(|t| t.name == create).then_some(create);
        x.plain_modules = (0..atlas.oses.len() as u16)
            .map(|os| PLAIN.iter().filter_map(|n| atlas.system_module(os, n)).collect())
            .collect();
        x.nobody = Some(Arc::new(Inst {
            id: InstId(0),
            scenario: ScenarioId(0),
            seed,
            attack: false,
            roles: vec![],
            vars: vec![],
            choices: vec![],
            start,
        }));
        for b in 0..atlas.boots.len() {
            x.noise.push(x.noise_of(atlas, library, b));
        }
        x
    }

    /// The order in which boot processes start, and their texts.
    fn boots(&mut self, atlas: &Atlas) {
        use crate::world::atlas::BootSession;
        let mut fixed: BTreeMap<&str, u32> = BTreeMap::new();
        fixed.insert(r"C:\Windows\system32\", 0);
        let mut texts: Vec<crate::world::atlas::Text> = vec![r"C:\Windows\system32\".into()];
        for b in &atlas.boots {
            let order = |owner: bool| {
                let of = |i: &u16| (b.processes[*i as usize].session == BootSession::Owner) == owner;
                let mut list: Vec<u16> = (0..b.processes.len() as u16).filter(of).collect();
                // parents stand first in the image and stay before their children
                list.sort_by_key(|i| (b.start_of(*i), *i));
                list
            };
            self.orders.push([order(false), order(true)]);
            let mut lines = vec![];
            for p in &b.processes {
                if p.command_line.contains('{') {
                    lines.push(None);
                    continue;
                }
                let next = texts.len() as u32;
                let i = *fixed.entry(&p.command_line).or_insert(next);
                if i == next {
                    texts.push(p.command_line.clone());
                }
                lines.push(Some(i));
            }
            self.lines.push(lines);
            let mut slots: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
            for (i, p) in b.processes.iter().enumerate() {
                slots.entry(p.program).or_default().push(i as u16);
            }
            self.slots.push(slots);
        }
        let mut trace = |t: &crate::world::atlas::Text| {
            texts.push(t.clone());
            (texts.len() as u32 - 1, t.contains("UNKNOWN("))
        };
        let mut of = |list: &Vec<crate::world::atlas::Text>| list.iter().map(&mut trace).collect();
        self.traces = atlas.traces.iter().map(|t| t.by_os.iter().map(&mut of).collect()).collect();
        self.fixed = texts.into();
    }

    /// Slots of a boot image in the order they start.
    pub fn order(&self, boot: u16, session: bool) -> &[u16] {
        &self.orders[boot as usize][usize::from(session)]
    }

    /// The image of each process of a host's boot, where it has one.
    pub fn images(&self, host: &crate::world::atlas::Host) -> &[Option<ImageId>] {
        &self.images[&(host.software, host.boot)]
    }

    /// Slots in which a boot image has a program.
    pub fn slots(&self, boot: u16, program: u16) -> &[u16] {
        self.slots[boot as usize].get(&program).map_or(&[], |s| s)
    }

    /// One of the call traces of a kind as a host's modules give them, and whether it has frames outside any module.
    pub fn trace(&self, atlas: &Atlas, host: HostId, kind: u16, draw: u64) -> Option<(TextId, bool)> {
        let kind = atlas.traces.binary_search_by_key(&kind, |t| t.name).ok()?;
        let list = &self.traces[kind][atlas.host(host).os as usize];
        let (text, outside) = list.get(draw as usize % list.len().max(1))?;
        Some((TextId::fixed(*text), *outside))
    }

    /// The shared text of a boot process's command line, where it is the same everywhere.
    pub fn line(&self, boot: u16, slot: u16) -> Option<TextId> {
        self.lines[boot as usize][slot as usize].map(TextId::fixed)
    }

    fn noise_of(&self, atlas: &Atlas, library: &Library, boot: usize) -> Noise {
        let mut n = Noise::default();
        let mut sum = 0u32;
        for (i, b) in library.background.iter().enumerate() {
            let processes = &atlas.boots[boot].processes;
            let count = match b.by {
                Who::Service(s) => u32::from(self.services[boot].contains_key(&s)),
                // programs that people start run now and then: half a process on average
                Who::Image(p) => match processes.iter().filter(|q| q.program == p && !q.exits).count() {
                    0 => 1,
                    n => n as u32,
                },
                Who::Shell => u32::from(processes.iter().any(|q| q.program == self.explorer)),
                _ => 1,
            };
            if count == 0 {
                continue;
            }
            if b.every.is_some() {
                n.timers.push(i as u32);
                continue;
            }
            let per_hour = b.per_hour * count as f64;
            sum += ((per_hour * 1000.0) as u32).max(1);
            n.entries.push(i as u32);
            n.cumulative.push(sum);
            n.per_hour += per_hour;
        }
        n
    }

    /// Index of a name of the library; one that nothing has when it is unknown.
    pub fn name(&self, name: &str) -> u16 {
        self.names.get(name).copied().unwrap_or(u16::MAX)
    }
    /// Version, build and revision of an operating system as Defender and agents print it.
    pub fn kernel(&self, os: u16) -> &str {
        &self.kernels[os as usize]
    }
    /// The host with an address.
    pub fn host_by_ip(&self, ip: Ipv4Addr) -> Option<HostId> {
        self.by_ip.get(&ip).copied()
    }
    /// The host with a name, short or full.
    pub fn host_by_name(&self, name: &str) -> Option<HostId> {
        self.by_name.get(&*name.to_ascii_lowercase()).copied()
    }
    /// Slot of the process that hosts a service on a boot image.
    pub fn service(&self, boot: u16, service: u16) -> Option<u16> {
        self.services[boot as usize].get(&service).copied()
    }
    /// Who serves a port.
    pub fn server(&self, port: u16, udp: bool) -> Option<Who> {
        self.servers.get(&(port, udp)).copied()
    }
    /// Background of a boot image.
    pub fn noise(&self, boot: u16) -> &Noise {
        &self.noise[boot as usize]
    }
}

impl State {
    /// Habits of a host: those of its owner's persona, of its role, of its programs.
    pub(super) fn habits_of(&self, host: u32) -> [&[u32]; 3] {
        let x = &self.shared().habits;
        let h = self.atlas().host(self.host_id(host));
        let persona = h.owner.and_then(|o| self.atlas().account(o).persona);
        [persona.map_or(&[], |p| &x.personas[p as usize]), &x.roles[h.role as usize], &x.programs[h.boot as usize]]
    }

    /// A person does the next thing, and the one after is planned, as long as somebody is at the machine.
    pub(super) fn next_habit(&mut self, host: u32) {
        if !self.active(host) {
            self.hosts[host as usize].busy = false;
            return;
        }
        let shared = self.shared().clone();
        let rhythm = |h: &u32| &shared.library.habits[*h as usize].rhythm;
        let free = |h: &&u32| matches!(rhythm(h), Rhythm::PerDay(_) | Rhythm::PerHour(_));
        let (mut rate, mut sum) = (0.0, 0u32);
        let mut habits = vec![];
        let mut cumulative = vec![];
        for h in self.habits_of(host)[0].iter().filter(free) {
            let gap = mean_gap(rhythm(h)).as_secs_f64().max(1.0);
            rate += 1.0 / gap;
            sum += ((1e7 / gap) as u32).max(1);
            habits.push(*h);
            cumulative.push(sum);
        }
        if habits.is_empty() {
            self.hosts[host as usize].busy = false;
            return;
        }
        let mut rng = self.hosts[host as usize].rng.fork(self.n);
        let h = &shared.library.habits[habits[rng.weighted(&cumulative)] as usize];
        if self.busy(host, rng.fork(purpose("load")).u64()) {
            self.start_habit(host, h.scenario);
        }
        // one thing leads to another at once, then comes something else for a while
        let mean = 1.0 / rate;
        let gap = if rng.chance(TOGETHER) {
            rng.lognormal(mean * 0.06, mean * 1.2)
        } else {
            rng.exponential(Span((mean * APART * 1e9) as i64)).as_secs_f64()
        };
        self.at(self.now + Span((gap.max(0.3) * 1e9) as i64), What::Habit(host));
    }

    pub(super) fn start_habit(&mut self, host: u32, scenario: ScenarioId) {
        let id = self.host_id(host);
        let owner = self.atlas().host(id).owner;
        let (inst, seed) = self.next_instance();
        self.launch(inst, scenario, seed, &crate::world::instance::Choices::default(), &own_roles(id, owner));
    }

    /// How much more the programs of a host do now than when it is left alone.
    fn pace(&self, host: u32) -> f64 {
        if self.active(host) { AT_WORK } else { 1.0 }
    }

    /// When a host's programs do something first, seen from any moment: most moments lie in a pause between bursts.
    pub(super) fn first_noise(&mut self, host: u32, rng: &mut Rng) -> Span {
        let boot = self.atlas().host(self.host_id(host)).boot;
        let mean = 3600.0 / self.shared().habits.noise(boot).per_hour.max(1e-3) / (1.0 - BURST) / self.pace(host);
        rng.exponential(Span((mean * 1e9) as i64))
    }

    /// A machine's programs do the next thing, and the one after is planned.
    pub(super) fn next_noise(&mut self, host: u32) {
        let shared = self.shared().clone();
        let boot = shared.atlas.host(self.host_id(host)).boot;
        let noise = shared.habits.noise(boot);
        if noise.entries.is_empty() {
            return;
        }
        let mut rng = self.hosts[host as usize].rng.fork(self.n ^ purpose("noise"));
        if !self.hosts[host as usize].on {
            self.hosts[host as usize].noisy = false;
            return;
        }
        if self.busy(host, rng.fork(purpose("load")).u64()) {
            let entry = noise.entries[rng.weighted(&noise.cumulative)];
            self.background(host, entry, rng.u64());
        }
        let mean = 3600.0 / (noise.per_hour * self.pace(host));
        let gap = if rng.chance(BURST) {
            rng.lognormal(BURST_MEDIAN.as_secs_f64(), BURST_P99.as_secs_f64())
        } else {
            // what bursts take is made up by the pauses between them
            let long = (mean - BURST * 0.1).max(mean * 0.2) / (1.0 - BURST);
            rng.exponential(Span((long * 1e9) as i64)).as_secs_f64()
        };
        self.at(self.now + Span((gap * 1e9) as i64 + 1), What::Noise(host));
    }

    /// A timer of a program fires, and is set again. The first time only sets it: each host's timers have been running
    /// since some moment of their own.
    pub(super) fn next_timer(&mut self, host: u32, entry: u32, first: bool) {
        let shared = self.shared().clone();
        let Some(every) = shared.library.background[entry as usize].every else { return };
        let id = self.host_id(host).0 as u64;
        if first {
            let phase = Rng::of(shared.seed, id, purpose("timer") ^ entry as u64).below(every.0 as u64);
            return self.at(self.now + Span(phase as i64), What::Tick(host, entry));
        }
        let mut rng = self.hosts[host as usize].rng.fork(self.n ^ purpose("timer"));
        if self.hosts[host as usize].up() {
            self.background(host, entry, rng.u64());
        }
        // timers are coalesced with others: they fire a little late, and count from there
        let late = Span(rng.exponential(Span((every.0 / 300).clamp(2_000_000, 900_000_000))).0);
        self.at(self.now + every + late, What::Tick(host, entry));
    }

    /// Runs a background entry on a host. False when the program it belongs to does not run there.
    pub fn background(&mut self, host: u32, entry: u32, seed: u64) -> bool {
        let shared = self.shared().clone();
        let b = &shared.library.background[entry as usize];
        let slot = match b.by {
            Who::Image(program) => {
                let mut slots = std::mem::take(&mut self.spare.slots);
                slots.clear();
                slots.extend(self.slots_of(host, program));
                let slot = slots.get((seed >> 20) as usize % slots.len().max(1)).copied();
                self.spare.slots = slots;
                slot
            }
            Who::Service(s) => self.service_slot(host, s),
            Who::Shell => self.shell_slot(host),
            _ => Some(0),
        };
        let Some(slot) = slot else { return false };
        let p = self.hosts[host as usize].procs[slot];
        let inst = shared.nobody.clone();
        let mut task = Task {
            inst,
            step: 0,
            host,
            each: None,
            regs: Regs::of(self.proc_ref(host, slot)),
            account: p.snap.account,
            luid: p.snap.luid,
            seed,
            named: seed,
            rng: Rng::of(seed, 0, purpose("task")),
            frames: self.frames(b.script),
            file: TextId::EMPTY,
            handle: Default::default(),
            home: None,
            part: 0,
            tag: p.snap.tag,
            closes: None,
            fill: self.filling,
            ready: false,
            hurry: true,
        };
        // what a process of an attack does by itself is an effect of it
        if let Some(t) = self.tag_of(p.snap.tag) {
            task.tag = self.tag(crate::world::state::Tag { part: t.part.max(1), ..t });
        }
        self.add_task(task);
        true
    }
}

/// Whether a script makes facts of one kind only, without waiting, and which: what single-kind fill may use.
pub fn single_kind(library: &Library, script: ScriptId) -> Option<Kind> {
    match &library.scripts[script.0 as usize][..] {
        [one] => match &one.op {
            Op::Emit { kind, .. } => Some(*kind),
            Op::Access { .. } => Some(Kind::ProcessAccess),
            _ => None,
        },
        _ => None,
    }
}

/// A play of a script for a command that a person typed, for `emulate`.
pub fn typed(inst: Arc<Inst>, script: ScriptId, host: HostId, account: AccountId, parent: Who, seed: u64) -> Body {
    Body::Play(Play {
        inst,
        step: 0,
        script,
        host,
        parent,
        account,
        each: None,
        seed,
        named: seed,
        home: None,
        early: false,
        part: 0,
    })
}

/// A snapshot of nobody in a session: for facts that belong to no process.
pub fn nobody(account: AccountId, luid: Luid) -> Snap {
    Snap { account, luid: if luid == 0 { SYSTEM_LUID } else { luid }, ..Snap::default() }
}

/// Roles of a benign instance.
pub fn own_roles(host: HostId, owner: Option<AccountId>) -> Vec<Bound> {
    // a machine of nobody acts for itself
    vec![Bound::Host(host), Bound::Account(owner.unwrap_or(AccountId::SYSTEM))]
}

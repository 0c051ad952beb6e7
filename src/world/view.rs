//! A fact as a host's sensors see it: the only place where what the world knows meets the names of fields.

use crate::activity::{Entity, Field, Kind, Value, View};
use crate::rng::{mix, purpose};
use crate::time::Time;
use crate::world::atlas::{Account, AccountId, AccountKind, Module, ModuleId};
use crate::world::fact::{Fact, NO_MODULE, Val};
use crate::world::host::{Level, Luid, SYSTEM_LUID, Snap};
use crate::world::logon::random_guid;
use crate::world::state::State;

/// What belongs to one record rather than to the activity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// Number in its channel on its host.
    pub id: u64,
    /// When the sensor wrote it, in logical time.
    pub write: Time,
    /// When collection delivers it.
    pub release: Time,
    /// Labels are written inline: scenario and technique, empty for benign ones.
    pub labels: bool,
}

/// A fact with everything it refers to.
#[derive(Clone, Copy)]
pub struct FactView<'a> {
    state: &'a State,
    fact: &'a Fact,
    record: Record,
    module: Option<&'a Module>,
}

impl<'a> FactView<'a> {
    /// Puts a fact beside the world it comes from.
    pub fn new(state: &'a State, fact: &'a Fact, record: Record) -> FactView<'a> {
        let module = (fact.module != NO_MODULE).then(|| state.atlas().module(ModuleId(fact.module)));
        FactView { state, fact, record, module }
    }

    fn host(&self) -> &'a crate::world::atlas::Host {
        self.state.atlas().host(self.state.host_id(self.fact.host))
    }

    fn clock(&self, t: Time) -> Value<'a> {
        Value::Time(self.state.hosts[self.fact.host as usize].clock(self.host(), t))
    }

    /// Second of an instant by the host's clock: what its GUIDs are made of.
    fn second(&self, t: Time) -> u32 {
        self.state.hosts[self.fact.host as usize].second(self.host(), t)
    }

    /// The kernel's coarse clock at the event. What a process does never precedes its own start, except for the images it
    /// is loaded with: these are stamped with the tick before the precise time of its start.
    fn tick(&self) -> Value<'a> {
        let host = &self.state.hosts[self.fact.host as usize];
        let t = host.tick(self.host(), self.fact.time);
        if self.fact.kind == Kind::ImageLoad || self.fact.proc.pid == 0 {
            return Value::Time(t);
        }
        Value::Time(t.max(host.clock(self.host(), self.fact.proc.start)))
    }

    fn account(&self, id: AccountId) -> &'a Account {
        self.state.atlas().account(id)
    }

    /// A thread of a small pool of that process, of which few do most of the work.
    fn thread(&self, pid: u32, pool: u64) -> Value<'a> {
        let (a, b) = ((self.fact.draw >> 13) % pool, (self.fact.draw >> 21) % pool);
        self.thread_at(pid, a * b / pool)
    }

    /// Thread `n` of a process: ids are handed out of the same table as process ids, so no process ever has it.
    fn thread_at(&self, pid: u32, n: u64) -> Value<'a> {
        let host = self.fact.host;
        let mut id = mix(pid as u64, n);
        for _ in 0..16 {
            let n = 300 + (id % 2_600) as u32;
            if crate::world::host::is_thread(self.state.host_id(host), n) {
                return Value::Uint(4 * n as u64);
            }
            id = mix(id, 1);
        }
        Value::Uint(1_200)
    }

    /// Sysmon reads the driver's queue with one thread, the network's and the resolver's traces with one each, and WMI
    /// with another (recorded: 99 of 100 registry, access and process records by one thread, none of the connections).
    fn sensor_thread(&self) -> Value<'a> {
        let pid = self.pid(self.state.hosts[self.fact.host as usize].sensor);
        let second = self.fact.draw >> 13 & 0xff;
        let n = match self.fact.kind {
            Kind::NetworkConnect | Kind::NetworkAccept => 1,
            Kind::NameResolve => 2,
            Kind::WmiFilter | Kind::WmiConsumer | Kind::WmiBinding => 3,
            Kind::ImageLoad if second < 60 => 4,
            Kind::FileStream | Kind::FileDelete | Kind::ProcessEnd if second < 40 => 4,
            _ if second < 3 => 4,
            _ => 0,
        };
        self.thread_at(pid, n)
    }

    /// A process opens and closes audited objects one after another and gets the same few handle values again and again.
    fn handle(&self, draw: u64) -> Value<'a> {
        Value::Uint(4 * (60 + mix(self.fact.proc.key, draw % 4) % 620))
    }

    /// A process of the host by slot, for what sensors name all the time.
    fn pid(&self, slot: u16) -> u32 {
        self.state.hosts[self.fact.host as usize].procs.pid(slot).unwrap_or(4)
    }

    fn proc(&self, s: &'a Snap, field: Field, base: Field) -> Value<'a> {
        use Field as F;
        if s.pid == 0 {
            return Value::None;
        }
        let text = Value::Text;
        let state = self.state;
        let image = || state.image(s.image);
        // fields of the three processes stand in the same order
        let n = field as u16 - base as u16;
        const fn at(f: Field) -> u16 {
            f as u16 - F::ProcPid as u16
        }
        const PID: u16 = at(F::ProcPid);
        const ENTITY: u16 = at(F::ProcEntityId);
        const KEY: u16 = at(F::ProcStartKey);
        const START: u16 = at(F::ProcStart);
        const EXECUTABLE: u16 = at(F::ProcExecutable);
        const NAME: u16 = at(F::ProcName);
        const LINE: u16 = at(F::ProcCommandLine);
        const DIRECTORY: u16 = at(F::ProcWorkingDirectory);
        const SID: u16 = at(F::ProcSid);
        const USER: u16 = at(F::ProcUser);
        const DOMAIN: u16 = at(F::ProcDomain);
        const SUBJECT: u16 = at(F::ProcSubjectUser);
        const SUBJECT_DOMAIN: u16 = at(F::ProcSubjectDomain);
        const LOGON: u16 = at(F::ProcLogonId);
        const LOGON_ENTITY: u16 = at(F::ProcLogonEntityId);
        const SESSION: u16 = at(F::ProcSessionId);
        const INTEGRITY: u16 = at(F::ProcIntegrity);
        const LABEL: u16 = at(F::ProcLabel);
        const ELEVATION: u16 = at(F::ProcElevation);
        const VERSION: u16 = at(F::ProcFileVersion);
        const DESCRIPTION: u16 = at(F::ProcDescription);
        const PRODUCT: u16 = at(F::ProcProduct);
        const COMPANY: u16 = at(F::ProcCompany);
        const ORIGINAL: u16 = at(F::ProcOriginalName);
        const MD5: u16 = at(F::ProcMd5);
        const SHA1: u16 = at(F::ProcSha1);
        const SHA256: u16 = at(F::ProcSha256);
        const IMPHASH: u16 = at(F::ProcImphash);
        const SIZE: u16 = at(F::ProcFileSize);
        const DEVICE: u16 = at(F::ProcDevice);
        const SIGNER: u16 = at(F::ProcSigner);
        match n {
            PID => Value::Uint(s.pid as u64),
            ENTITY => {
                Value::Entity(Entity { machine: self.host().machine_part, second: self.second(s.start), key: s.key })
            }
            KEY => Value::Uint(s.key),
            START => self.clock(s.start),
            EXECUTABLE => text(self.path(s)),
            NAME => text(self.path(s).rsplit('\\').next().unwrap_or("")),
            LINE => text(state.texts.get(s.command_line)),
            DIRECTORY => text(state.texts.get(s.directory)),
            SID => text(&self.account(s.account).sid),
            USER => text(&self.account(s.account).name),
            DOMAIN => text(&self.account(s.account).domain),
            SUBJECT => text(self.subject_name(s.account)),
            SUBJECT_DOMAIN => text(self.subject_domain(s.account)),
            LOGON => Value::Uint(s.luid as u64),
            LOGON_ENTITY => {
                Value::Entity(Entity { machine: self.host().machine_part, second: s.logon, key: s.luid as u64 })
            }
            SESSION => Value::Uint(s.terminal as u64),
            INTEGRITY => text(match s.level {
                Level::Untrusted => "Untrusted",
                Level::AppContainer => "AppContainer",
                Level::Low => "Low",
                Level::Medium => "Medium",
                Level::High => "High",
                Level::System => "System",
            }),
            LABEL => text(match s.level {
                Level::Untrusted => "S-1-16-0",
                Level::AppContainer | Level::Low => "S-1-16-4096",
                Level::Medium => "S-1-16-8192",
                Level::High => "S-1-16-12288",
                Level::System => "S-1-16-16384",
            }),
            ELEVATION => Value::Uint(s.elevation.max(1) as u64),
            VERSION => text(&image().file_version),
            DESCRIPTION => text(&image().description),
            PRODUCT => text(&image().product),
            COMPANY => text(&image().company),
            ORIGINAL => text(&image().original_name),
            MD5 => text(&image().md5),
            SHA1 => text(&image().sha1),
            SHA256 => text(&image().sha256),
            IMPHASH => text(&image().imphash),
            SIZE => Value::Uint(image().size),
            DEVICE => self.fact.find(F::ProcDevice).map_or(text("System"), |v| self.val(v)),
            SIGNER => text(&image().signer),
            _ => Value::None,
        }
    }

    fn path(&self, s: &'a Snap) -> &'a str {
        let own = self.state.texts.get(s.path);
        if own.is_empty() { &self.state.image(s.image).path } else { own }
    }

    fn subject_name(&self, id: AccountId) -> &'a str {
        match id {
            AccountId::SYSTEM | AccountId::NETWORK_SERVICE => &self.account(self.host().account).name,
            AccountId::NOBODY => "-",
            _ => &self.account(id).name,
        }
    }

    fn subject_domain(&self, id: AccountId) -> &'a str {
        match id {
            AccountId::SYSTEM | AccountId::NETWORK_SERVICE => &self.state.atlas().forest.netbios,
            AccountId::NOBODY => "-",
            _ => &self.account(id).domain,
        }
    }

    fn val(&self, v: Val) -> Value<'a> {
        match v {
            Val::Uint(n) => Value::Uint(n),
            Val::Text(t) => Value::Text(self.state.texts.get(t)),
            Val::Bool(b) => Value::Bool(b),
            Val::Time(t) => self.clock(t),
            Val::Guid(g) => Value::Guid(g),
            Val::Ip(ip) => Value::Ip(ip.into()),
            Val::Ip6(ip) => Value::Ip(ip.into()),
        }
    }
}

impl View for FactView<'_> {
    fn kind(&self) -> Kind {
        self.fact.kind
    }

    fn get(&self, field: Field) -> Value<'_> {
        use Field as F;
        let f = self.fact;
        if field <= F::ProcSigner {
            return self.proc(&f.proc, field, F::ProcPid);
        }
        if field <= F::ParentProcSigner {
            return self.proc(&f.parent, field, F::ParentProcPid);
        }
        if field <= F::TargetProcSigner {
            return self.proc(&f.target, field, F::TargetProcPid);
        }
        let text = Value::Text;
        let atlas = self.state.atlas();
        let h = self.host();
        let state = &self.state.hosts[f.host as usize];
        match field {
            F::TimeEvent => self.clock(f.time),
            F::TimeTick => self.tick(),
            F::TimeWrite => self.clock(self.record.write),
            F::TimeRelease => Value::Time(self.record.release),
            F::RecordId => Value::Uint(self.record.id),
            F::GrandProcPid if f.grand.pid != 0 => Value::Uint(f.grand.pid as u64),
            F::GrandProcName if f.grand.pid != 0 => {
                let own = self.state.texts.get(f.grand.path);
                let path = if own.is_empty() { &*self.state.image(f.grand.image).path } else { own };
                text(path.rsplit('\\').next().unwrap_or(""))
            }
            F::GrandProcStart if f.grand.pid != 0 => self.clock(f.grand.start),
            F::HostName => text(&h.fqdn),
            F::HostHostname => text(&h.name),
            F::HostDomain => text(&atlas.forest.dns),
            F::HostNetbios => text(&atlas.forest.netbios),
            F::HostRealm => text(&atlas.forest.realm),
            F::HostAccount => text(&atlas.account(h.account).name),
            F::HostSid => text(&h.sid),
            F::HostIp => Value::Ip(h.ip.into()),
            F::HostMac => text(&h.mac),
            F::HostId => text(&h.machine_guid),
            F::HostDeviceId => text(&h.device_id),
            F::HostOs => text(&atlas.oses[h.os as usize].name),
            F::HostOsVersion => text("10.0"),
            F::HostOsBuild => text(self.state.shared().habits.kernel(h.os)),
            F::HostBuild => Value::Uint(atlas.oses[h.os as usize].build as u64),
            // an agent keeps its id in a file and draws another at each start
            F::AgentId | F::AgentEphemeralId => {
                let start = if field == F::AgentId { 0 } else { 1 + state.boot_id as u64 };
                let seed = mix(mix(self.state.shared().seed, h.machine_part as u64), purpose("agent") ^ start);
                Value::Guid(random_guid(seed, mix(seed, 1)))
            }
            F::HostRevision => Value::Uint(atlas.oses[h.os as usize].revision as u64),
            F::HostSite => text(&atlas.sites[h.site as usize].name),
            F::HostTenant => text(&atlas.forest.tenant),
            F::HostLsassPid => Value::Uint(self.pid(state.lsass) as u64),
            F::HostServicesPid => Value::Uint(self.pid(state.services) as u64),
            F::HostEventLogPid => Value::Uint(self.pid(state.eventlog) as u64),
            F::HostLsmPid => {
                let lsm = self.state.service_slot(f.host, self.state.shared().habits.name("lsm"));
                lsm.map_or(Value::None, |slot| Value::Uint(self.pid(slot) as u64))
            }
            // a name's look-up: only records of the task scheduler ask for it
            F::HostSchedulePid => {
                let schedule = self.state.service_slot(f.host, self.state.shared().habits.name("schedule"));
                schedule.map_or(Value::None, |slot| Value::Uint(self.pid(slot) as u64))
            }
            F::SensorPid => Value::Uint(self.pid(state.sensor) as u64),
            F::SensorThread => self.sensor_thread(),
            F::KernelThread => self.thread(4, 24),
            F::LsassThread => self.thread(self.pid(state.lsass), 9),
            F::ThreadId => self.thread(f.proc.pid, 12),
            F::TargetThreadId => self.thread(f.target.pid, 12),
            F::UserSid => text(&self.account(f.subject).sid),
            F::UserName => text(self.subject_name(f.subject)),
            F::UserDomain => text(self.subject_domain(f.subject)),
            F::UserLogonId => Value::Uint(f.subject_luid as u64),
            F::UserUpn => text(&self.account(f.subject).upn),
            F::TargetSid if f.account != AccountId::NOBODY => text(&self.account(f.account).sid),
            F::TargetName if f.account != AccountId::NOBODY => text(&self.account(f.account).name),
            F::TargetDomain if f.account != AccountId::NOBODY => text(match self.account(f.account).kind {
                AccountKind::WellKnown => &self.account(f.account).domain,
                _ => &self.account(f.account).domain,
            }),
            F::TargetUpn if f.account != AccountId::NOBODY => text(&self.account(f.account).upn),
            F::TargetDisplay if f.account != AccountId::NOBODY => text(&self.account(f.account).display),
            F::KerberosSid if f.account != AccountId::NOBODY => text(&self.account(f.account).sid),
            // one PowerShell host and one first runspace to a process
            F::ScriptHostId | F::ScriptRunspaceId if f.proc.pid != 0 => {
                let seed = mix(f.proc.key, f.proc.start.0 as u64);
                let what = if field == F::ScriptHostId { "powershell host" } else { "powershell runspace" };
                Value::Guid(random_guid(mix(seed, purpose(what)), mix(purpose(what), seed)))
            }
            F::LogonEntity => match f.find(F::LogonId) {
                Some(Val::Uint(luid)) => {
                    Value::Entity(Entity { machine: h.machine_part, second: self.second(f.time), key: luid })
                }
                _ => Value::None,
            },
            F::NetworkTransport => match f.find(F::NetworkIana) {
                Some(Val::Uint(17)) => text("udp"),
                Some(_) => text("tcp"),
                None => Value::None,
            },
            // run-time ids of filters are stable between boots and change with them
            F::NetworkFilter => {
                Value::Uint(65_000 + mix(h.machine_part as u64, state.boot_id as u64 ^ ((f.draw >> 40) % 5)) % 9_000)
            }
            F::HandleId if f.find(field).is_none() => self.handle(f.draw >> 22),
            F::HandleTargetId if f.find(field).is_none() => Value::Uint(copied_handle(f.draw)),
            F::FileCreated if f.find(field) == Some(Val::Time(f.time)) => self.tick(),
            F::DllPath if self.module.is_some() && f.find(field).is_none() => text(&self.module.expect("checked").path),
            F::DllName => match self.get(F::DllPath) {
                Value::Text(t) => text(t.rsplit('\\').next().unwrap_or("")),
                _ => Value::None,
            },
            F::DllSigned => Value::Bool(self.module.is_some_and(|m| m.signed)),
            F::DllSize => self.module.map_or(Value::None, |m| Value::Uint(m.size)),
            F::DllFileVersion
            | F::DllDescription
            | F::DllProduct
            | F::DllCompany
            | F::DllOriginalName
            | F::DllMd5
            | F::DllSha1
            | F::DllSha256
            | F::DllImphash
            | F::DllSigner
            | F::DllSignatureStatus => match self.module {
                Some(m) => text(match field {
                    F::DllFileVersion => &m.file_version,
                    F::DllDescription => &m.description,
                    F::DllProduct => &m.product,
                    F::DllCompany => &m.company,
                    F::DllOriginalName => &m.original_name,
                    F::DllMd5 => &m.md5,
                    F::DllSha1 => &m.sha1,
                    F::DllSha256 => &m.sha256,
                    F::DllImphash => &m.imphash,
                    F::DllSigner => &m.signer,
                    _ => &m.signature_status,
                }),
                None => Value::None,
            },
            F::TruthAttack if self.record.labels => Value::Bool(f.tag != 0),
            F::TruthScenario if self.record.labels => match self.state.tag_of(f.tag) {
                Some(t) => text(&self.state.library().scenarios[t.scenario.0 as usize].id),
                None => Value::None,
            },
            F::TruthTechnique if self.record.labels => match self.state.tag_of(f.tag) {
                Some(t) => {
                    text(&self.state.library().scenarios[t.scenario.0 as usize].steps[t.step as usize].technique)
                }
                None => Value::None,
            },
            _ => f.find(field).map_or(Value::None, |v| self.val(v)),
        }
    }
}

/// The value of a handle's copy, in the system process' table, which is large.
pub fn copied_handle(draw: u64) -> u64 {
    4 * (820 + (draw >> 33) % 480)
}

/// The session that stands for a host's kernel.
pub const KERNEL_LUID: Luid = SYSTEM_LUID;

//! The state of one cell's world: its hosts, what is going on, what will happen, and the facts that came of it.
//!
//! A state is advanced slice by slice. It owns its draws; other cells reach it only by [`Mail`] between slices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::activity::Kind;
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, Atlas, HostId, Image, ImageId};
use crate::world::fact::{Fact, Facts};
use crate::world::host::{Host, Luid, OWN_IMAGES, ProcRef, Regs, Snap};
use crate::world::instance::{Casting, Choices, Inst, InstId, Run};
use crate::world::life::Turn;
use crate::world::program::{HostSel, Library, Part, Rhythm, ScenarioId, ScriptId, Who};
use crate::world::texts::{TextId, Texts};

/// How long what waits on a sleeping machine is put off.
const SLEEPER: Span = Span::s(600);

/// What all cells share and nobody changes.
#[derive(Debug)]
pub struct Shared {
    /// Hosts, accounts, images.
    pub atlas: Atlas,
    /// Scripts, scenarios, habits.
    pub library: Library,
    /// Least boot id and logon id of each host that an earlier run left unused; empty where there was none.
    pub ids: Vec<(u16, Luid)>,
    /// Who can be cast.
    pub casting: Casting,
    /// Seed of the run's life (the atlas has its own).
    pub seed: u64,
    /// Benign life is played.
    pub benign: bool,
    /// Kinds that no stream records need not be made.
    pub wanted: [bool; Kind::ALL.len()],
    /// Time zones of the sites.
    pub zones: Vec<jiff::tz::TimeZone>,
    /// Habits by persona, by role; background by what it runs in.
    pub habits: crate::world::habit::Index,
}

/// What the weights of a boot image's entries add up to, about.
const WEIGHTS: f64 = 16_777_216.0;

impl Shared {
    /// For each boot image those of some background entries that run there, with cumulative weights: how often life brings
    /// one, times its part.
    pub fn by_boot(&self, usable: &[(u32, f64)]) -> Vec<(Vec<u32>, Vec<u32>)> {
        (0..self.atlas.boots.len() as u16)
            .map(|b| {
                let noise = self.habits.noise(b);
                let (mut found, mut before) = (vec![], 0);
                for (e, c) in noise.entries.iter().zip(&noise.cumulative) {
                    if let Some((_, part)) = usable.iter().find(|(u, _)| u == e) {
                        found.push((*e, (c - before) as f64 * part));
                    }
                    before = *c;
                }
                let total: f64 = found.iter().map(|(_, w)| w).sum();
                let (mut entries, mut cumulative, mut sum) = (vec![], vec![], 0);
                for (e, w) in found {
                    sum += ((w / total * WEIGHTS) as u32).max(1);
                    entries.push(e);
                    cumulative.push(sum);
                }
                (entries, cumulative)
            })
            .collect()
    }
}

/// A cell's own handle to what is shared. Counting references to one address from every thread costs more than what is
/// read there, so each cell counts its own.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    /// Instance that background belongs to.
    pub nobody: Arc<Inst>,
}

impl Handle {
    /// A handle of one's own.
    pub fn new(shared: Arc<Shared>) -> Arc<Handle> {
        let nobody = Arc::new(shared.habits.nobody.as_deref().expect("made with the index").clone());
        Arc::new(Handle { shared, nobody })
    }
}

impl std::ops::Deref for Handle {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Memory of tasks and texts that have gone, for those that come.
#[derive(Clone, Debug, Default)]
pub struct Spare {
    /// Tasks.
    pub tasks: Vec<Box<Task>>,
    /// Their frames.
    pub frames: Vec<Vec<Frame>>,
    /// Texts being put together.
    pub texts: Vec<String>,
    /// Processes to choose from.
    pub slots: Vec<u16>,
}

/// Truth of a fact: which step of which instance, in which role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// Instance.
    pub inst: InstId,
    /// Scenario.
    pub scenario: ScenarioId,
    /// Step.
    pub step: u16,
    /// Direct, effect or collateral.
    pub part: u8,
}

impl Tag {
    /// The same step's, for what others do because of it.
    pub fn collateral(self) -> Tag {
        Tag { part: Part::Collateral as u8, ..self }
    }
}

/// What happens at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    /// A task goes on.
    Task(u32),
    /// A process ends by itself.
    End(ProcRef, u32),
    /// The console host of a process starts.
    Console(ProcRef),
    /// A session ends.
    LogOff(u32, Luid),
    /// A person does the next thing.
    Habit(u32),
    /// A habit that comes by the clock, or with a logon, is due: host, habit.
    Timer(u32, u32),
    /// A machine or its person goes on with the day.
    Turn(u32, Turn),
    /// The next process of a boot, or of its owner's session, starts.
    Rise { host: u32, boot: u16, session: bool, at: u16 },
    /// A machine's programs do the next thing they do.
    Noise(u32),
    /// A timer of a host's programs fires: host, entry of background.
    Tick(u32, u32),
    /// The next process of a desktop beside the console's starts.
    Desk { host: u32, desk: crate::world::desktop::Desk, at: u16, then: Option<Box<(Play, Span)>> },
    /// Something is done at such a desktop: host, logon id, what and how long the session is held after it.
    AtDesk { host: u32, luid: Luid, play: Box<(Play, Span)> },
    /// Something from another cell or a delayed start.
    Mail(Box<Body>),
}

/// An entry of the queue: ordered by time, then by number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Time,
    /// Order among equals.
    pub n: u64,
    /// What.
    pub what: What,
}

impl PartialEq for Event {
    fn eq(&self, o: &Event) -> bool {
        (self.time, self.n) == (o.time, o.n)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, o: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Event {
    fn cmp(&self, o: &Event) -> std::cmp::Ordering {
        (self.time, self.n).cmp(&(o.time, o.n))
    }
}

/// A message to another cell, delivered between slices in a fixed order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// Receiving cell.
    pub to: u16,
    /// Sending cell.
    pub from: u16,
    /// Order within the sender.
    pub n: u64,
    /// When it takes effect; at least the start of the next slice.
    pub time: Time,
    /// What.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Body {
    /// Start an instance here, which becomes its home.
    Launch { id: InstId, scenario: ScenarioId, seed: u64, choices: Choices },
    /// Play a step (or a script of it) on a host here.
    Play(Play),
    /// A play of a step is done.
    Done { inst: InstId, step: u16 },
    /// A connection arrives.
    Arrive {
        host: HostId,
        from: std::net::Ipv4Addr,
        from_port: u16,
        port: u16,
        udp: bool,
        server: Option<Who>,
        tag: Option<Tag>,
        bytes: (u64, u64),
    },
    /// A Kerberos exchange at a domain controller.
    Kerberos { dc: HostId, ask: KerberosAsk, tag: Option<Tag> },
    /// An account logs on to a host here.
    LogOn(LogOn),
    /// A request over an SMB session; the logon is the one that opened it.
    Share(LogOn),
    /// A client lets go of an SMB session.
    Unshare { host: HostId, link: u64 },
}

/// A step's play on one host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Play {
    /// Instance.
    pub inst: Arc<Inst>,
    /// Step.
    pub step: u16,
    /// Script.
    pub script: ScriptId,
    /// Where.
    pub host: HostId,
    /// Process it starts from.
    pub parent: Who,
    /// Account it runs as.
    pub account: AccountId,
    /// Member of `each`.
    pub each: Option<HostId>,
    /// Seed of its draws.
    pub seed: u64,
    /// Seed of the values that texts name: the caller's, so that both sides tell of the same.
    pub named: u64,
    /// Home cell that waits for the end, if it does.
    pub home: Option<u16>,
    /// It is told at the start already.
    pub early: bool,
    /// Everything in it is at most this part of the truth.
    pub part: u8,
}

/// What is asked of a domain controller.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KerberosAsk {
    /// Who asks.
    pub account: AccountId,
    /// Host whose service is asked for; none for a ticket-granting ticket.
    pub service: Option<HostId>,
    /// A service account's ticket instead.
    pub service_account: Option<AccountId>,
    /// Logon GUID shared with the member.
    pub guid: [u8; 16],
    /// Client.
    pub ip: std::net::Ipv4Addr,
    /// Client's port.
    pub port: u16,
    /// RC4 was asked for.
    pub rc4: bool,
    /// No ticket: the controller checks an NTLM response.
    pub ntlm: bool,
    /// Without pre-authentication.
    pub bare: bool,
    /// A copy of the ticket-granting ticket, for a service that delegates.
    pub forward: bool,
    /// NTSTATUS-like Kerberos error, 0 for success.
    pub status: u32,
}

/// A logon on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogOn {
    /// Where.
    pub host: HostId,
    /// Who.
    pub account: AccountId,
    /// 2, 3, 4, 7, 9, 10, 11.
    pub logon_type: u8,
    /// How it ends.
    pub result: crate::world::program::LogonResult,
    /// NTLM instead of Kerberos.
    pub ntlm: bool,
    /// Client host, its address and port.
    pub from: Option<(HostId, u16)>,
    /// Kerberos logon GUID.
    pub guid: [u8; 16],
    /// How long the session lives after its script.
    pub hold: Span,
    /// What runs under it.
    pub then: Option<Play>,
    /// Truth.
    pub tag: Option<Tag>,
    /// Name that was typed where the account does not exist.
    pub typed: Option<Box<str>>,
    /// Session of the process that asks the secondary logon service for another: account and LUID.
    pub caller: Option<(AccountId, Luid)>,
    /// The SMB session it opens, 0 for none.
    pub link: u64,
    /// Terminal session of a logon over Remote Desktop whose screen is there, else 0.
    pub terminal: u8,
}

/// A frame of a running task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Script.
    pub script: ScriptId,
    /// Next operation.
    pub pc: u16,
    /// Repetitions left after this one.
    pub left: u32,
    /// Draw of the pause between repetitions comes from this operation's `gap` in the frame below.
    pub gap: crate::world::program::Dur,
    /// Files are taken from here, one per repetition.
    pub files: Option<crate::world::program::FilePlace>,
}

/// A script being played.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Instance.
    pub inst: Arc<Inst>,
    /// Step.
    pub step: u16,
    /// Host it runs on (index in the cell).
    pub host: u32,
    /// Member of `each`.
    pub each: Option<HostId>,
    /// Processes it holds.
    pub regs: Regs,
    /// Account of the actor.
    pub account: AccountId,
    /// Session of the actor.
    pub luid: Luid,
    /// Seed of draws that are the same within the task.
    pub seed: u64,
    /// Seed of the values that texts name: the same here and in what the task sets off elsewhere.
    pub named: u64,
    /// Draws in order.
    pub rng: Rng,
    /// Innermost last.
    pub frames: Vec<Frame>,
    /// File of the current repetition.
    pub file: TextId,
    /// The handle it holds: draw of the request that opened it, type and name of the object.
    pub handle: (u64, TextId, TextId),
    /// Home cell that waits for the end.
    pub home: Option<u16>,
    /// Highest part of truth.
    pub part: u8,
    /// Truth of a background run: that of its process.
    pub tag: u32,
    /// Session to close after the end, and how long after.
    pub closes: Option<(Luid, Span)>,
    /// Made by fill.
    pub fill: bool,
    /// The operation at `pc` has had its wait.
    pub ready: bool,
    /// Nothing is waited for until the first deed: background does something when its time has come.
    pub hurry: bool,
}

impl Task {
    /// A play of a script on a host on behalf of this task.
    pub fn play(&self, script: ScriptId, host: HostId, parent: Who, account: AccountId, salt: u64, part: Part) -> Play {
        Play {
            inst: self.inst.clone(),
            step: self.step,
            script,
            host,
            parent,
            account,
            each: self.each,
            seed: mix(self.seed, salt),
            named: self.named,
            home: None,
            early: false,
            part: (part as u8).max(self.part),
        }
    }
}

/// One cell's world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// What all cells share.
    #[serde(skip)]
    pub shared: Option<Arc<Handle>>,
    /// Memory to be used again.
    #[serde(skip)]
    pub spare: Spare,
    /// Which cell.
    pub cell: u16,
    /// Index of its first host in the atlas.
    pub first: u32,
    /// Its hosts.
    pub hosts: Vec<Host>,
    /// Its texts.
    pub texts: Texts,
    /// Images of its own (attackers' tools).
    pub own_images: Vec<Image>,
    /// What will happen.
    pub queue: BinaryHeap<Reverse<Event>>,
    /// Tasks.
    pub tasks: Vec<Option<Box<Task>>>,
    /// Free slots of `tasks`.
    pub free_tasks: Vec<u32>,
    /// Instances at home here.
    pub runs: BTreeMap<InstId, Run>,
    /// Processes that instances named, on hosts here: instance, name, host. A step played on several hosts names one on each.
    pub named: BTreeMap<(InstId, u16, u32), ProcRef>,
    /// Services of hosts here that were started after boot: host, name.
    pub daemons: BTreeMap<(u32, u16), crate::world::service::Daemon>,
    /// SMB sessions that hosts here have with servers.
    pub links: BTreeMap<crate::world::smb::LinkKey, crate::world::smb::Link>,
    /// SMB sessions that hosts here serve: host, logon id.
    pub served: BTreeMap<(u32, Luid), crate::world::smb::Served>,
    /// Truth of facts; 0 is none.
    pub tags: Vec<Tag>,
    /// Facts with records to be written.
    pub facts: Facts,
    /// Facts made in this slice, in order, for the cell to collect.
    pub made: Vec<u32>,
    /// Messages sent in this slice.
    pub mail: Vec<Mail>,
    /// Counts entries of the queue and messages.
    pub n: u64,
    /// Instances started here.
    pub started: u64,
    /// Now.
    pub now: Time,
    /// Facts made now are fill.
    pub filling: bool,
    /// What waits until a host wakes.
    pub held: BTreeMap<u32, Vec<What>>,
    /// Offsets of the sites' local time from UTC in seconds, and until when they hold.
    pub offsets: (Vec<i32>, Time),
    /// Facts made so far of each kind: what one draws does not depend on which others anybody records.
    pub drawn: Vec<u32>,
}

impl State {
    /// What all cells share.
    #[inline]
    pub fn shared(&self) -> &Arc<Handle> {
        self.shared.as_ref().expect("attached before use")
    }
    /// The atlas.
    #[inline]
    pub fn atlas(&self) -> &Atlas {
        &self.shared().atlas
    }
    /// The library.
    #[inline]
    pub fn library(&self) -> &Library {
        &self.shared().library
    }
    /// Host of the atlas by index in the cell.
    #[inline]
    pub fn host_id(&self, host: u32) -> HostId {
        HostId(self.first + host)
    }
    /// Index in the cell of a host, when it is one of ours.
    pub fn local(&self, id: HostId) -> Option<u32> {
        id.0.checked_sub(self.first).filter(|i| (*i as usize) < self.hosts.len())
    }
    /// The image of a process.
    pub fn image(&self, image: u32) -> &Image {
        if image >= OWN_IMAGES {
            &self.own_images[(image - OWN_IMAGES) as usize]
        } else {
            self.atlas().image(ImageId(image))
        }
    }

    /// Plans something.
    pub fn at(&mut self, time: Time, what: What) {
        self.n += 1;
        if self.queue.len() == self.queue.capacity() {
            // thousands of hosts have tens of timers each: doubling would be dear
            self.queue.reserve_exact(self.queue.len() / 8 + 64);
        }
        self.queue.push(Reverse(Event { time: time.max(self.now), n: self.n, what }));
    }

    /// Sends something to the cell of a host; our own cell gets it without a detour.
    pub fn send(&mut self, host: HostId, time: Time, body: Body) {
        let to = self.atlas().host(host).cell;
        self.send_cell(to, time, body);
    }

    /// Sends something to a cell.
    pub fn send_cell(&mut self, to: u16, time: Time, body: Body) {
        // the same least delay within a cell as between cells: a slice
        let time = time.max(Time::of_slice(self.now.slice() + 1));
        if to == self.cell {
            return self.at(time, What::Mail(Box::new(body)));
        }
        self.n += 1;
        self.mail.push(Mail { to, from: self.cell, n: self.n, time, body });
    }

    /// Takes messages, which must come in the order (time, from, n).
    pub fn receive(&mut self, mail: Mail) {
        self.at(mail.time, What::Mail(Box::new(mail.body)));
    }

    /// Plays everything before `end`, the end of a slice.
    pub fn advance(&mut self, end: Time) {
        while let Some(Reverse(e)) = self.queue.peek() {
            if e.time >= end {
                break;
            }
            let Reverse(e) = self.queue.pop().expect("just peeked");
            self.now = e.time;
            if let Some(host) = self.waits_for(&e.what) {
                self.hold(host, e.what);
                continue;
            }
            match e.what {
                What::Task(t) => match self.tasks[t as usize].as_ref().map(|t| t.host) {
                    Some(host) if !self.hosts[host as usize].on => self.at(self.now + SLEEPER, What::Task(t)),
                    _ => self.step_task(t),
                },
                What::End(p, code) if self.asleep(p.host) => self.at(self.now + SLEEPER, What::End(p, code)),
                What::End(p, code) => self.end_process(p, code, self.now),
                What::Console(p) => self.console(p),
                What::LogOff(host, luid) => self.log_off(host, luid, false),
                What::Habit(host) => self.next_habit(host),
                What::Noise(host) => self.next_noise(host),
                What::Tick(host, entry) => self.next_timer(host, entry, false),
                What::Timer(host, habit) => self.timer(host, habit),
                What::Turn(host, turn) => self.turn(host, turn),
                What::Rise { host, boot, session, at } => self.rise_next(host, boot, session, at),
                What::Desk { host, desk, at, then } => self.desk_next(host, desk, at, then),
                What::AtDesk { host, luid, play } => self.at_desk(host, luid, *play),
                What::Mail(body) => self.open_mail(*body),
            }
        }
        self.now = end;
    }

    /// When the next thing happens here by itself; none when nothing will.
    pub fn next_due(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse(e)| e.time)
    }

    fn open_mail(&mut self, body: Body) {
        match body {
            Body::Launch { id, scenario, seed, choices } => self.launch(id, scenario, seed, &choices, &[]),
            Body::Play(p) => self.play(p, None),
            Body::Done { inst, step } => self.step_done(inst, step),
            Body::Arrive { host, from, from_port, port, udp, server, tag, bytes } => {
                self.arrive(host, from, from_port, port, udp, server, tag, bytes)
            }
            Body::Kerberos { dc, ask, tag } => self.kerberos(dc, ask, tag),
            Body::LogOn(l) => self.log_on(l),
            Body::Share(l) => self.share(l),
            Body::Unshare { host, link } => self.unshare(host, link),
        }
    }

    /// A tag's index, made when new.
    pub fn tag(&mut self, tag: Tag) -> u32 {
        if let Some(i) = self.tags.iter().rposition(|t| *t == tag) {
            return i as u32;
        }
        self.tags.push(tag);
        self.tags.len() as u32 - 1
    }

    /// A tag by index, none for 0.
    pub fn tag_of(&self, tag: u32) -> Option<Tag> {
        if tag == 0 { None } else { Some(self.tags[tag as usize]) }
    }

    /// The tag of a task's doings in a part of the truth; 0 for benign ones.
    pub fn task_tag(&mut self, t: &Task, part: Part) -> u32 {
        if !t.inst.attack {
            return t.tag;
        }
        let tag = Tag { inst: t.inst.id, scenario: t.inst.scenario, step: t.step, part: (part as u8).max(t.part) };
        self.tag(tag)
    }

    /// Makes a fact about a process of a host. The caller adds what else is known and then calls [`State::made`].
    pub fn fact(&mut self, kind: Kind, host: u32, time: Time, proc: &Snap, tag: u32) -> u32 {
        let n = &mut self.drawn[kind as usize];
        *n = n.wrapping_add(1);
        let n = *n as u64;
        let draw = mix(mix(self.shared().seed, (kind as u64) << 32 | self.cell as u64), n);
        let filling = self.filling;
        let (i, f) = self.facts.add();
        f.kind = kind;
        f.host = host;
        f.time = time;
        f.proc = *proc;
        f.tag = tag;
        f.draw = draw;
        f.subject = proc.account;
        f.subject_luid = proc.luid;
        f.fill = filling;
        i
    }

    /// A fact is complete: it takes its uses of texts and waits to be collected.
    pub fn done(&mut self, i: u32) {
        let f = self.facts.get(i);
        f.retain(&mut self.texts);
        self.made.push(i);
    }

    /// Whether any stream records a kind.
    #[inline]
    pub fn wants(&self, kind: Kind) -> bool {
        self.shared().wanted[kind as usize]
    }

    /// The facts made since the last call, in order.
    pub fn collect(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.made)
    }

    /// Bytes of memory it holds, those of unused capacity included; what all cells share is not counted.
    pub fn bytes(&self) -> usize {
        use std::mem::size_of;
        let host = |h: &Host| {
            size_of::<Host>()
                + h.procs.bytes()
                + h.sessions.capacity() * size_of::<crate::world::host::Session>()
                + h.parents.capacity() * size_of::<crate::world::host::Kept>()
        };
        self.hosts.iter().map(host).sum::<usize>()
            + self.texts.bytes()
            + self.queue.capacity() * size_of::<Reverse<Event>>()
            + self.tasks.iter().map(|t| 8 + t.as_ref().map_or(0, |_| size_of::<Task>() + 64)).sum::<usize>()
            + self.facts.bytes()
    }

    /// A process by reference, while it lives.
    pub fn proc(&self, r: ProcRef) -> Option<&crate::world::host::Proc> {
        self.hosts.get(r.host as usize)?.procs.get(r.slot).filter(|p| p.snap.key == r.key)
    }

    /// A reference to a living process in a slot.
    pub fn proc_ref(&self, host: u32, slot: u16) -> ProcRef {
        ProcRef { host, slot, key: self.hosts[host as usize].procs[slot].snap.key }
    }

    /// Hours since local midnight at any host's site.
    pub fn zone_hours(&mut self, host: HostId, t: Time) -> Option<f64> {
        let ts = jiff::Timestamp::from_second(t.second()).ok()?;
        let site = self.atlas().host(host).site as usize;
        let offset = self.shared().zones.get(site)?.to_offset(ts).seconds() as i64;
        Some((t.second() + offset).rem_euclid(86_400) as f64 / 3600.0)
    }

    /// Local time of a host's site: weekday (Monday 0) and hours since midnight.
    pub fn local_hours(&mut self, host: u32, t: Time) -> (u8, f64) {
        if t >= self.offsets.1 {
            let ts = jiff::Timestamp::from_second(t.second()).unwrap_or_default();
            self.offsets.0 = self.shared().zones.iter().map(|z| z.to_offset(ts).seconds()).collect();
            // zones change on a quarter of an hour at the earliest
            self.offsets.1 = Time((t.second().div_euclid(900) + 1) * 900 * 1_000_000_000);
        }
        let site = self.atlas().host(self.host_id(host)).site as usize;
        let local = t.second() + self.offsets.0.get(site).copied().unwrap_or(0) as i64;
        let day = local.div_euclid(86_400);
        ((day + 3).rem_euclid(7) as u8, local.rem_euclid(86_400) as f64 / 3600.0)
    }

    /// The host a selector means, for a task.
    pub fn select(&self, t: &Task, sel: HostSel) -> HostId {
        use crate::world::instance::Bound;
        let here = self.host_id(t.host);
        let h = self.atlas().host(here);
        match sel {
            HostSel::Here => here,
            HostSel::Role(r) => match t.inst.roles.get(r as usize) {
                Some(Bound::Host(h)) => *h,
                Some(Bound::Hosts(h)) => t.each.filter(|e| h.contains(e)).or(h.first().copied()).unwrap_or(here),
                Some(Bound::Account(a)) => self.atlas().account(*a).host.unwrap_or(here),
                _ => here,
            },
            HostSel::Each => t.each.unwrap_or(here),
            HostSel::Host(h) => h,
            HostSel::Dc => h.dc,
            HostSel::FileServer => h.file_server,
            HostSel::Any(role, n) => {
                let all = &self.shared().casting.by_role[role as usize];
                let i = Rng::of(t.named, n as u64, purpose("any host")).below(all.len().max(1) as u64) as usize;
                all.get(i).copied().unwrap_or(here)
            }
        }
    }

    /// Whether a host's lid is closed.
    fn asleep(&self, host: u32) -> bool {
        self.hosts.get(host as usize).is_some_and(|h| h.asleep)
    }

    /// A seed for the next benign instance here.
    pub fn next_instance(&mut self) -> (InstId, u64) {
        self.started += 1;
        let id = InstId(((self.cell as u64 + 1) << 40) | self.started);
        (id, mix(self.shared().seed, id.0))
    }
}

/// Mean pause between two of a rhythm at full activity.
pub fn mean_gap(r: &Rhythm) -> Span {
    match r {
        // a working day has eight hours
        Rhythm::PerDay(n) => Span((8.0 * 3600.0 * 1e9 / n.max(1e-6)) as i64),
        Rhythm::Every(d, _) => *d,
        Rhythm::PerHour(n) => Span((3600.0 * 1e9 / n.max(1e-9)) as i64),
        Rhythm::AtLogon => Span::s(86_400),
    }
}

/// Facts of a state by index, for tests and the cell.
pub fn fact(state: &State, i: u32) -> &Fact {
    state.facts.get(i)
}

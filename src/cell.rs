//! A cell: a world's share of hosts, what their sensors record, and when it is delivered.
//!
//! Slice by slice: simulate, fill, merge by release time, number, render. A plain thread owns a cell for a slice;
//! nothing here locks, reads a clock or does I/O. What comes out are batches, one per delivery.

mod fill;
mod pending;
mod truth;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Message, RecordId};
use crate::policy::SensorPolicy as Policy;
use crate::rng::{Rng, mix, purpose};
use crate::schedule::{Cursor, Division, Schedule, Unit};
use crate::source::{Delay, EventIndex, Source, Writer};
use crate::time::{SLICE, Span, Time};
use crate::world::atlas::HostId;
use crate::world::state::{Mail, Shared, State};
use crate::world::view::{FactView, Record};

pub use fill::FillPlan;
use pending::{Pending, Wheel};

/// How collection delays records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Collect {
    /// As fast as collection can: a few milliseconds, constant on a host.
    Lab,
    /// Forwarded in batches with this period, which starts at another moment on each host, and this least delay.
    Batches { period: Span, least: Span },
}

/// A source in use: what records it and where it is delivered.
#[derive(Debug)]
pub struct Feed {
    /// The source.
    pub source: Arc<Source>,
    /// Record numbers are counted per host in this channel (index).
    pub channel: usize,
    /// How long collection takes.
    pub collect: Collect,
    /// Streams that deliver it (indices).
    pub streams: Vec<usize>,
}

/// What a message is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Name of the host.
    Host,
    /// Nothing.
    None,
    /// A field of the activity.
    Field(crate::activity::Field),
}

/// A way from a stream to a sink.
#[derive(Debug)]
pub struct DeliveryPlan {
    /// The source, compiled for the encoding.
    pub writer: Writer,
    /// What messages are keyed by.
    pub key: Key,
    /// Most records of a message, for encodings that hold several.
    pub records_max: u32,
    /// Truth lines for every record, or only those of attacks.
    pub truth_all: bool,
    /// Labels inside the records.
    pub labels: bool,
}

/// A stream as the cells know it.
#[derive(Debug)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// Index of its feed.
    pub feed: usize,
    /// Hosts of the atlas it covers, by index.
    pub hosts: Vec<bool>,
    /// How what is due is divided over the cells.
    pub division: Division,
    /// Only records of attacks are sent.
    pub attack_only: bool,
    /// Bytes of a record of the first delivery, as expected.
    pub mean_bytes: u64,
    /// Where it goes.
    pub deliveries: Vec<DeliveryPlan>,
}

/// What all cells share: everything resolved.
#[derive(Debug)]
pub struct Plan {
    /// The world.
    pub shared: Arc<Shared>,
    /// Id of the run, for truth lines.
    pub run: String,
    /// Sources in use.
    pub feeds: Vec<Feed>,
    /// Streams.
    pub streams: Vec<StreamPlan>,
    /// Channels in which records are numbered.
    pub channels: Vec<String>,
    /// Sensor policies.
    pub policies: Vec<Arc<Policy>>,
    /// Policy of each host of the atlas.
    pub policy_of: Vec<u8>,
    /// How streams are filled, in this order.
    pub fill: Vec<FillPlan>,
    /// First record number per host and channel, where a manifest gives them.
    pub numbers: Option<Vec<u64>>,
}

/// What a cell counted of a stream in a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Records made.
    pub records: u64,
    /// Of these, attack records.
    pub attack: u64,
    /// Of these, made by fill.
    pub fill: u64,
    /// Bytes of the first delivery.
    pub bytes: u64,
}

/// One cell at work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// What all cells share.
    #[serde(skip)]
    plan: Option<Arc<Plan>>,
    /// The world's share.
    pub state: State,
    wheel: Wheel,
    /// Next record number by host and channel.
    numbers: Vec<u64>,
    current: i64,
    /// Where each stream's schedule stands.
    cursors: Vec<Option<Cursor>>,
    /// Records or bytes counted against each stream's schedule since the start.
    counted: Vec<u64>,
    /// Records of each stream made here, for their ids.
    made: Vec<u64>,
    fill_rng: Rng,
    /// Records and bytes made so far of each stream.
    sizes: Vec<(u64, u64)>,
    /// Records that fill could not make for want of a host or program, per stream.
    pub starved: Vec<u64>,
    /// First record number of this slice by host and channel (index into `numbers`).
    touched: Vec<(u32, u64)>,
    /// What this slice brought, per stream.
    pub slice: Vec<Counted>,
    /// Records by event of each feed since the cell was attached.
    #[serde(skip)]
    pub mix: Vec<Vec<u64>>,
    /// What this slice brought, per stream and delivery.
    #[serde(skip)]
    pub out: Vec<Vec<Batch>>,
    #[serde(skip)]
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    due: Vec<Pending>,
    /// Slice in which a number was last given out.
    stamps: Vec<i64>,
    /// Records planned per feed since it was last set to zero.
    planned: Vec<u64>,
    facts: Vec<u32>,
    key: Vec<u8>,
}

impl Cell {
    /// A cell in steady state at `now`.
    pub fn new(plan: Arc<Plan>, index: u16, now: Time) -> Cell {
        let state = State::new(plan.shared.clone(), index, now);
        let channels = plan.channels.len();
        let mut numbers = Vec::with_capacity(state.hosts.len() * channels);
        for (h, host) in state.hosts.iter().enumerate() {
            let id = state.host_id(h as u32).0 as usize;
            for c in 0..channels {
                numbers.push(match &plan.numbers {
                    Some(n) => n[id * channels + c],
                    None => first_number(&plan, host.booted, now, id as u64, c as u64),
                });
            }
        }
        let streams = plan.streams.len();
        let mut cell = Cell {
            state,
            wheel: Wheel::new(now.slice()),
            numbers,
            current: i64::MIN,
            cursors: vec![None; streams],
            counted: vec![0; streams],
            made: vec![0; streams],
            fill_rng: Rng::of(plan.shared.seed, index as u64, purpose("fill")),
            sizes: vec![(0, 0); streams],
            starved: vec![0; streams],
            touched: vec![],
            slice: vec![],
            mix: vec![],
            out: vec![],
            scratch: Scratch::default(),
            plan: None,
        };
        cell.attach(plan);
        cell
    }

    /// Attaches what is shared to a cell that was loaded.
    pub fn attach(&mut self, plan: Arc<Plan>) {
        self.state.attach(plan.shared.clone());
        self.out = plan.streams.iter().map(|s| vec![Batch::default(); s.deliveries.len()]).collect();
        self.slice = vec![Counted::default(); plan.streams.len()];
        self.mix = plan.feeds.iter().map(|f| vec![0; f.source.events.len()]).collect();
        self.scratch.stamps = vec![i64::MIN; self.numbers.len()];
        self.scratch.planned = vec![0; plan.feeds.len()];
        self.plan = Some(plan);
    }

    /// Which cell it is.
    pub fn index(&self) -> u16 {
        self.state.cell
    }

    /// Plays one slice. Mail must have been received before, in order.
    pub fn run(&mut self, slice: i64, schedules: &[Option<Schedule>]) {
        let plan = self.plan.clone().expect("attached before use");
        let end = Time::of_slice(slice + 1);
        for batches in &mut self.out {
            for b in batches {
                b.clear();
            }
        }
        self.slice.fill(Counted::default());
        self.touched.clear();
        self.current = slice;
        self.state.advance(end);
        self.collect(&plan, slice, None);
        self.fill(&plan, slice, schedules);
        self.release(&plan, slice);
    }

    /// Messages to other cells.
    pub fn take_mail(&mut self) -> Vec<Mail> {
        std::mem::take(&mut self.state.mail)
    }

    /// Turns the facts made since the last call into records to be released. Facts of fill have their release
    /// given: it is that of the first record for the driving feed, and the fact's own time follows from it.
    /// Returns how many records of the driving stream's feed came out of it in this slice.
    fn collect(&mut self, plan: &Plan, slice: i64, driver: Option<(usize, Time)>) -> u64 {
        let mut facts = std::mem::take(&mut self.scratch.facts);
        facts.clear();
        facts.append(&mut self.state.made);
        let mut driven = 0;
        let mut shift = Span::ZERO;
        if let Some((feed, release)) = driver {
            // the first fact that the driving feed may record decides; what led to it moves with it
            let events = |i: &&u32| !plan.feeds[feed].source.events_for(self.state.facts.get(**i).kind).is_empty();
            if let Some(i) = facts.iter().find(events) {
                shift = self.shift_of(plan, *i, feed, release);
            }
        }
        for i in &facts {
            if driver.is_some() {
                self.backdate(*i, shift);
            }
            driven += self.dispatch(plan, slice, *i, driver, driver.is_some() && driven == 0);
        }
        self.scratch.facts = facts;
        driven
    }

    /// How much earlier a fact must have happened so that its record for a feed is released at a given time.
    fn shift_of(&self, plan: &Plan, i: u32, feed: usize, release: Time) -> Span {
        let f = self.state.facts.get(i);
        let source = &plan.feeds[feed].source;
        let Some(e) = source.events_for(f.kind).first() else { return Span::ZERO };
        let d = delay(source.event(*e).write_after, f.draw, e.0);
        let collect = collect_delay(plan.feeds[feed].collect, self.state.host_id(f.host), f.time);
        Span((f.time.0 - (release.0 - d.0 - collect.0)).max(0))
    }

    /// Moves a fact back in time, but not before its process started.
    fn backdate(&mut self, i: u32, by: Span) {
        let f = self.state.facts.get_mut(i);
        let old = f.time;
        let start =
            if f.kind == crate::activity::Kind::ProcessStart { Time(i64::MIN) } else { f.proc.start + Span::us(50) };
        f.time = (f.time - by).max(start.min(f.time));
        let new = f.time;
        for (_, v) in &mut f.extra {
            if *v == crate::world::fact::Val::Time(old) {
                *v = crate::world::fact::Val::Time(new);
            }
        }
    }

    /// Plans the records of a fact; a fact without any is forgotten.
    fn dispatch(&mut self, plan: &Plan, slice: i64, i: u32, driver: Option<(usize, Time)>, first: bool) -> u64 {
        let mut driven = 0;
        let mut uses = 0;
        let mut forced = !first;
        let f = self.state.facts.get(i);
        let (host, kind) = (f.host, f.kind);
        let id = self.state.host_id(host);
        let policy = &*plan.policies[plan.policy_of[id.0 as usize] as usize];
        let start = Time::of_slice(slice);
        for (feed_index, feed) in plan.feeds.iter().enumerate() {
            let events = feed.source.events_for(kind);
            if events.is_empty() || !feed.streams.iter().any(|s| plan.streams[*s].hosts[id.0 as usize]) {
                continue;
            }
            for e in events {
                let view = FactView::new(&self.state, self.state.facts.get(i), Record::default());
                if !feed.source.selects(*e, &view, policy) {
                    continue;
                }
                let f = self.state.facts.get(i);
                let mut write = f.time + delay(feed.source.event(*e).write_after, f.draw, e.0);
                let collect = collect_delay(feed.collect, id, write);
                let mut release = write + collect;
                match driver {
                    Some((d, at)) if d == feed_index && !forced => {
                        forced = true;
                        release = at;
                        // a process that had just started holds its deeds back a little
                        write = write.min(release - collect).max(f.time);
                    }
                    // whatever is already due goes out at once
                    _ => release = release.max(start + Span((f.draw % SLICE.0 as u64) as i64)),
                }
                uses += 1;
                self.scratch.planned[feed_index] += 1;
                self.wheel.add(Pending { release, write, fact: i, feed: feed_index as u8, event: e.0, n: 0 });
                if let Some((d, _)) = driver
                    && d == feed_index
                    && release.slice() == slice
                {
                    driven += 1;
                }
            }
        }
        if uses == 0 {
            let State { facts, texts, .. } = &mut self.state;
            facts.free(i, texts);
        } else {
            self.state.facts.get_mut(i).uses = uses;
        }
        driven
    }

    /// Numbers and renders what is due in a slice.
    fn release(&mut self, plan: &Plan, slice: i64) {
        let mut due = std::mem::take(&mut self.scratch.due);
        self.wheel.take(slice, &mut due);
        due.sort_unstable_by_key(|p| (p.release, p.n));
        for p in &due {
            self.write(plan, p);
        }
        for (s, stream) in plan.streams.iter().enumerate() {
            for (d, delivery) in stream.deliveries.iter().enumerate() {
                truth::close(&delivery.writer, &mut self.out[s][d], delivery.records_max);
            }
        }
        due.clear();
        self.scratch.due = due;
    }

    fn write(&mut self, plan: &Plan, p: &Pending) {
        let feed = &plan.feeds[p.feed as usize];
        let fact = self.state.facts.get(p.fact);
        let id = self.state.host_id(fact.host);
        let number = {
            let i = fact.host as usize * plan.channels.len() + feed.channel;
            let n = &mut self.numbers[i];
            if self.scratch.stamps[i] != self.current {
                self.scratch.stamps[i] = self.current;
                self.touched.push((i as u32, *n));
            }
            *n += 1;
            *n - 1
        };
        self.mix[p.feed as usize][p.event as usize] += 1;
        let attack = fact.tag != 0;
        let filled = fact.fill;
        let event = EventIndex(p.event);
        let policy = &*plan.policies[plan.policy_of[id.0 as usize] as usize];
        for s in &feed.streams {
            let stream = &plan.streams[*s];
            if !stream.hosts[id.0 as usize] || (stream.attack_only && !attack) {
                continue;
            }
            let fact = self.state.facts.get(p.fact);
            let record = RecordId { stream: *s as u16, cell: self.state.cell, n: self.made[*s] };
            self.made[*s] += 1;
            let mut bytes = 0;
            for (d, delivery) in stream.deliveries.iter().enumerate() {
                let view = FactView::new(
                    &self.state,
                    fact,
                    Record { id: number, write: p.write, release: p.release, labels: delivery.labels },
                );
                let batch = &mut self.out[*s][d];
                let start = truth::open(&delivery.writer, batch, delivery.records_max);
                delivery.writer.render(event, &view, policy, &mut batch.bytes);
                if d == 0 {
                    bytes = (batch.bytes.len() - start) as u64;
                }
                if attack || delivery.truth_all {
                    let line = truth::Line { plan, stream, record, fact, feed, start };
                    self.scratch.key.clear();
                    delivery.writer.natural_key(&view, policy, &mut self.scratch.key);
                    truth::write(&self.state, &line, &view, &self.scratch.key, batch);
                }
                match delivery.key {
                    Key::Host => batch.keys.extend_from_slice(self.state.atlas().host(id).fqdn.as_bytes()),
                    Key::None => {}
                    Key::Field(f) => truth::key(&view, f, &mut batch.keys),
                }
                let m = Message {
                    end: batch.bytes.len() as u32,
                    key_end: batch.keys.len() as u32,
                    truth_end: batch.truth.len() as u32,
                    id: record,
                    records: 1,
                    attack: u32::from(attack),
                    release: p.release,
                    event: fact.time,
                    severity: truth::severity(feed, event),
                };
                truth::push(batch, m, delivery.records_max);
            }
            let c = &mut self.slice[*s];
            c.records += 1;
            c.attack += u64::from(attack);
            c.fill += u64::from(filled);
            c.bytes += bytes;
            self.sizes[*s].0 += 1;
            self.sizes[*s].1 += bytes;
        }
        let State { facts, texts, .. } = &mut self.state;
        facts.written(p.fact, texts);
    }

    /// What is due of a stream here by the end of a slice, in the schedule's unit.
    fn due(&mut self, plan: &Plan, stream: usize, schedule: &Schedule, end: Time) -> u64 {
        let cursor = self.cursors[stream].get_or_insert_with(|| schedule.cursor());
        let total = cursor.due(schedule, end);
        plan.streams[stream].division.share(total, self.state.cell as usize)
    }

    /// Whether a schedule counts bytes.
    fn in_bytes(schedule: &Schedule) -> bool {
        schedule.unit() == Unit::Bytes
    }

    /// Numbers given out in the last slice: host, channel, first, last.
    pub fn numbered(&self) -> impl Iterator<Item = (HostId, usize, u64, u64)> + '_ {
        let channels = self.plan.as_ref().map_or(1, |p| p.channels.len());
        self.touched.iter().map(move |(i, first)| {
            let i = *i as usize;
            (self.state.host_id((i / channels) as u32), i % channels, *first, self.numbers[i] - 1)
        })
    }

    /// Record number that a host's channel gives next.
    pub fn next_number(&self, host: HostId, channel: usize) -> Option<u64> {
        let plan = self.plan.as_ref()?;
        let local = self.state.local(host)?;
        self.numbers.get(local as usize * plan.channels.len() + channel).copied()
    }

    /// Ends benign life, so that only what is tried makes records.
    pub fn still(&mut self) {
        use crate::world::state::What;
        self.state.queue.retain(|e| !matches!(e.0.what, What::Noise(_) | What::Habit(_)));
    }

    /// Lets a background entry run once on a host, now: the records it brings at once, per feed; none where its program
    /// does not run.
    pub fn try_entry(&mut self, host: u32, entry: u32, seed: u64, slice: i64) -> Option<Vec<u64>> {
        let plan = self.plan.clone()?;
        self.collect(&plan, slice, None);
        self.scratch.planned.fill(0);
        let ran = self.state.background(host, entry, mix(seed, entry as u64));
        self.collect(&plan, slice, None);
        ran.then(|| self.scratch.planned.clone())
    }

    /// Records and bytes made so far of a stream.
    pub fn made_so_far(&self, stream: usize) -> (u64, u64) {
        self.sizes[stream]
    }

    /// Facts and pending records in memory, for tests and metrics.
    pub fn live(&self) -> (usize, usize) {
        (self.state.facts.live(), self.wheel.len())
    }
}

/// Draws the delay from event to writing; the same for every asker.
fn delay(d: Delay, draw: u64, event: u16) -> Span {
    let mut rng = Rng::of(draw, event as u64, purpose("write"));
    match d {
        Delay::Const(s) => s,
        Delay::Range(a, b) => Span(rng.range(a.0, b.0)),
        Delay::LogNormal { median, p99 } => Span(rng.lognormal(median.0 as f64, p99.0 as f64) as i64),
    }
}

/// From writing to release. Never later for an earlier record of a host: collection is first in, first out.
fn collect_delay(c: Collect, host: HostId, write: Time) -> Span {
    match c {
        Collect::Lab => Span::us(900 + (mix(host.0 as u64, purpose("lab")) % 4_000) as i64),
        Collect::Batches { period, least } => {
            let phase = (mix(host.0 as u64, purpose("batch")) % period.0.max(1) as u64) as i64;
            let next = (write.0 - phase).div_euclid(period.0) + 1;
            Span(next * period.0 + phase - write.0 + least.0)
        }
    }
}

/// A host that has run for long has written many records.
fn first_number(plan: &Plan, booted: Time, now: Time, host: u64, channel: u64) -> u64 {
    let mut rng = Rng::of(plan.shared.seed, mix(host, channel), purpose("record number"));
    let days = 20.0 + rng.f64() * 500.0 + (now - booted).as_secs_f64() / 86_400.0;
    (days * rng.lognormal(2_500.0, 40_000.0)) as u64
}

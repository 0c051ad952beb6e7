//! A cell: a world's share of hosts, what their sensors record, and when it is delivered.
//!
//! Slice by slice: simulate, fill, merge by release time, number, render. A plain thread owns a cell for a slice;
//! nothing here locks, reads a clock or does I/O. What comes out are batches, one per delivery.

mod collect;
mod dispatch;
mod fill;
mod pending;
mod plan;
mod power;
mod truth;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Message, RecordId};
use crate::rng::{Rng, mix, purpose};
use crate::schedule::{Cursor, Schedule};
use crate::source::EventIndex;
use crate::time::Time;
use crate::world::atlas::HostId;
use crate::world::state::{Mail, State};
use crate::world::view::{FactView, Record};

pub use collect::{Away, Collect, away, leaves};
pub use fill::FillPlan;
use pending::{NEAR_MIN, Pending, Wheel};
pub use plan::{DeliveryPlan, Feed, Key, Plan, StreamPlan};
pub use power::{Power, PowerCurve};

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, b: Counted) {
        self.records += b.records;
        self.attack += b.attack;
        self.fill += b.fill;
        self.bytes += b.bytes;
    }
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
    /// Records of each stream that are to be released by the end of the slice its fill looks at.
    planned: Vec<u64>,
    /// Records of each stream made here, for their ids.
    made: Vec<u64>,
    fill_rng: Rng,
    /// The schedules have been looked at for who is awake.
    powered: bool,
    /// Records and bytes made so far of each stream.
    sizes: Vec<(u64, u64)>,
    /// How far each stream is ahead of its schedule here, in its unit: life came in a burst.
    pub ahead: Vec<u64>,
    /// What other cells are ahead by that is made up for here.
    pub makes_up: Vec<u64>,
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
    /// Delays of sensors' queues by host and feed.
    queues: dispatch::Queues,
    /// Slices by which collection of each feed is late here.
    leads: Vec<i64>,
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
            wheel: Wheel::new(now.slice(), NEAR_MIN + plan.lead_max() as usize, streams),
            numbers,
            current: i64::MIN,
            cursors: vec![None; streams],
            planned: vec![0; streams],
            made: vec![0; streams],
            fill_rng: Rng::of(plan.shared.seed, index as u64, purpose("fill")),
            powered: false,
            sizes: vec![(0, 0); streams],
            ahead: vec![0; streams],
            makes_up: vec![0; streams],
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
        self.scratch.queues.0 = vec![Default::default(); self.state.hosts.len() * plan.feeds.len()];
        self.scratch.leads = plan.feeds.iter().enumerate().map(|(i, f)| f.collect.lead(plan.shared.seed, i)).collect();
        self.plan = Some(plan);
    }

    /// Which cell it is.
    pub fn index(&self) -> u16 {
        self.state.cell
    }

    /// Plays one slice. Mail must have been received before, in order.
    pub fn run(&mut self, slice: i64, schedules: &[Option<Schedule>]) {
        // taken out and put back: counting references to what all threads share would make them wait for each other
        let plan = self.plan.take().expect("attached before use");
        let end = Time::of_slice(slice + 1);
        for batches in &mut self.out {
            for b in batches {
                b.clear();
            }
        }
        self.slice.fill(Counted::default());
        self.touched.clear();
        self.current = slice;
        self.look_ahead(&plan, slice);
        self.power(&plan, slice, schedules);
        self.state.advance(end);
        self.collect(&plan, slice, None);
        self.fill(&plan, slice, schedules);
        self.release(&plan, slice);
        self.plan = Some(plan);
    }

    /// When the world here goes on (none: not at all), if no record waits for its release; none while one does.
    pub fn idle_until(&self) -> Option<Option<Time>> {
        (self.wheel.len() == 0).then(|| self.state.next_due())
    }

    /// Leaves out the slices before this one. Nothing may be due in them.
    pub fn jump(&mut self, slice: i64) {
        self.wheel.jump(slice);
    }

    /// Messages to other cells.
    pub fn take_mail(&mut self) -> Vec<Mail> {
        std::mem::take(&mut self.state.mail)
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
        let attack = fact.tag != 0;
        if p.release < plan.start {
            // delivered before the run began
            let State { facts, texts, .. } = &mut self.state;
            return facts.written(p.fact, texts);
        }
        self.mix[p.feed as usize][p.event as usize] += 1;
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
            self.planned[*s] -= 1;
            let (made, size) = self.sizes[*s];
            let mut bytes = size.checked_div(made).unwrap_or(0);
            let written = record.n.is_multiple_of(plan.written);
            for (d, delivery) in stream.deliveries.iter().enumerate().filter(|_| written) {
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
        self.state.queue.retain(|e| {
            !matches!(e.0.what, What::Noise(_) | What::Habit(_) | What::Tick(..) | What::Timer(..) | What::Turn(..))
        });
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

/// A host that has run for long has written many records. They grow with the clock by more than a run writes, so that
/// a run that knows nothing of an earlier one begins above it.
fn first_number(plan: &Plan, booted: Time, now: Time, host: u64, channel: u64) -> u64 {
    const PER_SECOND: u64 = 4;
    let mut rng = Rng::of(plan.shared.seed, mix(host, channel), purpose("record number"));
    let days = 20.0 + rng.f64() * 500.0 + (now - booted).as_secs_f64() / 86_400.0;
    let begun = Time(1_767_225_600_000_000_000 - (rng.f64() * 9e15) as i64); // 2026-01-01, or months before
    (days * rng.lognormal(2_500.0, 40_000.0)) as u64 + ((now - begun).0.max(0) / 1_000_000_000) as u64 * PER_SECOND
}

//! The thread that drives cells: pace, commands, slices, doors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use crate::account;
use crate::app::board::{Board, Instance};
use crate::app::command::Order;
use crate::app::losses::Losses;
use crate::batch::{Batch, Message};
use crate::config::{self, Config};
use crate::director::Director;
use crate::engine::{Engine, append};
use crate::journal::{Command, Journal};
use crate::manifest::Manifest;
use crate::pace::{self, Pace, RealWatch, Watch};
use crate::plan::Route;
use crate::sink::{Door, OnSlow};
use crate::time::{Span, Time};

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Records of all streams.
    pub count: Option<u64>,
    /// Logical time.
    pub span: Option<Span>,
}

/// What a run keeps in its state folder.
pub(super) struct Kept {
    pub manifest: Manifest,
    pub journal: Journal,
    pub losses: Losses,
}

pub(super) struct Driver {
    pub board: Arc<Board>,
    pub streams: Vec<Arc<account::Stream>>,
    pub doors: Vec<Door>,
    /// Sorted by stream and delivery: what is rendered once is shared by all that send it.
    pub routes: Vec<Route>,
    pub truth: Option<(usize, usize)>,
    pub director: Director,
    pub config: Config,
    pub inbox: Receiver<Order>,
    pub stop: Arc<AtomicBool>,
    pub state: Option<Kept>,
    pub limits: Limits,
    pub ready: Option<Box<dyn FnOnce(&Arc<Board>) + Send>>,
    pub spare: Spare,
}

/// Batches whose memory is used again once the sinks are through with them: new memory would have to be zeroed by the
/// system for each slice.
#[derive(Default)]
pub(super) struct Spare {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
}

impl Spare {
    /// Most bytes that are kept, in use or not. What an outage piles up beyond them is let go when it is over.
    const BYTES_MAX: usize = 4 << 20;

    /// An empty batch that nobody else has.
    fn take(&mut self) -> Arc<Batch> {
        // the oldest is the one that is done first, if any is
        if let Some(mut oldest) = self.batches.pop_front() {
            if let Some(b) = Arc::get_mut(&mut oldest) {
                self.bytes -= Spare::size(b);
                b.clear();
                return oldest;
            }
            self.batches.push_front(oldest);
        }
        Arc::default()
    }
    /// Keeps a batch for later.
    fn give(&mut self, b: Arc<Batch>) {
        let size = Spare::size(&b);
        if self.bytes + size <= Spare::BYTES_MAX {
            self.bytes += size;
            self.batches.push_back(b);
        }
    }
    fn size(b: &Batch) -> usize {
        b.bytes.capacity() + b.keys.capacity() + b.truth.capacity() + b.messages.capacity() * size_of::<Message>()
    }
}

/// Payloads of one cell and slice that go to the sinks as they are; less is gathered from several cells.
const WHOLE_BYTES: usize = 32 << 10;

impl Driver {
    pub fn run(mut self, mut engine: Engine) -> anyhow::Result<()> {
        let watch = RealWatch::default();
        let clock = match self.config.clock {
            config::Clock::Live => pace::Clock::Live,
            config::Clock::BackFill { from } => pace::Clock::BackFill { from },
            config::Clock::From { from, speed: config::Speed::Times(s) } => {
                pace::Clock::From { from, speed: pace::Speed::Times(s) }
            }
            config::Clock::From { from, speed: config::Speed::Max } => {
                pace::Clock::From { from, speed: pace::Speed::Max }
            }
        };
        let live = matches!(clock, pace::Clock::Live);
        let mut pace = Pace::new(clock, watch.now());
        let start = engine.now();
        let mut totals = (0u64, 0u64);
        let mut scheduled: Vec<_> = engine.schedules.iter().map(|s| s.as_ref().map(|s| s.cursor())).collect();
        // building a world took longer than was thought: a live run does not begin by making up for it
        let late = Span(watch.now().wall.0 - start.0);
        if live && late > Span::ZERO {
            pace.held(late, true);
            pace = Pace::new(pace::Clock::From { from: start, speed: pace::Speed::Times(1.0) }, watch.now());
        }
        let mut truth_file = match &self.config.truth.file {
            Some(p) => Some(std::io::BufWriter::new(
                std::fs::File::create(p).map_err(|e| anyhow::anyhow!("truth file {}: {e}", p.display()))?,
            )),
            None => None,
        };
        if let Some(s) = &mut self.state {
            s.manifest.starts(starts(&engine))?;
        }
        loop {
            self.orders(&mut engine, &mut pace, &watch)?;
            let end = Time::of_slice(engine.slice() + 1);
            let (stop, board) = (self.stop.clone(), self.board.clone());
            let waited = watch.wait(&mut pace, end, || stop.load(Ordering::Relaxed) || board.has_order());
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let Some(late) = waited else { continue };
            for l in self.director.due(end, engine.running().len(), totals) {
                engine.launch(l);
            }
            engine.step();
            let mut over = false;
            for (s, account) in self.streams.iter().enumerate() {
                let c = engine.counted(s);
                account.generate(c.records, c.attack, c.fill, c.bytes);
                totals.0 += c.records;
                totals.1 += c.attack;
                let due = match (&engine.schedules[s], &mut scheduled[s]) {
                    (Some(x), Some(cursor)) if x.unit() == crate::schedule::Unit::Records => cursor.due(x, end),
                    _ => account.read().generated,
                };
                account.schedule_to(due);
            }
            self.board.late(late);
            if let Some(s) = &mut self.state {
                record_numbers(&mut s.manifest, &engine, end)?;
            }
            self.offer(&mut engine, &mut pace, &mut truth_file)?;
            if let Some(ready) = self.ready.take() {
                if totals.0 > 0 { ready(&self.board) } else { self.ready = Some(ready) }
            }
            if engine.slice() % 20 == 0 {
                self.tell(&engine, &pace);
            }
            over |= self.limits.count.is_some_and(|n| totals.0 >= n);
            over |= self.limits.span.is_some_and(|d| end.0 - start.0 >= d.0);
            if over {
                break;
            }
        }
        self.tell(&engine, &pace);
        if let Some(mut s) = self.state.take() {
            s.journal.write(engine.now(), Command::End)?;
            for h in engine.cells.iter().flat_map(|c| &c.state.hosts) {
                s.manifest.host(h.id.0 as usize, h.boot_id, h.luid);
            }
            s.manifest.end()?;
            s.losses.end(|sink, at| self.board.delivery_name(sink, at))?;
        }
        if let Some(mut f) = truth_file {
            std::io::Write::flush(&mut f)?;
        }
        Ok(())
    }

    /// Tells the board how the run stands.
    pub(super) fn tell(&self, engine: &Engine, pace: &Pace) {
        let now = engine.now();
        let rates = engine.schedules.iter().map(|s| s.as_ref().map(|s| s.rate(now))).collect();
        self.board.update(now, instances(engine), pace.is_paused(), pace.readings(), rates);
    }

    /// Offers what a slice brought at the doors.
    fn offer(
        &mut self,
        engine: &mut Engine,
        pace: &mut Pace,
        truth_file: &mut Option<std::io::BufWriter<std::fs::File>>,
    ) -> anyhow::Result<()> {
        let now = engine.now();
        let mut truth = Batch::default();
        let routes = std::mem::take(&mut self.routes);
        for same in routes.chunk_by(|a, b| (a.stream, a.delivery) == (b.stream, b.delivery)) {
            let mut send = |this: &mut Driver, shared: Arc<Batch>| {
                if same[0].delivery == 0 && (this.truth.is_some() || truth_file.is_some()) {
                    truth_messages(&shared, &mut truth);
                    if let Some(f) = truth_file {
                        std::io::Write::write_all(f, &shared.truth)?;
                    }
                }
                for r in same {
                    this.give(now, r.sink, r.at, &shared, pace)?;
                }
                this.spare.give(shared);
                anyhow::Ok(())
            };
            // a sink may keep what is gathered for long: no more room than it takes
            let sizes = engine.batches(same[0].stream, same[0].delivery).map(|b| b.bytes.len());
            let room: usize = sizes.filter(|n| *n < WHOLE_BYTES).sum();
            let mut gathered: Option<Arc<Batch>> = None;
            for own in engine.batches_mut(same[0].stream, same[0].delivery) {
                if own.bytes.len() < WHOLE_BYTES {
                    let batch = sole(gathered.get_or_insert_with(|| self.spare.take()));
                    batch.bytes.reserve_exact(room.saturating_sub(batch.bytes.len()));
                    append(batch, own);
                    continue;
                }
                if let Some(b) = gathered.take() {
                    send(self, b)?;
                }
                let mut whole = self.spare.take();
                let other = sole(&mut whole);
                other.bytes.reserve(own.bytes.len());
                other.messages.reserve(own.messages.len());
                std::mem::swap(other, own);
                send(self, whole)?;
            }
            if let Some(b) = gathered {
                send(self, b)?;
            }
        }
        self.routes = routes;
        if let Some((sink, at)) = self.truth.filter(|_| !truth.is_empty()) {
            self.give(now, sink, at, &Arc::new(truth), pace)?;
        }
        Ok(())
    }

    fn give(&mut self, now: Time, sink: usize, at: usize, batch: &Arc<Batch>, pace: &mut Pace) -> anyhow::Result<()> {
        let door = &self.doors[sink];
        let passed = door.offer(at, batch.clone());
        if !passed.waited.is_zero() {
            pace.held(Span(passed.waited.as_nanos() as i64), door.on_slow == OnSlow::Block);
            self.board.held(sink, passed.waited);
        }
        match &mut self.state {
            Some(s) => s.losses.note((sink, at), now, batch, passed.refused, || self.board.delivery_name(sink, at)),
            None => Ok(()),
        }
    }
}

/// A batch fresh from [`Spare`].
fn sole(b: &mut Arc<Batch>) -> &mut Batch {
    Arc::get_mut(b).expect("nobody else has it")
}

/// Instances that run, then those that wait for their start.
fn instances(engine: &Engine) -> Vec<Instance> {
    let running = engine.running().into_iter().map(|(id, s, step)| Instance::running(&engine.plan, id, s, step));
    running.chain(engine.waiting().map(|(id, s, at)| Instance::waiting(&engine.plan, id, s, at))).collect()
}

/// Truth lines as messages of their own.
fn truth_messages(from: &Batch, to: &mut Batch) {
    for m in from.iter().filter(|m| !m.truth.is_empty()) {
        let line = m.truth.strip_suffix(b"\n").unwrap_or(m.truth);
        to.bytes.extend_from_slice(line);
        to.keys.extend_from_slice(m.key);
        to.messages.push(Message {
            end: to.bytes.len() as u32,
            key_end: to.keys.len() as u32,
            truth_end: 0,
            records: 1,
            ..*m.meta
        });
    }
}

/// Slices between two notes of the hosts' boot and logon ids: a second.
const IDS_EVERY: i64 = 100;

/// The number that each host's channels give next.
fn starts(engine: &Engine) -> impl Iterator<Item = (usize, usize, u64)> {
    let plan = &engine.plan;
    let hosts = plan.shared.atlas.hosts.iter().enumerate();
    hosts.flat_map(move |(h, host)| {
        let cell = &engine.cells[host.cell as usize];
        let of = move |c: usize| cell.next_number(crate::world::atlas::HostId(h as u32), c).map(|n| (h, c, n));
        (0..plan.channels.len()).filter_map(of)
    })
}

fn record_numbers(m: &mut Manifest, engine: &Engine, at: Time) -> anyhow::Result<()> {
    for c in &engine.cells {
        for (host, channel, first, last) in c.numbered() {
            m.records(at, host.0 as usize, channel, (first, last), last - first + 1)?;
        }
        if engine.slice() % IDS_EVERY == 0 {
            for h in &c.state.hosts {
                m.host(h.id.0 as usize, h.boot_id, h.luid);
            }
        }
    }
    m.end_slice()
}

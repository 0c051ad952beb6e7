//! Runs cells slice by slice: in parallel within a slice, in a fixed order between slices.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use crate::batch::Batch;
use crate::cell::{Cell, Counted, Plan};
use crate::schedule::Schedule;
use crate::time::Time;
use crate::world::instance::{Choices, InstId};
use crate::world::program::ScenarioId;
use crate::world::state::{Body, Mail};

/// Runs something on every cell; any order and any number of threads gives the same records.
pub trait Runner: Send {
    /// Calls `each` once for every cell and returns when all are done.
    fn run(&mut self, cells: &mut [Cell], each: &(dyn Fn(&mut Cell) + Sync));
}

/// Looks for a job before a thread leaves its processor to others: some ten microseconds.
const SPINS: u32 = 200;

/// Threads that take cells as they become free.
#[derive(Clone)]
pub struct Pool(Option<Arc<rayon::ThreadPool>>);

impl Pool {
    /// A pool of so many threads; one thread is the caller's own.
    ///
    /// # Errors
    /// Threads that the system does not give.
    pub fn new(threads: usize) -> Result<Pool, String> {
        if threads <= 1 {
            return Ok(Pool(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("cells-{i}")).build();
        pool.map(|p| Pool(Some(Arc::new(p)))).map_err(|e| format!("cannot start {threads} threads: {e}"))
    }

    /// Runs something on a thread of the pool while the others stay awake for what it gives them: a slice is played in less
    /// time than it takes to wake a thread.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let Some(pool) = &self.0 else { return f() };
        pool.install(|| {
            let (over, own) = (AtomicBool::new(false), rayon::current_thread_index());
            rayon::scope(|s| {
                s.spawn_broadcast(|_, thread| {
                    jobs_while(|| Some(thread.index()) != own && !over.load(Acquire));
                });
                let _end = OnDrop(|| over.store(true, Release));
                f()
            })
        })
    }

    /// Does two things, at the same time where there are threads for it; only from [`Pool::within`].
    pub fn both(&self, a: impl FnOnce(), b: impl FnOnce() + Send) {
        if self.0.is_none() {
            a();
            return b();
        }
        let pending = AtomicBool::new(true);
        rayon::in_place_scope(|s| {
            s.spawn(|_| {
                let _end = OnDrop(|| pending.store(false, Release));
                b();
            });
            a();
            jobs_while(|| pending.load(Acquire));
        });
    }
}

/// Does jobs of the pool while something is so. Where there are none it waits without sleeping at first, then leaves its
/// processor to whoever wants it.
fn jobs_while(so: impl Fn() -> bool) {
    let mut idle = 0u32;
    while so() {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => idle = 0,
            _ if idle < SPINS => {
                idle += 1;
                std::hint::spin_loop();
            }
            _ => std::thread::yield_now(),
        }
    }
}

/// Is done however its scope ends.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Runner for Pool {
    fn run(&mut self, cells: &mut [Cell], each: &(dyn Fn(&mut Cell) + Sync)) {
        let Some(pool) = &self.0 else { return cells.iter_mut().for_each(each) };
        let others = pool.current_num_threads() - 1;
        let (cells, at_work) = (Mutex::new(cells.iter_mut()), AtomicUsize::new(others));
        let take = || {
            loop {
                let next = cells.lock().expect("nobody panics while taking a cell").next();
                let Some(cell) = next else { break };
                each(cell);
            }
        };
        pool.install(|| {
            rayon::scope(|s| {
                for _ in 0..others {
                    s.spawn(|_| {
                        let _end = OnDrop(|| _ = at_work.fetch_sub(1, AcqRel));
                        take();
                    });
                }
                take();
                // what they still do is shorter than it takes to sleep and be woken
                jobs_while(|| at_work.load(Acquire) > 0);
            });
        });
    }
}

/// A play of a scenario that is to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// When.
    pub time: Time,
    /// Number of the instance in the run.
    pub id: u64,
    /// What.
    pub scenario: ScenarioId,
    /// Seed of its draws.
    pub seed: u64,
    /// What a person settled.
    pub choices: Choices,
}

/// All cells and what goes on between them.
pub struct Engine {
    /// What all cells share.
    pub plan: Arc<Plan>,
    /// The cells, by index.
    pub cells: Vec<Cell>,
    /// The schedule of each stream; changes take effect with the next slice.
    pub schedules: Vec<Option<Schedule>>,
    runner: Box<dyn Runner>,
    next: i64,
    mail: Vec<Mail>,
    launches: Vec<Launch>,
}

impl Engine {
    /// Cells in steady state at `start`, which is rounded down to a slice.
    pub fn new(plan: Arc<Plan>, start: Time, schedules: Vec<Option<Schedule>>, mut runner: Box<dyn Runner>) -> Engine {
        // what collection delivers first happened before
        let lead = plan.lead_max();
        let start = Time::of_slice(start.slice() - lead);
        let n = plan.shared.atlas.cells;
        let mut made: Vec<Option<Cell>> = Vec::new();
        made.resize_with(n as usize, || None);
        // building is parallel as well, but the runner wants cells: build in chunks by rayon's global pool
        made.par_iter_mut().enumerate().for_each(|(i, c)| *c = Some(Cell::new(plan.clone(), i as u16, start)));
        let mut cells: Vec<Cell> = made.into_iter().flatten().collect();
        runner.run(&mut cells, &|_| {});
        let next = start.slice();
        let mut engine = Engine { plan, cells, schedules, runner, next, mail: vec![], launches: vec![] };
        for _ in 0..lead {
            engine.step();
        }
        engine
    }

    /// The next slice to be played.
    pub fn slice(&self) -> i64 {
        self.next
    }

    /// Logical time up to which everything has been played.
    pub fn now(&self) -> Time {
        Time::of_slice(self.next)
    }

    /// Plans a play; one whose time has passed starts with the next slice.
    pub fn launch(&mut self, l: Launch) {
        self.launches.push(l);
    }

    /// Plays one slice. What it brought stands in the cells' `out` until the next one.
    pub fn step(&mut self) {
        let slice = self.next;
        let end = Time::of_slice(slice + 1);
        let cells = self.cells.len() as u64;
        self.launches.sort_by_key(|l| (l.time, l.id));
        let due = self.launches.partition_point(|l| l.time < end);
        for l in self.launches.drain(..due) {
            let to = (l.seed % cells) as u16;
            let body = Body::Launch { id: InstId(l.id), scenario: l.scenario, seed: l.seed, choices: l.choices };
            self.mail.push(Mail { to, from: u16::MAX, n: l.id, time: l.time.max(Time::of_slice(slice)), body });
        }
        self.mail.sort_by_key(|m| (m.time, m.from, m.n));
        for m in self.mail.drain(..) {
            self.cells[m.to as usize].state.receive(m);
        }
        let schedules = &self.schedules;
        self.runner.run(&mut self.cells, &|c| c.run(slice, schedules));
        for c in &mut self.cells {
            self.mail.append(&mut c.take_mail());
        }
        self.share_bursts();
        self.next += 1;
    }

    /// Goes on to the next slice in which anything is due, where no schedule asks for records: the slices between would
    /// bring nothing, and records are the same with and without them.
    pub fn skip(&mut self) {
        if !self.mail.is_empty() || self.schedules.iter().any(Option::is_some) {
            return;
        }
        let mut next = self.launches.iter().map(|l| l.time).min();
        for c in &self.cells {
            let Some(due) = c.idle_until() else { return };
            next = next.into_iter().chain(due).min();
        }
        if let Some(slice) = next.map(Time::slice).filter(|s| *s > self.next) {
            self.cells.iter_mut().for_each(|c| c.jump(slice));
            self.next = slice;
        }
    }

    /// What some cells are ahead of their schedules, the others make up for in the next slice, by their weights.
    fn share_bursts(&mut self) {
        let plan = self.plan.clone();
        for f in &plan.fill {
            let s = f.stream;
            let division = &plan.streams[s].division;
            let ahead: u64 = self.cells.iter().map(|c| c.ahead[s]).sum();
            let others = self.cells.iter().filter(|c| c.ahead[s] == 0);
            let weights: u64 = others.map(|c| division.weight(c.index() as usize)).sum();
            let mut passed = 0;
            for c in &mut self.cells {
                let weight = if c.ahead[s] == 0 { division.weight(c.index() as usize) } else { 0 };
                // parts of a running sum: they add up to the whole
                let part = |w: u64| if weights == 0 { 0 } else { (ahead as u128 * w as u128 / weights as u128) as u64 };
                c.makes_up[s] = part(passed + weight) - part(passed);
                passed += weight;
            }
        }
    }

    /// What all cells counted of a stream in the last slice.
    pub fn counted(&self, stream: usize) -> Counted {
        let mut all = Counted::default();
        self.cells.iter().for_each(|c| all += c.slice[stream]);
        all
    }

    /// The batches of a delivery in the last slice, in the order of the cells.
    pub fn batches(&self, stream: usize, delivery: usize) -> impl Iterator<Item = &Batch> {
        self.cells.iter().map(move |c| &c.out[stream][delivery]).filter(|b| !b.is_empty())
    }

    /// As [`Engine::batches`], to be taken: another batch may be left in the place of one.
    pub fn batches_mut(&mut self, stream: usize, delivery: usize) -> impl Iterator<Item = &mut Batch> {
        self.cells.iter_mut().map(move |c| &mut c.out[stream][delivery]).filter(|b| !b.is_empty())
    }

    /// Instances that run now: id, scenario, step.
    pub fn running(&self) -> Vec<(u64, ScenarioId, u16)> {
        let attacks = self.cells.iter().flat_map(|c| c.state.runs.iter()).filter(|(_, r)| r.inst.attack);
        let mut all: Vec<_> = attacks.map(|(id, r)| (id.0, r.inst.scenario, r.last)).collect();
        all.sort_unstable_by_key(|r| r.0);
        all
    }

    /// Instances that wait for their start: id, scenario, when.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, ScenarioId, Time)> {
        self.launches.iter().map(|l| (l.id, l.scenario, l.time))
    }

    /// Ends instances (all of them for `None`): their steps start no more; what they began ends by itself. Those that
    /// wait for their start are called off. How many they were.
    pub fn stop(&mut self, id: Option<u64>) -> usize {
        let mut n = 0;
        for c in &mut self.cells {
            c.state.runs.retain(|i, r| {
                let ends = r.inst.attack && id.is_none_or(|id| id == i.0);
                n += usize::from(ends);
                !ends
            });
        }
        let waiting = self.launches.len();
        self.launches.retain(|l| id.is_some_and(|id| id != l.id));
        n + waiting - self.launches.len()
    }
}

/// Adds the messages of a batch to another.
pub fn append(to: &mut Batch, from: &Batch) {
    let (b, k, t) = (to.bytes.len() as u32, to.keys.len() as u32, to.truth.len() as u32);
    to.bytes.extend_from_slice(&from.bytes);
    to.keys.extend_from_slice(&from.keys);
    to.truth.extend_from_slice(&from.truth);
    to.messages.extend(from.messages.iter().map(|m| crate::batch::Message {
        end: m.end + b,
        key_end: m.key_end + k,
        truth_end: m.truth_end + t,
        ..*m
    }));
}

impl Engine {
    /// Nothing of an attack is going on any more: no instance, no task, no record that waits.
    pub fn quiet(&self) -> bool {
        self.launches.is_empty()
            && self.mail.is_empty()
            && self.cells.iter().all(|c| {
                !c.state.runs.values().any(|r| r.inst.attack)
                    && !c.state.tasks.iter().flatten().any(|t| t.inst.attack)
                    && c.live().1 == 0
            })
    }
}

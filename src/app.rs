//! The daemon: builds the parts, owns the tasks, ends them in order.
//!
//! Cells run on plain threads behind one driver thread; sinks and control are asynchronous. The driver asks the pace
//! when a slice is due, runs it, and offers what came out at the sinks' doors; commands take effect between slices.

pub mod board;
mod command;
mod driver;
mod http;
mod losses;
pub mod metrics;
mod orders;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

pub use board::{Board, Status};
pub use command::{Commander, Order};
pub use driver::Limits;
pub use orders::Change;

use crate::account;
use crate::engine::{Engine, Pool};
use crate::journal::{self, Journal};
use crate::manifest::{self, Manifest, Saved};
use crate::plan::Planned;
use crate::sink::{Caps, Drained, Queue, RunInfo, Task, door};
use crate::time::Time;

/// How a run is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Threads that run cells.
    pub threads: usize,
    /// When it ends by itself.
    pub limits: Limits,
    /// Digest of the content, for manifest and journal.
    pub content: String,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The accounts at the end.
    pub status: Status,
    /// What each sink says of its end.
    pub sinks: Vec<(String, Drained)>,
    /// Flushing was over before its deadline.
    pub flushed: bool,
}

/// Runs until `shutdown` comes or the run's limits are reached; a second signal, told by `now`, ends flushing.
///
/// # Errors
/// What is refused before the start (ports, folders, secrets), and a failure while running.
pub async fn run(
    mut planned: Planned,
    options: Options,
    shutdown: impl Future<Output = ()>,
    now: impl Future<Output = ()>,
    ready: impl FnOnce(&Arc<Board>) + Send + 'static,
) -> anyhow::Result<Ended> {
    let stop = Arc::new(AtomicBool::new(false));
    let streams: Vec<Arc<account::Stream>> = planned.schedules.iter().map(|_| Arc::default()).collect();
    let accounts: Vec<Vec<Arc<account::Delivery>>> =
        planned.deliveries.iter().map(|d| d.iter().map(|_| Arc::default()).collect()).collect();
    let board = Arc::new(Board::new(&planned, streams.clone(), accounts.clone()));
    let (orders, inbox) = std::sync::mpsc::channel();
    let commander: Arc<dyn crate::control::Commander> = Arc::new(Commander {
        board: board.clone(),
        orders,
        stop: stop.clone(),
        scenarios: command::describe(&planned.plan),
    });

    // what can be refused is taken before anything runs
    for (i, s) in planned.sinks.iter_mut().enumerate() {
        s.sink.add_services(&[crate::control::CONTROL], crate::control::service(commander.clone()));
        s.sink.open().map_err(|e| anyhow::anyhow!("sink `{}`: {e}", s.name))?;
        if let Some(a) = s.sink.address() {
            board.listens(&s.name, a);
        }
        board.hub(i, s.sink.hub());
        board.gauges(&s.name, s.sink.gauges());
    }
    let http = match planned.config.control.metrics {
        Some(a) => Some(http::open(a, board.clone()).await.with_context(|| format!("cannot serve metrics on {a}"))?),
        None => None,
    };
    if let Some(h) = &http {
        board.listens("metrics", h.address);
    }
    let state = state(&planned, &options)?;
    let info = Arc::new(RunInfo { id: planned.plan.run.clone(), start: planned.start });
    let (mut doors, mut tasks) = (vec![], vec![]);
    for (s, (accounts, infos)) in planned.sinks.drain(..).zip(accounts.iter().zip(&planned.deliveries)) {
        let (d, offers, receipts) = door(accounts.clone(), s.on_slow, s.queue_bytes_max);
        doors.push(d);
        let queue = Queue::new(offers, Caps::new(s.cap, infos.iter().map(|i| i.cap)));
        let task = Task { name: s.name.clone(), deliveries: infos.clone(), queue, receipts, run: info.clone() };
        tasks.push((s.name, tokio::spawn(s.sink.start(task))));
    }
    let flush = Duration::from_nanos(planned.config.flush.0.max(0) as u64);
    let engine_plan = planned.plan.clone();
    let (start, schedules) = (planned.start, planned.schedules.clone());
    let threads = options.threads;
    let driver = driver::Driver {
        board: board.clone(),
        streams,
        doors: doors.clone(),
        routes: {
            let mut routes = planned.routes.clone();
            routes.sort_by_key(|r| (r.stream, r.delivery));
            routes
        },
        truth: planned.truth,
        director: planned.director.clone(),
        config: planned.config,
        inbox,
        stop: stop.clone(),
        state,
        limits: options.limits,
        ready: Some(Box::new(ready)),
        spare: driver::Spare::default(),
    };
    let worker = std::thread::Builder::new().name("driver".into()).spawn(move || {
        let pool = Pool::new(threads).map_err(anyhow::Error::msg)?;
        let engine = Engine::new(engine_plan, start, schedules, Box::new(pool));
        driver.run(engine)
    })?;
    let (over, mut finished) = tokio::sync::oneshot::channel();
    let joiner = std::thread::spawn(move || {
        let result = worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the driver panicked")));
        let _ = over.send(());
        result
    });
    tokio::pin!(shutdown, now);
    let mut over = tokio::select! {
        () = &mut shutdown => false,
        () = board.stopped() => false,
        _ = &mut finished => true,
    };
    board.stopping();
    stop.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let flush = board.flush_for().unwrap_or(flush);
    let mut hurried = false;
    // doors stay open until the driver is through with its slice: what was made is offered, also to a sink that is
    // slow at the moment
    if !over {
        tokio::select! {
            _ = &mut finished => over = true,
            () = tokio::time::sleep(flush) => {}
            () = &mut now => hurried = true,
        }
    }
    let left = if over { flush.saturating_sub(began.elapsed()) } else { Duration::ZERO };
    for d in &doors {
        d.close(left);
    }
    let mut sinks = vec![];
    for (name, mut task) in tasks {
        let drained = loop {
            tokio::select! {
                r = &mut task => break r,
                () = &mut now, if !hurried => {
                    hurried = true;
                    for d in &doors {
                        d.close(Duration::ZERO);
                    }
                }
            }
        };
        let failed = |e| Drained { error: Some(format!("its task failed: {e}")), ..Drained::default() };
        sinks.push((name, drained.unwrap_or_else(failed)));
    }
    let flushed = began.elapsed() <= flush && !hurried;
    if let Some(h) = http {
        h.task.abort();
    }
    let result = tokio::task::spawn_blocking(move || joiner.join()).await?;
    result.unwrap_or_else(|_| Err(anyhow::anyhow!("the driver panicked")))?;
    Ok(Ended { status: board.status(), sinks, flushed })
}

/// Manifest, journal and losses, when a state folder is configured.
fn state(planned: &Planned, options: &Options) -> anyhow::Result<Option<driver::Kept>> {
    let Some(dir) = &planned.config.state else { return Ok(None) };
    let before = Saved::load(dir)?;
    let configuration = planned.config.to_json();
    let atlas = &planned.plan.shared.atlas;
    let run = manifest::Run {
        id: planned.plan.run.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        content: options.content.clone(),
        seed: planned.config.seed,
        started: Time(wall()).to_string(),
        from: planned.start.to_string(),
        configuration: configuration.clone(),
    };
    let hosts = atlas.hosts.iter().map(|h| h.fqdn.to_string()).collect();
    let m = Manifest::begin(dir, run, hosts, planned.plan.channels.clone())?;
    let configuration = journal::configuration_digest(&configuration);
    let mut of =
        journal::Of::new(&planned.plan.run, &options.content, &configuration, planned.config.seed, planned.start);
    // without numbers the plan did not go on from it
    of.after = before.filter(|_| planned.plan.numbers.is_some()).map(|b| b.run.id);
    let losses = losses::Losses::new(dir, &planned.plan.run);
    Ok(Some(driver::Kept { manifest: m, journal: Journal::begin(dir, &of)?, losses }))
}

/// The wall clock in nanoseconds since the epoch.
pub fn wall() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

//! How a run stands, for control, metrics, the terminal and the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::account::{self, DeliveryReading, StreamReading};
use crate::app::metrics::Recorder;
use crate::cell::Plan;
use crate::config::{Clock, Speed};
use crate::pace::Readings;
use crate::plan::Planned;
use crate::proto::skirmish::v1 as proto;
use crate::schedule::{Rate, Unit};
use crate::sink::Gauges;
use crate::sink::grpc_serve::Hub;
use crate::time::{Span, Time};
use crate::world::program::ScenarioId;

/// An instance that runs or waits for its start.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Instance {
    /// Number in the run.
    pub id: u64,
    /// Scenario.
    pub scenario: String,
    /// Step started last.
    pub step: String,
    /// Its technique.
    pub technique: String,
    /// Steps before it.
    pub done: u32,
    /// Steps in all.
    pub steps: u32,
    /// When it starts, of one that waits.
    pub starts: Option<Time>,
}

impl Instance {
    /// One that runs; `step` started last.
    pub(super) fn running(plan: &Plan, id: u64, scenario: ScenarioId, step: u16) -> Instance {
        let s = &plan.shared.library.scenarios[scenario.0 as usize];
        let at = s.steps.get(step as usize);
        Instance {
            id,
            scenario: s.id.to_string(),
            step: at.map_or(String::new(), |s| s.id.to_string()),
            technique: at.map_or(String::new(), |s| s.technique.to_string()),
            done: step as u32,
            steps: s.steps.len() as u32,
            starts: None,
        }
    }
    /// One that waits for its start.
    pub(super) fn waiting(plan: &Plan, id: u64, scenario: ScenarioId, starts: Time) -> Instance {
        let s = &plan.shared.library.scenarios[scenario.0 as usize];
        let steps = s.steps.len() as u32;
        Instance { id, scenario: s.id.to_string(), steps, starts: Some(starts), ..Instance::default() }
    }
    /// As the control service tells it.
    pub fn to_proto(&self) -> proto::InstanceStatus {
        proto::InstanceStatus {
            id: self.id.to_string(),
            scenario: self.scenario.clone(),
            step: self.step.clone(),
            technique: self.technique.clone(),
            steps_done: self.done,
            steps: self.steps,
            start_time_unix_nano: self.starts.map_or(0, |t| t.0),
            ..proto::InstanceStatus::default()
        }
    }
}

/// A delivery's line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DeliveryStatus {
    /// Stream, or `truth`.
    pub stream: String,
    /// Sink.
    pub sink: String,
    /// Encoding.
    pub encoding: String,
    /// Its account.
    #[serde(flatten)]
    pub account: DeliveryReading,
}

/// A stream's line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StreamStatus {
    /// Name.
    pub name: String,
    /// Source.
    pub source: String,
    /// Labels of its metrics.
    #[serde(skip)]
    pub labels: Vec<(String, String)>,
    /// Records per second of wall-clock time that the schedule asks for now.
    pub asked: f64,
    /// Records per second made lately.
    pub achieved: f64,
    /// Its account.
    #[serde(flatten)]
    pub account: StreamReading,
}

/// Everything at one moment.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// Id of the run.
    pub run: String,
    /// Logical time.
    pub now: String,
    /// Wall-clock seconds since the start.
    pub seconds: f64,
    /// Streams.
    pub streams: Vec<StreamStatus>,
    /// Deliveries.
    pub deliveries: Vec<DeliveryStatus>,
    /// Instances that run.
    pub instances: Vec<Instance>,
    /// How late slices were (median, 99th percentile, maximum), in milliseconds.
    pub late_ms: [f64; 3],
    /// How long ago the next slice was due, in seconds: what slow sinks or a slow machine hold up now.
    pub behind: f64,
    /// How long each sink held the cells, in seconds.
    pub held: Vec<(String, f64)>,
    /// Logical time stands still.
    pub paused: bool,
    /// A record was acknowledged.
    pub ready: bool,
    /// What happened to the deadlines.
    pub pace: Readings,
}

struct Inner {
    now: Time,
    instances: Vec<Instance>,
    paused: bool,
    pace: Readings,
    listens: Vec<(String, SocketAddr)>,
    held: Vec<Duration>,
    /// Records made by stream, of the last seconds, for rates.
    window: VecDeque<(Instant, Vec<u64>)>,
    rates: Vec<Option<Rate>>,
    /// When the slice that was begun last was due.
    due: Option<Instant>,
    late: Histogram<u64>,
    hubs: Vec<Option<Arc<Hub>>>,
    gauges: Vec<(String, Gauges)>,
    flush: Option<Duration>,
}

/// See the module.
pub struct Board {
    run: String,
    seed: u64,
    hosts: u32,
    begun: Instant,
    /// Name, source, labels, account.
    streams: Vec<(String, String, Vec<(String, String)>, Arc<account::Stream>)>,
    /// Stream, sink, encoding.
    deliveries: Vec<(String, String, String, Arc<account::Delivery>)>,
    sinks: Vec<String>,
    scenarios: BTreeMap<String, ScenarioId>,
    plan: Arc<Plan>,
    orders: AtomicU64,
    stop: tokio::sync::watch::Sender<bool>,
    /// Logical seconds a second; none where it goes as fast as it can.
    speed: Option<f64>,
    recorder: Recorder,
    inner: Mutex<Inner>,
}

/// Rates are means over this time.
const WINDOW: Duration = Duration::from_secs(2);

impl Board {
    /// The board of a run.
    pub fn new(
        planned: &Planned,
        streams: Vec<Arc<account::Stream>>,
        accounts: Vec<Vec<Arc<account::Delivery>>>,
    ) -> Board {
        let plan = planned.plan.clone();
        let named = plan
            .streams
            .iter()
            .zip(streams)
            .zip(&planned.config.streams)
            .map(|((s, a), c)| (s.name.clone(), plan.feeds[s.feed].source.id.clone(), c.labels.clone(), a))
            .collect();
        let mut deliveries = vec![];
        for ((sink, infos), accounts) in planned.sinks.iter().zip(&planned.deliveries).zip(accounts) {
            for (info, a) in infos.iter().zip(accounts) {
                deliveries.push((info.stream.clone(), sink.name.clone(), info.encoding.clone(), a));
            }
        }
        let scenarios = plan.shared.library.scenarios.iter().enumerate();
        Board {
            run: plan.run.clone(),
            seed: planned.config.seed,
            hosts: plan.shared.atlas.hosts.len() as u32,
            begun: Instant::now(),
            streams: named,
            deliveries,
            sinks: planned.sinks.iter().map(|s| s.name.clone()).collect(),
            scenarios: scenarios
                .filter(|(_, s)| s.attack)
                .map(|(i, s)| (s.id.to_string(), ScenarioId(i as u16)))
                .collect(),
            orders: AtomicU64::new(0),
            stop: tokio::sync::watch::Sender::new(false),
            inner: Mutex::new(Inner {
                now: planned.start,
                instances: vec![],
                paused: false,
                pace: Readings::default(),
                listens: vec![],
                held: vec![Duration::ZERO; planned.sinks.len()],
                window: VecDeque::new(),
                rates: vec![],
                due: None,
                late: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds"),
                hubs: vec![],
                gauges: vec![],
                flush: None,
            }),
            speed: match planned.config.clock {
                Clock::Live => Some(1.0),
                Clock::From { speed: Speed::Times(s), .. } => Some(s),
                Clock::From { speed: Speed::Max, .. } | Clock::BackFill { .. } => None,
            },
            recorder: Recorder::default(),
            plan,
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding the board")
    }

    /// A server listens.
    pub fn listens(&self, name: &str, at: SocketAddr) {
        self.inner().listens.push((name.into(), at));
    }
    /// Where a server listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.inner().listens.iter().find(|(n, _)| n == name).map(|(_, a)| *a)
    }
    /// Where servers listen.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.inner().listens.clone()
    }
    /// Subscribers of a sink.
    pub fn hub(&self, _sink: usize, hub: Option<Arc<Hub>>) {
        self.inner().hubs.push(hub);
    }
    /// A sink's own counters.
    pub fn gauges(&self, sink: &str, gauges: Option<Gauges>) {
        self.inner().gauges.extend(gauges.map(|g| (sink.to_owned(), g)));
    }
    /// A slice begins, that late.
    pub fn late(&self, by: Span) {
        self.recorder.late(by);
        let mut i = self.inner();
        let _ = i.late.record((by.0 / 1000).max(1) as u64);
        i.due = Instant::now().checked_sub(Duration::from_nanos(by.0.max(0) as u64));
    }
    /// A sink held the cells.
    pub fn held(&self, sink: usize, by: Duration) {
        self.inner().held[sink] += by;
    }
    /// News from the driver.
    pub fn update(&self, now: Time, instances: Vec<Instance>, paused: bool, pace: Readings, rates: Vec<Option<Rate>>) {
        let made = self.made();
        let mut i = self.inner();
        (i.now, i.instances, i.paused, i.pace, i.rates) = (now, instances, paused, pace, rates);
        let at = Instant::now();
        i.window.push_back((at, made));
        while i.window.len() > 2 && at - i.window[1].0 > WINDOW {
            i.window.pop_front();
        }
    }
    fn made(&self) -> Vec<u64> {
        self.streams.iter().map(|(_, _, _, a)| a.read().generated).collect()
    }
    /// Names of the sink and the stream of a sink's delivery.
    pub fn delivery_name(&self, sink: usize, at: usize) -> (String, String) {
        let sink = &self.sinks[sink];
        let stream = self.deliveries.iter().filter(|d| d.1 == *sink).nth(at).map_or("", |d| &d.0);
        (sink.clone(), stream.to_owned())
    }
    /// An order is on its way.
    pub fn order_sent(&self) {
        self.orders.fetch_add(1, Relaxed);
    }
    /// It was taken.
    pub fn order_taken(&self) {
        self.orders.fetch_sub(1, Relaxed);
    }
    /// Whether an order waits.
    pub fn has_order(&self) -> bool {
        self.orders.load(Relaxed) > 0
    }
    /// A scenario by id.
    pub fn scenario(&self, id: &str) -> Option<ScenarioId> {
        self.scenarios.get(id).copied()
    }
    /// Whether a host or an account has that name.
    pub fn knows(&self, name: &str) -> bool {
        let a = &self.plan.shared.atlas;
        a.hosts.iter().any(|h| h.name.eq_ignore_ascii_case(name) || h.fqdn.eq_ignore_ascii_case(name))
            || a.accounts_named(name).next().is_some()
    }
    /// Instances that run.
    pub fn instances(&self) -> Vec<Instance> {
        self.inner().instances.clone()
    }
    /// The run is to end.
    pub fn stop(&self, flush: Option<Duration>) {
        self.inner().flush = flush;
        self.stop.send_replace(true);
    }
    /// Comes back when [`Board::stop`] was called.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // the sender lives as long as the board
        let _ = stop.wait_for(|s| *s).await;
    }
    /// The run is ending.
    pub fn stopping(&self) {
        self.stop.send_replace(true);
    }
    /// Whether the run is ending.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
    /// How long to flush, when whoever ended the run said so.
    pub fn flush_for(&self) -> Option<Duration> {
        self.inner().flush
    }
    /// A record was acknowledged.
    pub fn is_ready(&self) -> bool {
        // the server that every run has takes records whether anybody reads them or not
        let counts = |sink: &str| sink != crate::plan::streams::CONTROL_SINK || self.sinks.len() == 1;
        !*self.stop.borrow() && self.deliveries.iter().any(|(_, sink, _, a)| counts(sink) && a.read().delivered > 0)
    }

    /// Everything at this moment.
    pub fn status(&self) -> Status {
        let deliveries = self.deliveries.iter().map(|(stream, sink, encoding, a)| DeliveryStatus {
            stream: stream.clone(),
            sink: sink.clone(),
            encoding: encoding.clone(),
            account: a.read(),
        });
        let deliveries = deliveries.collect();
        let ready = self.is_ready();
        let i = self.inner();
        let now = Instant::now();
        // a driver that is held by a sink brings no news: then the last it brought is older than the window
        let before = i.window.iter().rev().find(|(t, _)| now - *t >= WINDOW).or(i.window.front());
        let streams = self.streams.iter().enumerate().map(|(n, (name, source, labels, a))| {
            let account = a.read();
            let achieved = match before {
                Some((t, made)) if now > *t => {
                    account.generated.saturating_sub(made[n]) as f64 / (now - *t).as_secs_f64()
                }
                _ => 0.0,
            };
            let asked = match (i.rates.get(n), self.speed) {
                (Some(Some(r)), Some(speed)) => {
                    let mean = account.bytes as f64 / account.generated.max(1) as f64;
                    let each = if r.unit == Unit::Bytes { mean.max(1.0) } else { 1.0 };
                    r.per_second() * speed / each
                }
                _ => achieved,
            };
            StreamStatus {
                name: name.clone(),
                source: source.clone(),
                labels: labels.clone(),
                asked,
                achieved,
                account,
            }
        });
        let late = |q: f64| i.late.value_at_quantile(q) as f64 / 1000.0;
        let slice = crate::time::SLICE.as_secs_f64();
        Status {
            run: self.run.clone(),
            now: i.now.to_string(),
            seconds: self.begun.elapsed().as_secs_f64(),
            streams: streams.collect(),
            deliveries,
            instances: i.instances.clone(),
            late_ms: [late(0.5), late(0.99), late(1.0)],
            behind: match i.due {
                Some(due) if !i.paused && self.speed.is_some() => (due.elapsed().as_secs_f64() - slice).max(0.0),
                _ => 0.0,
            },
            held: self.sinks.iter().cloned().zip(i.held.iter().map(Duration::as_secs_f64)).collect(),
            paused: i.paused,
            ready,
            pace: i.pace,
        }
    }

    /// As the control service tells it.
    pub fn response(&self) -> proto::StatusResponse {
        let s = self.status();
        let state = match (*self.stop.borrow(), self.inner().paused, self.is_ready()) {
            (true, _, _) => proto::RunState::Stopping,
            (_, true, _) => proto::RunState::Paused,
            (_, _, true) => proto::RunState::Ready,
            _ => proto::RunState::Starting,
        };
        let delivery = |d: &DeliveryStatus| proto::DeliveryStatus {
            sink: d.sink.clone(),
            encoding: d.encoding.clone(),
            generated: d.account.generated,
            delivered: d.account.delivered,
            dropped: d.account.dropped,
            in_flight: d.account.in_flight,
            unknown: d.account.unknown,
            bytes: d.account.bytes,
        };
        let stream = |x: &StreamStatus| proto::StreamStatus {
            name: x.name.clone(),
            source: x.source.clone(),
            asked_per_second: x.asked,
            achieved_per_second: x.achieved,
            scheduled: x.account.scheduled,
            generated: x.account.generated,
            owed: x.account.owed,
            attack: x.account.attack,
            fill: x.account.fill,
            bytes: x.account.bytes,
            deliveries: s.deliveries.iter().filter(|d| d.stream == x.name).map(delivery).collect(),
        };
        let subscribers = self.inner().hubs.iter().flatten().flat_map(|h| h.read()).collect();
        proto::StatusResponse {
            run: s.run.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            state: state.into(),
            logical_time_unix_nano: self.inner().now.0,
            uptime_seconds: s.seconds,
            seed: self.seed,
            hosts: self.hosts,
            streams: s.streams.iter().map(stream).collect(),
            instances: s.instances.iter().map(Instance::to_proto).collect(),
            subscribers,
        }
    }

    /// As Prometheus reads it.
    pub fn metrics(&self) -> String {
        let (now, sinks) = {
            let i = self.inner();
            (i.now, i.gauges.iter().map(|(sink, g)| (sink.clone(), g())).collect::<Vec<_>>())
        };
        self.recorder.render(&self.status(), now, self.seed, self.hosts, &sinks)
    }
}

impl fmt::Display for Status {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = |names: &mut dyn Iterator<Item = &str>| names.map(|n| n.chars().count()).max().unwrap_or(0).max(8);
        let stream = wide(&mut self.streams.iter().map(|s| &*s.name));
        let sink = wide(&mut self.deliveries.iter().map(|d| &*d.sink));
        writeln!(
            f,
            "{:<stream$}{:>10}{:>10}{:>13}{:>9}{:>9}{:>7}",
            "stream", "asked/s", "made/s", "made", "owed", "attack", "fill"
        )?;
        for s in &self.streams {
            let fill = 100.0 * s.account.fill as f64 / s.account.generated.max(1) as f64;
            writeln!(
                f,
                "{:<stream$}{:>10.0}{:>10.0}{:>13}{:>9}{:>9}{:>6.0}%",
                s.name, s.asked, s.achieved, s.account.generated, s.account.owed, s.account.attack, fill
            )?;
        }
        writeln!(
            f,
            "{:<stream$}  {:<sink$}{:>13}{:>13}{:>10}{:>11}{:>9}",
            "delivery", "sink", "offered", "delivered", "dropped", "in flight", "unknown"
        )?;
        for d in &self.deliveries {
            let a = &d.account;
            writeln!(
                f,
                "{:<stream$}  {:<sink$}{:>13}{:>13}{:>10}{:>11}{:>9}",
                d.stream, d.sink, a.generated, a.delivered, a.dropped, a.in_flight, a.unknown
            )?;
        }
        let [p50, p99, max] = self.late_ms;
        write!(
            f,
            "slices late by {p50:.1} ms (median), {p99:.1} ms (p99), {max:.1} ms (max); logical time {}",
            &self.now[..19.min(self.now.len())]
        )?;
        if self.paused {
            write!(f, ", paused")?;
        } else if self.behind >= 1.0 {
            write!(f, ", {:.0} s behind", self.behind)?;
        }
        writeln!(f)?;
        for i in &self.instances {
            match i.starts {
                Some(t) => writeln!(f, "attack {} {} starts at {}", i.id, i.scenario, &t.to_string()[..19])?,
                None => writeln!(
                    f,
                    "attack {} {} step {} {} ({}/{})",
                    i.id,
                    i.scenario,
                    i.step,
                    i.technique,
                    i.done + 1,
                    i.steps
                )?,
            }
        }
        Ok(())
    }
}

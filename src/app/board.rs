//! How a run stands, for control, metrics, the terminal and the end.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::account::{self, DeliveryReading, StreamReading};
use crate::cell::Plan;
use crate::engine::Launch;
use crate::pace::Readings;
use crate::plan::Planned;
use crate::proto::skirmish::v1 as proto;
use crate::sink::grpc_serve::Hub;
use crate::time::{Span, Time};
use crate::world::program::ScenarioId;

/// A running instance.
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
}

impl Instance {
    /// As the control service tells it.
    pub fn to_proto(&self) -> proto::InstanceStatus {
        proto::InstanceStatus {
            id: self.id.to_string(),
            scenario: self.scenario.clone(),
            step: self.step.clone(),
            technique: self.technique.clone(),
            steps_done: self.done,
            steps: self.steps,
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
    /// Records per second asked for lately.
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
    /// Readings of about a second ago and before, for rates.
    window: Vec<(Instant, Vec<(u64, u64)>)>,
    late: Histogram<u64>,
    hubs: Vec<Option<Arc<Hub>>>,
    flush: Option<Duration>,
}

/// See the module.
pub struct Board {
    run: String,
    seed: u64,
    hosts: u32,
    begun: Instant,
    streams: Vec<(String, String, Arc<account::Stream>)>,
    /// Stream, sink, encoding.
    deliveries: Vec<(String, String, String, Arc<account::Delivery>)>,
    sinks: Vec<String>,
    scenarios: BTreeMap<String, ScenarioId>,
    plan: Arc<Plan>,
    orders: AtomicU64,
    stop: tokio::sync::watch::Sender<bool>,
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
            .map(|(s, a)| (s.name.clone(), plan.feeds[s.feed].source.id.clone(), a))
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
                window: vec![],
                late: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds"),
                hubs: vec![],
                flush: None,
            }),
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
    /// An instance starts.
    pub fn started(&self, l: &Launch, plan: &Plan) -> Instance {
        let s = &plan.shared.library.scenarios[l.scenario.0 as usize];
        Instance { id: l.id, scenario: s.id.to_string(), steps: s.steps.len() as u32, ..Instance::default() }
    }
    /// How late a slice was.
    pub fn late(&self, by: Span) {
        let _ = self.inner().late.record((by.0 / 1000).max(1) as u64);
    }
    /// A sink held the cells.
    pub fn held(&self, sink: usize, by: Duration) {
        self.inner().held[sink] += by;
    }
    /// News from the driver.
    pub fn update(&self, now: Time, instances: Vec<Instance>, paused: bool, pace: Readings) {
        let readings = self.streams.iter().map(|(_, _, a)| a.read()).map(|r| (r.scheduled, r.generated)).collect();
        let mut i = self.inner();
        (i.now, i.instances, i.paused, i.pace) = (now, instances, paused, pace);
        let at = Instant::now();
        i.window.push((at, readings));
        while i.window.len() > 2 && at - i.window[1].0 > WINDOW {
            i.window.remove(0);
        }
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
            || a.accounts.iter().any(|x| x.name.eq_ignore_ascii_case(name))
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
        let i = self.inner();
        let streams = self.streams.iter().enumerate().map(|(n, (name, source, a))| {
            let rate = |pick: fn(&(u64, u64)) -> u64| match (i.window.first(), i.window.last()) {
                (Some((t0, a)), Some((t1, b))) if t1 > t0 => {
                    (pick(&b[n]) - pick(&a[n])) as f64 / (*t1 - *t0).as_secs_f64()
                }
                _ => 0.0,
            };
            StreamStatus {
                name: name.clone(),
                source: source.clone(),
                asked: rate(|r| r.0),
                achieved: rate(|r| r.1),
                account: a.read(),
            }
        });
        let late = |q: f64| i.late.value_at_quantile(q) as f64 / 1000.0;
        Status {
            run: self.run.clone(),
            now: i.now.to_string(),
            seconds: self.begun.elapsed().as_secs_f64(),
            streams: streams.collect(),
            deliveries,
            instances: i.instances.clone(),
            late_ms: [late(0.5), late(0.99), late(1.0)],
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
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let s = self.status();
        metrics::with_local_recorder(&recorder, || {
            use metrics::{counter, describe_counter, describe_gauge, gauge};
            describe_counter!("skirmish_records_scheduled_total", "Records that the schedule asked for");
            describe_counter!("skirmish_records_generated_total", "Records made");
            describe_counter!("skirmish_records_attack_total", "Records made for attack instances");
            describe_counter!("skirmish_records_fill_total", "Records made by fill");
            describe_counter!("skirmish_bytes_generated_total", "Bytes made, first delivery, uncompressed");
            describe_gauge!("skirmish_records_owed", "Records scheduled and not made; negative after an overshoot");
            describe_counter!("skirmish_delivery_records_total", "Records of a delivery by outcome");
            describe_gauge!("skirmish_delivery_in_flight", "Records of a delivery without an answer yet");
            describe_gauge!("skirmish_slice_late_seconds", "How late slices were, by quantile, since the start");
            describe_gauge!("skirmish_instances", "Attack instances that run");
            for x in &s.streams {
                let l = [("stream", x.name.clone()), ("source", x.source.clone())];
                counter!("skirmish_records_scheduled_total", &l).absolute(x.account.scheduled);
                counter!("skirmish_records_generated_total", &l).absolute(x.account.generated);
                counter!("skirmish_records_attack_total", &l).absolute(x.account.attack);
                counter!("skirmish_records_fill_total", &l).absolute(x.account.fill);
                counter!("skirmish_bytes_generated_total", &l).absolute(x.account.bytes);
                gauge!("skirmish_records_owed", &l).set(x.account.owed as f64);
            }
            for d in &s.deliveries {
                let l = |outcome: &'static str| {
                    [("stream", d.stream.clone()), ("sink", d.sink.clone()), ("outcome", outcome.into())]
                };
                counter!("skirmish_delivery_records_total", &l("generated")).absolute(d.account.generated);
                counter!("skirmish_delivery_records_total", &l("delivered")).absolute(d.account.delivered);
                counter!("skirmish_delivery_records_total", &l("dropped")).absolute(d.account.dropped);
                counter!("skirmish_delivery_records_total", &l("unknown")).absolute(d.account.unknown);
                let l = [("stream", d.stream.clone()), ("sink", d.sink.clone())];
                gauge!("skirmish_delivery_in_flight", &l).set(d.account.in_flight as f64);
            }
            for (q, v) in ["0.5", "0.99", "1"].iter().zip(s.late_ms) {
                gauge!("skirmish_slice_late_seconds", "quantile" => *q).set(v / 1000.0);
            }
            gauge!("skirmish_instances").set(s.instances.len() as f64);
            for (sink, held) in self.sinks.iter().zip(&self.inner().held) {
                counter!("skirmish_sink_held_seconds_total", "sink" => sink.clone()).absolute(held.as_secs());
            }
        });
        handle.render()
    }
}

impl fmt::Display for Status {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18}{:>10}{:>10}{:>12}{:>9}{:>9}{:>8}",
            "stream", "asked/s", "made/s", "made", "owed", "attack", "fill"
        )?;
        for s in &self.streams {
            let fill = 100.0 * s.account.fill as f64 / s.account.generated.max(1) as f64;
            writeln!(
                f,
                "{:<18}{:>10.0}{:>10.0}{:>12}{:>9}{:>9}{:>7.0}%",
                s.name, s.asked, s.achieved, s.account.generated, s.account.owed, s.account.attack, fill
            )?;
        }
        writeln!(
            f,
            "{:<18}{:>14}{:>12}{:>12}{:>12}{:>10}{:>10}",
            "delivery", "sink", "offered", "delivered", "dropped", "in flight", "unknown"
        )?;
        for d in &self.deliveries {
            let a = &d.account;
            writeln!(
                f,
                "{:<18}{:>14}{:>12}{:>12}{:>12}{:>10}{:>10}",
                d.stream, d.sink, a.generated, a.delivered, a.dropped, a.in_flight, a.unknown
            )?;
        }
        let [p50, p99, max] = self.late_ms;
        writeln!(
            f,
            "slices late by {p50:.1} ms (median), {p99:.1} ms (p99), {max:.1} ms (max); logical time {}",
            &self.now[..19.min(self.now.len())]
        )?;
        for i in &self.instances {
            writeln!(f, "attack {} {} step {} {} ({}/{})", i.id, i.scenario, i.step, i.technique, i.done + 1, i.steps)?;
        }
        Ok(())
    }
}

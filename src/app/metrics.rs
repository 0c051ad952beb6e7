//! `/metrics`: the accounts, the pace and the sinks' own counters, as Prometheus reads them. `docs/metrics.md` lists them.

use metrics::Recorder as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::app::board::Status;
use crate::time::{Span, Time};

/// Every metric but those of the sinks: kind (`c`ounter, `f`ractional counter, `g`auge, `h`istogram), name, meaning.
pub const ALL: &[(char, &str, &str)] = &[
    ('g', "skirmish_info", "1; the run, its seed and the version as labels"),
    ('g', "skirmish_ready", "1 once a record was acknowledged, 0 before and while the run ends"),
    ('g', "skirmish_paused", "1 while logical time stands still"),
    ('g', "skirmish_hosts", "Hosts of the world"),
    ('g', "skirmish_logical_time_seconds", "Logical time, since 1970-01-01T00:00:00Z"),
    (
        'g',
        "skirmish_behind_seconds",
        "How long ago the next slice was due: what slow sinks or a slow machine hold up now",
    ),
    ('g', "skirmish_stream_asked_records_per_second", "What the schedule of a stream asks for now"),
    ('c', "skirmish_records_scheduled_total", "Records that the schedule of a stream asked for; generated plus owed"),
    ('c', "skirmish_records_generated_total", "Records made"),
    ('g', "skirmish_records_owed", "Records scheduled and not made; negative after an overshoot"),
    ('c', "skirmish_records_attack_total", "Of the records made, those of attack instances"),
    ('c', "skirmish_records_fill_total", "Of the records made, those made by fill"),
    ('c', "skirmish_generated_bytes_total", "Bytes made, first delivery, uncompressed"),
    (
        'c',
        "skirmish_delivery_offered_records_total",
        "Records offered to a sink; delivered, dropped, unknown and in flight",
    ),
    ('c', "skirmish_delivery_records_total", "Records of a delivery by outcome: delivered, dropped, unknown"),
    ('g', "skirmish_delivery_in_flight_records", "Records of a delivery without an answer yet"),
    ('c', "skirmish_delivery_bytes_total", "Payload bytes acknowledged"),
    ('g', "skirmish_sink_held_seconds", "How long a sink held the cells, since the start"),
    ('h', "skirmish_slice_late_seconds", "How late slices began"),
    ('c', "skirmish_pace_gaps_total", "Times that the machine slept or stood still; deadlines were shifted"),
    ('g', "skirmish_pace_gap_seconds", "How long in all"),
    ('c', "skirmish_pace_clock_steps_total", "Times that the wall clock was stepped; deadlines were not touched"),
    ('g', "skirmish_pace_blocked_seconds", "How long deadlines were shifted for sinks that block"),
    ('g', "skirmish_pace_paused_seconds", "How long the run was paused"),
    ('g', "skirmish_instances", "Attack instances that run"),
    ('g', "process_resident_memory_bytes", "Resident memory"),
    ('f', "process_cpu_seconds_total", "Processor time used"),
];

/// Those of the sinks, without `skirmish_` before them; they have the label `sink`, and some `class`.
pub const OF_SINKS: &[(&str, &str)] = &[
    ("kafka_queue_messages", "Messages that the client library holds"),
    ("kafka_queue_full_total", "Times that its queue was full when a message came"),
    ("kafka_restarts_total", "Producers made anew after a fatal error"),
    ("kafka_connects_total", "Connections made to brokers"),
    ("kafka_disconnects_total", "Connections to brokers lost"),
    ("kafka_errors_total", "Errors by class"),
    ("kafka_dropped_records_total", "Records given up by class of error"),
    ("serve_subscribers", "Subscribers of the gRPC server"),
    ("serve_ring_bytes", "Bytes that wait for them"),
    ("serve_sent_records_total", "Records sent to subscribers"),
    ("serve_gap_records_total", "Records left out for subscribers that were too slow"),
];

/// Upper bounds of the histogram's buckets, in seconds.
const LATE_BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, 60.0];
/// The exporter keeps samples until somebody asks: they are counted after this many, asked or not.
const UPKEEP_EVERY: u64 = 1_000;

/// Collects what has to be counted as it happens, and prints it with the rest.
pub struct Recorder {
    inner: PrometheusRecorder,
    late: metrics::Histogram,
    slices: std::sync::atomic::AtomicU64,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let late = Matcher::Full("skirmish_slice_late_seconds".into());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(late, &LATE_BUCKETS);
        let inner = builder.expect("there are buckets").build_recorder();
        for (kind, name, about) in ALL {
            match kind {
                'c' => inner.describe_counter((*name).into(), None, (*about).into()),
                'h' => inner.describe_histogram((*name).into(), None, (*about).into()),
                _ => inner.describe_gauge((*name).into(), None, (*about).into()),
            }
        }
        for (name, about) in OF_SINKS {
            let name = format!("skirmish_{name}");
            match name.ends_with("_total") {
                true => inner.describe_counter(name.into(), None, (*about).into()),
                false => inner.describe_gauge(name.into(), None, (*about).into()),
            }
        }
        let (key, meta) = (metrics::Key::from_name("skirmish_slice_late_seconds"), META);
        Recorder { late: inner.register_histogram(&key, &meta), inner, slices: 0.into() }
    }
}

const META: metrics::Metadata<'static> = metrics::Metadata::new("skirmish", metrics::Level::INFO, None);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Recorder {
    /// A slice began that late.
    pub fn late(&self, by: Span) {
        self.late.record(by.as_secs_f64());
        let n = self.slices.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n.is_multiple_of(UPKEEP_EVERY) {
            self.inner.handle().run_upkeep();
        }
    }

    fn key(name: &str, labels: Labels) -> metrics::Key {
        let labels: Vec<metrics::Label> =
            labels.iter().map(|(k, v)| metrics::Label::new((*k).to_owned(), (*v).to_owned())).collect();
        metrics::Key::from_parts(name.to_owned(), labels)
    }
    fn count(&self, name: &str, labels: Labels, value: u64) {
        self.inner.register_counter(&Recorder::key(name, labels), &META).absolute(value);
    }
    fn gauge(&self, name: &str, labels: Labels, value: f64) {
        self.inner.register_gauge(&Recorder::key(name, labels), &META).set(value);
    }

    /// Everything, families and samples in the order of their names.
    pub fn render(
        &self,
        s: &Status,
        now: Time,
        seed: u64,
        hosts: u32,
        sinks: &[(String, Vec<(&'static str, &'static str, u64)>)],
    ) -> String {
        let seed = seed.to_string();
        let info = [("run", &*s.run), ("version", env!("CARGO_PKG_VERSION")), ("seed", &*seed)];
        self.gauge("skirmish_info", &info, 1.0);
        self.gauge("skirmish_ready", &[], f64::from(s.ready));
        self.gauge("skirmish_paused", &[], f64::from(s.paused));
        self.gauge("skirmish_hosts", &[], hosts.into());
        self.gauge("skirmish_logical_time_seconds", &[], now.0 as f64 / 1e9);
        self.gauge("skirmish_behind_seconds", &[], s.behind);
        for x in &s.streams {
            let own = x.labels.iter().map(|(k, v)| (&**k, &**v));
            let l: Vec<_> = [("stream", &*x.name), ("source", &*x.source)].into_iter().chain(own).collect();
            self.gauge("skirmish_stream_asked_records_per_second", &l, x.asked);
            self.count("skirmish_records_scheduled_total", &l, x.account.scheduled);
            self.count("skirmish_records_generated_total", &l, x.account.generated);
            self.gauge("skirmish_records_owed", &l, x.account.owed as f64);
            self.count("skirmish_records_attack_total", &l, x.account.attack);
            self.count("skirmish_records_fill_total", &l, x.account.fill);
            self.count("skirmish_generated_bytes_total", &l, x.account.bytes);
        }
        for d in &s.deliveries {
            let l = [("stream", &*d.stream), ("sink", &*d.sink)];
            self.count("skirmish_delivery_offered_records_total", &l, d.account.generated);
            let outcomes =
                [("delivered", d.account.delivered), ("dropped", d.account.dropped), ("unknown", d.account.unknown)];
            for (outcome, n) in outcomes {
                let l = [l[0], l[1], ("outcome", outcome)];
                self.count("skirmish_delivery_records_total", &l, n);
            }
            self.gauge("skirmish_delivery_in_flight_records", &l, d.account.in_flight as f64);
            self.count("skirmish_delivery_bytes_total", &l, d.account.bytes);
        }
        for (sink, held) in &s.held {
            self.gauge("skirmish_sink_held_seconds", &[("sink", sink)], *held);
        }
        self.count("skirmish_pace_gaps_total", &[], s.pace.gaps);
        self.gauge("skirmish_pace_gap_seconds", &[], s.pace.gap_total.as_secs_f64());
        self.count("skirmish_pace_clock_steps_total", &[], s.pace.steps);
        self.gauge("skirmish_pace_blocked_seconds", &[], s.pace.blocked.as_secs_f64());
        self.gauge("skirmish_pace_paused_seconds", &[], s.pace.paused.as_secs_f64());
        self.gauge("skirmish_instances", &[], s.instances.iter().filter(|i| i.starts.is_none()).count() as f64);
        if let Some((resident, cpu)) = process() {
            self.gauge("process_resident_memory_bytes", &[], resident as f64);
            self.gauge("process_cpu_seconds_total", &[], cpu);
        }
        for (sink, values) in sinks {
            for (name, class, value) in values {
                let l = [("sink", &**sink), ("class", *class)];
                let l = if class.is_empty() { &l[..1] } else { &l[..] };
                let name = format!("skirmish_{name}");
                match name.ends_with("_total") {
                    true => self.count(&name, l, *value),
                    false => self.gauge(&name, l, *value as f64),
                }
            }
        }
        sorted(&self.inner.handle().render())
    }
}

/// The exporter gives families and samples in any order; people compare two readings side by side.
fn sorted(text: &str) -> String {
    let mut families: Vec<Vec<&str>> = vec![];
    for block in text.split("\n\n") {
        let (head, mut samples): (Vec<&str>, Vec<&str>) =
            block.lines().filter(|l| !l.is_empty()).partition(|l| l.starts_with('#'));
        // buckets of a histogram come in the order of their bounds
        if !head.iter().any(|l| l.ends_with(" histogram")) {
            samples.sort_unstable();
        }
        if !samples.is_empty() {
            families.push(head.into_iter().chain(samples).collect());
        }
    }
    families.sort_by_key(|f| f.iter().find(|l| !l.starts_with("# HELP")).map(|l| l.trim_start_matches("# TYPE ")));
    let mut out = String::with_capacity(text.len());
    for line in families.into_iter().flatten() {
        // the exporter's counters are whole numbers, seconds are not
        out.push_str(if line == "# TYPE process_cpu_seconds_total gauge" { CPU_TYPE } else { line });
        out.push('\n');
    }
    out
}

const CPU_TYPE: &str = "# TYPE process_cpu_seconds_total counter";

/// Resident bytes and processor seconds of this process, where the system tells (Linux: 100 ticks a second, pages of
/// 4 KiB on every platform we build for).
fn process() -> Option<(u64, f64)> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((pages * 4096, ticks as f64 / 100.0))
}

//! `otlp`: OpenTelemetry logs over gRPC.
//!
//! One export at a time, so that a retry never overtakes; each holds messages of one delivery, so that what a server
//! rejects is counted where it belongs. OTLP knows no sequence numbers: what is sent again after a broken connection may be there twice.

mod answer;
mod encode;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tonic::codec::CompressionEncoding;

use self::answer::{Answer, of_status};
use self::encode::{Encoder, size};
use super::grpc_push::{Remote, at_least, duration};
use super::{DeliveryInfo, Drained, Finding, Headers, Receipts, Sink, Task, wire};
use crate::account::Outcome;
use crate::batch::Batch;
use crate::grpc::{Connection, Target, describe};
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use crate::proto::opentelemetry::proto::collector::logs::v1::logs_service_client::LogsServiceClient;
use crate::yaml::{Fields, Node, Problems};

/// First and longest pause between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Options of the OTLP sink.
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// The receiver.
    pub remote: Remote,
    /// How requests are compressed.
    pub compression: Option<CompressionEncoding>,
    /// `service.name` of the resources.
    pub service_name: String,
    /// What stands in the attributes of each delivery's records, where the delivery says so itself.
    pub headers: Vec<Option<Headers>>,
    /// Bytes of one export, unless a single message is larger.
    pub batch_bytes_max: u64,
    /// Log records in one export.
    pub batch_records_max: u64,
    /// Longest wait for the answer to one try.
    pub timeout: Duration,
    /// How long an export is tried again before it is given up.
    pub give_up_after: Duration,
}

impl OtlpOptions {
    /// What is used where the configuration says nothing.
    pub fn new(remote: Remote) -> OtlpOptions {
        OtlpOptions {
            remote,
            compression: Some(CompressionEncoding::Gzip),
            service_name: "skirmish".into(),
            headers: vec![],
            batch_bytes_max: 1 << 20,
            batch_records_max: 8192,
            timeout: Duration::from_secs(10),
            give_up_after: Duration::from_secs(300),
        }
    }
    /// Reads `{address: host:4317, tls: {...}, token_file: ..., token_env: ..., keepalive: 20s, compression: gzip,
    /// service_name: skirmish, batch_bytes_max: 1MiB, batch_records_max: 8192, timeout: 10s,
    /// give_up_after: 5m}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<OtlpOptions> {
        let f = node.fields(p, "an otlp sink")?;
        let remote = Remote::from_fields(&f, p);
        let default = OtlpOptions::new(Remote::plain(""));
        let compression = f.take("compression").map_or(Some(default.compression), |n| wire::compression(n, p));
        let service_name = match f.take("service_name") {
            Some(n) => n.text(p, "`service_name`").map(String::from),
            None => Some(default.service_name),
        };
        let batch_bytes_max = at_least(&f, p, "batch_bytes_max", default.batch_bytes_max, 1);
        let batch_records_max = at_least(&f, p, "batch_records_max", default.batch_records_max, 1);
        let timeout = duration(&f, p, "timeout", default.timeout);
        let give_up_after = duration(&f, p, "give_up_after", default.give_up_after);
        f.finish(p);
        Some(OtlpOptions {
            remote: remote?,
            compression: compression?,
            service_name: service_name?,
            headers: vec![],
            batch_bytes_max: batch_bytes_max?,
            batch_records_max: batch_records_max?,
            timeout: timeout?,
            give_up_after: give_up_after?,
        })
    }
}

impl Sink for OtlpOptions {
    fn add_delivery(&mut self, _delivery: &DeliveryInfo, fields: &Fields<'_>, p: &mut Problems) {
        self.headers.push(fields.take("headers").and_then(|n| Headers::from_node(n, p)));
    }
    fn open(&mut self) -> Result<(), String> {
        self.remote.target().map(drop)
    }
    fn reach(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { vec![self.remote.reach().await] })
    }
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(run(*self, task))
    }
}

/// Messages of one delivery on their way.
struct Export {
    delivery: usize,
    messages: u64,
    records: u64,
    bytes: u64,
    /// Whether any try may have reached the receiver.
    sent: bool,
}

async fn run(options: OtlpOptions, mut task: Task) -> Drained {
    let target = match options.remote.target() {
        Ok(t) => t,
        Err(e) => {
            task.abandon();
            return Drained { error: Some(e), ..Drained::default() };
        }
    };
    let mut link = Link { options: &options, target, client: None, failing: None, first_error: None };
    for (info, own) in task.deliveries.iter_mut().zip(&options.headers) {
        info.headers = own.unwrap_or(info.headers);
    }
    let receipts = task.receipts.clone();
    let mut waiting: Vec<(usize, Arc<Batch>)> = vec![];
    'all: while let Some(offer) = task.next().await {
        // what has come meanwhile goes along, as long as it is of the same delivery
        let delivery = offer.delivery;
        waiting.push((delivery, offer.batch));
        let mut bytes = 0;
        while bytes < options.batch_bytes_max as usize
            && let Some(more) = task.try_next()
        {
            bytes += more.batch.bytes.len();
            waiting.push((more.delivery, more.batch));
        }
        let mut queue = std::mem::take(&mut waiting).into_iter().peekable();
        let mut at = 0;
        while queue.peek().is_some() {
            let (export, request) = cut(&options, &task, &mut queue, &mut at);
            if !link.send(export, request, &receipts).await {
                // the rest was never sent
                for (d, b) in queue {
                    let rest = &b.messages[at..];
                    let bytes = b.bytes.len() - if at == 0 { 0 } else { b.messages[at - 1].end as usize };
                    let records = rest.iter().map(|m| u64::from(m.records)).sum();
                    receipts.settle(d, Outcome::Dropped, records, bytes as u64);
                    at = 0;
                }
                break 'all;
            }
        }
    }
    let error = link.first_error;
    task.abandon();
    Drained { digest: None, error }
}

/// Takes messages of one delivery, up to the bounds of an export, beginning with message `at` of the first batch.
fn cut(
    options: &OtlpOptions,
    task: &Task,
    queue: &mut std::iter::Peekable<impl Iterator<Item = (usize, Arc<Batch>)>>,
    at: &mut usize,
) -> (Export, ExportLogsServiceRequest) {
    let delivery = queue.peek().map_or(0, |(d, _)| *d);
    let mut export = Export { delivery, messages: 0, records: 0, bytes: 0, sent: false };
    let mut encoder = Encoder::new(options, &task.deliveries[delivery], &task.run);
    let mut total = 0;
    while let Some((_, batch)) = queue.peek().filter(|(d, _)| *d == delivery) {
        for (i, m) in batch.iter().enumerate().skip(*at) {
            let bytes = size(batch, i);
            // one message larger than an export may go alone, or it could never go
            if total > 0
                && (total + bytes > options.batch_bytes_max as usize || export.messages == options.batch_records_max)
            {
                *at = i;
                return (export, encoder.finish());
            }
            encoder.add(m.meta, m.key, m.payload, m.truth);
            total += bytes;
            export.messages += 1;
            export.records += u64::from(m.meta.records);
            export.bytes += m.payload.len() as u64;
        }
        *at = 0;
        queue.next();
    }
    (export, encoder.finish())
}

/// The receiver as seen from here.
struct Link<'a> {
    options: &'a OtlpOptions,
    target: Target,
    client: Option<LogsServiceClient<Connection>>,
    /// The receiver did not answer before: the next pause.
    failing: Option<Duration>,
    first_error: Option<String>,
}

impl Link<'_> {
    /// Exports until there is an answer, the export is given up, or the time to flush has passed (false).
    async fn send(&mut self, mut export: Export, request: ExportLogsServiceRequest, receipts: &Receipts) -> bool {
        let start = Instant::now();
        loop {
            let tried = tokio::select! {
                biased;
                () = receipts.deadline() => {
                    settle_lost(&export, receipts);
                    self.failed("the time to flush passed before everything was answered".into());
                    return false;
                }
                r = self.attempt(&mut export.sent, &request) => r,
            };
            let (answer, text) = tried;
            let mut pause = self.failing.unwrap_or(BACKOFF.0);
            match answer {
                Answer::Taken { rejected } => {
                    self.failing = None;
                    if rejected > 0 {
                        self.failed(format!("{rejected} log records were rejected: {text}"));
                    }
                    settle_taken(&export, rejected, receipts);
                    return true;
                }
                Answer::Refused => {
                    self.failed(text);
                    receipts.settle(export.delivery, Outcome::Dropped, export.records, export.bytes);
                    return true;
                }
                Answer::Again { after } => {
                    if self.failing.is_none() {
                        self.failed(format!("{text}; trying again"));
                    }
                    self.failing = Some((pause * 2).min(BACKOFF.1));
                    pause = after.unwrap_or(pause);
                }
            }
            if start.elapsed() + pause >= self.options.give_up_after {
                settle_lost(&export, receipts);
                return true;
            }
            tokio::select! {
                biased;
                () = receipts.deadline() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    async fn attempt(&mut self, sent: &mut bool, request: &ExportLogsServiceRequest) -> (Answer, String) {
        let address = &self.options.remote.address;
        let client = match &mut self.client {
            Some(c) => c,
            none => match self.target.connect().await {
                Ok(c) => {
                    let client = LogsServiceClient::new(c);
                    none.insert(match self.options.compression {
                        Some(c) => client.send_compressed(c),
                        None => client,
                    })
                }
                Err(e) => return (Answer::Again { after: None }, e),
            },
        };
        *sent = true;
        match tokio::time::timeout(self.options.timeout, client.export(request.clone())).await {
            Ok(Ok(r)) => {
                let partial = r.into_inner().partial_success.unwrap_or_default();
                let rejected = partial.rejected_log_records.max(0) as u64;
                (Answer::Taken { rejected }, partial.error_message)
            }
            Ok(Err(s)) => {
                let answer = of_status(&s);
                if answer != Answer::Refused {
                    // connecting anew tells apart who is not there from who did not answer
                    self.client = None;
                }
                (answer, format!("`{address}` answers {}", describe(&s)))
            }
            Err(_) => {
                self.client = None;
                let text = format!("`{address}` did not answer within {:?}", self.options.timeout);
                (Answer::Again { after: None }, text)
            }
        }
    }
    fn failed(&mut self, text: String) {
        tracing::warn!("{text}");
        self.first_error.get_or_insert(text);
    }
}

fn settle_lost(e: &Export, receipts: &Receipts) {
    let outcome = if e.sent { Outcome::Unknown } else { Outcome::Dropped };
    receipts.settle(e.delivery, outcome, e.records, e.bytes);
}

/// A receiver says how many log records it rejected and not which: records and bytes are counted in proportion.
fn settle_taken(e: &Export, rejected: u64, receipts: &Receipts) {
    let part =
        |all: u64| (u128::from(all) * u128::from(rejected.min(e.messages)) / u128::from(e.messages.max(1))) as u64;
    let (records, bytes) = (part(e.records), part(e.bytes));
    if records > 0 || bytes > 0 {
        receipts.settle(e.delivery, Outcome::Dropped, records, bytes);
    }
    receipts.settle(e.delivery, Outcome::Delivered, e.records - records, e.bytes - bytes);
}

//! `grpc_push`: records go to a server that the user runs. The protocol is `proto/skirmish/v1/ingest.proto`.

mod window;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Response, Status, Streaming};

use self::window::{Part, Window};
use super::wire::{self, Wire};
use super::{Drained, Finding, Offer, Receipts, Sink, Task};
use crate::account::Outcome;
use crate::grpc::{Connection, Target, describe};
use crate::proto::skirmish::v1::ingest_client::IngestClient;
use crate::proto::skirmish::v1::push_request::Item;
use crate::proto::skirmish::v1::{Hello, PushBatch, PushRequest, PushResponse, RecordBatch};
use crate::secret::SecretRef;
use crate::time::Span;
use crate::tls::ClientTls;
use crate::yaml::{Fields, Node, Problems};

/// Pause before the first try to connect again.
const BACKOFF: Duration = Duration::from_millis(100);

/// Options of the pushing sink.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The server.
    pub remote: Remote,
    /// How requests are compressed.
    pub compression: Option<CompressionEncoding>,
    /// Batches that may be unanswered at once.
    pub window_batches_max: usize,
    /// Bytes that may be unanswered at once.
    pub window_bytes_max: u64,
    /// Bytes of one batch, unless a single message is larger.
    pub batch_bytes_max: u64,
    /// How long an answer is waited for, over all connections, before what was sent is counted as unknown.
    pub give_up_after: Duration,
    /// Longest pause between tries to connect.
    pub reconnect_max: Duration,
}

/// A server as configured: secrets are named, not held.
#[derive(Clone, Debug)]
pub struct Remote {
    /// As [`Target::address`].
    pub address: String,
    /// As [`Target::tls`].
    pub tls: Option<ClientTls>,
    /// Where the token stands.
    pub token: Option<SecretRef>,
    /// As [`Target::keepalive`].
    pub keepalive: Duration,
}

impl Remote {
    /// A server without TLS and token.
    pub fn plain(address: &str) -> Remote {
        Remote { address: address.into(), tls: None, token: None, keepalive: Duration::from_secs(20) }
    }
    /// Takes `address`, `tls`, `token_file` or `token_env`, and `keepalive`.
    pub fn from_fields(f: &Fields<'_>, p: &mut Problems) -> Option<Remote> {
        let address = f.need(p, "address").and_then(|n| {
            let text = n.text(p, "`address`")?;
            // files and tokens are looked at when the sink opens; an address can be wrong already
            let target = Target { address: text.into(), ..Target::default() };
            if let Err(e) = target.uri() {
                p.at(n, e).help("expected `host:port`, `http://host:port` or `https://host:port`");
                return None;
            }
            Some(text.to_owned())
        });
        let tls = f.take("tls").map(|n| ClientTls::from_node(n, p));
        let token = SecretRef::from_fields(f, p, "token", "token_file", "token_env");
        let keepalive = duration(f, p, "keepalive", Duration::from_secs(20));
        Some(Remote { address: address?, tls: tls.map_or(Some(None), |t| t.map(Some))?, token, keepalive: keepalive? })
    }
    /// Reads the token.
    ///
    /// # Errors
    /// As [`SecretRef::read`] and [`Target::endpoint`].
    pub fn target(&self) -> Result<Target, String> {
        let token = self.token.as_ref().map(SecretRef::read).transpose()?;
        let target = Target { address: self.address.clone(), tls: self.tls.clone(), token, keepalive: self.keepalive };
        target.endpoint()?;
        Ok(target)
    }
    /// Connects and reports.
    pub async fn reach(&self) -> Finding {
        let found = match self.target() {
            Ok(target) => target.connect().await.map(drop),
            Err(e) => Err(e),
        };
        match found {
            Ok(()) => Finding { ok: true, text: format!("`{}` answers", self.address) },
            Err(text) => Finding { ok: false, text },
        }
    }
}

/// Takes a length of time that must be positive.
pub(super) fn duration(f: &Fields<'_>, p: &mut Problems, name: &'static str, default: Duration) -> Option<Duration> {
    let Some(n) = f.take(name) else { return Some(default) };
    let what = format!("`{name}`");
    let span = n.span(p, &what)?;
    if span <= Span::ZERO {
        p.at(n, format!("{what} is {}", n.describe())).help("more than nothing");
        return None;
    }
    Some(Duration::from_nanos(span.0 as u64))
}

/// Takes a number of bytes or batches that must be at least `min`.
pub(super) fn at_least(f: &Fields<'_>, p: &mut Problems, name: &'static str, default: u64, min: u64) -> Option<u64> {
    let Some(n) = f.take(name) else { return Some(default) };
    let what = format!("`{name}`");
    let v = n.bytes(p, &what)?;
    if v < min {
        p.at(n, format!("{what} is {}", n.describe())).help(format!("at least {min}"));
        return None;
    }
    Some(v)
}

impl PushOptions {
    /// What is used where the configuration says nothing.
    pub fn new(remote: Remote) -> PushOptions {
        PushOptions {
            remote,
            compression: None,
            window_batches_max: 64,
            window_bytes_max: 8 << 20,
            batch_bytes_max: 1 << 20,
            give_up_after: Duration::from_secs(300),
            reconnect_max: Duration::from_secs(10),
        }
    }
    /// Reads `{address: host:port, tls: {ca, cert, key, server_name}, token_file: ..., token_env: ..., keepalive: 20s,
    /// compression: none, window_batches_max: 64, window_bytes_max: 8MiB, batch_bytes_max: 1MiB,
    /// give_up_after: 5m, reconnect_max: 10s}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<PushOptions> {
        let f = node.fields(p, "a grpc_push sink")?;
        let remote = Remote::from_fields(&f, p);
        let compression = f.take("compression").map_or(Some(None), |n| wire::compression(n, p));
        let window_batches_max = at_least(&f, p, "window_batches_max", 64, 1);
        let window_bytes_max = at_least(&f, p, "window_bytes_max", 8 << 20, 1);
        let batch_bytes_max = at_least(&f, p, "batch_bytes_max", 1 << 20, 1);
        let give_up_after = duration(&f, p, "give_up_after", Duration::from_secs(300));
        let reconnect_max = duration(&f, p, "reconnect_max", Duration::from_secs(10));
        f.finish(p);
        Some(PushOptions {
            remote: remote?,
            compression: compression?,
            window_batches_max: window_batches_max? as usize,
            window_bytes_max: window_bytes_max?,
            batch_bytes_max: batch_bytes_max?,
            give_up_after: give_up_after?,
            reconnect_max: reconnect_max?,
        })
    }
}

impl Sink for PushOptions {
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

/// How a connection ended.
enum End {
    /// Everything is settled and nothing more will come.
    Done,
    /// The time to flush has passed.
    Deadline,
    /// It broke, or the server ended it.
    Broken(String),
}

async fn run(options: PushOptions, task: Task) -> Drained {
    let target = match options.remote.target() {
        Ok(t) => t,
        Err(e) => return Drained { error: Some(e), ..abandon(task) },
    };
    let receipts = task.receipts.clone();
    let window = Window::new(options.window_batches_max, options.window_bytes_max);
    let mut push = Push { options, task, receipts: receipts.clone(), window, taken: None, ended: false, heard: false };
    let (mut pause, mut error, mut reported) = (BACKOFF, None, String::new());
    while !push.done() {
        let end = tokio::select! {
            biased;
            () = receipts.deadline() => End::Deadline,
            // so that a run that ends without a record does not wait for a server that is not there
            offer = push.task.next(), if push.taken.is_none() && !push.ended => {
                push.take(offer);
                continue;
            }
            connection = target.connect() => match connection {
                Ok(c) => push.connected(c).await,
                Err(e) => End::Broken(e),
            },
        };
        match end {
            End::Done => break,
            End::Deadline => {
                error.get_or_insert("the time to flush passed before everything was answered".to_owned());
                break;
            }
            End::Broken(e) => {
                if push.heard {
                    (push.heard, pause) = (false, BACKOFF);
                }
                if e != reported {
                    tracing::warn!(sink = push.task.name, "{e}; connecting again");
                    reported = e;
                }
            }
        }
        push.give_up();
        // half of the pause is drawn, so that many daemons do not come back together
        let half = pause.as_nanos() as u64 / 2;
        let drawn = Duration::from_nanos(half + RandomState::new().hash_one(pause) % (half + 1));
        pause = (pause * 2).min(push.options.reconnect_max);
        tokio::select! {
            biased;
            () = receipts.deadline() => {}
            () = receipts.closed(), if push.idle() => {}
            () = tokio::time::sleep(drawn) => {}
        }
    }
    push.window.end(|outcome, part| settle(&receipts, outcome, part));
    if let Some(taken) = push.taken {
        settle(&receipts, Outcome::Dropped, taken.rest());
    }
    Drained { error, ..abandon(push.task) }
}

fn abandon(mut task: Task) -> Drained {
    task.abandon();
    Drained::default()
}

fn settle(receipts: &Receipts, outcome: Outcome, p: Part) {
    receipts.settle(p.delivery, outcome, p.records, p.bytes);
}

/// An offer that is being cut into batches.
struct Taken {
    delivery: usize,
    wire: Wire,
    at: usize,
}

impl Taken {
    fn rest(&self) -> Part {
        let rest = (self.at..self.wire.len()).map(|i| self.wire.message(i).0);
        let (records, bytes) = rest.fold((0, 0), |(r, b), m| (r + u64::from(m.records), b + m.payload.len() as u64));
        Part { delivery: self.delivery, records, bytes }
    }
}

struct Push {
    options: PushOptions,
    task: Task,
    receipts: Receipts,
    window: Window<PushRequest>,
    taken: Option<Taken>,
    /// Nothing more will come through the door.
    ended: bool,
    /// The server has answered something on this connection.
    heard: bool,
}

impl Push {
    /// Holds nothing, and there may be more at the door.
    fn idle(&self) -> bool {
        !self.ended && self.taken.is_none() && self.window.is_empty()
    }
    /// Holds nothing, and nothing more will come.
    fn done(&self) -> bool {
        self.ended && self.taken.is_none() && self.window.is_empty()
    }
    fn take(&mut self, offer: Option<Offer>) {
        match offer {
            Some(o) => self.taken = Some(Taken { delivery: o.delivery, wire: Wire::new(o.batch), at: 0 }),
            None => self.ended = true,
        }
    }
    /// Sends and takes in answers until the connection ends.
    async fn connected(&mut self, connection: Connection) -> End {
        let mut client = IngestClient::new(connection);
        if let Some(c) = self.options.compression {
            client = client.send_compressed(c);
        }
        self.window.reconnect();
        // a channel of one: what waits in it is what HTTP/2 has no room for
        let (tx, rx) = mpsc::channel(1);
        let mut tx = Some(tx);
        let hello = PushRequest { item: Some(Item::Hello(self.hello())) };
        if let Some(tx) = &tx {
            let _ = tx.try_send(hello);
        }
        // the answer's headers may come as late as the first acknowledgement, so sending must not wait for them
        let mut call = std::pin::pin!(client.push(ReceiverStream::new(rx)));
        let mut answers: Option<Streaming<PushResponse>> = None;
        let receipts = self.receipts.clone();
        let mut over = false;
        loop {
            if over {
                tx = None;
            }
            if self.done() {
                drop(tx);
                goodbye(answers, &receipts).await;
                return End::Done;
            }
            if self.ended && self.taken.is_none() && !self.window.has_unsent() {
                tx = None;
            }
            let give_up_at = self.window.oldest().map(|t| t + self.options.give_up_after);
            let overdue = async {
                match give_up_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let has_room = self.window.has_room();
            tokio::select! {
                biased;
                () = receipts.deadline() => return End::Deadline,
                r = &mut call, if answers.is_none() => match r {
                    Ok(r) => answers = Some(Response::into_inner(r)),
                    Err(s) => return End::Broken(self.broken(&s)),
                },
                a = next_answer(&mut answers) => match a {
                    Ok(Some(a)) => if let Err(e) = self.answered(a) {
                        return End::Broken(e);
                    },
                    Ok(None) => return End::Broken(format!("`{}` ended the call", self.options.remote.address)),
                    Err(s) => return End::Broken(self.broken(&s)),
                },
                () = overdue => self.give_up(),
                permit = reserve(&tx), if self.window.has_unsent() => match permit {
                    Some(permit) => if let Some(request) = self.window.send(Instant::now()) {
                        permit.send(request);
                    },
                    // the call is over; its status tells why
                    None => over = true,
                },
                offer = self.task.next(), if has_room && self.taken.is_none() && !self.ended => self.take(offer),
                () = std::future::ready(()), if has_room && self.taken.is_some() => self.fill(),
            }
        }
    }
    fn hello(&self) -> Hello {
        Hello {
            run: self.task.run.id.clone(),
            sink: self.task.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            first_sequence: self.window.first_sequence(),
            window_batches_max: self.options.window_batches_max as u32,
            window_bytes_max: self.options.window_bytes_max,
        }
    }
    fn broken(&self, s: &Status) -> String {
        format!("`{}` broke off: {}", self.options.remote.address, describe(s))
    }
    fn answered(&mut self, a: PushResponse) -> Result<(), String> {
        self.heard = true;
        for r in a.rejected {
            tracing::warn!(sink = self.task.name, sequence = r.sequence, "batch rejected: {}", r.reason);
            self.window.reject(r.sequence);
        }
        let receipts = &self.receipts;
        self.window.ack(a.acked_through, |o, p| settle(receipts, o, p)).map_err(|sent| {
            let address = &self.options.remote.address;
            format!("`{address}` acknowledged batch {}, of which only {sent} were sent", a.acked_through)
        })
    }
    fn give_up(&mut self) {
        if let Some(before) = Instant::now().checked_sub(self.options.give_up_after) {
            let (receipts, mut lost) = (&self.receipts, 0);
            self.window.give_up(before, |o, p| {
                lost += p.records;
                settle(receipts, o, p);
            });
            if lost > 0 {
                tracing::error!(sink = self.task.name, records = lost, "no answer, given up: their fate is unknown");
            }
        }
    }
    /// Makes one batch of what was taken and of what else has come.
    fn fill(&mut self) {
        let limit = self.options.batch_bytes_max.min(self.window.room()) as usize;
        let (mut batches, mut parts, mut size): (Vec<RecordBatch>, Vec<Part>, usize) = (vec![], vec![], 0);
        loop {
            let Some(taken) = &mut self.taken else {
                match self.task.try_next() {
                    Some(o) => self.take(Some(o)),
                    None => break,
                }
                continue;
            };
            let mut part = Part { delivery: taken.delivery, records: 0, bytes: 0 };
            let mut messages = vec![];
            while taken.at < taken.wire.len() {
                let (message, bytes) = taken.wire.message(taken.at);
                // one message larger than a batch may go alone, or it could never go
                if size > 0 && size + bytes > limit {
                    break;
                }
                size += bytes;
                part.records += u64::from(message.records);
                part.bytes += message.payload.len() as u64;
                taken.at += 1;
                messages.push(message);
            }
            if !messages.is_empty() {
                batches.push(taken.wire.envelope(&self.task.deliveries[taken.delivery], messages));
                parts.push(part);
            }
            if taken.at < taken.wire.len() {
                break;
            }
            self.taken = None;
        }
        if !batches.is_empty() {
            let item = |sequence| Some(Item::Batch(PushBatch { sequence, batches }));
            self.window.put(size as u64, parts, |sequence| PushRequest { item: item(sequence) });
        }
    }
}

async fn next_answer(answers: &mut Option<Streaming<PushResponse>>) -> Result<Option<PushResponse>, Status> {
    match answers {
        Some(a) => a.message().await,
        None => std::future::pending().await,
    }
}

async fn reserve(tx: &Option<mpsc::Sender<PushRequest>>) -> Option<mpsc::Permit<'_, PushRequest>> {
    match tx {
        Some(tx) => tx.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

/// Lets the server end the call itself, so that it sees a whole one; it has a second, or until the deadline.
async fn goodbye(answers: Option<Streaming<PushResponse>>, receipts: &Receipts) {
    if let Some(mut answers) = answers {
        tokio::select! {
            () = receipts.deadline() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = async { while let Ok(Some(_)) = answers.message().await {} } => {}
        }
    }
}

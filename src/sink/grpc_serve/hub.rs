//! Subscribers and their rings.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tonic::Status;

use super::filter::Filter;
use crate::batch::Batch;
use crate::proto::skirmish::v1::{Gap, RecordBatch, SubscribeRequest, SubscribeResponse, SubscriberStatus};
use crate::sink::wire::Wire;
use crate::sink::{DeliveryInfo, Offer};

/// Bytes of messages in one response, more or less.
const RESPONSE_BYTES: usize = 256 << 10;

/// Everybody who listens.
pub struct Hub {
    /// Known when the sink starts; until then nothing is served.
    deliveries: OnceLock<Vec<DeliveryInfo>>,
    ring_bytes_max: u64,
    subscribers_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    subscribers: Vec<Arc<Subscriber>>,
    closed: bool,
    /// Records sent to and left out for subscribers that are gone.
    gone: [u64; 2],
}

struct Subscriber {
    id: u64,
    peer: String,
    filter: Filter,
    ring_bytes_max: u64,
    ring: Mutex<Ring>,
    filled: Notify,
    sent: [AtomicU64; 2],
    missed: [AtomicU64; 2],
}

#[derive(Default)]
struct Ring {
    waiting: VecDeque<(usize, Arc<Batch>)>,
    bytes: u64,
    /// What was left out since the last response, just before the first that waits.
    gap: Gap,
    closed: bool,
}

/// Everything kept for a batch, payloads and what goes with them.
fn size(b: &Batch) -> u64 {
    (b.bytes.len() + b.keys.len() + b.truth.len()) as u64
}

/// A panic elsewhere does not make a list of batches wrong.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A hub without subscribers.
    pub fn new(ring_bytes_max: u64, subscribers_max: usize) -> Hub {
        Hub { deliveries: OnceLock::new(), ring_bytes_max, subscribers_max, state: Mutex::default() }
    }
    /// Tells what is served; only the first call counts.
    pub fn serve(&self, deliveries: Vec<DeliveryInfo>) {
        self.deliveries.get_or_init(|| deliveries);
    }
    fn deliveries(&self) -> &[DeliveryInfo] {
        self.deliveries.get().map_or(&[], Vec::as_slice)
    }
    /// Puts a batch into the ring of everybody who wants any of it. Never waits.
    pub fn put(&self, offer: &Offer) {
        // the list is copied so that one large batch does not keep others from coming and going
        let subscribers = lock(&self.state).subscribers.clone();
        for s in subscribers {
            if let Some(batch) = s.filter.pick(offer.delivery, &offer.batch) {
                s.put(offer.delivery, batch);
            }
        }
    }
    /// Everybody gets what waits for them, and then the end.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for s in &state.subscribers {
            lock(&s.ring).closed = true;
            s.filled.notify_one();
        }
    }
    /// The accounts of all subscribers, oldest first.
    pub fn read(&self) -> Vec<SubscriberStatus> {
        let read = |s: &Arc<Subscriber>| SubscriberStatus {
            id: s.id,
            peer: s.peer.clone(),
            sent_messages: s.sent[0].load(Relaxed),
            sent_records: s.sent[1].load(Relaxed),
            gap_messages: s.missed[0].load(Relaxed),
            gap_records: s.missed[1].load(Relaxed),
            ring_bytes: lock(&s.ring).bytes,
        };
        lock(&self.state).subscribers.iter().map(read).collect()
    }
    /// How many listen, what waits for them, and what was sent and left out since the start.
    pub(super) fn gauges(&self) -> Vec<(&'static str, &'static str, u64)> {
        let state = lock(&self.state);
        let waiting = state.subscribers.iter().map(|s| lock(&s.ring).bytes).sum();
        let with_gone = |of: fn(&Subscriber) -> &[AtomicU64; 2], gone: u64| {
            gone + state.subscribers.iter().map(|s| of(s)[1].load(Relaxed)).sum::<u64>()
        };
        vec![
            ("serve_subscribers", "", state.subscribers.len() as u64),
            ("serve_ring_bytes", "", waiting),
            ("serve_sent_records_total", "", with_gone(|s| &s.sent, state.gone[0])),
            ("serve_gap_records_total", "", with_gone(|s| &s.missed, state.gone[1])),
        ]
    }
    /// Lets a subscriber in.
    ///
    /// # Errors
    /// As `Records.Subscribe` says.
    pub(super) fn subscribe(self: &Arc<Hub>, request: SubscribeRequest, peer: String) -> Result<Reader, Status> {
        let (limit, without_payload, without_truth) =
            (request.limit_messages, request.without_payload, request.without_truth);
        let asked = request.ring_bytes_max;
        let ring_bytes_max = if asked == 0 { self.ring_bytes_max } else { asked.min(self.ring_bytes_max) };
        let filter = Filter::new(request, self.deliveries())?;
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Status::unavailable("the run is ending"));
        }
        if state.subscribers.len() >= self.subscribers_max {
            return Err(Status::resource_exhausted(format!("{} subscribers are connected", self.subscribers_max)));
        }
        state.last_id += 1;
        let subscriber = Arc::new(Subscriber {
            id: state.last_id,
            peer,
            filter,
            ring_bytes_max,
            ring: Mutex::default(),
            filled: Notify::new(),
            sent: Default::default(),
            missed: Default::default(),
        });
        state.subscribers.push(subscriber.clone());
        let left = if limit == 0 { None } else { Some(limit) };
        Ok(Reader { hub: self.clone(), subscriber, current: None, gap: None, left, without_payload, without_truth })
    }
}

impl Subscriber {
    fn put(&self, delivery: usize, batch: Arc<Batch>) {
        let bytes = size(&batch);
        let mut ring = lock(&self.ring);
        // one batch larger than the ring may stand in it alone, or it would never be seen
        while ring.bytes + bytes > self.ring_bytes_max
            && let Some((_, old)) = ring.waiting.pop_front()
        {
            ring.bytes -= size(&old);
            let (messages, records) = (old.messages.len() as u64, old.records());
            ring.gap.messages += messages;
            ring.gap.records += records;
            ring.gap.bytes += old.bytes.len() as u64;
            self.missed[0].fetch_add(messages, Relaxed);
            self.missed[1].fetch_add(records, Relaxed);
        }
        ring.bytes += bytes;
        ring.waiting.push_back((delivery, batch));
        drop(ring);
        self.filled.notify_one();
    }
}

/// A subscriber's end of its ring; the subscription ends when it is dropped.
pub(super) struct Reader {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
    /// The batch that is being sent, and its first message that is not.
    current: Option<(usize, Wire, usize)>,
    /// What is missing before `current`.
    gap: Option<Gap>,
    /// Messages until the limit.
    left: Option<u64>,
    without_payload: bool,
    without_truth: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.hub.state);
        state.subscribers.retain(|s| s.id != self.subscriber.id);
        state.gone[0] += self.subscriber.sent[1].load(Relaxed);
        state.gone[1] += self.subscriber.missed[1].load(Relaxed);
    }
}

impl Reader {
    /// The next response; `None` at the limit, and at the end of the run.
    pub(super) async fn next(&mut self) -> Option<SubscribeResponse> {
        loop {
            let response = self.fill();
            if response.gap.is_some() || !response.batches.is_empty() {
                return Some(response);
            }
            let ended = self.left == Some(0) || {
                let ring = lock(&self.subscriber.ring);
                ring.closed && ring.waiting.is_empty()
            };
            if ended {
                return None;
            }
            // a permit is kept when nobody waits, so nothing is missed between the look and the wait
            self.subscriber.filled.notified().await;
        }
    }
    fn fill(&mut self) -> SubscribeResponse {
        let mut response = SubscribeResponse::default();
        let mut bytes = 0;
        while bytes < RESPONSE_BYTES && self.left != Some(0) {
            if self.current.is_none() && !self.advance() {
                break;
            }
            if self.gap.is_some() {
                if !response.batches.is_empty() {
                    break;
                }
                response.gap = self.gap.take();
            }
            let Some((delivery, wire, at)) = &mut self.current else { break };
            let mut messages = vec![];
            let mut records = 0;
            while bytes < RESPONSE_BYTES && *at < wire.len() && self.left != Some(0) {
                let (message, size) = wire.message(*at);
                *at += 1;
                bytes += size;
                records += u64::from(message.records);
                messages.push(message);
                self.left = self.left.map(|l| l - 1);
            }
            self.subscriber.sent[0].fetch_add(messages.len() as u64, Relaxed);
            self.subscriber.sent[1].fetch_add(records, Relaxed);
            let batch: RecordBatch = wire.envelope(&self.hub.deliveries()[*delivery], messages);
            if *at == wire.len() {
                self.current = None;
            }
            response.batches.push(batch);
        }
        response
    }
    /// Takes the next batch out of the ring.
    fn advance(&mut self) -> bool {
        let mut ring = lock(&self.subscriber.ring);
        let Some((delivery, batch)) = ring.waiting.pop_front() else { return false };
        ring.bytes -= size(&batch);
        let gap = std::mem::take(&mut ring.gap);
        drop(ring);
        self.gap = (gap.messages > 0).then_some(gap);
        let mut wire = Wire::new(batch);
        if self.without_payload {
            wire = wire.without_payload();
        }
        if self.without_truth {
            wire = wire.without_truth();
        }
        self.current = Some((delivery, wire, 0));
        true
    }
}

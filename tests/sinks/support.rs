//! What tests of sinks share: batches whose every byte is known, and a sink that runs behind its door.
#![allow(dead_code)] // each test uses a part

use std::sync::Arc;
use std::time::Duration;

use skirmish::account::{Delivery, DeliveryReading};
use skirmish::batch::{Batch, Message, RecordId};
use skirmish::sink::{DeliveryInfo, Door, Drained, OnSlow, Passed, RunInfo, Sink, SinkSpec};
use skirmish::time::Time;

/// 2026-03-02T08:00:00Z.
pub const START: i64 = 1_772_438_400_000_000_000;

/// Payload of message `n` of a delivery: its number, and filler up to `len` bytes.
pub fn payload(delivery: usize, n: u64, len: usize) -> Vec<u8> {
    let mut p = format!("{delivery}/{n} ").into_bytes();
    while p.len() < len {
        p.push(b'a' + (n as usize + p.len()) as u8 % 26);
    }
    p
}

/// The delivery and the number that a payload says it is.
pub fn parse(payload: &[u8]) -> (usize, u64) {
    let text = std::str::from_utf8(payload).expect("payloads are text");
    let (d, rest) = text.split_once('/').expect("a payload of these tests");
    (d.parse().unwrap(), rest.split_once(' ').expect("a number").0.parse().unwrap())
}

/// Messages `first..first + count`, one record each, a millisecond apart; every tenth is an attack record with truth.
pub fn batch(delivery: usize, first: u64, count: u64, len: usize) -> Arc<Batch> {
    let mut b = Batch::default();
    for n in first..first + count {
        b.bytes.extend_from_slice(&payload(delivery, n, len));
        b.keys.extend_from_slice(format!("PC{}", n % 7).as_bytes());
        let attack = n.is_multiple_of(10);
        if attack {
            let truth = format!(
                "{{\"run\":\"r1\",\"id\":\"r1.{delivery}.3.{n}\",\"attack\":true,\"scenario\":\"ransomware.x\",\"technique\":\"T1059.001\"}}\n"
            );
            b.truth.extend_from_slice(truth.as_bytes());
        }
        b.messages.push(Message {
            end: b.bytes.len() as u32,
            key_end: b.keys.len() as u32,
            truth_end: b.truth.len() as u32,
            id: RecordId { stream: delivery as u16, cell: 3, n },
            records: 1,
            attack: attack.into(),
            release: Time(START + n as i64 * 1_000_000),
            event: Time(START + n as i64 * 1_000_000 - 250_000_000),
            severity: 9,
        });
    }
    Arc::new(b)
}

/// Two deliveries, `sysmon` and `security`.
pub fn deliveries() -> Vec<DeliveryInfo> {
    [("sysmon", "windows.sysmon"), ("security", "windows.security")]
        .map(|(stream, source)| DeliveryInfo {
            stream: stream.into(),
            source: source.into(),
            encoding: "event_xml".into(),
            os: "windows".into(),
            key_is_host: true,
            ..DeliveryInfo::default()
        })
        .into()
}

/// A sink behind its door.
pub struct Rig {
    pub door: Door,
    pub accounts: Vec<Arc<Delivery>>,
    task: tokio::task::JoinHandle<Drained>,
}

impl Rig {
    pub fn start(sink: Box<dyn Sink>, on_slow: OnSlow, queue_bytes_max: u64) -> Rig {
        let accounts: Vec<Arc<Delivery>> = (0..2).map(|_| Arc::default()).collect();
        let spec = SinkSpec { name: "main".into(), kind: "test", on_slow, queue_bytes_max, cap: None, sink };
        let run = RunInfo { id: "r1".into(), start: Time(START) };
        let (door, task) = spec.build(deliveries(), accounts.clone(), Arc::new(run));
        Rig { door, accounts, task: tokio::spawn(task) }
    }
    /// Offers from a thread that may wait, as cells do.
    pub async fn offer(&self, delivery: usize, batch: Arc<Batch>) -> Passed {
        let door = self.door.clone();
        tokio::task::spawn_blocking(move || door.offer(delivery, batch)).await.unwrap()
    }
    pub fn read(&self, delivery: usize) -> DeliveryReading {
        self.accounts[delivery].read()
    }
    /// Waits until nothing is in flight.
    pub async fn settled(&self) {
        eventually("everything is settled", || self.accounts.iter().all(|a| a.read().in_flight == 0)).await;
    }
    /// Closes the door and waits for the end.
    pub async fn close(self, flush: Duration) -> (Drained, Vec<DeliveryReading>) {
        self.door.close(flush);
        let drained = self.task.await.unwrap();
        assert_eq!(self.door.held_bytes(), 0, "the gate is empty in the end");
        (drained, self.accounts.iter().map(|a| a.read()).collect())
    }
}

/// Waits for something that happens elsewhere; fails after a minute.
pub async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not within a minute: {what}");
}

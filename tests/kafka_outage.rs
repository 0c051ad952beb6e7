//! A broker killed with `kill -9` under load: nothing is lost, repeated or out of order, and what was dropped was
//! reported. `KILLS=10 cargo test --test kafka_outage` for a longer run.
#![cfg(feature = "kafka")]

#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/sink.rs"]
mod sink;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sink::{Rig, assert_once_in_order, batch};

const RECORDS_PER_SECOND: u64 = 5_000;
const RECORD_BYTES: usize = 1_900;
const RECORDS_PER_BATCH: u64 = 50;
const RISE_BYTES_MAX: u64 = 64 << 20;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Ends the load also when an assertion fails: the scope would wait for it forever.
struct End<'a>(&'a AtomicBool, &'a [Rig]);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        if std::thread::panicking() {
            self.1.iter().for_each(|r| r.door.close(Duration::ZERO));
        }
    }
}

/// Offers at the rate until told to stop; the numbers of what the door refused, and how many were offered.
fn load(rig: &Rig, offered: &AtomicU64, stop: &AtomicBool) -> (Vec<bool>, u64) {
    let (start, mut n, mut refused) = (Instant::now(), 0, vec![]);
    while !stop.load(Relaxed) {
        let due = Duration::from_nanos(n * 1_000_000_000 / RECORDS_PER_SECOND);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let before = rig.read(0).dropped;
        rig.door.offer(0, batch(n, n + RECORDS_PER_BATCH, RECORD_BYTES, 20));
        let dropped = rig.read(0).dropped - before;
        assert!(dropped == 0 || dropped == RECORDS_PER_BATCH, "only whole batches are refused");
        refused.resize((n + RECORDS_PER_BATCH) as usize, dropped > 0);
        n += RECORDS_PER_BATCH;
        offered.store(n, Relaxed);
    }
    (refused, n)
}

#[test]
fn killed_brokers_cost_nothing_but_what_was_reported() {
    if !kafka::available() {
        return;
    }
    let kills: u64 = std::env::var("KILLS").map_or(5, |k| k.parse().expect("KILLS is a number"));
    let b = kafka::Broker::start("");
    let sink = |how: &str| {
        let yaml = format!("{{kafka: {{brokers: '{}', create_topics: {{partitions: 3}}}}, {how}}}", b.plain());
        Rig::start(&yaml, &[&format!("{{topic: {}}}", how.split(' ').nth(1).unwrap().trim_matches(','))]).unwrap()
    };
    let rigs = [sink("on_slow: catch_up"), sink("on_slow: block, queue: 4MiB"), sink("on_slow: drop, queue: 4MiB")];
    let (stop, offered) = (AtomicBool::new(false), [(); 3].map(|()| AtomicU64::new(0)));
    let (mut loads, mut base, mut peak) = (vec![], 0, 0);
    std::thread::scope(|s| {
        let handles: Vec<_> = rigs.iter().zip(&offered).map(|(r, o)| s.spawn(|| load(r, o, &stop))).collect();
        let end = End(&stop, &rigs);
        // the sink that drops never waits: its load is the clock
        let wait_for = |records: u64, delivered: u64, peak: &mut u64| {
            let target = offered[2].load(Relaxed) + records;
            let deadline = Instant::now() + Duration::from_secs(60);
            while offered[2].load(Relaxed) < target || rigs[0].read(0).delivered < delivered {
                let now = || rigs.each_ref().map(|r| (r.read(0), (r.gauges)()));
                assert!(Instant::now() < deadline, "the load stands still: {:?} {}", now(), b.log());
                *peak = resident_bytes().max(*peak);
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        wait_for(2 * RECORDS_PER_SECOND, 1, &mut peak);
        base = resident_bytes();
        peak = base;
        for kill in 0..kills {
            b.kill();
            // long enough that the small queues fill, short enough that the large one does not always
            wait_for(RECORDS_PER_SECOND / 2 * (1 + kill % 2), 0, &mut peak);
            let before = rigs[0].read(0).delivered;
            b.up();
            wait_for(RECORDS_PER_SECOND / 4 + 500 * kill, before + 1, &mut peak);
        }
        drop(end);
        loads = handles.into_iter().map(|h| h.join().unwrap()).collect();
    });
    eprintln!("resident: {} MiB before, {} MiB at most", base >> 20, peak >> 20);
    for ((rig, (refused, total)), topic) in rigs.into_iter().zip(loads).zip(["catch_up", "block", "drop"]) {
        let (drained, r) = rig.close(Duration::from_secs(30));
        eprintln!("{topic}: {:?}", r[0]);
        assert_eq!((drained.error, r[0].unknown, r[0].generated), (None, 0, total), "{topic}");
        let lost = refused.iter().filter(|d| **d).count() as u64;
        assert_eq!((r[0].dropped, r[0].delivered), (lost, total - lost), "{topic}");
        assert_eq!(topic == "drop", lost > 0, "{topic}: {lost} refused");
        assert_once_in_order(&b.plain(), topic, total, |n| !refused[n as usize]);
    }
    assert!(peak - base < RISE_BYTES_MAX, "resident memory rose by {} MiB", (peak - base) >> 20);
}

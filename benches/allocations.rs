//! Allocations a record in steady state: cells that have lived for a while take no memory for what they write.
//!
//! `cargo bench --bench allocations [RECORDS]`. Counts every call of the allocator while cells play, simulation and fill
//! included, and fails above the limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use skirmish::config::{Config, Layers};
use skirmish::engine::{Engine, Pool};
use skirmish::plan::{Extra, Knowledge, plan};

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system allocator's, with a count beside it
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Ordering::Relaxed);
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations a record at most: what a new process or a new instance takes, spread over all records.
const LIMIT: f64 = 0.5;
/// Slices before counting begins: memory that is kept grows to its size.
const WARM: usize = 3_000;

fn main() {
    let records: u64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(300_000);
    let knowledge = Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"));
    let set = [
        "world.hosts=2000",
        "sensors.policy=verbose_lab",
        "attacks=~",
        "sinks={out: {null: {}}}",
        "streams={sysmon: {source: windows.sysmon, to: [{sink: out, encoding: nxlog}]}, \
          security: {source: windows.security, to: [{sink: out, encoding: nxlog}]}, \
          device: {source: defender.device_process, to: [{sink: out}]}}",
    ];
    let layers = Layers { set: set.map(String::from).to_vec(), ..Layers::default() }.or_generate();
    let config = Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
    let planned = plan(config, &knowledge, &Extra::default()).unwrap_or_else(|e| panic!("{e}"));
    let pool = Pool::new(1).expect("a thread");
    let mut engine = Engine::new(planned.plan.clone(), planned.start, planned.schedules.clone(), Box::new(pool));
    for _ in 0..WARM {
        engine.step();
    }
    let (calls, bytes) = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let mut made = 0;
    let mut slices = 0;
    while made < records {
        engine.step();
        slices += 1;
        made += (0..3).map(|s| engine.counted(s).records).sum::<u64>();
    }
    let calls = (CALLS.load(Ordering::Relaxed) - calls) as f64 / made as f64;
    let bytes = (BYTES.load(Ordering::Relaxed) - bytes) as f64 / made as f64;
    println!("{made} records in {slices} slices: {calls:.3} allocations and {bytes:.1} bytes allocated a record");
    assert!(calls <= LIMIT, "more than {LIMIT} allocations a record");
}

//! Hosts that sleep and wake: how a population follows a schedule.
//!
//! A sleeping machine keeps its processes and sessions; what it was about to do waits until it wakes, as timers do.
//! Nothing is recorded of it, so that going to sleep and waking change no mix. An attack wakes whom it needs.

use crate::rng::{mix, purpose};
use crate::time::{Span, Time};
use crate::world::host::Host;
use crate::world::state::{State, What};

/// A host that an attack has touched stays awake at least so long.
const TOUCHED: Span = Span::s(3_600);

impl Host {
    /// Runs and is awake.
    pub fn up(&self) -> bool {
        self.on && !self.parked
    }
}

impl State {
    /// Lets a host sleep or wakes it; one that an attack has touched lately stays awake.
    pub fn set_awake(&mut self, host: u32, awake: bool) {
        let h = &mut self.hosts[host as usize];
        if awake != h.parked || (!awake && h.kept_until > self.now) {
            return;
        }
        h.parked = !awake;
        if awake {
            for (i, what) in self.held.remove(&host).unwrap_or_default().into_iter().enumerate() {
                // not all timers fire in the same instant
                let later =
                    Span::us((mix(self.now.0 as u64 ^ host as u64, i as u64 ^ purpose("wake")) % 900_000) as i64);
                self.at(self.now + later, what);
            }
        }
    }

    /// An attack needs a host.
    pub fn rouse(&mut self, host: u32) {
        self.hosts[host as usize].kept_until = self.now + TOUCHED;
        if self.hosts[host as usize].parked {
            self.set_awake(host, true);
        }
    }

    /// The sleeping host that an entry of the queue has to wait for.
    pub(super) fn waits_for(&self, what: &What) -> Option<u32> {
        let (host, attack) = match what {
            What::Task(t) => {
                let t = self.tasks[*t as usize].as_ref()?;
                (t.host, t.inst.attack || t.tag != 0)
            }
            What::End(p, _) | What::Console(p) => (p.host, self.proc(*p).is_some_and(|p| p.snap.tag != 0)),
            What::LogOff(host, _) => (*host, false),
            What::Desk { host, desk, .. } => (*host, desk.tag != 0),
            What::AtDesk { host, play, .. } => (*host, play.0.inst.attack),
            What::Habit(_) | What::Noise(_) | What::Mail(_) | What::Tick(..) | What::Timer(..) => return None,
            What::Turn(..) | What::Rise { .. } => return None,
        };
        (self.hosts[host as usize].parked && !attack).then_some(host)
    }

    /// Keeps an entry of the queue until its host wakes.
    pub(super) fn hold(&mut self, host: u32, what: What) {
        self.held.entry(host).or_default().push(what);
    }

    /// Whether a host does the next thing on its own accord now: it is up and, where its load follows that of others, busy.
    pub(super) fn busy(&self, host: u32, draw: u64) -> bool {
        let h = &self.hosts[host as usize];
        h.up() && (h.load >= 1.0 || ((draw >> 11) as f64) < h.load as f64 * (1u64 << 53) as f64)
    }
}

/// Never: the time of what has not happened.
pub const NEVER: Time = Time(i64::MIN);

//! From facts to records that wait for their release.

use crate::activity::Kind;
use crate::cell::collect::{agent_delay, away, leaves};
use crate::cell::{Cell, Collect, Pending, Plan};
use crate::rng::{Rng, mix, purpose};
use crate::source::Delay;
use crate::time::{SLICE, Span, Time};
use crate::world::atlas::HostId;
use crate::world::fact::Val;
use crate::world::state::State;
use crate::world::view::{FactView, Record};

impl Cell {
    /// The slice that fill of a feed looks at while a slice is played.
    pub(super) fn target(&self, feed: usize, slice: i64) -> i64 {
        slice + self.scratch.leads[feed]
    }

    /// Moves on to the slice that fill looks at next: what is already known of it is counted.
    pub(super) fn look_ahead(&mut self, plan: &Plan, slice: i64) {
        let first = plan.start.slice();
        for (s, stream) in plan.streams.iter().enumerate() {
            let target = self.target(stream.feed, slice);
            if target >= first {
                self.planned[s] += self.wheel.count(target, s);
            }
        }
    }

    /// Turns the facts made since the last call into records to be released. Facts of fill have their release
    /// given: it is that of the first record for the driving feed, and the fact's own time follows from it.
    /// Returns how many records of the driving stream's feed came out of it in the slice that is filled.
    pub(super) fn collect(&mut self, plan: &Plan, slice: i64, driver: Option<(usize, Time)>) -> u64 {
        let mut facts = std::mem::take(&mut self.scratch.facts);
        facts.clear();
        facts.append(&mut self.state.made);
        let mut driven = 0;
        let mut shift = Span::ZERO;
        if let Some((feed, release)) = driver {
            // the first fact that the driving feed may record decides; what led to it moves with it
            let events = |i: &&u32| !plan.feeds[feed].source.events_for(self.state.facts.get(**i).kind).is_empty();
            if let Some(i) = facts.iter().find(events) {
                shift = self.shift_of(plan, *i, feed, release);
            }
        }
        if driver.is_some() {
            // starts first: what a process does cannot be moved before it
            shift = self.state.backdate_max(&facts, shift);
            self.backdate(&facts, shift, true);
        }
        self.state.begin_then(&facts);
        if driver.is_some() {
            self.backdate(&facts, shift, false);
        }
        for i in &facts {
            driven += self.dispatch(plan, slice, *i, driver, driver.is_some() && driven == 0);
        }
        self.scratch.facts = facts;
        driven
    }

    /// When a record of a host leaves collection.
    fn released(&self, plan: &Plan, feed: usize, host: u32, write: Time) -> Time {
        let id = self.state.host_id(host);
        let lead = Span(self.scratch.leads[feed] * SLICE.0);
        self.left(plan, feed, id, write) + lead + agent_delay(id.0 as u64)
    }

    /// When what is written on a host leaves it.
    fn left(&self, plan: &Plan, feed: usize, id: HostId, write: Time) -> Time {
        if plan.feeds[feed].collect == Collect::Lab || !plan.mobile[id.0 as usize] {
            return write;
        }
        let shared = self.state.shared();
        let site = shared.atlas.host(id).site as usize;
        let offset = match (shared.zones.get(site), jiff::Timestamp::from_second(write.second())) {
            (Some(zone), Ok(t)) => zone.to_offset(t).seconds() as i64,
            _ => 0,
        };
        let midnight = (write.second() + offset).div_euclid(86_400) * 86_400 - offset;
        leaves(away(shared.seed, id.0 as u64, Time(midnight * 1_000_000_000)), write)
    }

    /// A host whose records leave it at once.
    pub(super) fn in_reach(&self, plan: &Plan, feed: usize, host: u32, now: Time) -> bool {
        // what fill makes is written a little later than it happens
        let later = now + Span::s(2);
        let id = self.state.host_id(host);
        self.left(plan, feed, id, now) == now && self.left(plan, feed, id, later) == later
    }

    /// How much earlier a fact must have happened so that its record for a feed is released at a given time.
    fn shift_of(&mut self, plan: &Plan, i: u32, feed: usize, release: Time) -> Span {
        let f = self.state.facts.get(i);
        let source = &plan.feeds[feed].source;
        let Some(e) = source.events_for(f.kind).first() else { return Span::ZERO };
        let event = source.event(*e);
        let d = match event.in_turn {
            true => {
                let place = f.host as usize * plan.feeds.len() + feed;
                self.scratch.queues.delay(place, event.write_after, self.state.host_id(f.host), feed, f.time)
            }
            false => delay(event.write_after, f.draw, e.0),
        };
        let lead = Span(self.scratch.leads[feed] * SLICE.0);
        let collect = lead + agent_delay(self.state.host_id(f.host).0 as u64);
        Span((f.time.0 - (release.0 - d.0 - collect.0)).max(0))
    }

    /// Moves facts back in time, but not before their process started: those of starts or all others.
    fn backdate(&mut self, facts: &[u32], by: Span, starts: bool) {
        for i in facts {
            let f = self.state.facts.get_mut(*i);
            let start = f.kind == Kind::ProcessStart;
            if start != starts {
                continue;
            }
            let old = f.time;
            let least = if start { Time(i64::MIN) } else { f.proc.start + Span::us(50) };
            f.time = (f.time - by).max(least.min(f.time));
            let new = f.time;
            for (_, v) in &mut f.extra {
                if *v == Val::Time(old) {
                    *v = Val::Time(new);
                }
            }
        }
    }

    /// Plans the records of a fact; a fact without any is forgotten.
    fn dispatch(&mut self, plan: &Plan, slice: i64, i: u32, driver: Option<(usize, Time)>, first: bool) -> u64 {
        let mut driven = 0;
        let mut uses = 0;
        let mut forced = !first;
        let f = self.state.facts.get(i);
        let (host, kind, attack) = (f.host, f.kind, f.tag != 0);
        let id = self.state.host_id(host);
        let policy = &*plan.policies[plan.policy_of[id.0 as usize] as usize];
        let start = Time::of_slice(slice);
        for (feed_index, feed) in plan.feeds.iter().enumerate() {
            let events = feed.source.events_for(kind);
            if events.is_empty() || !feed.streams.iter().any(|s| plan.streams[*s].hosts[id.0 as usize]) {
                continue;
            }
            let target = self.target(feed_index, slice);
            for e in events {
                let view = FactView::new(&self.state, self.state.facts.get(i), Record::default());
                if !feed.source.selects(*e, &view, policy) {
                    continue;
                }
                let f = self.state.facts.get(i);
                let event = feed.source.event(*e);
                let late = match event.in_turn {
                    true => {
                        let place = host as usize * plan.feeds.len() + feed_index;
                        self.scratch.queues.delay(place, event.write_after, id, feed_index, f.time)
                    }
                    false => delay(event.write_after, f.draw, e.0),
                };
                let mut write = f.time + late;
                // a sensor that tells of its own start writes what its driver saw before then, later
                let since = self.state.hosts[host as usize].sensor_at;
                if f.time < since && !feed.source.events_for(Kind::SensorStart).is_empty() {
                    write = write.max(since);
                }
                let mut release = self.released(plan, feed_index, host, write);
                match driver {
                    Some((d, at)) if d == feed_index && !forced => {
                        forced = true;
                        // a process that had just started holds its deeds back a little
                        write = write.min(at - (release - write)).max(f.time);
                        release = at;
                    }
                    // whatever is already due goes out at once, the oldest first
                    _ if release < start => release = start + Span(10_000 / (1 + (start - release).0 / 1_000_000)),
                    _ => {}
                }
                uses += 1;
                self.scratch.planned[feed_index] += 1;
                let delivers = |s: &usize| {
                    let s = &plan.streams[*s];
                    s.hosts[id.0 as usize] && (!s.attack_only || attack)
                };
                let streams = feed.streams.iter().copied().filter(delivers);
                let p = Pending { release, write, fact: i, feed: feed_index as u8, event: e.0, n: 0 };
                let at = self.wheel.add(p, streams.clone());
                if at <= target && at >= plan.start.slice() {
                    for s in streams {
                        self.planned[s] += 1;
                    }
                }
                if driver.is_some_and(|(d, _)| d == feed_index) && at == target {
                    driven += 1;
                }
            }
        }
        if uses == 0 {
            let State { facts, texts, .. } = &mut self.state;
            facts.free(i, texts);
        } else {
            self.state.facts.get_mut(i).uses = uses;
        }
        driven
    }
}

/// Draws the delay from event to writing; the same for every asker.
fn delay(d: Delay, draw: u64, event: u16) -> Span {
    let mut rng = Rng::of(draw, event as u64, purpose("write"));
    match d {
        Delay::Const(s) => s,
        Delay::Range(a, b) => Span(rng.range(a.0, b.0)),
        // a sensor flushes what it holds in the end: the tail is cut at twice the 99th percentile
        Delay::LogNormal { median, p99 } => {
            Span(rng.lognormal(median.0 as f64, p99.0 as f64).min(2.0 * p99.0 as f64) as i64)
        }
    }
}

/// What [`Queues::delay`] found last, by host and feed: most records come soon after another.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(pub Vec<Knots>);

/// Two knots and the delays at them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Knots {
    of: (Span, Span),
    k: i64,
    ends: (f64, f64),
}

impl Queues {
    /// How long a sensor's queue takes at an instant. It is read in bursts, so its delay swells and sinks from one knot to
    /// the next; it never sinks faster than time goes by: what happened first is written first.
    fn delay(&mut self, place: usize, d: Delay, host: HostId, feed: usize, t: Time) -> Span {
        let Delay::LogNormal { median, p99 } = d else { return delay(d, mix(host.0 as u64, t.0 as u64), feed as u16) };
        let apart = p99.0.max(1) * 3 / 2;
        let k = t.0.div_euclid(apart);
        let knots = &mut self.0[place];
        if (knots.of, knots.k) != ((median, p99), k) {
            let at = |k: i64| {
                let mut rng = Rng::of(host.0 as u64, mix(k as u64, feed as u64), purpose("queue"));
                rng.lognormal(median.0 as f64, p99.0 as f64).min(apart as f64 * 0.95)
            };
            *knots = Knots { of: (median, p99), k, ends: (at(k), at(k + 1)) };
        }
        let (a, b) = knots.ends;
        Span((a + (b - a) * (t.0.rem_euclid(apart) as f64 / apart as f64)) as i64)
    }
}

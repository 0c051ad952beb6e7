//! Fill chooses when a record is released and computes backwards when its activity was. Where that is the start of a
//! process, the process itself began then: its key follows the one before it, and all that is told of it agrees.

use crate::activity::Kind;
use crate::time::Span;
use crate::world::state::State;

impl State {
    /// How far facts may be moved back: no process starts before one on its host that has a lower key.
    pub fn backdate_max(&self, facts: &[u32], by: Span) -> Span {
        let starts = facts.iter().map(|i| self.facts.get(*i)).filter(|f| f.kind == Kind::ProcessStart);
        let room = starts.map(|f| f.time - Span::us(1) - self.hosts[f.host as usize].started).min();
        room.map_or(by, |room| by.min(room).max_zero())
    }

    /// Facts have their times: processes that they start begin then.
    pub fn begin_then(&mut self, facts: &[u32]) {
        for i in facts {
            let f = self.facts.get(*i);
            if f.kind != Kind::ProcessStart {
                continue;
            }
            let (host, key, time, told) = (f.host, f.proc.key, f.time, f.proc.start);
            let h = &mut self.hosts[host as usize];
            h.started = h.started.max(time);
            if time == told {
                continue;
            }
            for p in h.procs.living_mut() {
                if p.snap.key == key {
                    p.snap.start = time;
                }
            }
            for k in &mut h.parents {
                if k.parent.key == key {
                    k.parent.start = time;
                }
            }
            for k in facts {
                let f = self.facts.get_mut(*k);
                if f.host != host {
                    continue;
                }
                for s in [&mut f.proc, &mut f.parent, &mut f.target] {
                    if s.key == key {
                        s.start = time;
                    }
                }
                if f.grand.key == key {
                    f.grand.start = time;
                }
            }
        }
    }
}

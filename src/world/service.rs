//! Services and their processes: which run, how they start and stop.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use crate::world::host::ProcRef;
use crate::world::program::{Op, ScriptId};
use crate::world::state::{State, Task, What};

/// A service that was started after boot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its process.
    pub process: ProcRef,
    /// When it was started, or last asked whether to stop.
    pub since: Time,
    /// When it was last asked for.
    pub asked: Time,
}

/// What comes of a request to a service.
pub(super) enum Request {
    /// Nothing: it is in that state already, or the host has no such service.
    Nothing,
    /// These scripts are played, the last one first.
    Play(Option<ScriptId>, Option<ScriptId>),
    /// It was asked for again meanwhile: it stops later.
    Later(Span),
}

impl State {
    /// Slot of the process that hosts a service.
    pub fn service_slot(&self, host: u32, service: u16) -> Option<u16> {
        let boot = self.atlas().host(self.host_id(host)).boot;
        let slot = self.shared().habits.service(boot, service);
        let alive = |slot: &u16| self.hosts[host as usize].procs.lives(*slot);
        slot.filter(alive).or_else(|| self.daemon(host, service).map(|d| d.process.slot))
    }

    /// A service that was started after boot and runs.
    fn daemon(&self, host: u32, service: u16) -> Option<&Daemon> {
        self.daemons.get(&(host, service)).filter(|d| self.proc(d.process).is_some())
    }

    /// A process was started for a service.
    pub(super) fn serves(&mut self, host: u32, service: u16, process: ProcRef) {
        let now = self.now;
        self.daemons.insert((host, service), Daemon { process, since: now, asked: now });
    }

    /// A service is asked to run or to stop; `own` when it stops because nobody asked for it any more.
    pub(super) fn service_op(
        &mut self,
        t: &Task,
        name: u16,
        running: bool,
        own: bool,
        start: Option<ScriptId>,
        fact: ScriptId,
        tag: u32,
    ) -> Request {
        let shared = self.shared().clone();
        let id = self.host_id(t.host);
        let boot = shared.atlas.host(id).boot;
        let place = shared.habits.service(boot, name);
        let now = self.now;
        let Some(slot) = self.service_slot(t.host, name) else {
            return match (running, place, start) {
                (true, Some(place), _) => {
                    let tag = self.collateral(tag);
                    self.rise_for(t.host, place, tag);
                    // what it does from then on is what it always does
                    self.own(t.host, place, 0);
                    Request::Play(Some(fact), None)
                }
                (true, None, Some(start)) if self.starts_here(id, start) => Request::Play(Some(fact), Some(start)),
                _ => Request::Nothing,
            };
        };
        if running {
            if let Some(d) = self.daemons.get_mut(&(t.host, name)) {
                d.asked = now;
            }
            return Request::Nothing;
        }
        if let Some(d) = self.daemons.get_mut(&(t.host, name)).filter(|d| own && d.asked > d.since) {
            let longer = d.asked - d.since;
            d.since = d.asked;
            return Request::Later(longer);
        }
        let h = &self.hosts[t.host as usize];
        let shared_host =
            place == Some(slot) && shared.atlas.boots[boot as usize].processes[slot as usize].services.len() > 1;
        if !shared_host && ![h.lsass, h.services, h.eventlog, h.sensor].contains(&slot) {
            let process = self.proc_ref(t.host, slot);
            if tag != 0 && self.hosts[t.host as usize].procs[slot].snap.tag == 0 {
                let tag = self.collateral(tag);
                self.own(t.host, slot, tag);
            }
            // it has told its state before it exits
            self.at(now + Span::us(900 + (process.key as u16 as i64 * 71) % 40_000), What::End(process, 0));
        }
        Request::Play(Some(fact), None)
    }

    /// Whether a host has the program that a script starts.
    fn starts_here(&self, host: crate::world::atlas::HostId, start: ScriptId) -> bool {
        self.library().scripts[start.0 as usize].iter().any(|t| match &t.op {
            Op::Spawn(s) => self.atlas().program(host, s.program).is_some(),
            _ => false,
        })
    }
}

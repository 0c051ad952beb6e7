//! Boot images: what runs after boot, for each kind of host.

use std::collections::BTreeMap;

use crate::world::atlas::data::{BootRow, BootSet, Place, WorldData};
use crate::world::atlas::*;
use crate::world::program::Library;

use super::hosts::{Draft, Sequence};
use super::images::{Installed, os_words};
use super::people::People;

/// Boot images so far.
pub(super) struct Boots<'a> {
    data: &'a WorldData,
    sets: Vec<&'a BootSet>,
    /// Whether a package, by its index, decides anything about a boot.
    matters: Vec<bool>,
    known: BTreeMap<(usize, u16, Vec<u16>), u16>,
    pub boots: Vec<Boot>,
}

impl<'a> Boots<'a> {
    pub(super) fn new(data: &'a WorldData) -> Boots<'a> {
        let mut sets: Vec<&BootSet> = data.boots.iter().collect();
        sets.sort_by_key(|s| (s.order, &s.id));
        let decides = |id| sets.iter().any(|s| s.package.as_ref() == Some(id) || s.only.mentions(id));
        let matters = data.packages.iter().map(|p| decides(&p.id)).collect();
        Boots { data, sets, matters, known: BTreeMap::new(), boots: vec![] }
    }

    /// The boot image of a host: the sets that fit its system, role and packages.
    pub(super) fn of_host(
        &mut self,
        draft: &Draft,
        plan: &Sequence<'_>,
        installed: &Installed,
        people: &People<'_>,
        names: &mut Library,
    ) -> u16 {
        let packages: Vec<u16> = installed.packages.iter().filter(|p| self.matters[**p as usize]).copied().collect();
        let key = (plan.family(draft), draft.role, packages);
        if let Some(boot) = self.known.get(&key) {
            return *boot;
        }
        let role = plan.role(draft);
        let mut words = os_words(&self.data.oses[key.0]);
        words.extend(role.tags.iter().map(|t| &**t).chain([&*role.id]));
        words.extend(key.2.iter().map(|p| &*self.data.packages[*p as usize].id));
        let here = |s: &&&BootSet| s.only.holds(&words) && s.package.as_ref().is_none_or(|p| words.contains(&&**p));
        let sets: Vec<&BootSet> = self.sets.iter().filter(here).copied().collect();
        let rows_of = |wanted: fn(&BootSet) -> bool| {
            let rows = sets.iter().filter(move |s| wanted(s)).flat_map(|s| &s.rows);
            rows.filter(|r| r.only.holds(&words)).collect::<Vec<_>>()
        };
        let rows = rows_of(|s| !s.remote && !s.called);
        let mut boot = Boot::default();
        let mut places: BTreeMap<&str, u16> = BTreeMap::new();
        for row in rows {
            let index = boot.processes.len() as u16;
            let parent = if row.parent == row.name { Some(index) } else { places.get(&*row.parent).copied() };
            // a parent that this kind of host lacks takes its children with it
            let Some(parent) = parent else { continue };
            if let Some(process) = self.process(row, parent, &words, people, names) {
                places.insert(&row.name, index);
                boot.processes.push(process);
            }
        }
        for row in rows_of(|s| s.called) {
            if let Some(parent) = places.get(&*row.parent)
                && let Some(process) = self.process(row, *parent, &words, people, names)
            {
                boot.called.push(process);
            }
        }
        for row in rows_of(|s| s.remote) {
            let index = (boot.processes.len() + boot.remote.len()) as u16;
            let Some(parent) = places.get(&*row.parent).copied() else { continue };
            if let Some(process) = self.process(row, parent, &words, people, names) {
                places.insert(&row.name, index);
                boot.remote.push(process);
            }
        }
        self.boots.push(boot);
        let index = self.boots.len() as u16 - 1;
        self.known.insert(key, index);
        index
    }

    fn process(
        &self,
        row: &BootRow,
        parent: u16,
        words: &[&str],
        people: &People<'_>,
        names: &mut Library,
    ) -> Option<BootProcess> {
        let services: Vec<_> = (row.services.iter())
            .filter_map(|k| self.data.services.iter().find(|s| s.key == *k))
            .filter(|s| s.only.holds(words))
            .collect();
        let (mut run, mut place) = (row.run.to_string(), row.place.clone());
        if row.run.is_empty() && !row.services.is_empty() {
            let first = services.first()?;
            run = first.command.to_string();
            if row.split {
                run = format!("{run} -s {}", first.key);
            }
            place = if first.per_user { Place::Owner } else { first.account.clone() };
        }
        Some(BootProcess {
            program: names.name(&row.program),
            parent,
            command_line: run.into(),
            session: people.place(&place),
            services: services.iter().map(|s| names.name(&s.key)).collect(),
            after: row.after,
            exits: row.exits,
            app_container: row.container,
        })
    }
}

/// Every service of the data, sorted by name.
pub(super) fn services(data: &WorldData, people: &People<'_>, names: &mut Library) -> Vec<Service> {
    let mut list: Vec<Service> = data
        .services
        .iter()
        .map(|s| Service {
            name: names.name(&s.key),
            key: s.key.clone(),
            display: s.display.clone(),
            command: s.command.clone(),
            account: match people.place(&s.account) {
                BootSession::Service(a) | BootSession::Console(a) => a,
                BootSession::Owner => AccountId::SYSTEM,
            },
            start: s.start.clone(),
            per_user: s.per_user,
        })
        .collect();
    list.sort_by_key(|s| s.name);
    list
}

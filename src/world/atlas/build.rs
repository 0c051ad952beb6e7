//! Makes an [`Atlas`] of a configuration and the data folders.
//!
//! Every draw is keyed by what it is for and whom (`hash(seed, host, purpose)`), and hosts come in a sequence whose
//! beginning does not depend on its length: a larger world has the smaller one's hosts, with the same names and people.

mod boots;
mod hosts;
mod images;
mod people;
mod share;
mod traces;

use std::sync::Arc;

use crate::rng::{Rng, purpose};
use crate::world::program::Library;
use crate::yaml::Problems;

use super::config::{CELLS_MIN, HOSTS_MAX, check_pattern};
use super::data::WorldData;
use super::*;

use share::Share;

/// What is the same in all worlds of some data: the programs and modules of its operating systems, and the names of the
/// programs.
pub struct Base {
    images: images::Images,
    names: Library,
}

impl Base {
    /// Takes a tenth of a second or two, and needs nothing of scenarios.
    pub fn new(data: &Arc<WorldData>) -> Base {
        let mut names = Library::default();
        Base { images: images::Images::new(data, &mut names), names }
    }
}

/// Builds the atlas, and the library that knows the names of its programs, services and call traces beside its own.
///
/// # Errors
/// No hosts or too many, too few cells, an unknown role, a naming pattern that makes names no computer may have.
pub fn build(
    config: &Config,
    data: &WorldData,
    personas: &[Persona],
    base: &Base,
    library: &Library,
) -> Result<(Atlas, Library), Problems> {
    check(config, data)?;
    let mut share = Share::default();
    let forest = forest(config, data, &mut share);
    let oses = oses(data);
    let plan = hosts::sequence(config, data, &mut share)?;
    let mut people = people::People::new(config, data, personas, &forest, &plan);
    let of = |d: &hosts::Draft| (people.of_host(d, plan.id(d.index), &plan), people.machine());
    let accounts: Vec<_> = plan.hosts.iter().map(of).collect();
    let mut names = library.clone();
    let to: Vec<u16> = base.names.names.iter().map(|n| names.name(n)).collect();
    let mut software = base.images.clone().renamed(&to);
    let mut boots = boots::Boots::new(data);

    let mut hosts: Vec<Option<Host>> = vec![None; plan.len()];
    for (draft, (owner, machine)) in plan.hosts.iter().zip(accounts) {
        let id = plan.id(draft.index);
        let persona = owner.and_then(|o| people.accounts[o.0 as usize].persona);
        let installed = software.of_host(config.seed, draft, persona.map(|p| &personas[p as usize].id), &mut names);
        let boot = boots.of_host(draft, &plan, &installed, &people, &mut names);
        hosts[id.0 as usize] = Some(plan.host(config, draft, &forest, owner, machine, &installed, boot, &mut share));
    }
    let mut hosts: Vec<Host> = hosts.into_iter().flatten().collect();
    let sites = hosts::sites(&plan, &mut hosts, config.seed);
    let services = boots::services(data, &people, &mut names);
    people.accounts.shrink_to_fit();
    let traces = traces::traces(data, oses.len(), &software, &mut names);
    let atlas = Atlas {
        seed: config.seed,
        start: config.start,
        forest,
        sites,
        oses,
        roles: data.roles.iter().map(|r| r.id.clone()).collect(),
        restarts: data.roles.iter().map(|r| r.restart).collect(),
        personas: personas.to_vec(),
        hosts,
        domain_admins: people.domain_admins(),
        service_accounts: people.with_spn(),
        groups: people.groups,
        account_names: account_names(&people.accounts),
        accounts: people.accounts,
        images: software.images,
        module_files: software.modules.iter().map(|m| name_key(m.file())).collect(),
        modules: software.modules,
        bases: software.bases,
        system_modules: software.system_modules,
        software: software.sets,
        services,
        boots: boots.boots,
        words: Words { names: data.words.keys().cloned().collect(), lists: data.words.values().cloned().collect() },
        traces,
        cells: config.cells,
    };
    Ok((atlas, names))
}

fn account_names(accounts: &[Account]) -> Vec<(u32, AccountId)> {
    let mut names: Vec<_> = (0..).map(AccountId).zip(accounts).map(|(id, a)| (name_key(&a.name), id)).collect();
    names.sort_unstable();
    names
}

/// Names (short, full, address as text) of the hosts that [`build`] makes, without making the rest.
///
/// # Errors
/// Those of [`build`] that are about hosts.
pub fn host_names(config: &Config, data: &WorldData) -> Result<Vec<(HostId, [String; 3])>, Problems> {
    check(config, data)?;
    let mut share = Share::default();
    let forest = forest(config, data, &mut share);
    let plan = hosts::sequence(config, data, &mut share)?;
    let names = |d: &hosts::Draft| [d.name.to_string(), hosts::fqdn(d, &forest), d.ip.to_string()];
    Ok(plan.hosts.iter().map(|d| (plan.id(d.index), names(d))).collect())
}

fn check(config: &Config, data: &WorldData) -> Result<(), Problems> {
    let mut p = Problems::new();
    if !(1..=HOSTS_MAX).contains(&config.hosts) {
        p.plain(format!("a world has 1 to {HOSTS_MAX} hosts, not {}", config.hosts));
    }
    if config.cells < CELLS_MIN {
        p.plain(format!("a world has at least {CELLS_MIN} cells, not {}", config.cells));
    }
    if !config.sites.is_empty() && config.sites.iter().all(|s| s.share == 0) {
        p.plain("no site has a share of the hosts");
    }
    for role in &config.roles {
        if !data.roles.iter().any(|r| r.id == role.role) {
            let all = data.roles.iter().map(|r| &*r.id);
            p.plain(format!("unknown role `{}`", role.role)).help(crate::yaml::suggest(&role.role, all));
        }
        if let Some(Err(why)) = role.name.as_deref().map(check_pattern) {
            p.plain(why);
        }
    }
    p.or(())
}

/// Hexadecimal digits of a draw, lower case.
fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[rng.below(16) as usize])).collect()
}

/// A random (version 4) GUID, lower case.
fn guid(rng: &mut Rng) -> String {
    let h = hex(rng, 30);
    let variant = char::from(b"89ab"[rng.below(4) as usize]);
    format!("{}-{}-4{}-{variant}{}-{}", &h[..8], &h[8..12], &h[12..15], &h[15..18], &h[18..])
}

/// SID of a machine or a domain.
fn machine_sid(rng: &mut Rng) -> String {
    let mut part = || rng.range(200_000_000, 4_294_967_294);
    format!("S-1-5-21-{}-{}-{}", part(), part(), part())
}

/// One of some by weight; the first when no weight is above zero.
fn pick<'a, T>(rng: &mut Rng, list: &'a [(T, u32)]) -> Option<&'a T> {
    let mut x = rng.below(list.iter().map(|e| e.1 as u64).sum());
    for (thing, weight) in list {
        if x < *weight as u64 {
            return Some(thing);
        }
        x -= *weight as u64;
    }
    list.first().map(|e| &e.0)
}

fn forest(config: &Config, data: &WorldData, share: &mut Share) -> Forest {
    let rng = Rng::of(config.seed, 0, purpose("forest"));
    let dns = config.forest.clone().unwrap_or_else(|| data.forest.dns.clone());
    let first = dns.split('.').next().unwrap_or("corp").to_ascii_uppercase();
    Forest {
        netbios: config.netbios.clone().unwrap_or_else(|| share.text(&first[..first.len().min(15)])),
        realm: share.text(&dns.to_ascii_uppercase()),
        sid: config.domain_sid.clone().unwrap_or_else(|| machine_sid(&mut rng.fork(purpose("sid"))).into()),
        tenant: config.tenant.clone().unwrap_or_else(|| guid(&mut rng.fork(purpose("tenant"))).into()),
        dns,
    }
}

fn oses(data: &WorldData) -> Vec<Os> {
    let levels = data.oses.iter().flat_map(|os| os.levels.iter().map(move |(level, _)| (os, *level)));
    levels
        .map(|(os, revision)| Os {
            name: os.name.clone(),
            build: os.build,
            revision,
            base: format!("10.0.{}.{}", os.binaries, os.revisions.first().copied().unwrap_or(1)).into(),
            server: os.server(),
            family: os.id.clone(),
            platform: os.platform,
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! The sequence of hosts: which role, where, under what name and address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use sha1::{Digest, Sha1};

use crate::rng::{Rng, mix, purpose};
use crate::time::Span;
use crate::world::atlas::config::NAME_MAX;
use crate::world::atlas::data::{RoleData, WorldData};
use crate::world::atlas::*;
use crate::yaml::Problems;

use super::images::Installed;
use super::share::Share;
use super::{guid, machine_sid, pick};

/// Addresses a /24 network gives to hosts: .20 to .219.
const PER_NET: u32 = 200;
/// Networks a role's range in a site has before the next block is used.
const NETS: u32 = 32;

/// A host in the making.
pub(super) struct Draft {
    /// Its place in the sequence.
    pub index: u32,
    pub role: u16,
    /// How many hosts of the role came before.
    pub ordinal: u32,
    pub site: u16,
    pub os: u16,
    pub maker: Text,
    pub name: Text,
    pub ip: Ipv4Addr,
}

/// A site in the making.
pub(super) struct SiteDraft {
    pub name: Text,
    pub tz: Text,
    pub code: Text,
    pub share: u32,
    pub cultures: Vec<(usize, u32)>,
}

/// All hosts in the making.
pub(super) struct Sequence<'a> {
    pub data: &'a WorldData,
    pub hosts: Vec<Draft>,
    pub sites: Vec<SiteDraft>,
    cells: u32,
}

impl Sequence<'_> {
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }
    /// Hosts go round the cells; in the atlas those of a cell stand together.
    pub(super) fn id(&self, index: u32) -> HostId {
        let (n, cells) = (self.hosts.len() as u32, self.cells);
        let (cell, row) = (index % cells, index / cells);
        let (full, rest) = (n / cells, n % cells);
        HostId(cell * full + cell.min(rest) + row)
    }
    pub(super) fn role(&self, draft: &Draft) -> &RoleData {
        &self.data.roles[draft.role as usize]
    }
    /// Its operating system (index into the data).
    pub(super) fn family(&self, draft: &Draft) -> usize {
        let mut levels = draft.os as usize;
        self.data
            .oses
            .iter()
            .position(|o| {
                o.levels.len() > levels || {
                    levels -= o.levels.len();
                    false
                }
            })
            .unwrap_or(0)
    }
    /// The finished host but for the servers it uses.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn host(
        &self,
        config: &Config,
        draft: &Draft,
        forest: &Forest,
        owner: Option<AccountId>,
        account: (AccountId, Text),
        installed: &Installed,
        boot: u16,
        share: &mut Share,
    ) -> Host {
        let rng = Rng::of(config.seed, draft.index as u64, purpose("host"));
        let role = self.role(draft);
        let mut up = rng.fork(purpose("booted"));
        let days = up.lognormal(role.uptime.0, role.uptime.1).clamp(0.05, 120.0);
        let booted = config.start - Span((days * 86_400e9) as i64) - Span(up.range(0, 999_999_999));
        // a bijection on 32 bits, so that machine parts never collide
        let salt = mix(config.seed, purpose("machine part")) as u32;
        let mut part = draft.index.wrapping_mul(0x9E37_79B1).wrapping_add(salt);
        part = (part ^ (part >> 15)).wrapping_mul(0x85EB_CA6B);
        part ^= part >> 13;
        let machine_guid = format!("{part:08x}{}", &guid(&mut rng.fork(purpose("machine guid")))[8..]);
        let device = Sha1::digest(format!("{}/{machine_guid}/{}", forest.tenant, config.seed));
        let maker = self.data.makers.iter().find(|m| m.id == draft.maker);
        let mut card = rng.fork(purpose("card"));
        let prefix = maker.map_or("00-15-5D", |m| &m.macs[card.below(m.macs.len() as u64) as usize]);
        let low = (draft.index.wrapping_mul(0x0045_D9F3).wrapping_add(salt >> 8)) & 0x00FF_FFFF;
        let mut clock = rng.fork(purpose("clock"));
        let age = rng.fork(purpose("age")).range(40, 1400) as f64;
        Host {
            fqdn: fqdn(draft, forest).into(),
            name: draft.name.clone(),
            role: draft.role,
            site: draft.site,
            os: draft.os,
            cell: (draft.index % self.cells) as u16,
            owner,
            evening: pick(&mut rng.fork(purpose("evening")), &role.evenings).copied().unwrap_or_default(),
            mobile: role.tags.iter().any(|t| &**t == "mobile"),
            account: account.0,
            ip: draft.ip,
            mac: format!("{prefix}-{:02X}-{:02X}-{:02X}", low >> 16, low >> 8 & 0xFF, low & 0xFF).into(),
            machine_guid: machine_guid.into(),
            machine_part: part,
            sid: account.1,
            device_id: device.iter().map(|b| format!("{b:02x}")).collect::<String>().into(),
            boot,
            booted,
            boot_id: (age / (role.uptime.0 * 1.5)).clamp(2.0, 2000.0) as u16 + 1,
            clock_offset: Span((clock.normal() * if clock.chance(0.04) { 700e6 } else { 9e6 }) as i64),
            clock_drift_ppb: (clock.normal() * 120.0) as i32,
            sysmon_version: share.text(installed.sysmon.as_deref().unwrap_or("-")),
            volume: maker.and_then(|m| pick(&mut rng.fork(purpose("volume")), &m.volumes)).copied().unwrap_or(3),
            maker: draft.maker.clone(),
            software: installed.set,
            dc: HostId(0),
            file_server: HostId(0),
        }
    }
}

/// Full name of a host.
pub(super) fn fqdn(draft: &Draft, forest: &Forest) -> String {
    format!("{}.{}", draft.name, forest.dns)
}

/// Local SID of a host; a domain controller has the domain's.
pub(super) fn local_sid(seed: u64, index: u32) -> String {
    machine_sid(&mut Rng::of(seed, index as u64, purpose("machine sid")))
}

fn site_drafts(config: &Config, data: &WorldData, share: &mut Share) -> Vec<SiteDraft> {
    let culture = |name: &Text| data.cultures.iter().position(|c| c.id == *name);
    let cultures = |site: &crate::world::atlas::data::SiteData| -> Vec<(usize, u32)> {
        site.cultures.iter().filter_map(|(c, w)| Some((culture(c)?, *w))).collect()
    };
    if config.sites.is_empty() {
        let used = data.sites.iter().filter(|s| s.default);
        return used
            .map(|s| SiteDraft {
                name: s.name.clone(),
                tz: s.tz.clone(),
                code: s.code.clone(),
                share: s.share,
                cultures: cultures(s),
            })
            .collect();
    }
    let mut codes = BTreeSet::new();
    let mut drafts = vec![];
    for s in &config.sites {
        // people of a site the data does not know have names of the nearest one: same place, same zone, same continent
        let continent = s.tz.split('/').next().unwrap_or("");
        let like = (data.sites.iter().find(|d| d.name == s.name))
            .or_else(|| data.sites.iter().find(|d| d.tz == s.tz))
            .or_else(|| data.sites.iter().find(|d| d.tz.split('/').next() == Some(continent)))
            .or(data.sites.first());
        let known = data.sites.iter().find(|d| d.name == s.name).map(|d| d.code.to_string());
        let letters: String = s.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut code = known.unwrap_or_else(|| letters[..letters.len().min(3)].to_ascii_uppercase());
        let mut n = 2;
        while code.is_empty() || !codes.insert(code.clone()) {
            code = format!("{}{n}", &letters[..letters.len().min(2)].to_ascii_uppercase());
            n += 1;
        }
        drafts.push(SiteDraft {
            name: s.name.clone(),
            tz: s.tz.clone(),
            code: share.text(&code),
            share: s.share,
            cultures: like.map_or(vec![], cultures),
        });
    }
    drafts
}

/// Roles in order: the first hosts of each role come at their thresholds, all others where a role lacks most.
fn roles(config: &Config, data: &WorldData) -> Vec<u16> {
    let share: Vec<f64> = data
        .roles
        .iter()
        .map(|r| config.roles.iter().find(|c| c.role == r.id).and_then(|c| c.share).unwrap_or(r.share).max(0.0))
        .collect();
    let total: f64 = share.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut counts = vec![0usize; share.len()];
    (0..config.hosts)
        .map(|i| {
            let due = (0..share.len())
                .find(|r| data.roles[*r].from.get(counts[*r]).is_some_and(|from| *from as usize <= i + 1));
            let lack = |r: usize| share[r] / total * (i + 1) as f64 - counts[r] as f64;
            let role =
                due.unwrap_or_else(|| (0..share.len()).fold(0, |best, r| if lack(r) > lack(best) { r } else { best }));
            counts[role] += 1;
            role as u16
        })
        .collect()
}

/// The hosts of a world, in sequence.
pub(super) fn sequence<'a>(config: &Config, data: &'a WorldData, share: &mut Share) -> Result<Sequence<'a>, Problems> {
    let mut p = Problems::new();
    let sites = site_drafts(config, data, share);
    let weights: Vec<(u16, u32)> = sites.iter().enumerate().map(|(i, s)| (i as u16, s.share)).collect();
    let mut ordinals = vec![0u32; data.roles.len()];
    let mut numbers: BTreeMap<(u16, u16), u32> = BTreeMap::new();
    let mut nets: BTreeMap<(u16, u8), u32> = BTreeMap::new();
    let mut taken: BTreeSet<Text> = BTreeSet::new();
    let mut hosts = Vec::with_capacity(config.hosts);
    for (i, role) in roles(config, data).into_iter().enumerate() {
        let r = &data.roles[role as usize];
        let rng = Rng::of(config.seed, i as u64, purpose("draft"));
        let ordinal = ordinals[role as usize];
        ordinals[role as usize] += 1;
        // the first servers of a role go round the sites, so that each has one before any has two
        let site = if !r.owned && (ordinal as usize) < sites.len() {
            ordinal as u16
        } else {
            pick(&mut rng.fork(purpose("site")), &weights).copied().unwrap_or(0)
        };
        let os = level(data, role, &rng);
        let made = r.makers.iter().map(|(m, w)| (m.clone(), *w)).collect::<Vec<_>>();
        let favourite = pick(&mut Rng::of(config.seed, role as u64, purpose("maker")), &made);
        let other = pick(&mut rng.fork(purpose("maker")), &made);
        let maker = if rng.fork(purpose("favourite")).chance(0.8) { favourite } else { other };
        let pattern = config.roles.iter().find(|c| c.role == r.id).and_then(|c| c.name.clone());
        let pattern = pattern.unwrap_or_else(|| r.name.clone());
        let per_site = if pattern.contains("{site}") { site } else { u16::MAX };
        let number = numbers.entry((role, per_site)).or_insert(0);
        let name = loop {
            // retired machines leave gaps among those of people
            let mut gap = Rng::of(config.seed, mix(role as u64, *number as u64), purpose("gap"));
            *number += 1 + if r.owned && gap.chance(0.12) { gap.range(1, 4) as u32 } else { 0 };
            let name = fill(&pattern, *number, &sites[site as usize].code, &mut gap);
            if taken.insert(name.as_str().into()) {
                break name;
            }
        };
        if name.len() > NAME_MAX && p.is_empty() {
            p.plain(format!(
                "naming pattern `{pattern}` makes `{name}`: a computer's name has at most {NAME_MAX} characters"
            ));
        }
        let k = nets.entry((site, r.subnet)).or_insert(0);
        let ip = address(config.seed, site, r.subnet, *k);
        *k += 1;
        hosts.push(Draft {
            index: i as u32,
            role,
            ordinal,
            site,
            os,
            maker: maker.cloned().unwrap_or_default(),
            name: name.into(),
            ip,
        });
    }
    p.or(Sequence { data, hosts, sites, cells: config.cells as u32 })
}

/// Index into the atlas' operating systems: a family by the role's weights, then one of its servicing levels.
fn level(data: &WorldData, role: u16, rng: &Rng) -> u16 {
    let r = &data.roles[role as usize];
    let family = pick(&mut rng.fork(purpose("os")), &r.oses).and_then(|id| data.oses.iter().position(|o| o.id == *id));
    let family = family.unwrap_or(0);
    let before: usize = data.oses[..family].iter().map(|o| o.levels.len()).sum();
    let levels: Vec<(usize, u32)> = data.oses[family].levels.iter().enumerate().map(|(i, l)| (i, l.1)).collect();
    (before + pick(&mut rng.fork(purpose("level")), &levels).copied().unwrap_or(0)) as u16
}

/// The name a pattern makes.
fn fill(pattern: &str, number: u32, site: &str, rng: &mut Rng) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((text, tail)) = rest.split_once('{') {
        out.push_str(text);
        let (slot, tail) = tail.split_once('}').unwrap_or((tail, ""));
        match slot.split_once(':').unwrap_or((slot, "1")) {
            ("n", width) => out.push_str(&format!("{number:0w$}", w = width.parse().unwrap_or(1))),
            ("serial", width) => {
                let n: usize = width.parse().unwrap_or(7);
                out.extend((0..n).map(|_| char::from(b"0123456789BCDFGHJKLMNPQRSTVWXYZ"[rng.below(31) as usize])));
            }
            _ => out.push_str(site),
        }
        rest = tail;
    }
    (out + rest).to_ascii_uppercase()
}

/// The k-th address of a range of a site: 10.site.net.host, scope after scope as a DHCP server fills them.
fn address(seed: u64, site: u16, subnet: u8, k: u32) -> Ipv4Addr {
    let (net, place) = (k / PER_NET, k % PER_NET);
    let (block, net) = (net / NETS, net % NETS);
    let salt = Rng::of(seed, mix(site as u64, mix(subnet as u64, (k / PER_NET) as u64)), purpose("scope"))
        .below(PER_NET as u64);
    let host = 20 + (place * 73 + salt as u32) % PER_NET;
    let second = (10 + site as u32 + 40 * block) % 256;
    Ipv4Addr::new(10, second as u8, subnet.wrapping_add(net as u8), host as u8)
}

/// Sites, and the servers each host uses.
pub(super) fn sites(plan: &Sequence<'_>, hosts: &mut [Host], seed: u64) -> Vec<Site> {
    let of = |site: u16, want: &dyn Fn(&RoleData) -> bool| -> Vec<HostId> {
        let all = || plan.hosts.iter().filter(|d| want(plan.role(d)));
        let here: Vec<HostId> = all().filter(|d| d.site == site).map(|d| plan.id(d.index)).collect();
        if here.is_empty() { all().map(|d| plan.id(d.index)).collect() } else { here }
    };
    let sites: Vec<Site> = plan
        .sites
        .iter()
        .enumerate()
        .map(|(i, s)| Site {
            name: s.name.clone(),
            tz: s.tz.clone(),
            dcs: of(i as u16, &|r| r.controller),
            file_servers: of(i as u16, &|r| &*r.id == "file_server"),
            gateway: Ipv4Addr::new(10, (10 + i) as u8, 0, 1),
        })
        .collect();
    for draft in &plan.hosts {
        let id = plan.id(draft.index);
        let site = &sites[draft.site as usize];
        let rng = Rng::of(seed, draft.index as u64, purpose("servers"));
        let one = |list: &[HostId], what| -> HostId {
            // a server of that kind uses itself; without any, the first host stands in
            if list.contains(&id) {
                return id;
            }
            list.get(rng.fork(what).below(list.len() as u64) as usize).copied().unwrap_or(plan.id(0))
        };
        let host = &mut hosts[id.0 as usize];
        host.dc = one(&site.dcs, purpose("dc"));
        host.file_server = one(&site.file_servers, purpose("file server"));
    }
    sites
}

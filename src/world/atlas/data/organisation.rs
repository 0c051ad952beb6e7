//! Operating systems, roles, makers, cultures, sites and the forest, as written.

use crate::world::atlas::{Evening, Platform, Restart, Text};
use crate::yaml::{Node, Problems};

use super::{Known, platform, texts, weights};

/// An operating system and its servicing levels.
#[derive(Clone, Debug)]
pub struct OsData {
    /// `windows_11_24h2`
    pub id: Text,
    /// `Windows 11 Enterprise`
    pub name: Text,
    /// Windows or Linux.
    pub platform: Platform,
    /// Build it reports.
    pub build: u32,
    /// Build its binaries carry in their versions (19045 has those of 19041).
    pub binaries: u32,
    /// Version string of the .NET Framework's binaries.
    pub net: Text,
    /// Servicing revisions so far, ascending; the first is the image as released.
    pub revisions: Vec<u32>,
    /// Revisions in use and their weights.
    pub levels: Vec<(u32, u32)>,
    /// Words for conditions.
    pub tags: Vec<Text>,
}

impl OsData {
    pub(super) fn read(id: &str, doc: &Node, p: &mut Problems) -> Option<OsData> {
        let f = doc.fields(p, "an operating system")?;
        f.take("os");
        let name = f.need(p, "name").and_then(|n| n.text(p, "`name`").map(Text::from));
        let build = f.need(p, "build").and_then(|n| n.number(p, "`build`"));
        let binaries = f.take("binaries").and_then(|n| n.number(p, "`binaries`"));
        let platform = platform(f.take("platform"), p);
        let net = f.take("net").and_then(|n| n.text(p, "`net`")).unwrap_or("-").into();
        let mut revisions: Vec<u32> = vec![];
        for n in f.take("revisions").map_or(&[][..], Node::items) {
            let Some(r) = n.number(p, "a revision") else { continue };
            if revisions.last().is_some_and(|l| *l >= r) {
                p.at(n, format!("revisions must ascend, {r} does not"));
            }
            revisions.push(r);
        }
        let mut levels = vec![];
        for (level, weight, node) in weights(f.need(p, "levels"), p, "a servicing level") {
            match level.parse() {
                Ok(l) if revisions.is_empty() || revisions.contains(&l) => levels.push((l, weight)),
                _ => {
                    let all: Vec<String> = revisions.iter().map(u32::to_string).collect();
                    p.unknown(&node, "revision", &level, all.iter().map(String::as_str));
                }
            }
        }
        if levels.iter().all(|l| l.1 == 0) {
            p.at(doc, "an operating system needs a servicing level with a weight");
        }
        let tags = texts(f.take("tags"), p, "a tag");
        f.finish(p);
        let build = build?;
        Some(OsData {
            id: id.into(),
            name: name?,
            platform,
            build,
            binaries: binaries.unwrap_or(build),
            net,
            revisions,
            levels,
            tags,
        })
    }
    /// True for servers.
    pub fn server(&self) -> bool {
        self.tags.iter().any(|t| &**t == "server")
    }
}

/// A role of hosts.
#[derive(Clone, Debug)]
pub struct RoleData {
    /// `file_server`
    pub id: Text,
    /// Part of the hosts beyond the first ones, against the other roles' parts.
    pub share: f64,
    /// The k-th host of the role exists from that many hosts on.
    pub from: Vec<u32>,
    /// Naming pattern.
    pub name: Text,
    /// Operating systems by weight.
    pub oses: Vec<(Text, u32)>,
    /// Makers by weight: the organisation buys most machines of a role from one of them.
    pub makers: Vec<(Text, u32)>,
    /// Each belongs to a person.
    pub owned: bool,
    /// Domain controller: its accounts are the domain's.
    pub controller: bool,
    /// Third octet that its addresses start at.
    pub subnet: u8,
    /// Days since the last boot: median and 99th percentile.
    pub uptime: (f64, f64),
    /// What their people do with them in the evening, by weight.
    pub evenings: Vec<(Evening, u32)>,
    /// When they restart for updates.
    pub restart: Option<Restart>,
    /// Words for conditions.
    pub tags: Vec<Text>,
}

const EVENINGS: [(&str, Evening); 5] = [
    ("stay", Evening::Stay),
    ("log_off", Evening::LogOff),
    ("sleep", Evening::Sleep),
    ("shut_down", Evening::ShutDown),
    ("weekend", Evening::Weekend),
];

/// Reads `'01:30-05:00'` as hours of the day.
fn hours(n: &Node, p: &mut Problems) -> Option<(f32, f32)> {
    let clock = |t: &str| -> Option<f32> {
        let (h, m) = t.trim().split_once(':')?;
        let (h, m): (f32, f32) = (h.parse().ok()?, m.parse().ok()?);
        ((0.0..=24.0).contains(&h) && (0.0..60.0).contains(&m)).then_some(h + m / 60.0)
    };
    let v = n.as_str().and_then(|t| t.split_once('-')).and_then(|(a, b)| Some((clock(a)?, clock(b)?)));
    if v.is_none_or(|(a, b)| a >= b) {
        p.at(n, format!("`hours` must be ascending times of day such as `'01:30-05:00'`, not {}", n.describe()));
        return None;
    }
    v
}

/// Reads `{days: [1, 6], hours: '01:30-05:00'}`.
fn restart(n: &Node, p: &mut Problems) -> Option<Restart> {
    let f = n.fields(p, "a restart")?;
    let days = f.need(p, "days");
    let list: Vec<u8> = days.map_or(&[][..], Node::items).iter().filter_map(|n| n.number(p, "a day")).collect();
    let hours = f.need(p, "hours").and_then(|n| hours(n, p));
    f.finish(p);
    match list[..] {
        [a, b] if a <= b && b <= 20 => Some(Restart { days: (a, b), hours: hours? }),
        _ => {
            p.at(n, "`days` must be [first, last], ascending, at most 20");
            None
        }
    }
}

impl RoleData {
    pub(super) fn read(id: &str, doc: &Node, known: &Known, p: &mut Problems) -> Option<RoleData> {
        let f = doc.fields(p, "a role")?;
        f.take("role");
        let share = f.take("share").and_then(|n| n.number(p, "`share`")).unwrap_or(0.0);
        let from = f.take("from").map_or(&[][..], Node::items);
        let from: Vec<u32> = from.iter().filter_map(|n| n.number(p, "`from`")).collect();
        let name: Option<Text> = f.need(p, "name").and_then(|n| {
            let text = n.text(p, "`name`")?;
            if let Err(why) = crate::world::atlas::config::check_pattern(text) {
                p.at(n, why);
            }
            Some(text.into())
        });
        let listed = |field: &'static str, kind: &'static str, p: &mut Problems| -> Vec<(Text, u32)> {
            let list = weights(f.need(p, field), p, kind);
            list.into_iter()
                .map(|(word, weight, node)| {
                    known.check(&node, kind, &word, p);
                    (word, weight)
                })
                .collect()
        };
        let oses = listed("os", "os", p);
        let makers = listed("makers", "maker", p);
        let owned = f.take("owned").and_then(|n| n.boolean(p, "`owned`")).unwrap_or(false);
        let controller = f.take("controller").and_then(|n| n.boolean(p, "`controller`")).unwrap_or(false);
        let subnet = f.need(p, "subnet").and_then(|n| n.number(p, "`subnet`"));
        let days = f.take("uptime_days").map_or(&[][..], Node::items);
        let days: Vec<f64> = days.iter().filter_map(|n| n.number(p, "`uptime_days`")).collect();
        let uptime = match days[..] {
            [median, p99] if 0.0 < median && median < p99 => (median, p99),
            [] => (3.0, 25.0),
            _ => {
                p.at(doc, "`uptime_days` must be [median, 99th percentile], ascending");
                (3.0, 25.0)
            }
        };
        let mut evenings = vec![];
        for (word, weight, node) in weights(f.take("evenings"), p, "an evening") {
            match EVENINGS.iter().find(|e| *e.0 == *word) {
                Some((_, e)) => evenings.push((*e, weight)),
                None => p.unknown(&node, "evening", &word, EVENINGS.iter().map(|e| e.0)),
            }
        }
        let restart = f.take("restart").and_then(|n| restart(n, p));
        let tags = texts(f.take("tags"), p, "a tag");
        f.finish(p);
        let subnet = subnet?;
        Some(RoleData {
            id: id.into(),
            share,
            from,
            name: name?,
            oses,
            makers,
            owned,
            controller,
            subnet,
            uptime,
            evenings,
            restart,
            tags,
        })
    }
}

/// A maker of machines.
#[derive(Clone, Debug)]
pub struct Maker {
    /// `dell`
    pub id: Text,
    /// Vendor prefixes of network cards, `F8-B1-56`.
    pub macs: Vec<Text>,
    /// The disk's volume that C: is on, by weight.
    pub volumes: Vec<(u8, u32)>,
}

impl Maker {
    pub(super) fn read(id: &str, doc: &Node, p: &mut Problems) -> Option<Maker> {
        let f = doc.fields(p, "a maker")?;
        f.take("maker");
        let mut macs = vec![];
        for n in f.need(p, "macs").map_or(&[][..], Node::items) {
            let Some(text) = n.text(p, "a vendor prefix") else { continue };
            let ok = text.len() == 8
                && text.bytes().enumerate().all(|(i, b)| if i % 3 == 2 { b == b'-' } else { b.is_ascii_hexdigit() });
            if ok {
                macs.push(text.into());
            } else {
                p.at(n, format!("a vendor prefix must be like `F8-B1-56`, not `{text}`"));
            }
        }
        let volumes = weights(f.need(p, "volumes"), p, "a volume");
        let volumes =
            volumes.into_iter().filter_map(|(v, w, n)| Some((n.number(p, "a volume").or(v.parse().ok())?, w)));
        let volumes: Vec<(u8, u32)> = volumes.collect();
        f.finish(p);
        (!macs.is_empty() && !volumes.is_empty()).then(|| Maker { id: id.into(), macs, volumes })
    }
}

/// A culture that names of people come from.
#[derive(Clone, Debug)]
pub struct Culture {
    /// `french`
    pub id: Text,
    /// Given names.
    pub given: Vec<Text>,
    /// Family names.
    pub family: Vec<Text>,
}

impl Culture {
    pub(super) fn read(id: &str, doc: &Node, p: &mut Problems) -> Option<Culture> {
        let f = doc.fields(p, "a culture")?;
        f.take("culture");
        let given = texts(f.need(p, "given"), p, "a name");
        let family = texts(f.need(p, "family"), p, "a name");
        f.finish(p);
        (!given.is_empty() && !family.is_empty()).then(|| Culture { id: id.into(), given, family })
    }
}

/// A site.
#[derive(Clone, Debug)]
pub struct SiteData {
    /// `Lyon`
    pub name: Text,
    /// `LYO`, in names of hosts.
    pub code: Text,
    /// IANA time zone.
    pub tz: Text,
    /// Used when the configuration names no sites.
    pub default: bool,
    /// Part of the hosts.
    pub share: u32,
    /// Cultures of its people by weight.
    pub cultures: Vec<(Text, u32)>,
}

impl SiteData {
    pub(super) fn read(name: &str, doc: &Node, known: &Known, p: &mut Problems) -> Option<SiteData> {
        let f = doc.fields(p, "a site")?;
        f.take("site");
        let code = f.need(p, "code").and_then(|n| n.text(p, "`code`").map(Text::from));
        let tz = f.need(p, "tz").and_then(|n| {
            let tz = n.text(p, "`tz`")?;
            if jiff::tz::db().get(tz).is_err() {
                p.at(n, format!("unknown time zone `{tz}`")).help("an IANA name such as `Europe/Paris`");
            }
            Some(Text::from(tz))
        });
        let default = f.take("default").and_then(|n| n.boolean(p, "`default`")).unwrap_or(false);
        let share = f.take("share").and_then(|n| n.number(p, "`share`")).unwrap_or(1);
        let mut cultures = vec![];
        for (word, weight, node) in weights(f.need(p, "cultures"), p, "a culture") {
            known.check(&node, "culture", &word, p);
            cultures.push((word, weight));
        }
        f.finish(p);
        Some(SiteData { name: name.into(), code: code?, tz: tz?, default, share, cultures })
    }
}

/// The forest's groups, service accounts and conventions.
#[derive(Clone, Debug, Default)]
pub struct ForestData {
    /// Default DNS name.
    pub dns: Text,
    /// Ways to make a SAM name, by weight: `{g}{family}`.
    pub sam: Vec<(Text, u32)>,
    /// Ways to name an administrative account after `{sam}`, by weight.
    pub admin: Vec<(Text, u32)>,
    /// Ways to write a display name, by weight.
    pub display: Vec<(Text, u32)>,
    /// Local administrative account that the organisation makes on each machine, by weight.
    pub local: Vec<(Text, u32)>,
    /// Groups.
    pub groups: Vec<GroupRow>,
    /// Service accounts.
    pub services: Vec<ServiceAccountRow>,
    /// Virtual accounts: `NT SERVICE\MSSQLSERVER`.
    pub virtuals: Vec<Text>,
}

/// A group as written.
#[derive(Clone, Debug)]
pub struct GroupRow {
    /// `Domain Admins`, or with `{department}`: one group per department.
    pub name: Text,
    /// Fixed RID of a built-in one.
    pub rid: Option<u32>,
    /// `global`, `universal`, `domain local`.
    pub scope: Text,
    /// Persons with these personas are members.
    pub personas: Vec<Node>,
    /// Members are their administrative accounts, not their everyday ones.
    pub admins: bool,
    /// Everybody is a member with that probability.
    pub share: f64,
    /// Roles of the hosts whose local administrators its members are.
    pub administers: Vec<Text>,
}

/// A service account as written.
#[derive(Clone, Debug)]
pub struct ServiceAccountRow {
    /// `svc_sql`
    pub name: Text,
    /// `MSSQLSvc/{host}:1433`, or empty.
    pub spn: Text,
    /// Role of the host it runs on.
    pub role: Text,
    /// Groups.
    pub groups: Vec<Text>,
}

impl ForestData {
    pub(super) fn read(&mut self, doc: &Node, known: &Known, p: &mut Problems) {
        let Some(f) = doc.fields(p, "a forest") else { return };
        f.take("forest");
        if let Some(t) = f.need(p, "dns").and_then(|n| n.text(p, "`dns`")) {
            self.dns = t.into();
        }
        for (field, list) in [
            ("sam", &mut self.sam),
            ("admin", &mut self.admin),
            ("display", &mut self.display),
            ("local", &mut self.local),
        ] {
            *list = weights(f.need(p, field), p, "a pattern").into_iter().map(|(t, w, _)| (t, w)).collect();
        }
        self.virtuals = texts(f.take("virtual_accounts"), p, "a virtual account");
        self.groups.clear();
        for n in f.need(p, "groups").map_or(&[][..], Node::items) {
            let Some(g) = n.fields(p, "a group") else { continue };
            let name = g.need(p, "name").and_then(|n| n.text(p, "`name`").map(Text::from));
            let rid = g.take("rid").and_then(|n| n.number(p, "`rid`"));
            let scope = g.take("scope").and_then(|n| n.text(p, "`scope`")).unwrap_or("global").into();
            let personas = g.take("personas").map_or(vec![], |n| n.items().to_vec());
            let admins = g.take("admins").and_then(|n| n.boolean(p, "`admins`")).unwrap_or(false);
            let share = g.take("share").and_then(|n| n.share(p, "`share`")).unwrap_or(0.0);
            let mut administers = vec![];
            for n in g.take("administers").map_or(&[][..], Node::items) {
                let Some(t) = n.text(p, "a role") else { continue };
                known.check(n, "role", t, p);
                administers.push(t.into());
            }
            g.finish(p);
            if let Some(name) = name {
                self.groups.push(GroupRow { name, rid, scope, personas, admins, share, administers });
            }
        }
        self.services.clear();
        for n in f.need(p, "service_accounts").map_or(&[][..], Node::items) {
            let Some(s) = n.fields(p, "a service account") else { continue };
            let name = s.need(p, "name").and_then(|n| n.text(p, "`name`").map(Text::from));
            let spn = s.take("spn").and_then(|n| n.text(p, "`spn`")).unwrap_or("").into();
            let role = s.need(p, "role").and_then(|n| {
                let t = n.text(p, "`role`")?;
                known.check(n, "role", t, p);
                Some(Text::from(t))
            });
            let mut groups = vec![];
            for n in s.take("groups").map_or(&[][..], Node::items) {
                let Some(t) = n.text(p, "a group") else { continue };
                if !self.groups.iter().any(|g| *g.name == *t) {
                    p.unknown(n, "group", t, self.groups.iter().map(|g| &*g.name));
                }
                groups.push(t.into());
            }
            s.finish(p);
            if let (Some(name), Some(role)) = (name, role) {
                self.services.push(ServiceAccountRow { name, spn, role, groups });
            }
        }
        f.finish(p);
    }
}

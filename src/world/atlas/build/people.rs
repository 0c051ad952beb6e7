//! Accounts: machines, people, administrators, services, groups; SIDs in the order they were made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::rng::{Rng, mix, purpose};
use crate::world::atlas::data::{ForestData, Place, WorldData};
use crate::world::atlas::*;

use super::hosts::{Draft, Sequence, local_sid};
use super::pick;
use super::share::Share;

/// Longest SAM name of a person that directories of old took.
const SAM_MAX: usize = 20;
/// RID of the first account made after a forest's first day.
const RID_FIRST: u32 = 1103;

/// Accounts so far.
pub(super) struct People<'a> {
    data: &'a WorldData,
    personas: &'a [Persona],
    forest: Forest,
    seed: u64,
    pub accounts: Vec<Account>,
    pub groups: Vec<Group>,
    /// Persona and department a group is for.
    members: Vec<Member>,
    group_lists: BTreeMap<Vec<u16>, Arc<[Text]>>,
    names: BTreeMap<String, u32>,
    named: BTreeMap<Text, AccountId>,
    people: Vec<f64>,
    rid: u32,
    sam: Text,
    admin: Text,
    display: Text,
    local: Text,
    last: (AccountId, Text),
    admins: BTreeSet<u32>,
    empty: Text,
    share: Share,
}

struct Member {
    personas: Vec<u16>,
    admins: bool,
    share: f64,
    department: Option<Text>,
}

const WELL_KNOWN: [(&str, &str, &str, &str); 8] = [
    ("SYSTEM", "NT AUTHORITY", "S-1-5-18", r"C:\Windows\system32\config\systemprofile"),
    ("LOCAL SERVICE", "NT AUTHORITY", "S-1-5-19", r"C:\Windows\ServiceProfiles\LocalService"),
    ("NETWORK SERVICE", "NT AUTHORITY", "S-1-5-20", r"C:\Windows\ServiceProfiles\NetworkService"),
    ("DWM-1", "Window Manager", "S-1-5-90-0-1", r"C:\Windows\system32\config\systemprofile"),
    ("UMFD-0", "Font Driver Host", "S-1-5-96-0-0", r"C:\Windows\system32\config\systemprofile"),
    ("UMFD-1", "Font Driver Host", "S-1-5-96-0-1", r"C:\Windows\system32\config\systemprofile"),
    ("ANONYMOUS LOGON", "NT AUTHORITY", "S-1-5-7", ""),
    ("-", "-", "S-1-0-0", ""),
];

impl<'a> People<'a> {
    pub(super) fn new(
        config: &Config,
        data: &'a WorldData,
        personas: &'a [Persona],
        forest: &Forest,
        plan: &Sequence<'_>,
    ) -> People<'a> {
        let seed = config.seed;
        let custom = |what, list: &[(Text, u32)]| -> Text {
            pick(&mut Rng::of(seed, 0, purpose(what)), list).cloned().unwrap_or_default()
        };
        let d: &ForestData = &data.forest;
        let mut start = Rng::of(seed, 0, purpose("personas"));
        let mut people = People {
            data,
            personas,
            forest: forest.clone(),
            seed,
            accounts: vec![],
            groups: vec![],
            members: vec![],
            group_lists: BTreeMap::new(),
            names: BTreeMap::new(),
            named: BTreeMap::new(),
            // where each persona's turn begins, so that worlds of one size differ
            people: personas.iter().map(|_| start.f64() * 0.5).collect(),
            rid: RID_FIRST,
            sam: custom("convention.sam", &d.sam),
            admin: custom("convention.admin", &d.admin),
            display: custom("convention.display", &d.display),
            local: custom("convention.local", &d.local),
            last: (AccountId::NOBODY, Text::default()),
            admins: BTreeSet::new(),
            empty: Text::default(),
            share: Share::default(),
        };
        for (name, domain, sid, profile) in WELL_KNOWN {
            people.add(AccountKind::WellKnown, name, domain, sid.into(), profile);
        }
        // what draws the screens of Remote Desktop, in the order of `AccountId::dwm` and `AccountId::umfd`
        for (name, domain, sid) in [("DWM", "Window Manager", "S-1-5-90-0"), ("UMFD", "Font Driver Host", "S-1-5-96-0")]
        {
            for n in TERMINALS {
                let (name, sid) = (format!("{name}-{n}"), format!("{sid}-{n}"));
                people.add(AccountKind::WellKnown, &name, domain, sid, WELL_KNOWN[0].3);
            }
        }
        debug_assert_eq!(people.accounts.len(), AccountId::FIRST as usize);
        people.make_groups();
        people.built_in(plan);
        people
    }

    fn add(&mut self, kind: AccountKind, name: &str, domain: &str, sid: String, profile: &str) -> AccountId {
        let id = AccountId(self.accounts.len() as u32);
        let empty = self.empty.clone();
        self.accounts.push(Account {
            kind,
            name: self.share.text(name),
            domain: self.share.text(domain),
            sid: sid.into(),
            upn: empty.clone(),
            given: empty.clone(),
            family: empty.clone(),
            display: empty.clone(),
            department: empty.clone(),
            persona: None,
            profile: self.share.text(profile),
            host: None,
            groups: Arc::new([]),
            spn: empty,
            local_admin: false,
        });
        id
    }

    fn last_mut(&mut self) -> &mut Account {
        self.accounts.last_mut().expect("an account was just added")
    }

    /// The next RID; some that were made are gone.
    fn next_rid(&mut self) -> u32 {
        let rid = self.rid;
        let mut gap = Rng::of(self.seed, rid as u64, purpose("rid"));
        self.rid += 1 + if gap.chance(0.1) { gap.range(1, 6) as u32 } else { 0 };
        rid
    }

    fn domain_sid(&self, rid: u32) -> String {
        format!("{}-{rid}", self.forest.sid)
    }

    fn make_groups(&mut self) {
        let mut departments: Vec<Text> = vec![];
        for (d, _) in self.personas.iter().flat_map(|p| &p.departments) {
            if !departments.contains(d) {
                departments.push(d.clone());
            }
        }
        for row in &self.data.forest.groups {
            let each: Vec<Option<Text>> = match row.name.contains("{department}") {
                true => departments.iter().cloned().map(Some).collect(),
                false => vec![None],
            };
            let persona = |n: &crate::yaml::Node| self.personas.iter().position(|p| Some(&*p.id) == n.as_str());
            let personas: Vec<u16> = row.personas.iter().filter_map(|n| Some(persona(n)? as u16)).collect();
            let role = |r: &Text| self.data.roles.iter().position(|role| role.id == *r).map(|i| i as u16);
            let administers: Vec<u16> = row.administers.iter().filter_map(role).collect();
            for department in each {
                let name = row.name.replace("{department}", department.as_deref().unwrap_or(""));
                let rid = row.rid.unwrap_or_else(|| self.next_rid());
                self.groups.push(Group {
                    name: name.into(),
                    sid: self.domain_sid(rid).into(),
                    scope: row.scope.clone(),
                    administers: administers.clone(),
                });
                self.members.push(Member {
                    personas: personas.clone(),
                    admins: row.admins,
                    share: row.share,
                    department,
                });
            }
        }
    }

    /// Group SIDs of an account by indices of the groups.
    fn list(&mut self, primary: u32, groups: Vec<u16>) -> Arc<[Text]> {
        let mut key = groups;
        key.insert(0, primary as u16);
        if let Some(l) = self.group_lists.get(&key) {
            return l.clone();
        }
        let first: Text = self.domain_sid(primary).into();
        let sids: Arc<[Text]> =
            std::iter::once(first).chain(key[1..].iter().map(|g| self.groups[*g as usize].sid.clone())).collect();
        self.group_lists.insert(key, sids.clone());
        sids
    }

    fn group(&self, name: &str) -> Option<u16> {
        self.groups.iter().position(|g| &*g.name == name).map(|i| i as u16)
    }

    /// Administrator, Guest, krbtgt, service accounts, virtual accounts.
    fn built_in(&mut self, plan: &Sequence<'_>) {
        let domain = self.forest.netbios.to_string();
        let first = plan.hosts.iter().find(|d| plan.role(d).controller).map(|d| plan.id(d.index));
        for (name, rid, groups) in [
            ("Administrator", 500, &["Domain Admins", "Enterprise Admins", "Schema Admins"][..]),
            ("Guest", 501, &[]),
            ("krbtgt", 502, &[]),
        ] {
            let sid = self.domain_sid(rid);
            let groups: Vec<u16> = groups.iter().filter_map(|g| self.group(g)).collect();
            let list = self.list(if rid == 501 { 514 } else { 513 }, groups);
            let id = self.add(AccountKind::BuiltIn, name, &domain, sid, &format!(r"C:\Users\{name}"));
            self.names.insert(name.to_lowercase(), 1);
            let a = self.last_mut();
            (a.host, a.groups) = (first, list);
            if rid == 500 {
                self.named.insert("Administrator".into(), id);
            }
        }
        for row in &self.data.forest.services {
            let host = plan.hosts.iter().find(|d| plan.role(d).id == row.role).or(plan.hosts.first());
            let rid = self.next_rid();
            let groups: Vec<u16> = row.groups.iter().filter_map(|g| self.group(g)).collect();
            let list = self.list(513, groups);
            let sid = self.domain_sid(rid);
            let id = self.add(AccountKind::Service, &row.name, &domain, sid, &format!(r"C:\Users\{}", row.name));
            self.names.insert(row.name.to_lowercase(), 1);
            let dns = self.forest.dns.clone();
            let fqdn = host.map(|d| format!("{}.{dns}", d.name)).unwrap_or_default();
            let a = self.last_mut();
            a.upn = format!("{}@{dns}", row.name).into();
            a.spn = row.spn.replace("{host}", &fqdn).into();
            (a.host, a.groups) = (host.map(|d| plan.id(d.index)), list);
            self.named.insert(row.name.clone(), id);
        }
        for name in &self.data.forest.virtuals {
            let Some((domain, account)) = name.split_once('\\') else { continue };
            let id = self.add(
                AccountKind::WellKnown,
                account,
                domain,
                virtual_sid(domain, account),
                &format!(r"C:\Users\{account}"),
            );
            self.named.insert(name.clone(), id);
        }
    }

    /// Makes the accounts of a host: the machine's, its owner's, the local ones. Returns the owner.
    pub(super) fn of_host(&mut self, draft: &Draft, id: HostId, plan: &Sequence<'_>) -> Option<AccountId> {
        let role = plan.role(draft);
        let controller = role.controller;
        let domain = self.forest.netbios.clone();
        // the machine that made the forest has RID 1000
        let rid = if controller && draft.ordinal == 0 { 1000 } else { self.next_rid() };
        let sid = self.domain_sid(rid);
        let list = self.list(if controller { 516 } else { 515 }, vec![]);
        let machine = self.add(AccountKind::Machine, &format!("{}$", draft.name), &domain, sid, WELL_KNOWN[0].3);
        let a = self.last_mut();
        (a.host, a.groups) = (Some(id), list);
        let sid: Text = if controller { self.forest.sid.clone() } else { local_sid(self.seed, draft.index).into() };
        let owner = if role.owned { self.person(draft, id, plan) } else { None };
        let windows = plan.data.oses[plan.family(draft)].platform == Platform::Windows;
        if !controller && windows {
            let local = self.local.clone();
            for (name, rid) in [
                ("Administrator", 500),
                ("Guest", 501),
                ("DefaultAccount", 503),
                ("WDAGUtilityAccount", 504),
                (&local, 1001),
            ] {
                self.add(AccountKind::Local, name, &draft.name, format!("{sid}-{rid}"), &format!(r"C:\Users\{name}"));
                let a = self.last_mut();
                (a.host, a.local_admin) = (Some(id), matches!(rid, 500 | 1001));
            }
        }
        self.last = (machine, sid);
        owner
    }

    /// Machine account and local SID of the last host.
    pub(super) fn machine(&self) -> (AccountId, Text) {
        self.last.clone()
    }

    /// The persona that lacks most people.
    fn persona(&mut self) -> Option<u16> {
        let total: f64 = self.personas.iter().map(|p| p.share as f64).sum::<f64>().max(f64::MIN_POSITIVE);
        for (have, p) in self.people.iter_mut().zip(self.personas) {
            *have += p.share as f64 / total;
        }
        let most = |best: usize, i: usize| if self.people[i] > self.people[best] { i } else { best };
        let best = (0..self.people.len()).reduce(most)?;
        self.people[best] -= 1.0;
        Some(best as u16)
    }

    fn person(&mut self, draft: &Draft, host: HostId, plan: &Sequence<'_>) -> Option<AccountId> {
        let persona = self.persona()?;
        let p = &self.personas[persona as usize];
        let rng = Rng::of(self.seed, draft.index as u64, purpose("person"));
        let cultures = &plan.sites[draft.site as usize].cultures;
        let culture = pick(&mut rng.fork(purpose("culture")), cultures).copied().unwrap_or(0);
        let culture = self.data.cultures.get(culture)?;
        let one = |list: &[Text], what| list[rng.fork(what).below(list.len() as u64) as usize].clone();
        let (given, family) = (one(&culture.given, purpose("given")), one(&culture.family, purpose("family")));
        let department = pick(&mut rng.fork(purpose("department")), &p.departments).cloned().unwrap_or_default();
        let sam = self.free(&self.sam.clone(), &given, &family);
        let mut groups = vec![];
        for (i, m) in self.members.iter().enumerate() {
            let mut luck = Rng::of(self.seed, mix(draft.index as u64, i as u64), purpose("member"));
            let by_persona = !m.admins && m.personas.contains(&persona);
            let by_department = m.department.as_ref().is_some_and(|d| *d == department);
            if by_persona || by_department || (m.share > 0.0 && luck.chance(m.share)) {
                groups.push(i as u16);
            }
        }
        let rid = self.next_rid();
        let sid = self.domain_sid(rid);
        let list = self.list(513, groups);
        let (dns, netbios) = (self.forest.dns.clone(), self.forest.netbios.clone());
        let upn = self.free_upn(&given, &family);
        let display = spell(&self.display, &given, &family, "");
        let id = self.add(AccountKind::Person, &sam, &netbios, sid, &format!(r"C:\Users\{sam}"));
        let (admin, local_admin) = (p.admin, p.local_admin);
        let a = self.last_mut();
        a.upn = format!("{upn}@{dns}").into();
        (a.given, a.family, a.display, a.department) =
            (given.clone(), family.clone(), display.into(), department.clone());
        (a.persona, a.host, a.groups, a.local_admin) = (Some(persona), Some(host), list, local_admin);
        if admin {
            self.administrator(persona, id, &sam);
        }
        Some(id)
    }

    /// The separate administrative account of a person.
    fn administrator(&mut self, persona: u16, person: AccountId, sam: &str) {
        let name = spell(&self.admin, "", "", sam);
        let name = self.unique(&name);
        let members = self.members.iter().enumerate();
        let groups: Vec<u16> =
            members.filter(|(_, m)| m.admins && m.personas.contains(&persona)).map(|(i, _)| i as u16).collect();
        let domain_admin = self.group("Domain Admins").is_some_and(|g| groups.contains(&g));
        let rid = self.next_rid();
        let sid = self.domain_sid(rid);
        let list = self.list(513, groups);
        let netbios = self.forest.netbios.clone();
        let id = self.add(AccountKind::Admin, &name, &netbios, sid, &format!(r"C:\Users\{name}"));
        let Account { given, family, display, department, host, .. } = self.accounts[person.0 as usize].clone();
        let upn = format!("{name}@{}", self.forest.dns).into();
        let display = format!("{display} (admin)").into();
        let a = self.last_mut();
        (a.upn, a.given, a.family, a.display, a.department) = (upn, given, family, display, department);
        (a.persona, a.host, a.groups, a.local_admin) = (Some(persona), host, list, true);
        if domain_admin {
            self.admins.insert(id.0);
        }
    }

    /// A SAM name nobody has: those that come later get numbers, as administrators do it.
    fn free(&mut self, pattern: &str, given: &str, family: &str) -> String {
        let name: String = spell(pattern, &fold(given), &fold(family), "").to_lowercase();
        let name: String = name.chars().filter(|c| !c.is_whitespace()).take(SAM_MAX - 2).collect();
        self.unique(if name.is_empty() { "user" } else { &name })
    }

    fn unique(&mut self, name: &str) -> String {
        let key = name.to_lowercase();
        let mut n = self.names.get(&key).copied().unwrap_or(0) + 1;
        let free = loop {
            let try_name = if n == 1 { name.to_owned() } else { format!("{name}{n}") };
            if n == 1 || !self.names.contains_key(&try_name.to_lowercase()) {
                break try_name;
            }
            n += 1;
        };
        self.names.insert(key, n);
        self.names.entry(free.to_lowercase()).or_insert(1);
        free
    }

    fn free_upn(&mut self, given: &str, family: &str) -> String {
        let name: String = format!("{}.{}", fold(given), fold(family)).to_lowercase();
        let key = format!("@{name}");
        let n = self.names.entry(key).and_modify(|n| *n += 1).or_insert(1);
        if *n == 1 { name } else { format!("{name}{n}") }
    }

    /// Members of Domain Admins who are people, or the built-in Administrator where there are none.
    pub(super) fn domain_admins(&self) -> Vec<AccountId> {
        if self.admins.is_empty() {
            return self.named.get("Administrator").copied().into_iter().collect();
        }
        self.admins.iter().map(|a| AccountId(*a)).collect()
    }

    /// Accounts with a service principal name.
    pub(super) fn with_spn(&self) -> Vec<AccountId> {
        (0..).zip(&self.accounts).filter(|(_, a)| !a.spn.is_empty()).map(|(i, _)| AccountId(i)).collect()
    }

    /// Session and account of a boot process.
    pub(super) fn place(&self, place: &Place) -> BootSession {
        match place {
            Place::System => BootSession::Service(AccountId::SYSTEM),
            Place::LocalService => BootSession::Service(AccountId::LOCAL_SERVICE),
            Place::NetworkService => BootSession::Service(AccountId::NETWORK_SERVICE),
            Place::Console => BootSession::Console(AccountId::SYSTEM),
            Place::Dwm => BootSession::Console(AccountId::DWM_1),
            Place::Umfd0 => BootSession::Service(AccountId::UMFD_0),
            Place::Umfd1 => BootSession::Console(AccountId::UMFD_1),
            Place::Owner => BootSession::Owner,
            Place::Named(name) => {
                BootSession::Service(self.named.get(name).copied().unwrap_or(AccountId::NETWORK_SERVICE))
            }
        }
    }
}

/// SID of a virtual account: the SHA-1 of its name in capitals and UTF-16, as five words.
fn virtual_sid(domain: &str, name: &str) -> String {
    // application pools hash the name as written in lower case, services in upper case
    let pool = domain == "IIS APPPOOL";
    let text = if pool { name.to_lowercase() } else { name.to_uppercase() };
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut sid = format!("S-1-5-{}", if pool { 82 } else { 80 });
    for word in Sha1::digest(bytes).chunks(4) {
        sid.push_str(&format!("-{}", u32::from_le_bytes(word.try_into().expect("four bytes"))));
    }
    sid
}

/// Fills `{given}`, `{family}`, `{g}`, `{f}`, `{FAMILY}`, `{sam}`.
fn spell(pattern: &str, given: &str, family: &str, sam: &str) -> String {
    let initial = |t: &str| t.chars().take(1).collect::<String>();
    pattern
        .replace("{given}", given)
        .replace("{family}", family)
        .replace("{FAMILY}", &family.to_uppercase())
        .replace("{g}", &initial(given))
        .replace("{f}", &initial(family))
        .replace("{sam}", sam)
}

/// A name in ASCII letters, as directories have it.
pub(super) fn fold(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        let plain = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => {
                out.push(c);
                continue;
            }
            'ä' | 'æ' => "ae",
            'Ä' | 'Æ' => "Ae",
            'ö' | 'œ' => "oe",
            'Ö' | 'Œ' => "Oe",
            'ü' => "ue",
            'Ü' => "Ue",
            'ß' => "ss",
            'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => "a",
            'À' | 'Á' | 'Â' | 'Ã' | 'Å' | 'Ā' | 'Ă' | 'Ą' => "A",
            'ç' | 'ć' | 'č' => "c",
            'Ç' | 'Ć' | 'Č' => "C",
            'ď' | 'đ' | 'ð' => "d",
            'Ď' | 'Đ' => "D",
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
            'È' | 'É' | 'Ê' | 'Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => "E",
            'ğ' => "g",
            'Ğ' => "G",
            'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
            'Ì' | 'Í' | 'Î' | 'Ï' | 'İ' => "I",
            'ł' | 'ľ' | 'ĺ' => "l",
            'Ł' | 'Ľ' => "L",
            'ñ' | 'ń' | 'ň' => "n",
            'Ñ' | 'Ń' | 'Ň' => "N",
            'ò' | 'ó' | 'ô' | 'õ' | 'ø' | 'ő' => "o",
            'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ø' | 'Ő' => "O",
            'ř' => "r",
            'Ř' => "R",
            'ś' | 'š' | 'ş' | 'ș' => "s",
            'Ś' | 'Š' | 'Ş' | 'Ș' => "S",
            'ť' | 'ț' => "t",
            'Ť' | 'Ț' => "T",
            'ù' | 'ú' | 'û' | 'ū' | 'ů' | 'ű' => "u",
            'Ù' | 'Ú' | 'Û' | 'Ů' => "U",
            'ý' | 'ÿ' => "y",
            'Ý' => "Y",
            'ź' | 'ż' | 'ž' => "z",
            'Ź' | 'Ż' | 'Ž' => "Z",
            _ => "",
        };
        out.push_str(plain);
    }
    out
}

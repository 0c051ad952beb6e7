//! What activities about accounts, groups, the directory and files speak of: SIDs, names, ids, who asked.

use crate::activity::{Field, Kind};
use crate::rng::{mix, purpose};
use crate::time::Span;
use crate::world::atlas::{Account, AccountId};
use crate::world::fact::Val;
use crate::world::logon::random_guid;
use crate::world::state::{State, Task};

/// Hashes of a file, and how many groups of eight digits each has.
const HASHES: [(Field, u32); 3] = [(Field::FileMd5, 4), (Field::FileSha1, 5), (Field::FileSha256, 8)];

impl State {
    /// Adds what an activity says about its object and its requester.
    pub(super) fn complete_object(&mut self, i: u32, t: &Task) {
        let kind = self.facts.get(i).kind;
        if kind.on_request() {
            self.requester(i, t);
        }
        match kind {
            Kind::GroupAdd
            | Kind::GroupRemove
            | Kind::GroupEnumerate
            | Kind::GroupCreate
            | Kind::GroupChange
            | Kind::GroupDelete => self.group(i, t),
            Kind::DirectoryAccess => {
                if self.text_of(i, Field::ObjectName).is_none() {
                    let name = format!("{{{}}}", braceless(&self.directory_guid(&self.naming_context())));
                    self.put_text(i, Field::ObjectName, &name);
                }
            }
            Kind::DirectoryChange | Kind::DirectoryCreate | Kind::DirectoryDelete => self.directory(i, t),
            Kind::FirewallAdd | Kind::FirewallChange | Kind::FirewallDelete => {
                if self.text_of(i, Field::FirewallRule).is_none() {
                    let draw = self.facts.get(i).draw;
                    let id = braceless(&random_guid(draw, mix(draw, purpose("rule")))).to_ascii_uppercase();
                    self.put_text(i, Field::FirewallRule, &format!("{{{id}}}"));
                }
            }
            Kind::FileTime => {
                let draw = self.facts.get(i).draw;
                let now = self.now;
                let previous = now - Span::ms(900 + (draw % 7_200_000) as i64);
                let created = now - Span::s(86_400 * (40 + (draw >> 23) as i64 % 1_900) + (draw >> 40) as i64 % 86_400);
                let f = self.facts.get_mut(i);
                f.extra.push((Field::FilePreviousCreated, Val::Time(previous)));
                f.extra.push((Field::FileCreated, Val::Time(created)));
            }
            Kind::CredentialRead => self.credentials(i),
            Kind::FileDelete => self.deleted_file(i),
            Kind::ServiceState | Kind::ServiceChange => self.service(i),
            Kind::SessionLock | Kind::SessionUnlock => {
                let h = &self.hosts[t.host as usize];
                if let Some(s) = h.owner.and_then(|o| h.sessions.get(o as usize)).copied() {
                    let f = self.facts.get_mut(i);
                    f.account = s.account;
                    f.extra.push((Field::LogonId, Val::Uint(s.luid as u64)));
                }
            }
            _ => self.target(i, t),
        }
    }

    /// What a read of stored credentials says beside the filter: nearly always any type is enumerated and most often nothing
    /// is found (recorded in 5379: four of five with 0xC0000225, the others with one to a few).
    fn credentials(&mut self, i: u32) {
        const NOT_FOUND: u64 = 0xc000_0225;
        let all = self.text_of(i, Field::CredentialTarget).is_some_and(|t| t == "*");
        let f = self.facts.get_mut(i);
        let n = f.draw >> 13;
        let given = |f: &crate::world::fact::Fact, field| match f.find(field) {
            Some(Val::Uint(n)) => Some(n),
            _ => None,
        };
        let count = match (given(f, Field::CredentialCount), given(f, Field::CredentialStatus)) {
            (Some(count), _) => count,
            (None, Some(status)) if status != 0 => 0,
            // whoever lists everything finds what the person has stored
            (None, None) if all => 1 + n % 4,
            (None, None) if !n.is_multiple_of(5) => 0,
            _ => 1 + n % 2,
        };
        let status = given(f, Field::CredentialStatus).unwrap_or(if count == 0 { NOT_FOUND } else { 0 });
        for (field, value) in [
            (Field::CredentialType, 0),
            (Field::CredentialCount, count),
            (Field::CredentialOperation, 8100),
            (Field::CredentialStatus, status),
        ] {
            if f.find(field).is_none() {
                f.extra.push((field, Val::Uint(value)));
            }
        }
    }

    /// A service of the system's is named as it calls itself, with the name that people see.
    fn service(&mut self, i: u32) {
        let shared = self.shared().clone();
        let Some(name) = self.text_of(i, Field::ServiceName) else { return };
        let Some(s) = shared.atlas.services.iter().find(|s| s.key.eq_ignore_ascii_case(name)) else { return };
        let seen = self.text_of(i, Field::ServiceDisplay).is_some_and(|d| !d.eq_ignore_ascii_case(name));
        self.drop_text(i, Field::ServiceName);
        self.put_text(i, Field::ServiceName, &s.key);
        if !seen {
            self.drop_text(i, Field::ServiceDisplay);
            self.put_text(i, Field::ServiceDisplay, &s.display);
        }
    }

    fn text_of(&self, i: u32, field: Field) -> Option<&str> {
        match self.facts.get(i).find(field) {
            Some(Val::Text(id)) => Some(self.texts.get(id)),
            _ => None,
        }
    }

    fn put_text(&mut self, i: u32, field: Field, text: &str) {
        let id = self.texts.keep(text);
        self.facts.get_mut(i).extra.push((field, Val::Text(id)));
    }

    fn drop_text(&mut self, i: u32, field: Field) {
        if let Some(Val::Text(id)) = self.facts.get(i).find(field) {
            self.facts.get_mut(i).extra.retain(|(f, _)| *f != field);
            self.texts.release(id);
        }
    }

    /// A service acts for whoever asked: the client's account and session, and its process where it is on this host.
    fn requester(&mut self, i: u32, t: &Task) {
        let pid = match self.facts.get(i).find(Field::ClientPid) {
            Some(Val::Uint(pid)) => pid as u32,
            _ => 0,
        };
        let h = &self.hosts[t.host as usize];
        let client = h.procs.living().find(|p| p.snap.pid == pid && pid > 4);
        let client = client.map(|p| (p.snap, h.parent(p).pid));
        let path = client.map(|(s, _)| {
            let own = self.texts.get(s.path);
            if own.is_empty() { self.image(s.image).path.to_string() } else { own.to_owned() }
        });
        if let Some(path) = path {
            self.put_text(i, Field::ClientExecutable, &path);
        }
        let f = self.facts.get_mut(i);
        f.extra.retain(|(field, _)| *field != Field::ClientPid);
        match client {
            Some((snap, parent)) => {
                (f.subject, f.subject_luid) = (snap.account, snap.luid);
                f.extra.push((Field::ClientPid, Val::Uint(pid as u64)));
                f.extra.push((Field::ClientStartKey, Val::Uint(snap.key)));
                f.extra.push((Field::ClientParentPid, Val::Uint(parent as u64)));
            }
            None if pid != 0 && t.luid != 0 => (f.subject, f.subject_luid) = (t.account, t.luid),
            None => {}
        }
    }

    fn controller(&self, host: u32) -> bool {
        let atlas = self.atlas();
        &*atlas.roles[atlas.host(self.host_id(host)).role as usize] == "domain_controller"
    }

    /// SID and domain of an account by name: one of the atlas, or one that was made since.
    fn account_named(&self, host: u32, name: &str) -> (Option<AccountId>, String, String) {
        let atlas = self.atlas();
        let here = self.host_id(host);
        let name = name.rsplit('\\').next().unwrap_or(name);
        let local = |a: &Account| a.host == Some(here) && *a.domain == *atlas.host(here).name;
        let person = |a: &Account| !a.upn.is_empty();
        let of = |kind: &dyn Fn(&Account) -> bool| atlas.accounts_named(name).find(|id| kind(atlas.account(*id)));
        if let Some(id) = of(&local).or_else(|| of(&person)).or_else(|| of(&|_| true)) {
            let a = atlas.account(id);
            return (Some(id), a.sid.to_string(), a.domain.to_string());
        }
        let (sid, domain) = self.made(host, "account", name, (1_500, 60), 1_002);
        (None, sid, domain)
    }

    /// SID and domain of an account or a group that somebody makes on a host while the world runs. Its id in the directory
    /// is one of so many from a number beyond the accounts on, on other machines one of nine from `local` on.
    fn made(&self, host: u32, what: &str, name: &str, ids: (u64, u64), local: u64) -> (String, String) {
        let atlas = self.atlas();
        let n = mix(purpose(what), name.bytes().fold(0, |n, b| mix(n, b.to_ascii_lowercase() as u64)));
        if self.controller(host) {
            let rid = ids.0 + atlas.accounts.len() as u64 + n % ids.1;
            (format!("{}-{rid}", atlas.forest.sid), atlas.forest.netbios.to_string())
        } else {
            let h = atlas.host(self.host_id(host));
            (format!("{}-{}", h.sid, local + n % 9), h.name.to_string())
        }
    }

    /// The account an activity is about.
    fn target(&mut self, i: u32, t: &Task) {
        let Some(name) = self.text_of(i, Field::TargetName).map(str::to_owned) else { return };
        let (known, sid, domain) = self.account_named(t.host, &name);
        match known {
            Some(a) => self.facts.get_mut(i).account = a,
            None => {
                self.put_text(i, Field::TargetSid, &sid);
                self.put_text(i, Field::TargetDomain, &domain);
            }
        }
    }

    /// A group, and the member that joins or leaves it.
    fn group(&mut self, i: u32, t: &Task) {
        let name = self.text_of(i, Field::GroupName).unwrap_or("").to_owned();
        let atlas = self.atlas();
        let known = atlas.groups.iter().find(|g| g.name.eq_ignore_ascii_case(&name));
        let known = known.map(|g| (g.sid.to_string(), g.scope.to_string(), atlas.forest.netbios.to_string()));
        let said = self.text_of(i, Field::GroupScope).unwrap_or("").to_owned();
        if let Some((sid, scope, domain)) = known {
            self.put_text(i, Field::GroupSid, &sid);
            self.drop_text(i, Field::GroupScope);
            self.put_text(i, Field::GroupScope, if scope == "domain local" { "local" } else { &scope });
            self.put_text(i, Field::GroupDomain, &domain);
        } else if self.facts.get(i).kind == Kind::GroupCreate || matches!(&*said, "global" | "universal") {
            // a group that somebody made while the world runs
            let (sid, domain) = self.made(t.host, "group", &name, (1_560, 40), 1_011);
            self.put_text(i, Field::GroupSid, &sid);
            self.put_text(i, Field::GroupDomain, &domain);
        }
        let Some(member) = self.text_of(i, Field::MemberDn).map(str::to_owned) else { return };
        let short = member.strip_prefix("CN=").and_then(|m| m.split(',').next()).unwrap_or(&member).to_owned();
        if short.is_empty() || short == "-" {
            return;
        }
        let (known, sid, _) = self.account_named(t.host, &short);
        self.put_text(i, Field::MemberSid, &sid);
        // only a directory knows distinguished names
        let name = match (self.controller(t.host), known) {
            (true, Some(a)) if !self.atlas().account(a).display.is_empty() => {
                format!("CN={},CN=Users,{}", self.atlas().account(a).display.replace(',', "\\,"), self.naming_context())
            }
            (true, _) => format!("CN={short},CN=Users,{}", self.naming_context()),
            _ => "-".to_owned(),
        };
        self.drop_text(i, Field::MemberDn);
        self.put_text(i, Field::MemberDn, &name);
    }

    /// `DC=corp,DC=example`.
    fn naming_context(&self) -> String {
        self.atlas().forest.dns.split('.').map(|d| format!("DC={d}")).collect::<Vec<_>>().join(",")
    }

    /// The GUID of a directory object, the same wherever it is named.
    fn directory_guid(&self, name: &str) -> [u8; 16] {
        let n = name.bytes().fold(purpose("object"), |n, b| mix(n, b.to_ascii_lowercase() as u64));
        random_guid(mix(self.shared().seed, n), mix(n, 1))
    }

    /// An object of the directory: its whole name, its GUID, the operation that changed it.
    fn directory(&mut self, i: u32, t: &Task) {
        let name = self.text_of(i, Field::DirectoryDn).unwrap_or("").to_owned();
        let whole = if name.contains("DC=") { name } else { format!("{name},{}", self.naming_context()) };
        let whole = whole.trim_start_matches(',').to_owned();
        self.drop_text(i, Field::DirectoryDn);
        self.put_text(i, Field::DirectoryDn, &whole);
        let object = self.directory_guid(&whole);
        let f = self.facts.get_mut(i);
        f.extra.push((Field::DirectoryGuid, Val::Guid(object)));
        f.extra
            .push((Field::DirectoryCorrelation, Val::Guid(random_guid(t.seed, mix(t.seed, purpose("correlation"))))));
        f.extra.push((Field::DirectoryDeleted, Val::Bool(false)));
    }

    /// What is known of a stream hashes to itself: whoever reads the record can compute it.
    pub(super) fn stream_hashes(&mut self, i: u32) {
        use sha2::Digest;
        let Some(contents) = self.text_of(i, Field::FileContents).map(str::to_owned) else { return };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
        // only a program has imports
        for (field, text) in [
            (Field::FileMd5, hex(&md5::Md5::digest(&contents))),
            (Field::FileSha1, hex(&sha1::Sha1::digest(&contents))),
            (Field::FileSha256, hex(&sha2::Sha256::digest(&contents))),
            (Field::FileImphash, "0".repeat(32)),
        ] {
            self.put_text(i, field, &text);
        }
    }

    /// Contents are not kept; the same path on a host hashes to the same while the file is the same.
    fn deleted_file(&mut self, i: u32) {
        let Some(path) = self.text_of(i, Field::FilePath).map(str::to_ascii_lowercase) else { return };
        let executable = [".exe", ".dll", ".sys", ".scr", ".ocx", ".cpl"].iter().any(|e| path.ends_with(e));
        let own = self.own_images.iter().rev().find(|m| m.path.eq_ignore_ascii_case(&path));
        let own = own.map(|m| [m.md5.to_string(), m.sha1.to_string(), m.sha256.to_string(), m.imphash.to_string()]);
        self.facts.get_mut(i).extra.push((Field::FileExecutable, Val::Bool(executable)));
        if let Some([md5, sha1, sha256, imphash]) = own {
            for (field, text) in [
                (Field::FileMd5, md5),
                (Field::FileSha1, sha1),
                (Field::FileSha256, sha256),
                (Field::FileImphash, imphash),
            ] {
                self.put_text(i, field, &text);
            }
            return;
        }
        let host = self.facts.get(i).host as u64;
        let seed = path.bytes().fold(mix(purpose("contents"), host), |n, b| mix(n, b as u64));
        let mut digits = String::new();
        for (n, (field, words)) in HASHES.into_iter().enumerate() {
            use std::fmt::Write;
            digits.clear();
            for w in 0..words {
                write!(digits, "{:08X}", mix(seed, (n as u64) << 8 | w as u64) as u32).expect("a String");
            }
            self.put_text(i, field, &digits);
        }
    }
}

fn braceless(g: &[u8; 16]) -> String {
    let hex: String = g.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

//! Logons: the session, its rights, and what it asks of the domain controller before ([`super::kerberos`]).

use crate::activity::{Field, Kind};
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, AccountKind, HostId};
use crate::world::fact::Val;
use crate::world::host::{Luid, SYSTEM_LUID, Session, Snap};
use crate::world::instance::Bound;
use crate::world::program::{AccountSel, Dur, HostSel, LogonResult, Part, ScriptId, Who};
use crate::world::state::{Body, KerberosAsk, LogOn, State, Tag, Task, What};

/// A session that is in use is looked at again after this.
const BUSY: Span = Span::s(20);

impl State {
    pub(super) fn logon_op(
        &mut self,
        t: &mut Task,
        by: Who,
        host: HostSel,
        account: AccountSel,
        logon_type: u8,
        result: LogonResult,
        ntlm: bool,
        explicit: bool,
        hold: Dur,
        then: Option<ScriptId>,
        part: Part,
        tag: u32,
    ) {
        let to = self.select(t, host);
        let here = self.host_id(t.host);
        let account = self.logon_account(t, to, account);
        let mut rng = Rng::new(t.rng.u64());
        let parent = match logon_type {
            2 | 7 | 10 | 11 => Who::Shell,
            _ => Who::System,
        };
        let play = then.map(|script| t.play(script, to, parent, account, rng.u64(), part));
        let from = (to != here).then(|| (here, self.hosts[t.host as usize].new_port(false)));
        let hold = super::play::draw(hold, &mut rng);
        // other credentials beside one's own session come from the secondary logon service
        let secondary = from.is_none() && (logon_type == 9 || logon_type == 2 && explicit);
        if explicit && !secondary {
            self.explicit(t, by, to, account, tag);
        }
        let caller = self.proc(t.regs.actor()).filter(|_| secondary).map(|p| (p.snap.account, p.snap.luid));
        self.ask_logon(LogOn {
            host: to,
            account,
            logon_type,
            result,
            ntlm,
            from,
            guid: guid_bytes(rng.u64(), rng.u64()),
            hold,
            then: play,
            tag: self.tag_of(tag),
            typed: None,
            caller,
            link: 0,
            terminal: 0,
        });
    }

    /// The account that a task's logon to a host is of.
    pub(super) fn logon_account(&self, t: &Task, to: HostId, account: AccountSel) -> AccountId {
        let here = self.host_id(t.host);
        let account = self.meant(t, to, account).unwrap_or(t.account);
        if to == here { account } else { self.abroad(here, account) }
    }

    /// The account that a selector means on a host; none where a role has no account.
    pub(super) fn meant(&self, t: &Task, host: HostId, account: AccountSel) -> Option<AccountId> {
        match account {
            AccountSel::Role(r) => match t.inst.roles.get(r as usize) {
                Some(Bound::Account(a)) => Some(*a),
                Some(Bound::Host(h)) => Some(self.atlas().host(*h).account),
                _ => None,
            },
            other => Some(self.account_on(host, other, t.account)),
        }
    }

    /// Who an account of a host is to other hosts: SYSTEM and NETWORK SERVICE are their machine.
    pub(super) fn abroad(&self, host: HostId, account: AccountId) -> AccountId {
        match account {
            AccountId::SYSTEM | AccountId::NETWORK_SERVICE => self.atlas().host(host).account,
            other => other,
        }
    }

    /// Sends a logon on its way: the domain controller sees its tickets first, then the host itself. Returns when it is
    /// there.
    pub fn ask_logon(&mut self, mut l: LogOn) -> Time {
        let client = l.from.map_or(l.host, |(h, _)| h);
        if l.logon_type == 3 {
            l.account = self.abroad(client, l.account);
        }
        let c = self.atlas().host(client);
        let (dc, ip) = (c.dc, c.ip);
        let domain = !matches!(self.atlas().account(l.account).kind, AccountKind::WellKnown | AccountKind::Local);
        // new credentials are not tried before they are used
        let kerberos = domain && !l.ntlm && !matches!(l.logon_type, 5 | 9 | 11);
        let mut rng = Rng::new(mix(u64::from_le_bytes(l.guid[..8].try_into().expect("eight bytes")), purpose("logon")));
        let mut time = self.now;
        if kerberos {
            let status = match l.result {
                LogonResult::Ok => 0,
                LogonResult::NoSuchUser => 0x6,
                LogonResult::BadPassword => 0x18,
                LogonResult::Locked | LogonResult::Disabled => 0x12,
                LogonResult::Expired => 0x17,
            };
            let cause = l.tag.map(Tag::collateral);
            let ask = KerberosAsk {
                account: l.account,
                service: None,
                service_account: None,
                guid: l.guid,
                ip,
                port: self.client_port(client),
                rc4: false,
                ntlm: false,
                bare: false,
                forward: false,
                status,
            };
            // a network logon usually finds the ticket-granting ticket in the client's cache
            if l.logon_type != 3 || status != 0 || rng.chance(0.15) {
                time = time + Span::us(rng.range(1_000, 6_000));
                self.send(dc, time, Body::Kerberos { dc, ask, tag: cause });
            }
            if status == 0 {
                time = time + Span::us(rng.range(2_000, 9_000));
                let ask = KerberosAsk { service: Some(l.host), port: self.client_port(client), ..ask };
                self.send(dc, time, Body::Kerberos { dc, ask, tag: cause });
            }
            // the member sees the logon after the controller answered
            time = time.max(Time::of_slice(self.now.slice() + 2));
        }
        if l.ntlm {
            // whoever holds the account checks the response: a controller for the domain's, the host itself for its own
            let status = match l.result {
                LogonResult::Ok => 0,
                LogonResult::NoSuchUser => 0xc000_0064,
                LogonResult::BadPassword => 0xc000_006a,
                LogonResult::Locked => 0xc000_0234,
                LogonResult::Disabled => 0xc000_0072,
                LogonResult::Expired => 0xc000_0071,
            };
            let cause = l.tag.map(Tag::collateral);
            let (account, guid) = (l.account, l.guid);
            let ask = KerberosAsk {
                account,
                service: None,
                service_account: None,
                guid,
                ip,
                port: 0,
                rc4: false,
                ntlm: true,
                bare: false,
                forward: false,
                status,
            };
            let dc = if domain { self.atlas().host(l.host).dc } else { l.host };
            time = time + Span::us(rng.range(1_000, 5_000));
            self.send(dc, time, Body::Kerberos { dc, ask, tag: cause });
            time = time.max(Time::of_slice(self.now.slice() + 2));
        }
        let time = (time + Span::us(rng.range(800, 9_000))).max(Time::of_slice(self.now.slice() + 1));
        self.send(l.host, time, Body::LogOn(l));
        time
    }

    /// Explicit credentials are used on the client (4648).
    pub(super) fn explicit(&mut self, t: &Task, by: Who, to: HostId, account: AccountId, tag: u32) {
        if !self.wants(Kind::LogonExplicit) {
            return;
        }
        let by = self.lookup(t.host, by, t.inst.id, &t.regs).unwrap_or(t.regs.actor());
        let Some(p) = self.proc(by).copied() else { return };
        let here = self.host_id(t.host) == to;
        let server = if here { "localhost".to_owned() } else { self.atlas().host(to).fqdn.to_string() };
        let id = self.texts.keep(&server);
        let info = self.texts.retain(id);
        let i = self.fact(Kind::LogonExplicit, t.host, self.now, &p.snap, tag);
        let f = self.facts.get_mut(i);
        f.account = account;
        f.extra.push((Field::LogonTargetServer, Val::Text(id)));
        f.extra.push((Field::LogonTargetInfo, Val::Text(info)));
        self.done(i);
    }

    /// A process of the machine gives somebody's credentials to the security authority (4648 before each 4624 that names a
    /// process, recorded of winlogon, wininit and the service hosts of the desktop and of runas).
    fn typed(&mut self, host: u32, l: &LogOn, caller: &Snap, ip: Option<std::net::Ipv4Addr>, tag: u32) {
        if caller.pid == 0 || !self.wants(Kind::LogonExplicit) {
            return;
        }
        let i = self.fact(Kind::LogonExplicit, host, self.now, caller, tag);
        let f = self.facts.get_mut(i);
        (f.subject, f.subject_luid) = asked_by(l, caller);
        f.account = l.account;
        f.extra.extend(source(l, ip, 0));
        self.done(i);
    }

    /// The groups of a token in the order Windows lists them (recorded in 4627): the account's primary group, aliases of the
    /// machine, how it came, the domain's groups, the integrity level.
    fn token_groups(&self, account: AccountId, logon_type: u8, elevated: bool) -> String {
        let a = self.atlas().account(account);
        let forest = &self.atlas().forest.sid;
        let mut groups: Vec<String> = vec![];
        let add = |groups: &mut Vec<String>, list: &[&str]| groups.extend(list.iter().map(|s| (*s).to_owned()));
        if account == AccountId::SYSTEM {
            add(&mut groups, &["S-1-5-32-544", "S-1-1-0", "S-1-5-11", "S-1-16-16384"]);
            return groups.join("\n");
        }
        let machine = a.kind == AccountKind::Machine;
        if matches!(a.kind, AccountKind::WellKnown) {
            add(
                &mut groups,
                &["S-1-16-16384", "S-1-1-0", "S-1-5-32-545", "S-1-5-6", "S-1-2-1", "S-1-5-11", "S-1-5-15"],
            );
            return groups.join("\n");
        }
        let primary = match a.kind {
            AccountKind::Machine => format!("{forest}-515"),
            AccountKind::Local => "S-1-5-32-545".to_owned(),
            _ => format!("{forest}-513"),
        };
        groups.push(primary.clone());
        add(&mut groups, &["S-1-1-0", "S-1-5-32-545"]);
        if elevated && !machine {
            add(&mut groups, &["S-1-5-32-544"]);
        }
        add(
            &mut groups,
            match logon_type {
                3 => &["S-1-5-2"],
                4 => &["S-1-5-3"],
                5 => &["S-1-5-6"],
                10 => &["S-1-5-14", "S-1-5-4"],
                _ => &["S-1-5-4"],
            },
        );
        add(&mut groups, &["S-1-5-11", "S-1-5-15"]);
        if matches!(logon_type, 2 | 10 | 11) {
            add(&mut groups, &["S-1-2-0"]);
        }
        groups
            .extend(a.groups.iter().filter(|g| ***g != *primary && g.starts_with("S-1-5-21-")).map(|g| g.to_string()));
        add(&mut groups, &["S-1-18-1"]);
        add(
            &mut groups,
            &[match (machine, elevated) {
                (true, true) => "S-1-16-16384",
                (true, false) => "S-1-16-8448",
                (false, true) => "S-1-16-12288",
                (false, false) => "S-1-16-8192",
            }],
        );
        groups.dedup();
        groups.join("\n")
    }

    /// An account logs on to a host of ours, or fails to.
    pub(super) fn log_on(&mut self, l: LogOn) {
        let Some(host) = self.local(l.host) else { return };
        if l.tag.is_some() {
            self.rouse(host);
        }
        if !self.hosts[host as usize].up() {
            return;
        }
        if l.logon_type == 10 && l.terminal == 0 && l.result == LogonResult::Ok {
            return self.open_screen(host, l);
        }
        let tag = l.tag.map_or(0, |t| self.tag(t));
        let style = match l.caller.is_some() {
            true => Style::SECONDARY,
            false => Style::of(l.logon_type, l.ntlm, l.account),
        };
        let caller = self.caller(host, &style);
        let (ip, port, workstation) = match l.from {
            Some((from, port)) => {
                let f = self.atlas().host(from);
                (Some(f.ip), port, f.name.to_string())
            }
            None => (None, 0, self.atlas().host(l.host).name.to_string()),
        };
        if matches!(l.logon_type, 2 | 7 | 10 | 11) {
            self.typed(host, &l, &caller, ip, tag);
        }
        if l.result != LogonResult::Ok {
            return self.logon_failed(host, &l, &style, caller, ip, port, &workstation, tag);
        }
        let now = self.now;
        // a service that starts logs on anew, into the session that its account has since boot
        if let Some(s) = self.fixed_session(host, l.account).filter(|_| l.logon_type == 5) {
            self.session_facts(host, &l, &style, &caller, &s, ip, port, "-", tag);
            return;
        }
        let account = self.atlas().account(l.account);
        let admin = matches!(account.kind, AccountKind::Admin | AccountKind::BuiltIn)
            || (account.local_admin && account.host == Some(l.host))
            || account.kind == AccountKind::Service && self.atlas().administers(account, l.host);
        // a machine has rights on itself; elsewhere it is one of many
        let own = account.kind == AccountKind::Machine && account.host == Some(l.host);
        let pair = admin && matches!(l.logon_type, 2 | 10 | 11) && account.kind != AccountKind::BuiltIn;
        let terminal = match l.logon_type {
            2 => l.account.terminal().unwrap_or(1),
            7 | 11 => 1,
            10 => l.terminal,
            _ => 0,
        };
        // a copy of the caller's own token, with other credentials for the network
        let copied = l.caller.filter(|_| l.logon_type == 9).and_then(|(_, luid)| {
            self.hosts[host as usize].session(luid).map(|i| self.hosts[host as usize].sessions[i])
        });
        let h = &mut self.hosts[host as usize];
        let luid = h.new_luid(now);
        let linked = if pair { h.new_luid(now) } else { 0 };
        // Windows opens the elevated session first, then the limited one, both with their links
        let sessions = [
            Some(Session {
                luid,
                linked,
                account: copied.map_or(l.account, |c| c.account),
                start: now,
                logon_type: l.logon_type,
                terminal: copied.map_or(terminal, |c| c.terminal),
                elevated: copied.map_or(admin || own || l.logon_type == 5, |c| c.elevated),
                tag,
                from: ip.map(|ip| (ip, port)),
                outbound: copied.map(|_| l.account),
                closing: false,
            }),
            pair.then_some(Session {
                luid: linked,
                linked: luid,
                account: l.account,
                start: now,
                logon_type: l.logon_type,
                terminal,
                elevated: false,
                tag,
                from: ip.map(|ip| (ip, port)),
                outbound: None,
                closing: false,
            }),
        ];
        for s in sessions.into_iter().flatten() {
            self.hosts[host as usize].open(s);
            self.session_facts(host, &l, &style, &caller, &s, ip, port, &workstation, tag);
        }
        let user_luid = if pair { linked } else { luid };
        if l.link != 0 {
            self.serve(host, luid, l.link);
        }
        let owner = self.atlas().host(l.host).owner == Some(l.account);
        // whoever sits down at a machine that is nobody's, or comes over Remote Desktop, gets a desktop
        let person = l.account.0 >= AccountId::FIRST && l.caller.is_none();
        let desktop =
            l.logon_type == 10 || l.logon_type == 2 && person && !owner && self.hosts[host as usize].owner.is_none();
        if desktop && let Some(i) = self.hosts[host as usize].session(user_luid) {
            let s = self.hosts[host as usize].sessions[i];
            if l.then.is_none() {
                self.at(now + l.hold, What::LogOff(host, user_luid));
            }
            return self.open_desktop(host, &s, l.then.map(|p| (p, l.hold)));
        }
        match (l.then, l.logon_type) {
            (Some(p), _) => self.play(p, Some((user_luid, l.hold))),
            (None, 7) if owner => {
                self.at(now + l.hold, What::LogOff(host, user_luid));
                self.unlocked(host);
            }
            (None, 2 | 11) if owner && self.hosts[host as usize].owner.is_none() => self.signed_in(host, user_luid),
            (None, _) if l.hold == super::life::FOREVER => {}
            (None, _) => self.at(now + l.hold, What::LogOff(host, user_luid)),
        }
    }

    /// The session of SYSTEM, LOCAL SERVICE or NETWORK SERVICE.
    fn fixed_session(&self, host: u32, account: AccountId) -> Option<Session> {
        self.hosts[host as usize].sessions.iter().take(3).find(|s| s.account == account).copied()
    }

    /// The process that asked for a logon of a style.
    fn caller(&self, host: u32, style: &Style) -> Snap {
        let x = &self.shared().habits;
        let slot = match style.by {
            By::Lsass => None,
            By::Services => Some(self.hosts[host as usize].services),
            By::Winlogon => self.image_slot(host, x.winlogon),
            By::Wininit => self.image_slot(host, x.name("wininit.exe")),
            // a service that has not started yet is asked through winlogon
            By::Service(name) => self.service_slot(host, x.name(name)).or_else(|| self.image_slot(host, x.winlogon)),
        };
        slot.map_or(Snap::default(), |s| self.hosts[host as usize].procs[s].snap)
    }

    /// The facts of a session that is there already: those of the machine's own accounts.
    pub(super) fn open_facts(&mut self, host: u32, l: &LogOn, s: &Session) {
        let style = Style::of(l.logon_type, l.ntlm, l.account);
        let caller = self.caller(host, &style);
        let name = self.atlas().host(l.host).name.to_string();
        self.session_facts(host, l, &style, &caller, s, None, 0, &name, 0);
    }

    fn session_facts(
        &mut self,
        host: u32,
        l: &LogOn,
        style: &Style,
        caller: &Snap,
        s: &Session,
        ip: Option<std::net::Ipv4Addr>,
        port: u16,
        workstation: &str,
        tag: u32,
    ) {
        let mut time = self.now;
        if l.logon_type == 3 {
            self.privileges(host, s, time, tag);
        }
        if self.wants(Kind::LogonStart) {
            let made = self.logon_fact(Kind::LogonStart, host, l, style, caller, ip, port, workstation, tag);
            // of a linked pair only the elevated session has the ticket's (recorded, types 2, 7 and 10)
            let negotiated = style.package == "Negotiate" && !l.ntlm && !matches!(l.logon_type, 5 | 9 | 11);
            let domain = !matches!(self.atlas().account(l.account).kind, AccountKind::WellKnown | AccountKind::Local);
            let guid = match style.package == "Kerberos" || negotiated && domain && (s.linked == 0 || s.elevated) {
                true => l.guid,
                false => [0; 16],
            };
            // NT SERVICE, IIS APPPOOL, Window Manager, Font Driver Host
            let sid = &*self.atlas().account(l.account).sid;
            let virtual_account =
                ["S-1-5-80-", "S-1-5-82-", "S-1-5-90-", "S-1-5-96-"].iter().any(|p| sid.starts_with(p));
            let f = self.facts.get_mut(made);
            f.extra.push((Field::LogonId, Val::Uint(s.luid as u64)));
            f.extra.push((Field::LogonLinked, Val::Uint(s.linked as u64)));
            // a token that is not split counts as elevated (recorded: 302 of 302 Kerberos network logons)
            let whole = l.logon_type == 3 && !l.ntlm;
            f.extra.push((Field::LogonElevated, Val::Bool(s.elevated || whole)));
            f.extra.push((Field::LogonTerminal, Val::Uint(s.terminal as u64)));
            f.extra.push((Field::LogonVirtual, Val::Bool(virtual_account)));
            f.extra.push((Field::LogonGuid, Val::Guid(guid)));
            f.extra.push((Field::LogonImpersonation, Val::Uint(2)));
            if let Some(to) = s.outbound {
                f.account = s.account;
                let (name, domain) = {
                    let a = self.atlas().account(to);
                    (a.name.to_string(), self.atlas().forest.netbios.to_string())
                };
                let (name, domain) = (self.texts.keep(&name), self.texts.keep(&domain));
                let f = self.facts.get_mut(made);
                f.extra.push((Field::LogonOutboundName, Val::Text(name)));
                f.extra.push((Field::LogonOutboundDomain, Val::Text(domain)));
            }
        }
        let blank = Snap { account: s.account, luid: s.luid, ..Snap::default() };
        if self.wants(Kind::LogonGroups) {
            time = time + Span::us(60);
            let text = self.token_groups(s.account, l.logon_type, s.elevated);
            let id = self.texts.keep(&text);
            let i = self.fact(Kind::LogonGroups, host, time, &blank, tag);
            let f = self.facts.get_mut(i);
            f.account = s.account;
            (f.subject, f.subject_luid) = asked_by(l, caller);
            f.extra.push((Field::LogonId, Val::Uint(s.luid as u64)));
            f.extra.push((Field::LogonType, Val::Uint(l.logon_type as u64)));
            f.extra.push((Field::LogonGroups, Val::Text(id)));
            self.done(i);
        }
        if l.logon_type != 3 {
            self.privileges(host, s, time + Span::us(90), tag);
        }
    }

    /// The rights of a privileged session (4672). Those of a network logon are reported before the logon itself, all others'
    /// behind it (recorded).
    fn privileges(&mut self, host: u32, s: &Session, time: Time, tag: u32) {
        if !s.elevated || !self.wants(Kind::LogonPrivileges) {
            return;
        }
        let blank = Snap { account: s.account, luid: s.luid, ..Snap::default() };
        let i = self.fact(Kind::LogonPrivileges, host, time, &blank, tag);
        let text = self.texts.keep(match s.account {
            AccountId::SYSTEM => SYSTEM_PRIVILEGES,
            a if self.atlas().account(a).kind == AccountKind::WellKnown => SERVICE_PRIVILEGES,
            _ => ADMIN_PRIVILEGES,
        });
        let f = self.facts.get_mut(i);
        f.account = s.account;
        (f.subject, f.subject_luid) = (s.account, s.luid);
        f.extra.push((Field::LogonPrivileges, Val::Text(text)));
        self.done(i);
    }

    fn logon_fact(
        &mut self,
        kind: Kind,
        host: u32,
        l: &LogOn,
        style: &Style,
        caller: &Snap,
        ip: Option<std::net::Ipv4Addr>,
        port: u16,
        workstation: &str,
        tag: u32,
    ) -> u32 {
        let keep = |s: &mut State, t: &str| Val::Text(s.texts.keep(t));
        let process = keep(self, style.process);
        let package = keep(self, style.package);
        let lm = keep(self, style.lm);
        let ws = if l.logon_type == 3 && !l.ntlm { "-" } else { workstation };
        let ws = keep(self, ws);
        let i = self.fact(kind, host, self.now, caller, tag);
        let f = self.facts.get_mut(i);
        (f.subject, f.subject_luid) = asked_by(l, caller);
        f.account = l.account;
        f.extra.push((Field::LogonType, Val::Uint(l.logon_type as u64)));
        f.extra.push((Field::LogonProcess, process));
        f.extra.push((Field::LogonPackage, package));
        f.extra.push((Field::LogonLmPackage, lm));
        f.extra.push((Field::LogonKeyLength, Val::Uint(style.key_length)));
        f.extra.push((Field::LogonWorkstation, ws));
        f.extra.extend(source(l, ip, port));
        self.done(i);
        i
    }

    fn logon_failed(
        &mut self,
        host: u32,
        l: &LogOn,
        style: &Style,
        caller: Snap,
        ip: Option<std::net::Ipv4Addr>,
        port: u16,
        workstation: &str,
        tag: u32,
    ) {
        if !self.wants(Kind::LogonFail) {
            return;
        }
        let i = self.logon_fact(Kind::LogonFail, host, l, style, &caller, ip, port, workstation, tag);
        // NTSTATUS of the failure, its detail, and the message number of the reason
        let (status, sub, reason) = match l.result {
            LogonResult::NoSuchUser => (0xc000_006d, 0xc000_0064, 2313),
            LogonResult::BadPassword | LogonResult::Ok => (0xc000_006d, 0xc000_006a, 2313),
            LogonResult::Locked => (0xc000_0234, 0, 2307),
            LogonResult::Disabled => (0xc000_006e, 0xc000_0072, 2310),
            LogonResult::Expired => (0xc000_0224, 0, 2309),
        };
        let f = self.facts.get_mut(i);
        f.extra.push((Field::LogonStatus, Val::Uint(status)));
        f.extra.push((Field::LogonSubStatus, Val::Uint(sub)));
        f.extra.push((Field::LogonReason, Val::Uint(reason)));
    }

    /// A session is to end; the owner's own stays. It lives as long as a process of it: one at a screen takes its processes
    /// with it, any other waits for them.
    pub fn log_off(&mut self, host: u32, luid: Luid, person: bool) {
        let h = &self.hosts[host as usize];
        let Some(i) = h.session(luid).filter(|i| *i >= 3 && h.owner != Some(*i as u16)) else { return };
        let s = h.sessions[i];
        // somebody uses it again: the end of that is waited for
        if self.in_use(host, luid) {
            return;
        }
        // a logon of type 2 beside the person's own is `runas`
        let screen = person || matches!(s.logon_type, 10 | 11);
        let mine = if s.closing { h.of_session(&s) } else { self.of_desktop(host, &s) };
        // what an intruder works from at a screen is left open until he is done
        let named = |slot: &u16| {
            let key = h.procs[*slot].snap.key;
            self.named.values().any(|p| p.host == host && p.key == key)
        };
        if screen && !person && !s.closing && mine.iter().any(named) {
            return self.at(self.now + BUSY, What::LogOff(host, luid));
        }
        if screen && !s.closing {
            self.session_fact(host, &s, Kind::SessionLogoff, self.now);
        }
        if mine.is_empty() {
            return self.close(host, i);
        }
        self.hosts[host as usize].sessions[i].closing = true;
        if s.logon_type == 10 && s.terminal > 1 {
            // the accounts that draw its screen go as well
            for x in self.hosts[host as usize].sessions.iter_mut() {
                x.closing |= x.luid != 0 && x.account.0 < AccountId::FIRST && x.account.terminal() == Some(s.terminal);
            }
        }
        if screen && !s.closing {
            let mut rng = self.moment(host, "log off");
            let mut time = self.now + Span::ms(rng.range(80, 900));
            for slot in mine {
                let r = self.proc_ref(host, slot);
                self.end_process(r, if rng.chance(0.7) { 0 } else { 0x4001_0004 }, time);
                time = time + Span::us(rng.range(600, 90_000));
            }
        }
    }

    /// A process has ended at that time: the session that waited for it ends as well.
    pub(super) fn close_behind(&mut self, host: u32, luid: Luid, time: Time) {
        let h = &self.hosts[host as usize];
        let waits = h.sessions.iter().find(|s| s.closing && (s.luid == luid || s.linked != 0 && s.linked == luid));
        if let Some(s) = waits.filter(|s| h.of_session(s).is_empty()) {
            let luid = s.luid;
            self.at(time + Span::us(900 + (luid % 7_001) as i64), What::LogOff(host, luid));
        }
    }

    fn close(&mut self, host: u32, i: usize) {
        let h = &mut self.hosts[host as usize];
        let s = std::mem::take(&mut h.sessions[i]);
        self.served.remove(&(host, s.luid));
        let h = &mut self.hosts[host as usize];
        if s.linked != 0
            && let Some(k) = h.session(s.linked)
        {
            h.sessions[k].linked = 0;
            let (linked, now) = (s.linked, self.now);
            self.at(now + Span::us(400), What::LogOff(host, linked));
        }
        if !self.wants(Kind::LogonEnd) {
            return;
        }
        let lsass = self.hosts[host as usize].lsass;
        let snap = self.hosts[host as usize].procs[lsass].snap;
        let i = self.fact(Kind::LogonEnd, host, self.now, &snap, s.tag);
        let f = self.facts.get_mut(i);
        f.account = s.account;
        f.extra.push((Field::LogonId, Val::Uint(s.luid as u64)));
        f.extra.push((Field::LogonType, Val::Uint(s.logon_type as u64)));
        f.extra.push((Field::LogonTerminal, Val::Uint(s.terminal as u64)));
        f.extra.push((Field::LogonLinked, Val::Uint(s.linked as u64)));
        f.extra.push((Field::LogonElevated, Val::Bool(s.elevated)));
        self.done(i);
    }
}

/// What 4672 lists for SYSTEM, recorded.
const SYSTEM_PRIVILEGES: &str = "SeAssignPrimaryTokenPrivilege\nSeTcbPrivilege\nSeSecurityPrivilege\nSeTakeOwnershipPrivilege\nSeLoadDriverPrivilege\nSeBackupPrivilege\nSeRestorePrivilege\nSeDebugPrivilege\nSeAuditPrivilege\nSeSystemEnvironmentPrivilege\nSeImpersonatePrivilege\nSeDelegateSessionUserImpersonatePrivilege";
/// What it lists for LOCAL SERVICE, NETWORK SERVICE and accounts of services' own.
const SERVICE_PRIVILEGES: &str = "SeAssignPrimaryTokenPrivilege\nSeAuditPrivilege\nSeImpersonatePrivilege";
/// What it lists for an administrator.
const ADMIN_PRIVILEGES: &str = "SeSecurityPrivilege\nSeBackupPrivilege\nSeRestorePrivilege\nSeTakeOwnershipPrivilege\nSeDebugPrivilege\nSeSystemEnvironmentPrivilege\nSeLoadDriverPrivilege\nSeImpersonatePrivilege\nSeDelegateSessionUserImpersonatePrivilege";

/// Who a logon's records name as the one who asked for it: the session that gave the credentials, else the system; nobody
/// where no process of the machine did.
fn asked_by(l: &LogOn, caller: &Snap) -> (AccountId, Luid) {
    match caller.pid {
        0 => (AccountId::NOBODY, 0),
        _ => l.caller.unwrap_or((AccountId::SYSTEM, SYSTEM_LUID)),
    }
}

/// Address and port that a logon's records show: the client's, whose port only the network logon knows; the machine's own
/// where somebody sits at it or runs something as another; none for its own accounts (recorded).
fn source(l: &LogOn, ip: Option<std::net::Ipv4Addr>, port: u16) -> impl Iterator<Item = (Field, Val)> + use<> {
    let (ip, port) = match (ip, l.logon_type) {
        (Some(ip), 3) => (Some(Val::Ip(ip)), port),
        (Some(ip), _) => (Some(Val::Ip(ip)), 0),
        (None, 2 | 9) if l.caller.is_some() => (Some(Val::Ip6(std::net::Ipv6Addr::LOCALHOST)), 0),
        (None, 2 | 7 | 11) if l.account.0 >= AccountId::FIRST => (Some(Val::Ip(std::net::Ipv4Addr::LOCALHOST)), 0),
        (None, _) => (None, 0),
    };
    ip.into_iter().flat_map(move |ip| [(Field::SourceIp, ip), (Field::SourcePort, Val::Uint(port as u64))])
}

enum By {
    Lsass,
    Services,
    Winlogon,
    Wininit,
    Service(&'static str),
}

/// How Windows prints a logon of a type: logon process (with its trailing blanks), package, who asked.
struct Style {
    process: &'static str,
    package: &'static str,
    lm: &'static str,
    key_length: u64,
    by: By,
}

impl Style {
    /// By runas and its kin (recorded in SDWIN-190518203650: subject is the caller, process the service host).
    const SECONDARY: Style =
        Style { process: "seclogo", package: "Negotiate", lm: "-", key_length: 0, by: By::Service("seclogon") };

    /// Read off the recordings (`windows-facts/logons.json`) and Windows' own documentation of 4624.
    fn of(logon_type: u8, ntlm: bool, account: AccountId) -> Style {
        let s = |process, package, by| Style { process, package, lm: "-", key_length: 0, by };
        match (logon_type, ntlm) {
            (3, true) => Style { process: "NtLmSsp ", package: "NTLM", lm: "NTLM V2", key_length: 128, by: By::Lsass },
            (3, false) => s("Kerberos", "Kerberos", By::Lsass),
            // the system itself, when it starts; the console's own accounts
            (0, _) => s("-", "-", By::Lsass),
            (2, _) if account == AccountId::UMFD_0 => s("Advapi  ", "Negotiate", By::Wininit),
            (2, _) if account.0 < AccountId::FIRST => s("Advapi  ", "Negotiate", By::Winlogon),
            (7, _) => s("User32 ", "Negotiate", By::Service("lsm")),
            (4, _) => s("Advapi  ", "Negotiate", By::Service("schedule")),
            (5, _) => s("Advapi  ", "Negotiate", By::Services),
            (10, _) => s("User32 ", "Negotiate", By::Service("termservice")),
            _ => s("User32 ", "Negotiate", By::Service("lsm")),
        }
    }
}

/// A random GUID (version 4) from two draws.
pub fn random_guid(a: u64, b: u64) -> [u8; 16] {
    let mut g = guid_bytes(a, b);
    (g[6], g[8]) = (g[6] & 0x0f | 0x40, g[8] & 0x3f | 0x80);
    g
}

/// A GUID that a key was made of: any bits.
pub fn guid_bytes(a: u64, b: u64) -> [u8; 16] {
    let mut g = [0; 16];
    g[..8].copy_from_slice(&a.to_be_bytes());
    g[8..].copy_from_slice(&b.to_be_bytes());
    g
}

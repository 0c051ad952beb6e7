//! Names, ports and connections, seen from both ends.

use std::net::Ipv4Addr;

use crate::activity::{Field, Kind};
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, AccountKind, HostId};
use crate::world::fact::Val;
use crate::world::host::{ProcRef, Regs};
use crate::world::logon::guid_bytes;
use crate::world::program::{Dest, LogonResult, Who};
use crate::world::state::{Body, LogOn, State, Tag, Task};

impl State {
    /// Opens a connection; returns how long the caller waits for it.
    pub(super) fn connect_op(
        &mut self,
        t: &mut Task,
        by: ProcRef,
        to: &Dest,
        mut port: u16,
        udp: bool,
        bytes: (u64, u64),
        server: Option<Who>,
        logon: bool,
        tag: u32,
    ) -> Span {
        let (host, name, ip) = match to {
            Dest::Host(sel) => {
                let id = self.select(t, *sel);
                let h = self.atlas().host(id);
                (Some(id), h.fqdn.to_string(), h.ip)
            }
            Dest::Text(tpl) => {
                let text = self.filled(t, tpl);
                let port_text = port_of(&text).unwrap_or(80);
                let text = authority(&text).to_owned();
                port = if port == 0 { port_text } else { port };
                match text.parse::<Ipv4Addr>() {
                    _ if loopback(&text) => (None, String::new(), Ipv4Addr::LOCALHOST),
                    Ok(ip) => (self.shared().habits.host_by_ip(ip), String::new(), ip),
                    Err(_) => match self.shared().habits.host_by_name(&text) {
                        Some(id) => (Some(id), self.atlas().host(id).fqdn.to_string(), self.atlas().host(id).ip),
                        // a single word is a machine of the organisation, or nobody
                        None if !text.contains('.') => {
                            self.resolve(by, &text, false, tag, self.now);
                            return Span::ZERO;
                        }
                        None => (None, text.clone(), address_of(&text)),
                    },
                }
            }
        };
        let wait = self.connect(by, host, &name, ip, port, udp, bytes, server, tag, t.rng.u64());
        if let Some(to) = host.filter(|h| logon && *h != self.host_id(t.host)) {
            self.bind(t, by, to, tag);
        }
        wait
    }

    /// Whoever connected logs on over that connection: a bind to a directory, a call of a remote interface.
    fn bind(&mut self, t: &mut Task, by: ProcRef, to: HostId, tag: u32) {
        let Some(p) = self.proc(by).copied() else { return };
        let h = &self.hosts[by.host as usize];
        let outbound = h.session(p.snap.luid).and_then(|i| h.sessions[i].outbound);
        let account = outbound.unwrap_or(p.snap.account);
        // who is known on this machine only is nobody there
        let known = match self.atlas().account(account).kind {
            AccountKind::WellKnown => matches!(account, AccountId::SYSTEM | AccountId::NETWORK_SERVICE),
            kind => kind != AccountKind::Local,
        };
        if !known {
            return;
        }
        let port = h.last_port();
        let mut rng = Rng::new(t.rng.u64());
        self.ask_logon(LogOn {
            host: to,
            account,
            logon_type: 3,
            result: LogonResult::Ok,
            ntlm: false,
            from: Some((self.host_id(by.host), port)),
            guid: guid_bytes(rng.u64(), rng.u64()),
            hold: Span::us(rng.lognormal(4e6, 480e6) as i64),
            then: None,
            tag: self.tag_of(tag),
            typed: None,
            caller: None,
            link: 0,
            terminal: 0,
        });
    }

    /// A connection with its name resolution and ports; the server's side follows in its own cell.
    pub fn connect(
        &mut self,
        by: ProcRef,
        to: Option<HostId>,
        name: &str,
        ip: Ipv4Addr,
        port: u16,
        udp: bool,
        bytes: (u64, u64),
        server: Option<Who>,
        tag: u32,
        draw: u64,
    ) -> Span {
        let Some(p) = self.proc(by).copied() else { return Span::ZERO };
        let mut rng = Rng::new(draw);
        let host = by.host;
        let mut time = self.now;
        // who asked for a name has its address for a while: all connections of these minutes are made with it, or each asks
        let asked = mix(p.snap.key, mix(purpose(name), time.second() as u64 / 600));
        if !name.is_empty() && Rng::new(asked).chance(0.7) {
            // names of servers that the kernel connects to are looked up by the resolver's service
            let kernel = by.slot == 0;
            let resolver = kernel.then(|| self.service_slot(host, self.shared().habits.resolver)).flatten();
            let asks = resolver.map_or(by, |slot| self.proc_ref(host, slot));
            self.resolve(asks, name, true, tag, time);
            time = time + Span::us(rng.range(900, 38_000));
        }
        let local = self.hosts[host as usize].new_port(udp);
        let me = self.atlas().host(self.host_id(host));
        let (my_ip, my_name) = (if ip.is_loopback() { ip } else { me.ip }, me.fqdn.clone());
        if self.wants(Kind::NetworkBind) {
            let i = self.fact(Kind::NetworkBind, host, time, &p.snap, tag);
            self.device(i);
            let f = self.facts.get_mut(i);
            f.extra.push((Field::SourcePort, Val::Uint(local as u64)));
            f.extra.push((Field::SourceIp, Val::Ip(Ipv4Addr::UNSPECIFIED)));
            f.extra.push((Field::NetworkIana, Val::Uint(if udp { 17 } else { 6 })));
            self.done(i);
        }
        time = time + Span::us(rng.range(120, 900));
        if self.wants(Kind::NetworkConnect) {
            let source = self.texts.keep(&my_name);
            let dest = if ip.is_loopback() { &*my_name } else { name };
            let dest = if dest.is_empty() { None } else { Some(self.texts.keep(dest)) };
            let i = self.fact(Kind::NetworkConnect, host, time, &p.snap, tag);
            self.device(i);
            let parent = self.parent(host, &p);
            let f = self.facts.get_mut(i);
            f.parent = parent;
            f.extra.push((Field::SourceIp, Val::Ip(my_ip)));
            f.extra.push((Field::SourcePort, Val::Uint(local as u64)));
            f.extra.push((Field::SourceDomain, Val::Text(source)));
            f.extra.push((Field::DestinationIp, Val::Ip(ip)));
            f.extra.push((Field::DestinationPort, Val::Uint(port as u64)));
            if let Some(d) = dest {
                f.extra.push((Field::DestinationDomain, Val::Text(d)));
            }
            f.extra.push((Field::NetworkIana, Val::Uint(if udp { 17 } else { 6 })));
            f.extra.push((Field::NetworkInitiated, Val::Bool(true)));
            f.extra.push((Field::NetworkBytesSent, Val::Uint(bytes.0)));
            f.extra.push((Field::NetworkBytesReceived, Val::Uint(bytes.1)));
            self.done(i);
        }
        if let Some(to) = to.filter(|h| *h != self.host_id(host)) {
            let tag = self.collateral(tag);
            let tag = self.tag_of(tag);
            let body = Body::Arrive { host: to, from: my_ip, from_port: local, port, udp, server, tag, bytes };
            self.send(to, time + Span::us(rng.range(200, 2_500)), body);
        }
        time - self.now
    }

    /// Adds the image as the filtering platform names it: device path, lower case.
    pub(super) fn device(&mut self, i: u32) {
        let (host, snap) = (self.facts.get(i).host, self.facts.get(i).proc);
        if snap.pid <= 4 {
            return;
        }
        use std::fmt::Write;
        let mut scratch = self.text();
        let own = self.texts.get(snap.path);
        let path = if own.is_empty() { &*self.image(snap.image).path } else { own };
        let volume = self.atlas().host(self.host_id(host)).volume;
        let mut text = std::mem::take(&mut scratch);
        write!(text, r"\device\harddiskvolume{volume}").expect("a String");
        let from = text.len();
        text.push_str(path.get(2..).unwrap_or(""));
        text[from..].make_ascii_lowercase();
        let id = self.texts.keep(&text);
        self.text_back(text);
        self.facts.get_mut(i).extra.push((Field::ProcDevice, Val::Text(id)));
    }

    /// The server's side of a connection.
    pub(super) fn arrive(
        &mut self,
        host: HostId,
        from: Ipv4Addr,
        from_port: u16,
        port: u16,
        udp: bool,
        server: Option<Who>,
        tag: Option<Tag>,
        bytes: (u64, u64),
    ) {
        let Some(host) = self.local(host) else { return };
        if tag.is_some() {
            self.rouse(host);
        }
        if !self.hosts[host as usize].up() || !self.wants(Kind::NetworkAccept) {
            return;
        }
        let tag = tag.map_or(0, |t| self.tag(t));
        let who = server.or_else(|| self.shared().habits.server(port, udp)).unwrap_or(Who::System);
        let by = self.find(host, who, Default::default(), &Regs::default());
        let Some(p) = self.proc(by).copied() else { return };
        let me = self.atlas().host(self.host_id(host)).ip;
        let i = self.fact(Kind::NetworkAccept, host, self.now, &p.snap, tag);
        self.device(i);
        let parent = self.parent(host, &p);
        let f = self.facts.get_mut(i);
        f.parent = parent;
        f.extra.push((Field::SourceIp, Val::Ip(from)));
        f.extra.push((Field::SourcePort, Val::Uint(from_port as u64)));
        f.extra.push((Field::DestinationIp, Val::Ip(me)));
        f.extra.push((Field::DestinationPort, Val::Uint(port as u64)));
        f.extra.push((Field::NetworkIana, Val::Uint(if udp { 17 } else { 6 })));
        f.extra.push((Field::NetworkInitiated, Val::Bool(false)));
        f.extra.push((Field::NetworkBytesSent, Val::Uint(bytes.0)));
        f.extra.push((Field::NetworkBytesReceived, Val::Uint(bytes.1)));
        self.done(i);
    }

    /// A name is looked up.
    pub fn resolve(&mut self, by: ProcRef, name: &str, exists: bool, tag: u32, time: Time) {
        if !self.wants(Kind::NameResolve) {
            return;
        }
        let Some(p) = self.proc(by).copied() else { return };
        let plain = name.trim_end_matches('.');
        let atlas = self.atlas();
        // the resolver puts the domain to the short name of a host
        let own = self.shared().habits.host_by_name(plain).filter(|_| !plain.contains('.'));
        let own = own.map(|h| atlas.host(h).fqdn.clone());
        let (name, plain) = own.as_deref().map_or((name, plain), |n| (n, n));
        let ours = plain.len() > atlas.forest.dns.len()
            && plain.is_char_boundary(plain.len() - atlas.forest.dns.len())
            && plain[plain.len() - atlas.forest.dns.len()..].eq_ignore_ascii_case(&atlas.forest.dns);
        let (exists, answers) = match self.shared().habits.host_by_name(plain) {
            _ if !exists => (false, String::new()),
            Some(h) => (true, format!("::ffff:{};", atlas.host(h).ip)),
            // a service of the domain is where its controllers are (record type 33)
            None if ours && plain.starts_with('_') => {
                let dc = atlas.host(atlas.host(self.host_id(by.host)).dc);
                (true, format!("type:  33 {};::ffff:{};", dc.fqdn, dc.ip))
            }
            None if ours => (true, format!("::ffff:{};", address_of(plain))),
            None => (true, self.outside_answers(plain)),
        };
        let i = self.fact(Kind::NameResolve, by.host, time, &p.snap, tag);
        let name = self.texts.keep(name);
        let answers = if answers.is_empty() { None } else { Some(self.texts.keep(&answers)) };
        let parent = self.parent(by.host, &p);
        let f = self.facts.get_mut(i);
        f.parent = parent;
        f.extra.push((Field::DnsName, Val::Text(name)));
        // a name that does not exist; now and then nobody answered in time (ERROR_TIMEOUT)
        let failed = if f.draw >> 17 & 3 == 0 { 1460 } else { 9003 };
        f.extra.push((Field::DnsStatus, Val::Uint(if exists { 0 } else { failed })));
        if let Some(a) = answers {
            f.extra.push((Field::DnsAnswers, Val::Text(a)));
        }
        self.done(i);
    }
}

impl State {
    /// What a resolver answers for a name outside: the aliases a content network puts before it (record type 5), then its
    /// addresses; the same for everybody. Names of the safe pools are nobody's customers.
    fn outside_answers(&self, name: &str) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        let ip = address_of(name);
        let h = mix(purpose(name), purpose("aliases"));
        let words = &self.atlas().words;
        let list = words.names.iter().position(|n| &**n == "domains.aliases").map(|i| &words.lists[i]);
        if let (198, Some(list)) = (ip.octets()[0], list.filter(|l| !l.is_empty())) {
            let first = name.split('.').find(|l| l.len() > 3).unwrap_or(name);
            for k in 0..[0, 0, 1, 1, 1, 2, 2, 3][(h % 8) as usize] {
                let n = mix(h, k);
                let alias = &list[(n % list.len() as u64) as usize];
                let alias = alias.replace('@', first).replace('#', &format!("{:04}", (n >> 16) % 9_999));
                write!(out, "type:  5 {alias};").expect("a String");
            }
        }
        write!(out, "::ffff:{ip};").expect("a String");
        for k in 0..[0, 0, 0, 1, 1, 3, 7][(h >> 32) as usize % 7] {
            let o = ip.octets();
            write!(out, "::ffff:{}.{}.{}.{};", o[0], o[1], o[2], 1 + (o[3] as u64 + 1 + k + (h >> 40) % 60) % 254)
                .expect("a String");
        }
        out
    }
}

/// The address a name outside stands for: always the same one. Names from the safe indicator pools get documentation
/// addresses; well-known services get an address of a benchmark range, so that no third party is ever pointed at.
pub fn address_of(name: &str) -> Ipv4Addr {
    let h = mix(purpose(name), purpose("address"));
    let reserved = ["example", "test", "invalid", "example.com", "example.net", "example.org"];
    if reserved.iter().any(|r| name.ends_with(r)) {
        let net = [[192, 0, 2], [198, 51, 100], [203, 0, 113]][(h % 3) as usize];
        return Ipv4Addr::new(net[0], net[1], net[2], (1 + (h >> 8) % 254) as u8);
    }
    Ipv4Addr::new(198, 18 + ((h >> 16) & 1) as u8, (h >> 24) as u8, (1 + (h >> 32) % 254) as u8)
}

/// What a command line calls a destination, in parts: scheme, host, port.
fn parts(text: &str) -> (&str, &str, &str) {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.trim_start_matches('\\').split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    // `[::1]:80`; without brackets an address of that kind has no port
    if let Some((host, port)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        return (scheme, host, port.trim_start_matches(':'));
    }
    match rest.split_once(':') {
        Some((host, port)) if !port.contains(':') => (scheme, host, port),
        _ => (scheme, rest, ""),
    }
}

/// The host in what a command line calls a destination: a URL, `user@host`, `host:/path`, `host:port`, or just a host.
pub fn authority(text: &str) -> &str {
    parts(text).1
}

/// The port in what a command line calls a destination: its own, its scheme's, or that of the web. None when it names no
/// host (`file:///C:/x`).
pub fn port_of(text: &str) -> Option<u16> {
    let (scheme, host, port) = parts(text);
    if host.is_empty() || scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    if let Some(port) = port.parse().ok().filter(|p| *p > 0) {
        return Some(port);
    }
    Some(match &*scheme.to_ascii_lowercase() {
        "https" | "wss" => 443,
        "ftp" => 21,
        "ftps" => 990,
        "ssh" | "sftp" | "scp" => 22,
        "ldap" => 389,
        "ldaps" => 636,
        "smb" => 445,
        _ if text.starts_with(r"\\") => 445,
        _ => 80,
    })
}

/// True for the machine itself, which no name query and no address outside leads to.
pub fn loopback(text: &str) -> bool {
    let host = authority(text).to_ascii_lowercase();
    host == "localhost"
        || host == "::1"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{authority, loopback, port_of};

    #[test]
    fn the_host_of_what_tools_are_given() {
        for (given, host) in [
            ("https://a.example/p?q#r", "a.example"),
            ("http://192.0.2.7:8080/x", "192.0.2.7"),
            ("deploy@b.test:/tmp", "b.test"),
            ("c.invalid:3333", "c.invalid"),
            ("http://[::1]:8080/x", "::1"),
            ("::1", "::1"),
            ("_ldap._tcp.corp.example.", "_ldap._tcp.corp.example."),
            ("", ""),
        ] {
            assert_eq!(authority(given), host, "{given}");
        }
    }

    #[test]
    fn the_port_of_what_tools_are_given() {
        for (given, port) in [
            ("http://a.example/x", Some(80)),
            ("https://a.example", Some(443)),
            ("HTTPS://a.example:8443/x", Some(8443)),
            ("ftp://a.example/x", Some(21)),
            ("a.example:8080", Some(8080)),
            ("a.example/x", Some(80)),
            (r"\\a.example\x", Some(445)),
            ("http://[::1]:81/", Some(81)),
            ("file:///C:/x", None),
            ("", None),
        ] {
            assert_eq!(port_of(given), port, "{given}");
        }
    }

    #[test]
    fn the_machine_itself() {
        for own in ["localhost", "http://localhost:8080/x", "127.0.0.1", "127.3.2.1:80", "::1", "http://[::1]/"] {
            assert!(loopback(own), "{own}");
        }
        for other in ["127.example", "localhost.example", "10.0.0.1", "", "::10"] {
            assert!(!loopback(other), "{other}");
        }
    }
}

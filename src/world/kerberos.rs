//! Tickets: how they are asked for, and what a domain controller records of it; NTLM responses, which it checks as well.

use crate::activity::{Field, Kind};
use crate::rng::{Rng, mix, purpose};
use crate::time::Span;
use crate::world::atlas::{AccountId, HostId};
use crate::world::fact::Val;
use crate::world::logon::guid_bytes;
use crate::world::program::{Ticket, Who};
use crate::world::state::{Body, KerberosAsk, State, Tag, Task};

impl State {
    /// The actor's session asks its domain controller for a ticket, or for several.
    pub(super) fn ticket(&mut self, t: &mut Task, by: Who, of: &Ticket, rc4: bool, status: u32, tag: u32) {
        let client = self.host_id(t.host);
        let c = self.atlas().host(client);
        let (dc, ip) = (c.dc, c.ip);
        let account = self.find(t.host, by, t.inst.id, &t.regs);
        let account = self.abroad(client, self.proc(account).map_or(t.account, |p| p.snap.account));
        let services: Vec<Option<AccountId>> = match of {
            Ticket::Service(s) | Ticket::Granting(s) => self.meant(t, client, *s).map(Some).into_iter().collect(),
            Ticket::Every => self.atlas().service_accounts.iter().copied().map(Some).collect(),
            Ticket::Forward => vec![None],
            Ticket::Name(name) => {
                let name = self.filled(t, name);
                let named = self.atlas().accounts.iter().position(|a| a.spn.eq_ignore_ascii_case(&name));
                // a name that nobody has registered leaves nothing that could be named
                named.map(|i| Some(AccountId(i as u32))).into_iter().collect()
            }
        };
        let cause = self.tag_of(tag).map(Tag::collateral);
        let mut rng = Rng::new(t.rng.u64());
        let mut time = self.now;
        let bare = matches!(of, Ticket::Granting(_));
        for service in services {
            let ask = KerberosAsk {
                account: service.filter(|_| bare).unwrap_or(account),
                service: None,
                service_account: service.filter(|_| !bare),
                guid: guid_bytes(rng.u64(), rng.u64()),
                ip,
                port: self.client_port(client),
                rc4,
                ntlm: false,
                bare,
                forward: matches!(of, Ticket::Forward),
                status,
            };
            time = time + Span::us(rng.range(1_500, 8_000));
            self.send(dc, time, Body::Kerberos { dc, ask, tag: cause });
        }
    }

    pub(super) fn client_port(&mut self, client: HostId) -> u16 {
        match self.local(client) {
            Some(h) => self.hosts[h as usize].new_port(false),
            None => 49_152 + (mix(client.0 as u64, self.n) % 16_384) as u16,
        }
    }

    /// A domain controller answers a ticket request.
    pub(super) fn kerberos(&mut self, dc: HostId, ask: KerberosAsk, tag: Option<Tag>) {
        let Some(host) = self.local(dc) else { return };
        if ask.ntlm {
            return self.validate(host, ask, tag);
        }
        let kind = match (ask.status, ask.forward || ask.service.is_some() || ask.service_account.is_some()) {
            (_, true) => Kind::KerberosService,
            (0, false) => Kind::KerberosTgt,
            _ => Kind::KerberosFail,
        };
        if !self.wants(kind) {
            return;
        }
        let tag = tag.map_or(0, |t| self.tag(t));
        let lsass = self.hosts[host as usize].lsass;
        let snap = self.hosts[host as usize].procs[lsass].snap;
        let atlas = self.atlas();
        let (service, sid) = match (ask.service, ask.service_account) {
            (Some(h), _) => {
                let a = atlas.account(atlas.host(h).account);
                (a.name.to_string(), a.sid.to_string())
            }
            (None, Some(a)) => (atlas.account(a).name.to_string(), atlas.account(a).sid.to_string()),
            (None, None) if kind != Kind::KerberosFail => ("krbtgt".to_owned(), format!("{}-502", atlas.forest.sid)),
            (None, None) => (format!("krbtgt/{}", atlas.forest.netbios), "S-1-0-0".to_owned()),
        };
        let (service, sid) = (self.texts.keep(&service), self.texts.keep(&sid));
        let i = self.fact(kind, host, self.now, &snap, tag);
        let f = self.facts.get_mut(i);
        f.account = ask.account;
        f.extra.push((Field::KerberosService, Val::Text(service)));
        f.extra.push((Field::KerberosServiceSid, Val::Text(sid)));
        f.extra.push((
            Field::KerberosOptions,
            Val::Uint(match kind {
                // forwarded, for a service that delegates (recorded)
                _ if ask.forward => 0x6081_0010,
                Kind::KerberosTgt => 0x4081_0010,
                // a sixth of the recorded ones do not ask for a canonical name
                _ if ask.guid[0].is_multiple_of(6) => 0x4080_0000,
                _ => 0x4081_0000,
            }),
        ));
        f.extra.push((Field::KerberosStatus, Val::Uint(ask.status as u64)));
        f.extra.push((
            Field::KerberosEncryption,
            Val::Uint(if ask.status != 0 {
                0xffff_ffff
            } else if ask.rc4 {
                0x17
            } else {
                0x12
            }),
        ));
        f.extra.push((Field::KerberosPreauth, Val::Uint(if ask.bare || ask.status == 0x6 { 0 } else { 2 })));
        f.extra.push((Field::LogonGuid, Val::Guid(ask.guid)));
        f.extra.push((Field::SourceIp, Val::Ip(ask.ip)));
        f.extra.push((Field::SourcePort, Val::Uint(ask.port as u64)));
        if ask.status == 0 {
            // the ticket-granting ticket of an account on a client lasts ten hours; what it buys names it
            let hours = self.now.second() as u64 / 36_000;
            let granting = mix(mix(ask.account.0 as u64, u32::from(ask.ip) as u64), hours);
            let bought = u64::from_le_bytes(ask.guid[..8].try_into().expect("eight bytes"));
            let issued = if kind == Kind::KerberosTgt { granting } else { mix(bought, granting) };
            let response = self.texts.keep(&ticket_hash(issued));
            let request = (kind == Kind::KerberosService).then(|| self.texts.keep(&ticket_hash(granting)));
            let f = self.facts.get_mut(i);
            f.extra.push((Field::KerberosResponseHash, Val::Text(response)));
            f.extra.extend(request.map(|r| (Field::KerberosRequestHash, Val::Text(r))));
        }
        self.done(i);
    }

    /// An NTLM response is checked where the account is held (4776).
    fn validate(&mut self, host: u32, ask: KerberosAsk, tag: Option<Tag>) {
        if !self.wants(Kind::NtlmValidate) {
            return;
        }
        let tag = tag.map_or(0, |t| self.tag(t));
        let lsass = self.hosts[host as usize].lsass;
        let snap = self.hosts[host as usize].procs[lsass].snap;
        let client = self.shared().habits.host_by_ip(ask.ip).map(|h| self.atlas().host(h).name.to_string());
        let client = self.texts.keep(client.as_deref().unwrap_or("-"));
        let i = self.fact(Kind::NtlmValidate, host, self.now, &snap, tag);
        let f = self.facts.get_mut(i);
        f.account = ask.account;
        f.extra.push((Field::LogonStatus, Val::Uint(ask.status as u64)));
        f.extra.push((Field::LogonWorkstation, Val::Text(client)));
        self.done(i);
    }
}

/// 32 bytes in base64, as the KDC prints the hash of a ticket.
fn ticket_hash(ticket: u64) -> String {
    use base64::Engine;
    let mut bytes = [0; 32];
    for (n, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&mix(ticket, purpose("ticket") ^ n as u64).to_le_bytes());
    }
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

//! Java's `client.properties`: its format, and what its words mean here.

use std::collections::BTreeMap;
use std::path::Path;

use super::options::{Acks, KafkaOptions, broker, try_property};
use super::security::{Pem, Sasl, Secret, Security, Tls, TokenFrom};
use super::{jaas, store};
use crate::time::Span;
use crate::yaml::Problems;

/// Reads a file as `--kafka-config` and `client_properties` do. What was understood, and a warning for each line
/// that has no meaning here.
///
/// # Errors
/// All that is wrong with it, by line; no secret is repeated.
pub fn read(path: &Path) -> Result<(KafkaOptions, Vec<String>), Problems> {
    let name = path.display().to_string();
    let mut p = Problems::new();
    match std::fs::read(path) {
        // as Java reads it: one byte, one character
        Ok(bytes) => options(&name, &bytes.iter().map(|b| *b as char).collect::<String>()),
        Err(e) => {
            p.plain(format!("{name}: cannot read: {e}"));
            Err(p)
        }
    }
}

/// One property and the line it begins on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Line number.
    pub line: usize,
    /// Key, escapes resolved.
    pub key: String,
    /// Value, escapes resolved.
    pub value: String,
}

/// Splits a text as `java.util.Properties.load` does: comments, `=`, `:` or white space after the key, lines that go
/// on after an odd number of backslashes, escapes.
///
/// # Errors
/// The line of a broken `\u` escape.
pub fn parse(text: &str) -> Result<Vec<Property>, usize> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    let mut all = vec![];
    while let Some((n, first)) = lines.next() {
        let first = first.trim_start_matches(blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while logical.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start_matches(blank)),
                None => break,
            }
        }
        let mut escaped = false;
        let key_end = logical
            .char_indices()
            .find(|(_, c)| {
                let ends = !escaped && (blank(*c) || matches!(c, '=' | ':'));
                escaped = !escaped && *c == '\\';
                ends
            })
            .map_or(logical.len(), |(i, _)| i);
        let (key, rest) = logical.split_at(key_end);
        let rest = rest.trim_start_matches(blank);
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(blank);
        let read = |s: &str| unescape(s).ok_or(n + 1);
        all.push(Property { line: n + 1, key: read(key)?, value: read(value)? });
    }
    Ok(all)
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = vec![];
    let mut chars = text.chars();
    let mut buf = [0; 2];
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            chars.next()?
        } else {
            units.extend_from_slice(c.encode_utf16(&mut buf));
            continue;
        };
        match c {
            'u' => {
                let hex: String = chars.by_ref().take(4).collect();
                let digits = hex.len() == 4 && hex.bytes().all(|b| b.is_ascii_hexdigit());
                units.push(digits.then(|| u16::from_str_radix(&hex, 16).ok())??);
            }
            't' => units.push(9),
            'n' => units.push(10),
            'f' => units.push(12),
            'r' => units.push(13),
            c => units.extend_from_slice(c.encode_utf16(&mut buf)),
        }
    }
    Some(String::from_utf16_lossy(&units))
}

/// Java clients' names whose meaning and values librdkafka shares, perhaps under another name.
const SHARED: [(&str, &str); 17] = [
    ("client.id", "client.id"),
    ("client.rack", "client.rack"),
    ("client.dns.lookup", "client.dns.lookup"),
    ("connections.max.idle.ms", "connections.max.idle.ms"),
    ("max.in.flight.requests.per.connection", "max.in.flight.requests.per.connection"),
    ("metadata.max.age.ms", "metadata.max.age.ms"),
    ("reconnect.backoff.ms", "reconnect.backoff.ms"),
    ("reconnect.backoff.max.ms", "reconnect.backoff.max.ms"),
    ("retries", "retries"),
    ("retry.backoff.ms", "retry.backoff.ms"),
    ("retry.backoff.max.ms", "retry.backoff.max.ms"),
    ("request.timeout.ms", "socket.timeout.ms"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.ms"),
    ("sasl.kerberos.kinit.cmd", "sasl.kerberos.kinit.cmd"),
    ("enable.metrics.push", "enable.metrics.push"),
];

/// Names that say nothing a producer of bytes would have to know.
const SILENT: [&str; 7] = [
    "key.serializer",
    "value.serializer",
    "key.deserializer",
    "value.deserializer",
    "group.id",
    "auto.offset.reset",
    "enable.auto.commit",
];

struct Reader<'a> {
    name: &'a str,
    all: BTreeMap<String, Property>,
    p: Problems,
}

impl Reader<'_> {
    fn take(&mut self, key: &str) -> Option<Property> {
        self.all.remove(key).filter(|x| !x.value.trim().is_empty())
    }
    fn value(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|x| x.value.trim().to_owned())
    }
    fn problem(&mut self, line: usize, message: impl std::fmt::Display) {
        let text = format!("{}:{line}: {message}", self.name);
        self.p.plain(text);
    }
    fn number(&mut self, key: &str, into: &mut u64) {
        if let Some(x) = self.take(key) {
            match x.value.trim().parse() {
                Ok(v) => *into = v,
                Err(_) => self.problem(x.line, format!("{key} must be a number, not `{}`", x.value)),
            }
        }
    }
}

/// What a text of this format means.
///
/// # Errors
/// As [`read`].
pub fn options(name: &str, text: &str) -> Result<(KafkaOptions, Vec<String>), Problems> {
    let mut r = Reader { name, all: BTreeMap::new(), p: Problems::new() };
    match parse(text) {
        // Java keeps the last of equal keys
        Ok(list) => r.all.extend(list.into_iter().map(|x| (x.key.clone(), x))),
        Err(line) => {
            r.problem(line, "broken \\u escape");
            return Err(r.p);
        }
    }
    let mut o = KafkaOptions::default();
    if let Some(x) = r.take("bootstrap.servers") {
        for b in x.value.split(',').map(str::trim).filter(|b| !b.is_empty()) {
            if let Err(e) = broker(b) {
                r.problem(x.line, e);
            }
            o.brokers.push(b.to_owned());
        }
    }
    o.security = security(&mut r);
    if let Some(x) = r.take("acks") {
        o.acks = match x.value.trim() {
            "all" | "-1" => Acks::All,
            "1" => Acks::Leader,
            "0" => Acks::None,
            other => {
                r.problem(x.line, format!("acks must be all, 1 or 0, not `{other}`"));
                Acks::All
            }
        };
        o.idempotence = o.acks == Acks::All;
    }
    if let Some(x) = r.take("enable.idempotence") {
        o.idempotence = x.value.trim().eq_ignore_ascii_case("true");
        if o.idempotence && o.acks != Acks::All {
            r.problem(x.line, "enable.idempotence needs acks=all");
        }
    }
    if let Some(x) = r.take("compression.type") {
        o.compression = x.value.trim().to_lowercase();
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&o.compression.as_str()) {
            r.problem(x.line, format!("compression.type is none, gzip, snappy, lz4 or zstd, not `{}`", o.compression));
        }
    }
    let mut linger = o.linger.0 as u64 / 1_000_000;
    r.number("linger.ms", &mut linger);
    o.linger = Span::ms(linger.min(900_000) as i64);
    r.number("batch.size", &mut o.batch_bytes);
    r.number("max.request.size", &mut o.message_bytes_max);
    for (java, ours) in SHARED {
        if let Some(x) = r.take(java) {
            match try_property(ours, x.value.trim()) {
                Ok(()) => {
                    o.properties.insert(ours.into(), x.value.trim().into());
                }
                Err((message, _)) => r.problem(x.line, message),
            }
        }
    }
    SILENT.iter().for_each(|k| drop(r.all.remove(*k)));
    let warnings = r.all.values().map(|x| {
        let why = match x.key.as_str() {
            "delivery.timeout.ms" | "max.block.ms" => "skirmish never gives a record up by time",
            "buffer.memory" => "set `queue` of the sink",
            "partitioner.class" => "keys go where Java's default partitioner puts them",
            _ => "has no meaning here and is ignored",
        };
        format!("{name}:{}: {}: {why}", x.line, x.key)
    });
    let warnings = warnings.collect();
    r.p.or((o, warnings))
}

fn security(r: &mut Reader) -> Security {
    let protocol = r.take("security.protocol");
    let word = protocol.as_ref().map_or("PLAINTEXT".into(), |x| x.value.trim().to_uppercase());
    let (tls, sasl) = match word.as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        other => {
            let line = protocol.map_or(0, |x| x.line);
            r.problem(line, format!("security.protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, not `{other}`"));
            (false, false)
        }
    };
    // what is given for a protocol that is not on means nothing in Java too
    let (t, s) = (read_tls(r), read_sasl(r, sasl));
    Security { tls: tls.then_some(t), sasl: if sasl { s } else { None } }
}

fn read_tls(r: &mut Reader) -> Tls {
    let mut t = Tls::default();
    for k in ["ssl.protocol", "ssl.enabled.protocols", "ssl.provider", "ssl.keymanager.algorithm"] {
        r.all.remove(k);
    }
    if let Some(x) = r.all.remove("ssl.endpoint.identification.algorithm") {
        t.verify_hostname = x.value.trim().eq_ignore_ascii_case("https");
    }
    let _ = (r.take("ssl.truststore.type"), r.take("ssl.keystore.type")); // the stores say themselves what they are
    let trust_password = r.value("ssl.truststore.password");
    if let Some(x) = r.take("ssl.truststore.certificates") {
        t.ca = Some(Pem::Text(x.value));
    } else if let Some(x) = r.take("ssl.truststore.location") {
        match store::authorities(Path::new(x.value.trim()), trust_password.as_deref()) {
            Ok(pem) => t.ca = Some(Pem::Text(pem)),
            Err(e) => r.problem(x.line, format!("ssl.truststore.location: {e}")),
        }
    }
    let store_password = r.value("ssl.keystore.password");
    let key_password = r.value("ssl.key.password");
    let (chain, key) = (r.take("ssl.keystore.certificate.chain"), r.take("ssl.keystore.key"));
    if let (Some(chain), Some(key)) = (chain, key) {
        t.cert = Some(Pem::Text(chain.value));
        t.key = Some(Pem::Text(key.value));
        t.key_password = key_password.map(Secret::held);
    } else if let Some(x) = r.take("ssl.keystore.location") {
        match store::identity(Path::new(x.value.trim()), store_password.as_deref(), key_password.as_deref()) {
            Ok(id) => {
                t.cert = Some(Pem::Text(id.chain));
                t.key = Some(Pem::Text(id.key));
                t.key_password = key_password.filter(|_| id.encrypted).map(Secret::held);
            }
            Err(e) => r.problem(x.line, format!("ssl.keystore.location: {e}")),
        }
    }
    t
}

fn read_sasl(r: &mut Reader, wanted: bool) -> Option<Sasl> {
    let mechanism = r.take("sasl.mechanism");
    let config = r.take("sasl.jaas.config");
    let (service, url) = (r.value("sasl.kerberos.service.name"), r.take("sasl.oauthbearer.token.endpoint.url"));
    let (id, secret) = (
        r.value("sasl.oauthbearer.client.credentials.client.id"),
        r.value("sasl.oauthbearer.client.credentials.client.secret"),
    );
    let scope = r.value("sasl.oauthbearer.scope");
    r.all.remove("sasl.login.callback.handler.class");
    if !wanted {
        return None;
    }
    let line = config.as_ref().or(mechanism.as_ref()).map_or(0, |x| x.line);
    let jaas = match config.as_ref().map(|x| jaas::parse(&x.value)) {
        None => jaas::Entry::default(),
        Some(Ok(entry)) => entry,
        Some(Err(why)) => {
            r.problem(line, format!("sasl.jaas.config: {why}"));
            return None;
        }
    };
    // Java's default mechanism is GSSAPI
    let word = mechanism.as_ref().map_or("GSSAPI".into(), |x| x.value.trim().to_uppercase());
    let mut need = |key: &str| match jaas.get(key) {
        Some(v) => Some(v.to_owned()),
        None => {
            r.problem(line, format!("sasl.jaas.config lacks `{key}`, which {word} needs"));
            None
        }
    };
    match word.as_str() {
        "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
            let (username, password) = (need("username"), need("password"));
            let (username, password) = (username?, Secret::held(password?));
            Some(match word.as_str() {
                "PLAIN" => Sasl::Plain { username, password },
                w => Sasl::Scram { wide: w == "SCRAM-SHA-512", username, password },
            })
        }
        "OAUTHBEARER" => {
            let Some(url) = url else {
                r.problem(line, "OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url");
                return None;
            };
            let token_url = url.value.trim().to_owned();
            if let Some(path) = token_url.strip_prefix("file:") {
                let path = format!("/{}", path.trim_start_matches('/'));
                return Some(Sasl::OAuth(TokenFrom::File(path.into())));
            }
            let client_id = id.or_else(|| need("clientId"));
            let client_secret = secret.or_else(|| need("clientSecret")).map(Secret::held);
            let scope = scope.or_else(|| jaas.get("scope").map(str::to_owned));
            Some(Sasl::OAuth(TokenFrom::Oidc {
                token_url,
                client_id: client_id?,
                client_secret: client_secret?,
                scope,
                ca: None,
            }))
        }
        "GSSAPI" if cfg!(feature = "kafka-gssapi") => {
            let principal = need("principal")?;
            let keytab = jaas.get("keyTab").map(Into::into);
            Some(Sasl::Gssapi { service: service.unwrap_or("kafka".into()), principal, keytab })
        }
        "GSSAPI" => {
            r.problem(line, "sasl.mechanism is GSSAPI (Java's default), and this skirmish was built without Kerberos");
            None
        }
        other => {
            r.problem(line, format!("sasl.mechanism `{other}` is not supported"));
            None
        }
    }
}

#[cfg(test)]
mod tests;

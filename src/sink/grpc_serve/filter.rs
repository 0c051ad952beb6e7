//! What a subscriber wants, checked once and asked for every message.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use tonic::Status;

use crate::batch::{Batch, MessageRef, RecordId};
use crate::proto::skirmish::v1::SubscribeRequest;
use crate::sink::DeliveryInfo;
use crate::yaml::suggest;

/// A checked [`SubscribeRequest`].
pub(super) struct Filter {
    /// Per delivery: whether anything of it can pass.
    deliveries: Vec<bool>,
    hosts: Vec<String>,
    attack_only: bool,
    scenarios: Vec<String>,
    techniques: Vec<String>,
    sample_one_in: u32,
}

/// The fields of a truth line that a filter asks for.
#[derive(Deserialize)]
struct Truth<'a> {
    #[serde(borrow)]
    scenario: Option<Cow<'a, str>>,
    #[serde(borrow)]
    technique: Option<Cow<'a, str>>,
}

/// `windows.*` takes everything that begins with `windows.`.
fn glob(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start))
}

fn known<'a>(what: &str, patterns: &[String], all: impl Iterator<Item = &'a str> + Clone) -> Result<(), Status> {
    match patterns.iter().find(|p| !all.clone().any(|a| glob(p, a))) {
        Some(p) => Err(Status::invalid_argument(format!("unknown {what} `{p}`; {}", suggest(p, all)))),
        None => Ok(()),
    }
}

impl Filter {
    /// Checks a request against what is served.
    pub(super) fn new(r: SubscribeRequest, served: &[DeliveryInfo]) -> Result<Filter, Status> {
        known("stream", &r.streams, served.iter().map(|d| d.stream.as_str()))?;
        known("source", &r.sources, served.iter().map(|d| d.source.as_str()))?;
        let any = |patterns: &[String], text: &str| patterns.is_empty() || patterns.iter().any(|p| glob(p, text));
        let passes = |d: &DeliveryInfo| {
            any(&r.streams, &d.stream) && any(&r.sources, &d.source) && (r.hosts.is_empty() || d.key_is_host)
        };
        let deliveries: Vec<bool> = served.iter().map(passes).collect();
        if !served.is_empty() && !deliveries.contains(&true) {
            let why = if r.hosts.is_empty() {
                "no stream passes both `streams` and `sources`"
            } else {
                "no stream that passes has the host as its key, so `hosts` cannot match"
            };
            return Err(Status::invalid_argument(why));
        }
        Ok(Filter {
            deliveries,
            hosts: r.hosts,
            attack_only: r.attack_only,
            scenarios: r.scenarios,
            techniques: r.techniques,
            sample_one_in: r.sample_one_in,
        })
    }
    /// The messages that pass, if any do; the same batch when all or most of them do.
    pub(super) fn pick(&self, delivery: usize, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        if !self.deliveries[delivery] {
            return None;
        }
        let everything = !self.attack_only
            && self.sample_one_in < 2
            && self.hosts.is_empty()
            && self.scenarios.is_empty()
            && self.techniques.is_empty();
        if everything {
            return Some(batch.clone());
        }
        if self.attack_only && batch.messages.iter().all(|m| m.attack == 0) {
            return None;
        }
        // copied, because one message that passes would otherwise hold its whole batch in memory
        let mut picked = Batch::default();
        for m in batch.iter().filter(|m| self.passes(m)) {
            picked.bytes.extend_from_slice(m.payload);
            picked.keys.extend_from_slice(m.key);
            picked.truth.extend_from_slice(m.truth);
            let mut meta = *m.meta;
            (meta.end, meta.key_end) = (picked.bytes.len() as u32, picked.keys.len() as u32);
            meta.truth_end = picked.truth.len() as u32;
            picked.messages.push(meta);
        }
        (!picked.is_empty()).then(|| Arc::new(picked))
    }
    fn passes(&self, m: &MessageRef<'_>) -> bool {
        (!self.attack_only || m.meta.attack > 0)
            && (self.hosts.is_empty() || self.hosts.iter().any(|h| h.as_bytes().eq_ignore_ascii_case(m.key)))
            && (self.scenarios.is_empty() && self.techniques.is_empty() || self.truth_passes(m.truth))
            && (self.sample_one_in < 2 || sampled(m.meta.id, self.sample_one_in))
    }
    /// One truth line must pass both: a message of several records may tell of several attacks.
    fn truth_passes(&self, truth: &[u8]) -> bool {
        truth.split(|b| *b == b'\n').filter(|l| !l.is_empty()).any(|line| {
            let Ok(t) = serde_json::from_slice::<Truth<'_>>(line) else { return false };
            let scenario = t.scenario.as_deref().unwrap_or("");
            let technique = t.technique.as_deref().unwrap_or("");
            let is =
                |t: &String| technique.strip_prefix(t.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'));
            (self.scenarios.is_empty() || !scenario.is_empty() && self.scenarios.iter().any(|p| glob(p, scenario)))
                && (self.techniques.is_empty() || self.techniques.iter().any(is))
        })
    }
}

/// Whether a record is one of the one-in-n: a hash, because numbers of messages with several records are not dense.
fn sampled(id: RecordId, n: u32) -> bool {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&id.stream.to_le_bytes());
    bytes[2..4].copy_from_slice(&id.cell.to_le_bytes());
    bytes[4..].copy_from_slice(&id.n.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes).is_multiple_of(n.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Message;

    fn served() -> Vec<DeliveryInfo> {
        let d = |stream: &str, source: &str, key_is_host| DeliveryInfo {
            stream: stream.into(),
            source: source.into(),
            key_is_host,
            ..DeliveryInfo::default()
        };
        vec![d("sysmon", "windows.sysmon", true), d("trail", "aws.cloudtrail", false)]
    }

    fn batch(messages: &[(&str, u32, &str)]) -> Arc<Batch> {
        let mut b = Batch::default();
        for (n, (host, attack, truth)) in messages.iter().enumerate() {
            b.bytes.extend_from_slice(format!("payload {n}").as_bytes());
            b.keys.extend_from_slice(host.as_bytes());
            b.truth.extend_from_slice(truth.as_bytes());
            b.messages.push(Message {
                end: b.bytes.len() as u32,
                key_end: b.keys.len() as u32,
                truth_end: b.truth.len() as u32,
                id: RecordId { stream: 0, cell: 0, n: n as u64 },
                records: 1,
                attack: *attack,
                ..Message::default()
            });
        }
        Arc::new(b)
    }

    fn numbers(r: SubscribeRequest, delivery: usize, b: &Arc<Batch>) -> Vec<u64> {
        let picked = Filter::new(r, &served()).unwrap().pick(delivery, b);
        picked.iter().flat_map(|b| b.iter().map(|m| m.meta.id.n).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn every_field_filters_and_all_must_pass() {
        let r = SubscribeRequest::default;
        let truth = |s, t| format!("{{\"scenario\":\"{s}\",\"technique\":\"{t}\"}}\n");
        let (a, b) = (truth("ransomware.x", "T1059.001"), truth("persistence.y", "T10591"));
        let both = format!("{a}{b}");
        let b = batch(&[("PC1", 0, ""), ("pc2", 1, &a), ("pc1", 1, &b), ("pc3", 2, &both)]);
        let s = |t: &str| vec![t.to_owned()];
        assert_eq!(numbers(r(), 0, &b), [0, 1, 2, 3]);
        assert_eq!(numbers(SubscribeRequest { streams: s("trail"), ..r() }, 0, &b), [0u64; 0]);
        assert_eq!(numbers(SubscribeRequest { sources: s("windows.*"), ..r() }, 0, &b), [0, 1, 2, 3]);
        assert_eq!(numbers(SubscribeRequest { hosts: s("pc1"), ..r() }, 0, &b), [0, 2]);
        assert_eq!(numbers(SubscribeRequest { hosts: s("pc1"), attack_only: true, ..r() }, 0, &b), [2]);
        assert_eq!(numbers(SubscribeRequest { hosts: s("pc1"), ..r() }, 1, &b), [0u64; 0]);
        assert_eq!(numbers(SubscribeRequest { scenarios: s("ransomware.*"), ..r() }, 0, &b), [1, 3]);
        assert_eq!(numbers(SubscribeRequest { techniques: s("T1059"), ..r() }, 0, &b), [1, 3]);
        let mixed = SubscribeRequest { scenarios: s("persistence.y"), techniques: s("T1059.001"), ..r() };
        assert_eq!(numbers(mixed, 0, &b), [0u64; 0]);
    }

    #[test]
    fn a_sample_is_the_same_for_everyone_and_about_as_large_as_asked() {
        let b = batch(&vec![("h", 0, ""); 4000]);
        let take = || numbers(SubscribeRequest { sample_one_in: 10, ..Default::default() }, 0, &b);
        assert_eq!(take(), take());
        assert!((300..500).contains(&take().len()), "{}", take().len());
    }

    #[test]
    fn what_cannot_match_is_refused_with_the_nearest_name() {
        let refuse = |r| match Filter::new(r, &served()) {
            Err(s) => s.message().to_owned(),
            Ok(_) => panic!("was let in"),
        };
        let s = |t: &str| vec![t.to_owned()];
        let r = SubscribeRequest::default;
        insta::assert_snapshot!(refuse(SubscribeRequest { streams: s("sysmn"), ..r() }), @"unknown stream `sysmn`; did you mean `sysmon`?");
        insta::assert_snapshot!(refuse(SubscribeRequest { sources: s("linux.*"), ..r() }), @"unknown source `linux.*`; expected one of `aws.cloudtrail`, `windows.sysmon`");
        insta::assert_snapshot!(refuse(SubscribeRequest { streams: s("trail"), hosts: s("a"), ..r() }), @"no stream that passes has the host as its key, so `hosts` cannot match");
    }
}

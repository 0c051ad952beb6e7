//! What goes from the cells to the sinks: the messages of one delivery and one slice, back to back in one arena.
//!
//! A *record* is one event or row as the product writes it; a *message* is what is sent and holds one record or
//! several. A batch knows no world and no source: bytes, times, keys and truth lines.

use std::ops::Range;

use crate::time::Time;

/// Identity of a record within a run: unique, the same for any number of threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// Index of the stream in the plan.
    pub stream: u16,
    /// Cell that made it.
    pub cell: u16,
    /// Counts from 0 in that stream and cell.
    pub n: u64,
}

impl std::fmt::Display for RecordId {
    /// `stream.cell.n`; headers and truth lines put the run id before it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.stream, self.cell, self.n)
    }
}

/// One message. Ranges start where those of the message before it end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    /// End of its payload in [`Batch::bytes`].
    pub end: u32,
    /// End of its key in [`Batch::keys`]; an empty range is no key.
    pub key_end: u32,
    /// End of its truth lines (JSON, each with its line feed) in [`Batch::truth`]; an empty range is none.
    pub truth_end: u32,
    /// Its first record; the others follow in the same stream and cell.
    pub id: RecordId,
    /// Records in it, at least 1.
    pub records: u32,
    /// How many of them are attack records.
    pub attack: u32,
    /// When collection delivers it, in logical time.
    pub release: Time,
    /// When its (first) record's event happened, by the host's clock.
    pub event: Time,
    /// Severity of its (first) record as the number OpenTelemetry uses (1 to 24: 9 information, 13 warning,
    /// 17 error, 21 fatal); 0 where the product gives none.
    pub severity: u8,
}

/// Messages of one delivery and slice, in the order in which they are sent.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Payloads back to back.
    pub bytes: Vec<u8>,
    /// Keys back to back.
    pub keys: Vec<u8>,
    /// Truth lines back to back.
    pub truth: Vec<u8>,
    /// The messages.
    pub messages: Vec<Message>,
}

/// A message with its parts in reach.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Ids, counts and times.
    pub meta: &'a Message,
    /// What is sent.
    pub payload: &'a [u8],
    /// Partition key, empty for none.
    pub key: &'a [u8],
    /// Truth lines, empty for none.
    pub truth: &'a [u8],
}

impl Batch {
    /// The messages with their parts.
    pub fn iter(&self) -> impl Iterator<Item = MessageRef<'_>> {
        let (mut b, mut k, mut t) = (0usize, 0usize, 0usize);
        self.messages.iter().map(move |m| {
            let r = MessageRef {
                meta: m,
                payload: &self.bytes[b..m.end as usize],
                key: &self.keys[k..m.key_end as usize],
                truth: &self.truth[t..m.truth_end as usize],
            };
            (b, k, t) = (m.end as usize, m.key_end as usize, m.truth_end as usize);
            r
        })
    }
    /// Bytes of one message's payload.
    pub fn payload(&self, i: usize) -> Range<usize> {
        let start = if i == 0 { 0 } else { self.messages[i - 1].end as usize };
        start..self.messages[i].end as usize
    }
    /// Records in all messages.
    pub fn records(&self) -> u64 {
        self.messages.iter().map(|m| m.records as u64).sum()
    }
    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
        self.truth.clear();
        self.messages.clear();
    }
}

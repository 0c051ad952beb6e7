//! What sinks that write a line per message share: the lines of a chunk, and what each of them settles.

use super::{LineDigest, Offer, Receipts};
use crate::account::Outcome;

/// Messages as lines, and what is settled when they are written.
#[derive(Default)]
pub(crate) struct Chunk {
    /// The lines.
    pub(crate) bytes: Vec<u8>,
    /// Delivery, records and payload bytes.
    parts: Vec<(usize, u64, u64)>,
}

/// Why a message cannot be a line.
pub(crate) const NOT_ONE_LINE: &str =
    "a payload holds a line feed, and encodings are single-line: this is an error of the source";

impl Chunk {
    /// Adds the messages of an offer; what holds a line feed is settled as dropped at once. Returns how many records
    /// that were.
    pub(crate) fn add(&mut self, offer: &Offer, digest: &mut LineDigest, receipts: &Receipts) -> u64 {
        let (mut records, mut bytes, mut bad, mut bad_bytes) = (0, 0, 0, 0);
        let clean = memchr::memchr(b'\n', &offer.batch.bytes).is_none();
        self.bytes.reserve(offer.batch.bytes.len() + offer.batch.messages.len());
        for m in offer.batch.iter() {
            if !clean && memchr::memchr(b'\n', m.payload).is_some() {
                bad += m.meta.records as u64;
                bad_bytes += m.payload.len() as u64;
                continue;
            }
            digest.line(m.payload);
            self.bytes.extend_from_slice(m.payload);
            self.bytes.push(b'\n');
            records += m.meta.records as u64;
            bytes += m.payload.len() as u64;
        }
        match self.parts.last_mut() {
            Some(last) if last.0 == offer.delivery => {
                last.1 += records;
                last.2 += bytes;
            }
            _ => self.parts.push((offer.delivery, records, bytes)),
        }
        if bad > 0 {
            receipts.settle(offer.delivery, Outcome::Dropped, bad, bad_bytes);
        }
        bad
    }
    /// Settles what is in it and empties it.
    pub(crate) fn settle(&mut self, outcome: Outcome, receipts: &Receipts) {
        for (delivery, records, bytes) in self.parts.drain(..) {
            receipts.settle(delivery, outcome, records, bytes);
        }
        self.bytes.clear();
    }
}

//! Batches as gRPC messages, payloads shared and not copied.

use std::sync::Arc;

use bytes::Bytes;
use tonic::codec::CompressionEncoding;

use super::DeliveryInfo;
use crate::batch::Batch;
use crate::proto::skirmish::v1::{Message, RecordBatch};
use crate::yaml::{Node, Problems};

/// One of a batch's arenas, kept alive by the bytes that were cut from it.
struct Arena(Arc<Batch>, fn(&Batch) -> &[u8]);

impl AsRef<[u8]> for Arena {
    fn as_ref(&self) -> &[u8] {
        self.1(&self.0)
    }
}

/// A batch whose messages can be taken out one by one.
pub(crate) struct Wire {
    batch: Arc<Batch>,
    payload: Bytes,
    key: Bytes,
    truth: Bytes,
}

impl Wire {
    pub(crate) fn new(batch: Arc<Batch>) -> Wire {
        let arena = |get| Bytes::from_owner(Arena(batch.clone(), get));
        Wire { payload: arena(|b| &b.bytes), key: arena(|b| &b.keys), truth: arena(|b| &b.truth), batch }
    }
    /// Leaves payloads out.
    pub(crate) fn without_payload(mut self) -> Wire {
        self.payload = Bytes::new();
        self
    }
    /// Leaves the truth out.
    pub(crate) fn without_truth(mut self) -> Wire {
        self.truth = Bytes::new();
        self
    }
    pub(crate) fn len(&self) -> usize {
        self.batch.messages.len()
    }
    /// Message `i`, and about how many bytes it takes on the wire.
    pub(crate) fn message(&self, i: usize) -> (Message, usize) {
        let m = &self.batch.messages[i];
        let before = if i == 0 { None } else { Some(&self.batch.messages[i - 1]) };
        let cut = |arena: &Bytes, start: Option<u32>, end: u32| {
            if arena.is_empty() { Bytes::new() } else { arena.slice(start.unwrap_or(0) as usize..end as usize) }
        };
        let message = Message {
            payload: cut(&self.payload, before.map(|b| b.end), m.end),
            key: cut(&self.key, before.map(|b| b.key_end), m.key_end),
            cell: m.id.cell.into(),
            number: m.id.n,
            records: m.records,
            attack_records: m.attack,
            event_time_unix_nano: m.event.0,
            release_time_unix_nano: m.release.0,
            truth: cut(&self.truth, before.map(|b| b.truth_end), m.truth_end),
            severity: m.severity.into(),
        };
        // tags, lengths and numbers of a message stay below this
        const FRAME: usize = 64;
        let size = message.payload.len() + message.key.len() + message.truth.len() + FRAME;
        (message, size)
    }
    /// The envelope for messages of this batch.
    pub(crate) fn envelope(&self, info: &DeliveryInfo, messages: Vec<Message>) -> RecordBatch {
        RecordBatch {
            stream: info.stream.clone(),
            source: info.source.clone(),
            encoding: info.encoding.clone(),
            stream_index: self.batch.messages.first().map_or(0, |m| m.id.stream.into()),
            messages,
        }
    }
}

/// Reads `none`, `gzip` or `zstd`.
pub(crate) fn compression(node: &Node, p: &mut Problems) -> Option<Option<CompressionEncoding>> {
    match node.as_str() {
        Some("none") => Some(None),
        Some("gzip") => Some(Some(CompressionEncoding::Gzip)),
        Some("zstd") => Some(Some(CompressionEncoding::Zstd)),
        _ => {
            p.unknown(node, "compression", node.as_str().unwrap_or(""), ["none", "gzip", "zstd"]);
            None
        }
    }
}

//! `null`: counts, hashes what it counts, discards.

use futures::future::BoxFuture;

use super::{Drained, LineDigest, Sink, Task};
use crate::account::Outcome;
use crate::yaml::{Node, Problems};

/// Options of the null sink: none.
#[derive(Clone, Debug, Default)]
pub struct NullOptions {}

impl NullOptions {
    /// Reads `{}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<NullOptions> {
        if !node.is_null() {
            node.fields(p, "a null sink")?.finish(p);
        }
        Some(NullOptions {})
    }
}

impl Sink for NullOptions {
    fn start(self: Box<Self>, mut task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(async move {
            let mut digest = LineDigest::default();
            while let Some(o) = task.next().await {
                o.batch.iter().for_each(|m| digest.line(m.payload));
                task.receipts.settle(o.delivery, Outcome::Delivered, o.batch.records(), o.batch.bytes.len() as u64);
            }
            Drained { digest: Some(digest.value()), error: None }
        })
    }
}

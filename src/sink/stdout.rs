//! `stdout`: one line per message.

use std::io::Write;

use futures::future::BoxFuture;

use super::lines::{Chunk, NOT_ONE_LINE};
use super::{Drained, LineDigest, Sink, Task};
use crate::account::Outcome;
use crate::yaml::{Node, Problems};

/// Bytes written at once, more or less.
const CHUNK_BYTES: usize = 256 << 10;

/// Options of the stdout sink: none.
#[derive(Clone, Debug, Default)]
pub struct StdoutOptions {}

impl StdoutOptions {
    /// Reads `{}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<StdoutOptions> {
        if !node.is_null() {
            node.fields(p, "a stdout sink")?.finish(p);
        }
        Some(StdoutOptions {})
    }
}

impl Sink for StdoutOptions {
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(write(task, std::io::stdout))
    }
}

/// Writes lines to what `out` opens. A write that fails ends the sink: nobody reads any more.
pub async fn write<W: Write>(mut task: Task, out: impl Fn() -> W + Clone + Send + 'static) -> Drained {
    let mut digest = LineDigest::default();
    let mut drained = Drained::default();
    let mut chunk = Chunk::default();
    while let Some(offer) = task.next().await {
        let mut bad = chunk.add(&offer, &mut digest, &task.receipts);
        while chunk.bytes.len() < CHUNK_BYTES
            && let Some(more) = task.try_next()
        {
            bad += chunk.add(&more, &mut digest, &task.receipts);
        }
        if bad > 0 && drained.error.is_none() {
            tracing::error!(sink = task.name, stream = task.deliveries[offer.delivery].stream, "{NOT_ONE_LINE}");
            drained.error = Some(NOT_ONE_LINE.into());
        }
        let bytes = std::mem::take(&mut chunk.bytes);
        let out = out.clone();
        // a pipe that nobody reads blocks its writer, and must not block the other tasks
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = out();
            (out.write_all(&bytes).and_then(|()| out.flush()), bytes)
        });
        let written = tokio::select! {
            biased;
            r = writing => r,
            () = task.receipts.deadline() => {
                chunk.settle(Outcome::Unknown, &task.receipts);
                break;
            }
        };
        match written {
            Ok((Ok(()), bytes)) => {
                chunk.bytes = bytes;
                chunk.settle(Outcome::Delivered, &task.receipts);
            }
            Ok((Err(e), _)) => {
                chunk.settle(Outcome::Unknown, &task.receipts);
                drained.error.get_or_insert(format!("cannot write to standard output: {e}"));
                break;
            }
            Err(e) => {
                chunk.settle(Outcome::Unknown, &task.receipts);
                drained.error.get_or_insert(format!("writing to standard output failed: {e}"));
                break;
            }
        }
    }
    task.abandon();
    drained.digest = Some(digest.value());
    drained
}

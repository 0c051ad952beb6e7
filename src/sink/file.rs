//! `file`: one line per message, rotated by size and by logical time, compressed, renamed into place when complete.
//!
//! A file is written under its name plus `.part` and gets its name when it is complete: on rotation and at the end.
//! A line is delivered when the operating system has taken it; files are synced before they are renamed.

mod output;
mod template;
mod truth;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

pub use self::output::Rotate;
use self::output::Writer;
pub use self::template::Template;
use super::{DeliveryInfo, Drained, Sink, Task};
use crate::time::Span;
use crate::yaml::{Fields, Node, Problems};

/// Bytes gathered before they are written, at most.
const CHUNK_BYTES: u64 = 1 << 20;
/// Longest time that bytes are gathered: what is compressed in one go compresses better.
const GATHER: Duration = Duration::from_secs(1);
/// First and longest pause between tries after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Options of the file sink.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Where deliveries write that do not say so themselves. A name that ends in `.gz` or `.zst` is compressed.
    pub path: Template,
    /// The template of each delivery, in their order; deliveries with the same path share a file.
    pub paths: Vec<Template>,
    /// When a file is complete.
    pub rotate: Rotate,
    /// Where truth lines go, each with the number of its line (`line`, from 0) and, where there may be more than one
    /// file, the name of the file (`file`). A name that ends in `.gz` or `.zst` is compressed.
    pub truth_file: Option<PathBuf>,
    /// How long records wait for a destination that refuses them (a full disk) before they are dropped.
    pub retry_for: Duration,
}

impl FileOptions {
    /// All deliveries go to one file, which never rotates.
    pub fn one(path: &str, truth_file: Option<PathBuf>) -> FileOptions {
        FileOptions {
            path: Template::literal(path),
            paths: vec![],
            rotate: Rotate::default(),
            truth_file,
            retry_for: Duration::from_secs(30),
        }
    }
    /// Reads `{path: ..., rotate: {bytes: 1GB, every: 1h}, truth_file: ..., retry_for: 30s}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<FileOptions> {
        let f = node.fields(p, "a file sink")?;
        let rotate = f.take("rotate").map_or(Some(Rotate::default()), |n| Rotate::from_node(n, p));
        let path = match f.take("path") {
            Some(n) => Template::from_node(n, p),
            None => Some(Template::default_for(rotate.is_some_and(|r| r.happens()))),
        };
        if let (Some(path), Some(rotate), Some(n)) = (&path, &rotate, f.take("path")) {
            rotate.check(path, n, p);
        }
        let truth_file = f.take("truth_file").and_then(|n| n.text(p, "`truth_file`")).map(PathBuf::from);
        let retry_for = f.take("retry_for").map_or(Some(Span::s(30)), |n| n.span(p, "`retry_for`"));
        f.finish(p);
        Some(FileOptions {
            path: path?,
            paths: vec![],
            rotate: rotate?,
            truth_file,
            retry_for: Duration::from_nanos(retry_for?.0.max(0) as u64),
        })
    }
}

impl Sink for FileOptions {
    fn add_delivery(&mut self, _delivery: &DeliveryInfo, fields: &Fields<'_>, p: &mut Problems) {
        let own = fields.take("path").and_then(|n| {
            let t = Template::from_node(n, p)?;
            self.rotate.check(&t, n, p);
            Some(t)
        });
        self.paths.push(own.unwrap_or_else(|| self.path.clone()));
    }
    fn open(&mut self) -> Result<(), String> {
        let folders = self.paths.iter().chain([&self.path]).filter_map(Template::folder);
        for folder in folders.chain(self.truth_file.as_ref().and_then(|t| t.parent()).map(PathBuf::from)) {
            if !folder.as_os_str().is_empty() {
                std::fs::create_dir_all(&folder)
                    .map_err(|e| format!("cannot make the folder `{}`: {e}", folder.display()))?;
            }
        }
        Ok(())
    }
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(run(*self, task))
    }
}

/// Where the destination stands.
enum State {
    Fine,
    /// Refusing since then; the next try comes at the second instant, after a pause of that length.
    Failing {
        since: Instant,
        next: Instant,
        pause: Duration,
    },
}

async fn run(options: FileOptions, mut task: Task) -> Drained {
    let mut error: Option<String> = None;
    let chunk_bytes = CHUNK_BYTES.min(task.receipts.queue_bytes_max() / 4);
    let retry_for = options.retry_for;
    let mut writer = Writer::new(options, &task);
    let receipts = task.receipts.clone();
    let mut state = State::Fine;
    let mut oldest = Instant::now();
    let mut ended = false;
    while !(ended && writer.is_empty()) {
        // the next thing that happens: an offer, or the time to write what was gathered
        let due = match &state {
            State::Failing { next, .. } => (!writer.is_empty()).then_some(*next),
            State::Fine if ended || writer.pending_bytes() >= chunk_bytes => Some(Instant::now()),
            State::Fine => (!writer.is_empty()).then(|| oldest + GATHER),
        };
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = receipts.deadline() => break,
            () = wait => {}
            offer = task.next(), if !ended => {
                let Some(offer) = offer else {
                    ended = true;
                    continue;
                };
                if writer.is_empty() {
                    oldest = Instant::now();
                }
                if let Some(e) = writer.take(&offer) {
                    tracing::error!(sink = task.name, stream = task.deliveries[offer.delivery].stream, "{e}");
                    error.get_or_insert(e);
                }
                match &state {
                    // given up: most is dropped, and when it is time to try again, what has come is what is tried
                    State::Failing { since, next, .. } if since.elapsed() >= retry_for => {
                        if Instant::now() < *next {
                            writer.drop_pending();
                            continue;
                        }
                    }
                    _ => continue,
                }
            }
        }
        let (back, result) = match in_background(writer, |w| w.flush()).await {
            Ok(r) => r,
            Err(e) => return failed(task, e),
        };
        writer = back;
        match result {
            Ok(()) => {
                if let State::Failing { since, .. } = &state {
                    tracing::info!(sink = task.name, seconds = since.elapsed().as_secs(), "the file sink writes again");
                }
                state = State::Fine;
            }
            Err(e) => {
                let (since, pause) = match &state {
                    State::Fine => {
                        tracing::error!(sink = task.name, "{e}; trying again, after {retry_for:?} records are dropped");
                        error.get_or_insert(e);
                        (Instant::now(), BACKOFF.0)
                    }
                    State::Failing { since, pause, .. } => (*since, (*pause * 2).min(BACKOFF.1)),
                };
                if since.elapsed() >= retry_for {
                    writer.drop_pending();
                }
                state = State::Failing { since, next: Instant::now() + pause, pause };
            }
        }
    }
    task.abandon();
    writer.drop_pending();
    let (writer, result) = match in_background(writer, |w| w.close()).await {
        Ok(r) => r,
        Err(e) => return failed(task, e),
    };
    if let Err(e) = result {
        tracing::error!(sink = task.name, "{e}");
        error.get_or_insert(e);
    }
    Drained { digest: Some(writer.digest()), error }
}

/// Files block their thread, and must not block the other tasks.
async fn in_background<R: Send + 'static>(
    mut writer: Writer,
    work: impl FnOnce(&mut Writer) -> R + Send + 'static,
) -> Result<(Writer, R), tokio::task::JoinError> {
    tokio::task::spawn_blocking(move || {
        let result = work(&mut writer);
        (writer, result)
    })
    .await
}

/// The thread that wrote is gone, and the writer with it: nothing more can be said about what it held.
fn failed(mut task: Task, e: tokio::task::JoinError) -> Drained {
    task.abandon();
    Drained { digest: None, error: Some(format!("writing failed: {e}")) }
}

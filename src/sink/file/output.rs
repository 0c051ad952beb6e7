//! The files themselves: what is gathered for them, and how it comes onto the disk whole.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::template::Template;
use super::{FileOptions, truth};
use crate::account::Outcome;
use crate::batch::Message;
use crate::sink::lines::NOT_ONE_LINE;
use crate::sink::{LineDigest, Offer, Receipts, Task};
use crate::time::{Span, Time};
use crate::yaml::{Node, Problems};

/// When a file is complete. Both at once: whatever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Before it would hold more than so many bytes, uncompressed.
    pub bytes: Option<u64>,
    /// When a message's release lies in a later interval of that length, counted from 1970-01-01T00:00:00Z.
    pub every: Option<Span>,
}

impl Rotate {
    /// Reads `{bytes: 1GB, every: 1h}`.
    pub(super) fn from_node(node: &Node, p: &mut Problems) -> Option<Rotate> {
        let f = node.fields(p, "`rotate`")?;
        let bytes = f.take("bytes").and_then(|n| n.bytes(p, "`bytes`"));
        let every = f.take("every").and_then(|n| {
            let every = n.span(p, "`every`")?;
            if every < Span::s(1) {
                p.at(n, format!("`every` is {}", n.describe())).help("at least `1s`");
            }
            Some(every)
        });
        f.finish(p);
        Some(Rotate { bytes, every })
    }
    /// Whether there ever is a second file.
    pub(super) fn happens(&self) -> bool {
        self.bytes.is_some() || self.every.is_some()
    }
    /// A path that rotates needs a place that tells its files apart.
    pub(super) fn check(&self, path: &Template, node: &Node, p: &mut Problems) {
        if self.happens() && !path.has("n") && (self.bytes.is_some() || !path.has("time")) {
            p.at(node, format!("files rotate, and the path {} is the same for all", node.describe()))
                .help("put `{n}` into it");
        }
    }
}

/// The lines of one file that wait to be written together.
struct Segment {
    path: Arc<Path>,
    output: usize,
    bytes: Vec<u8>,
    truth: Vec<u8>,
    /// Delivery, records, payload bytes.
    parts: Vec<(usize, u64, u64)>,
    /// The lines are in the file already, only their truth is not.
    lines_written: bool,
}

/// What is known of the file that an output fills, as of the last message taken.
struct Filling {
    path: Arc<Path>,
    window: i64,
    bytes: u64,
    lines: u64,
}

struct Output {
    template: Template,
    n: u64,
    filling: Option<Filling>,
    disk: Option<Disk>,
}

/// A file under its `.part` name. Only whole chunks count: after a failure it is cut back to the last good one.
struct Disk {
    path: Arc<Path>,
    part: PathBuf,
    file: Option<File>,
    good: u64,
}

/// All outputs of the sink.
pub(super) struct Writer {
    outputs: Vec<Output>,
    of_delivery: Vec<usize>,
    rotate: Rotate,
    pending: VecDeque<Segment>,
    pending_bytes: u64,
    truth: Option<Disk>,
    receipts: Receipts,
    digest: LineDigest,
    /// Whether truth lines must say which file they speak of.
    many: bool,
}

impl Writer {
    pub(super) fn new(options: FileOptions, task: &Task) -> Writer {
        let mut by_template: BTreeMap<String, usize> = BTreeMap::new();
        let (mut outputs, mut of_delivery) = (vec![], vec![]);
        for i in 0..task.deliveries.len() {
            let template = options.paths.get(i).unwrap_or(&options.path).bind(task, i);
            let at = *by_template.entry(format!("{template:?}")).or_insert(outputs.len());
            if at == outputs.len() {
                outputs.push(Output { template, n: 0, filling: None, disk: None });
            }
            of_delivery.push(at);
        }
        Writer {
            many: outputs.len() > 1 || options.rotate.happens(),
            outputs,
            of_delivery,
            rotate: options.rotate,
            pending: VecDeque::new(),
            pending_bytes: 0,
            truth: options.truth_file.map(|path| Disk::new(path.into())),
            receipts: task.receipts.clone(),
            digest: LineDigest::default(),
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }
    pub(super) fn digest(&self) -> u128 {
        self.digest.value()
    }

    /// Gathers an offer's messages. What cannot be a line is dropped, and returned as an error.
    pub(super) fn take(&mut self, offer: &Offer) -> Option<String> {
        let at = self.of_delivery[offer.delivery];
        let clean = memchr::memchr(b'\n', &offer.batch.bytes).is_none();
        let (mut bad, mut bad_bytes) = (0, 0);
        for m in offer.batch.iter() {
            if !clean && memchr::memchr(b'\n', m.payload).is_some() {
                bad += u64::from(m.meta.records);
                bad_bytes += m.payload.len() as u64;
                continue;
            }
            self.digest.line(m.payload);
            let bytes = m.payload.len() as u64 + 1;
            let filling = self.outputs[at].place(m.meta, bytes, &self.rotate);
            // an output's lines stay in order because only its last segment grows
            let segment = match self.pending.iter_mut().rev().find(|s| s.output == at) {
                Some(s) if Arc::ptr_eq(&s.path, &filling.path) && !s.lines_written => s,
                _ => {
                    self.pending.push_back(Segment {
                        path: filling.path.clone(),
                        output: at,
                        bytes: vec![],
                        truth: vec![],
                        parts: vec![],
                        lines_written: false,
                    });
                    self.pending.back_mut().expect("just pushed")
                }
            };
            segment.bytes.extend_from_slice(m.payload);
            segment.bytes.push(b'\n');
            self.pending_bytes += bytes;
            if self.truth.is_some() && !m.truth.is_empty() {
                let name = filling.path.file_name().map(|n| n.to_string_lossy());
                let name = name.as_deref().filter(|_| self.many);
                truth::place(&m, filling.lines - 1, name, &mut segment.truth);
            }
            let (records, bytes) = (u64::from(m.meta.records), m.payload.len() as u64);
            match segment.parts.last_mut() {
                Some(last) if last.0 == offer.delivery => (last.1, last.2) = (last.1 + records, last.2 + bytes),
                _ => segment.parts.push((offer.delivery, records, bytes)),
            }
        }
        (bad > 0).then(|| {
            self.receipts.settle(offer.delivery, Outcome::Dropped, bad, bad_bytes);
            NOT_ONE_LINE.to_owned()
        })
    }

    /// Writes what was gathered. After an error, what is not written yet is still there for the next call.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        while let Some(segment) = self.pending.front_mut() {
            let output = &mut self.outputs[segment.output];
            if !segment.lines_written {
                if let Some(old) = output.disk.take_if(|d| d.path != segment.path) {
                    old.finish()?;
                }
                output.disk.get_or_insert_with(|| Disk::new(segment.path.clone())).write(&segment.bytes)?;
                segment.lines_written = true;
            }
            if let Some(truth) = &mut self.truth {
                truth.write(&segment.truth)?;
            }
            self.pending_bytes -= segment.bytes.len() as u64;
            for (delivery, records, bytes) in segment.parts.drain(..) {
                self.receipts.settle(delivery, Outcome::Delivered, records, bytes);
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Settles what was gathered as dropped: the destination takes nothing.
    pub(super) fn drop_pending(&mut self) {
        for segment in self.pending.drain(..) {
            // lines without their truth are there, which nobody can count on
            let outcome = if segment.lines_written { Outcome::Unknown } else { Outcome::Dropped };
            if !segment.lines_written
                && let Some(filling) = &mut self.outputs[segment.output].filling
                && filling.path == segment.path
            {
                filling.lines -= memchr::memchr_iter(b'\n', &segment.bytes).count() as u64;
                filling.bytes -= segment.bytes.len() as u64;
            }
            for (delivery, records, bytes) in segment.parts {
                self.receipts.settle(delivery, outcome, records, bytes);
            }
        }
        self.pending_bytes = 0;
    }

    /// Gives every file its name.
    pub(super) fn close(&mut self) -> Result<(), String> {
        let disks = self.outputs.iter_mut().filter_map(|o| o.disk.take()).chain(self.truth.take());
        disks.map(Disk::finish).fold(Ok(()), Result::and)
    }
}

impl Output {
    /// Counts a message in, in a new file where the one before is complete.
    fn place(&mut self, m: &Message, bytes: u64, rotate: &Rotate) -> &Filling {
        let window = |t: Time| rotate.every.map_or(0, |e| t.0.div_euclid(e.0));
        let complete = match &self.filling {
            None => true,
            Some(f) => {
                f.bytes > 0 && (window(m.release) > f.window || rotate.bytes.is_some_and(|max| f.bytes + bytes > max))
            }
        };
        if complete {
            let mut path = self.template.fill(m, self.n);
            while self.template.has("n") && (path.exists() || part(&path).exists()) {
                self.n += 1;
                path = self.template.fill(m, self.n);
            }
            self.n += 1;
            self.filling = Some(Filling { path: path.into(), window: window(m.release), bytes: 0, lines: 0 });
        }
        let f = self.filling.as_mut().expect("made above");
        f.bytes += bytes;
        f.lines += 1;
        f
    }
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

impl Disk {
    fn new(path: Arc<Path>) -> Disk {
        Disk { part: part(&path), path, file: None, good: 0 }
    }
    /// Adds a chunk, compressed on its own: members of gzip and frames of zstd can follow each other, so a file that is
    /// cut back to the end of one is whole.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let r = self.try_write(bytes);
        if r.is_err() {
            // opened anew for the next try, and cut back there
            self.file = None;
        }
        r.map_err(|e| format!("cannot write `{}`: {e}", self.part.display()))
    }
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(folder) = self.part.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let mut file = File::options().write(true).create(true).truncate(self.good == 0).open(&self.part)?;
                if self.good > 0 {
                    file.set_len(self.good)?;
                }
                file.seek(SeekFrom::Start(self.good))?;
                none.insert(file)
            }
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let packed;
        let bytes = match self.path.extension().and_then(|e| e.to_str()) {
            Some("gz") => {
                let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::new(4));
                gz.write_all(bytes)?;
                packed = gz.finish()?;
                &packed[..]
            }
            Some("zst") => {
                packed = zstd::bulk::compress(bytes, 3)?;
                &packed[..]
            }
            _ => bytes,
        };
        file.write_all(bytes)?;
        self.good += bytes.len() as u64;
        Ok(())
    }
    /// Makes it durable and gives it its name.
    fn finish(self) -> Result<(), String> {
        let Some(file) = self.file.map_or_else(|| File::options().write(true).open(&self.part).ok(), Some) else {
            return Ok(());
        };
        let done = file.set_len(self.good).and_then(|()| file.sync_all());
        done.and_then(|()| std::fs::rename(&self.part, &self.path))
            .map_err(|e| format!("cannot complete `{}`: {e}", self.path.display()))
    }
}

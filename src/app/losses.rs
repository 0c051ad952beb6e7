//! What sinks refused at their doors, by record: `dropped-RUN.jsonl` in the state folder.
//!
//! A line is a stretch of time in which a delivery was refused: sink, stream, the logical times of its first and last
//! slice, records, and their ids as `[cell, first, last]`; with the run's id and the stream's number before it that is
//! the `skirmish-id` of a header. So what is missing at the far end can be told from what was dropped on purpose.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::batch::Batch;
use crate::time::{Span, Time};

/// A stretch that lasts is written down this often, so that a crash loses no more.
const WRITE_EVERY: Span = Span::s(1);

/// The file and the stretches that are not written yet.
pub struct Losses {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    open: BTreeMap<(usize, usize), Stretch>,
}

struct Stretch {
    from: Time,
    until: Time,
    records: u64,
    /// Per cell first and last id; ids of a cell follow each other.
    ids: BTreeMap<u16, (u64, u64)>,
}

impl Losses {
    /// Of a run; the file is made with the first loss.
    pub fn new(dir: &Path, run: &str) -> Losses {
        Losses { path: dir.join(format!("dropped-{run}.jsonl")), file: None, open: BTreeMap::new() }
    }

    /// A batch of a slice came to a door and was refused or not. `name` gives the names of sink and stream.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn note(
        &mut self,
        (sink, delivery): (usize, usize),
        at: Time,
        batch: &Batch,
        refused: bool,
        name: impl Fn() -> (String, String),
    ) -> anyhow::Result<()> {
        if refused {
            let new = || Stretch { from: at, until: at, records: 0, ids: BTreeMap::new() };
            let s = self.open.entry((sink, delivery)).or_insert_with(new);
            s.until = at;
            for m in &batch.messages {
                s.records += m.records as u64;
                let last = m.id.n + m.records as u64 - 1;
                let span = s.ids.entry(m.id.cell).or_insert((m.id.n, last));
                *span = (span.0.min(m.id.n), span.1.max(last));
            }
        }
        let over = |s: &Stretch| !refused || at.0 - s.from.0 >= WRITE_EVERY.0;
        if self.open.get(&(sink, delivery)).is_some_and(over)
            && let Some(s) = self.open.remove(&(sink, delivery))
        {
            self.write(&s, name())?;
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(mut self, name: impl Fn(usize, usize) -> (String, String)) -> anyhow::Result<()> {
        for ((sink, delivery), s) in std::mem::take(&mut self.open) {
            self.write(&s, name(sink, delivery))?;
        }
        Ok(())
    }

    fn write(&mut self, s: &Stretch, (sink, stream): (String, String)) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        let ids: Vec<(u16, u64, u64)> = s.ids.iter().map(|(c, (a, b))| (*c, *a, *b)).collect();
        let line = serde_json::json!({"sink": sink, "stream": stream, "from": s.from.to_string(),
            "until": s.until.to_string(), "records": s.records, "ids": ids});
        let file = match &mut self.file {
            Some(f) => f,
            None => self.file.insert(BufWriter::new(File::create(&self.path).with_context(cannot)?)),
        };
        writeln!(file, "{line}").and_then(|()| file.flush()).with_context(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Message, RecordId};

    fn batch(cell: u16, from: u64, to: u64) -> Batch {
        let one = |n| Message { id: RecordId { stream: 0, cell, n }, records: 1, ..Message::default() };
        Batch { messages: (from..to).map(one).collect(), ..Batch::default() }
    }

    #[test]
    fn a_stretch_is_one_line_and_a_long_one_a_line_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let mut l = Losses::new(dir.path(), "r1");
        let name = || ("main".to_owned(), "sysmon".to_owned());
        let mut put =
            |ms: i64, b: Batch, refused: bool| l.note((0, 1), Time(ms * 1_000_000), &b, refused, name).unwrap();
        put(0, batch(3, 0, 5), false);
        put(10, batch(3, 5, 7), true);
        put(20, batch(4, 0, 2), true);
        put(30, batch(3, 7, 9), false);
        put(40, batch(3, 9, 11), true);
        put(1_050, batch(3, 11, 12), true);
        put(1_060, batch(3, 12, 13), true);
        l.end(|_, _| name()).unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(dir.path().join("dropped-r1.jsonl")).unwrap(), @r#"
        {"sink":"main","stream":"sysmon","from":"1970-01-01T00:00:00.010000000Z","until":"1970-01-01T00:00:00.020000000Z","records":4,"ids":[[3,5,6],[4,0,1]]}
        {"sink":"main","stream":"sysmon","from":"1970-01-01T00:00:00.040000000Z","until":"1970-01-01T00:00:01.050000000Z","records":3,"ids":[[3,9,11]]}
        {"sink":"main","stream":"sysmon","from":"1970-01-01T00:00:01.060000000Z","until":"1970-01-01T00:00:01.060000000Z","records":1,"ids":[[3,12,12]]}
        "#);
        // a run that loses nothing has no such file
        Losses::new(dir.path(), "r2").end(|_, _| name()).unwrap();
        assert!(!dir.path().join("dropped-r2.jsonl").exists());
    }
}

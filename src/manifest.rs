//! What a run wrote, and what the next run into the same topics goes on from.
//!
//! `manifest.json` in the state folder says who ran with what, and where each host's counters stand; it is replaced
//! as a whole now and then, so it is never half-written. `minutes-RUN.jsonl.zst` holds a line per minute, host and
//! channel with records: first and last record number and their count; it only grows, a zstd frame a minute.
//!
//! A run that was killed never said how far it came at last. So the manifest does not name the last
//! number but one that is *reserved*, well ahead of it; a counter that comes near its reservation has the manifest
//! written at once. The next run starts after the reservation, or after the last number of a run that ended.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Version of the files' layout.
const LAYOUT: u32 = 1;
/// Numbers that are reserved beyond the last one at least.
const RESERVE_MIN: u64 = 1_000;
/// Minutes like the busiest one so far that a reservation lasts for.
const RESERVE_MINUTES: u64 = 10;
/// The manifest is not older than this at the end of a logical minute, unless all reservations hold: a batch plays
/// many minutes in a second, and each writing waits for the disk.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// What a logon id may grow between two writings.
const RESERVE_LOGONS: u32 = 0x10_0000;

/// Who runs, with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Id of the run.
    pub id: String,
    /// Version of skirmish.
    pub version: String,
    /// Digest of sources, effects, scenarios and policies.
    pub content: String,
    /// Seed of every draw.
    pub seed: u64,
    /// When it started, by the wall clock (RFC 3339).
    pub started: String,
    /// Its first instant of logical time (RFC 3339).
    pub from: String,
    /// The configuration, without secrets.
    pub configuration: serde_json::Value,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Layout of this file.
    manifest: u32,
    /// The run.
    pub run: Run,
    /// Whether it ended by itself; otherwise the reservations count.
    pub ended: bool,
    /// The last instant of logical time that is in it (RFC 3339).
    pub until: String,
    /// File of the minutes, beside this one.
    pub minutes: String,
    /// Where hosts stand, by name, those of earlier runs included.
    pub hosts: BTreeMap<String, Host>,
}

/// Where a host stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its boot.
    pub boot_id: u16,
    /// Its last logon id.
    pub logon_id: u32,
    /// Its channels.
    pub channels: BTreeMap<String, Channel>,
}

/// Where a channel of a host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Number of its first record in this run, 0 for none.
    pub first: u64,
    /// Number of its last record, of this run or an earlier one.
    pub last: u64,
    /// Records in this run.
    pub count: u64,
    /// Numbers up to this one may have been given out.
    pub reserved: u64,
}

/// Where a host of a new run begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begin {
    /// The least boot id that was never used.
    pub boot_id: u16,
    /// The least logon id that was never used.
    pub logon_id: u32,
    /// The least record number per channel that was never used.
    pub records: BTreeMap<String, u64>,
}

impl Saved {
    /// Reads the manifest of a state folder; none where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest of a layout known here.
    pub fn load(dir: &Path) -> anyhow::Result<Option<Saved>> {
        match dir.join("manifest.json") {
            path if path.exists() => Saved::read(&path).map(Some),
            _ => Ok(None),
        }
    }
    /// Reads a manifest.
    ///
    /// # Errors
    /// As [`Saved::load`], and a file that is not there.
    pub fn read(path: &Path) -> anyhow::Result<Saved> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let advice = "move it away to begin anew: record numbers then begin anew too";
        let layout: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no manifest; {advice}", path.display()))?;
        let layout = layout.get("manifest").and_then(serde_json::Value::as_u64);
        anyhow::ensure!(
            layout == Some(LAYOUT as u64),
            "{} has layout {}, this skirmish knows layout {LAYOUT}; {advice}",
            path.display(),
            layout.map_or("none".into(), |l| l.to_string()),
        );
        let saved = serde_json::from_str(&text);
        saved.with_context(|| format!("{} is no manifest; {advice}", path.display()))
    }
    /// Where the manifest of a run is kept once another one has begun in its folder.
    pub fn kept(dir: &Path, run: &str) -> PathBuf {
        dir.join(format!("manifest-{run}.json"))
    }
    /// The least boot and logon ids that were never used: host, boot id, logon id.
    pub fn ids(&self) -> Vec<(String, u16, u32)> {
        let of = |name: &String| self.begin(name).unwrap_or_default();
        self.hosts.keys().map(|name| (name.clone(), of(name).boot_id, of(name).logon_id)).collect()
    }
    /// The least record numbers that were never used: host, channel, number.
    pub fn numbers(&self) -> Vec<(String, String, u64)> {
        let of = |name: &String| self.begin(name).unwrap_or_default().records;
        self.hosts.keys().flat_map(|name| of(name).into_iter().map(|(c, n)| (name.clone(), c, n))).collect()
    }
    /// Where a host begins in the next run; none for a host that never was.
    pub fn begin(&self, host: &str) -> Option<Begin> {
        let h = self.hosts.get(host)?;
        let (boots, logons) = if self.ended { (1, 1) } else { (2, RESERVE_LOGONS) };
        let record = |c: &Channel| if self.ended { c.last + 1 } else { c.reserved + 1 };
        Some(Begin {
            boot_id: h.boot_id.saturating_add(boots),
            logon_id: h.logon_id.saturating_add(logons),
            records: h.channels.iter().map(|(name, c)| (name.clone(), record(c))).collect(),
        })
    }
}

/// The manifest of a run, as it grows.
#[derive(Debug)]
pub struct Manifest {
    dir: PathBuf,
    saved: Saved,
    hosts: Vec<String>,
    channels: Vec<String>,
    /// By host and channel.
    entries: Vec<Entry>,
    ids: Vec<(u16, u32)>,
    minute: i64,
    /// Entries with records in this minute.
    touched: Vec<usize>,
    saved_at: Instant,
    booted: bool,
    /// A counter has passed its reservation.
    short: bool,
    minutes: File,
    /// Two runs with one state folder would give the same numbers.
    _lock: File,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    channel: Channel,
    minute: (u64, u64, u64),
    busiest: u64,
}

impl Manifest {
    /// Begins the manifest of a run in a state folder, which is made if it is not there. Hosts and channels are known
    /// by their index from here on.
    ///
    /// # Errors
    /// A folder that cannot be written, one that another run uses, a manifest that cannot be read.
    pub fn begin(dir: &Path, run: Run, hosts: Vec<String>, channels: Vec<String>) -> anyhow::Result<Manifest> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the state folder {}", dir.display()))?;
        let lock_path = dir.join("lock");
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path).with_context(|| cannot(&lock_path))?;
        if lock.try_lock().is_err() {
            anyhow::bail!("another run uses the state folder {}; `state: {{dir: ...}}` names one", dir.display());
        }
        let mut old = match Saved::load(dir)? {
            Some(old) => {
                // a replay of this run needs to know where the earlier one had ended
                let kept = Saved::kept(dir, &old.run.id);
                replace(&kept, &serde_json::to_vec(&old)?).with_context(|| cannot(&kept))?;
                begin_all(&old)
            }
            None => BTreeMap::new(),
        };
        let minutes = format!("minutes-{}.jsonl.zst", run.id);
        let path = dir.join(&minutes);
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(|| cannot(&path))?;
        let mut entries = Vec::with_capacity(hosts.len() * channels.len());
        let mut ids = Vec::with_capacity(hosts.len());
        for host in &hosts {
            let known = old.entry(host.clone()).or_default();
            ids.push((known.boot_id, known.logon_id));
            entries.extend(channels.iter().map(|c| {
                let channel = known.channels.get(c).copied().unwrap_or_default();
                Entry { channel, ..Entry::default() }
            }));
        }
        let until = run.from.clone();
        let saved = Saved { manifest: LAYOUT, run, ended: false, until, minutes, hosts: old };
        let mut m = Manifest {
            dir: dir.to_owned(),
            saved,
            hosts,
            channels,
            entries,
            ids,
            minute: i64::MIN,
            touched: vec![],
            saved_at: Instant::now(),
            booted: false,
            short: false,
            minutes: file,
            _lock: lock,
        };
        m.save(false)?;
        Ok(m)
    }

    /// Where counters stand before the first slice: host, channel and the number that comes next. Without it every
    /// counter would pass its reservation with its first record.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn starts(&mut self, next: impl Iterator<Item = (usize, usize, u64)>) -> anyhow::Result<()> {
        for (host, channel, number) in next {
            let c = &mut self.entries[host * self.channels.len() + channel].channel;
            c.last = c.last.max(number.saturating_sub(1));
        }
        self.save(false)
    }

    /// Records of one host, channel and slice: the numbers from `first` to `last`, `count` of them. Slices come in the
    /// order of time; none of the slice's records may go out before [`Manifest::end_slice`].
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn records(
        &mut self,
        at: Time,
        host: usize,
        channel: usize,
        (first, last): (u64, u64),
        count: u64,
    ) -> anyhow::Result<()> {
        let minute = at.second().div_euclid(60);
        if minute > self.minute {
            self.end_minute()?;
            self.minute = minute;
        }
        let i = host * self.channels.len() + channel;
        let e = &mut self.entries[i];
        if e.minute.2 == 0 {
            e.minute.0 = first;
            self.touched.push(i);
        }
        e.minute.1 = last;
        e.minute.2 += count;
        if e.channel.first == 0 {
            e.channel.first = first;
        }
        e.channel.last = last;
        e.channel.count += count;
        e.busiest = e.busiest.max(e.minute.2);
        self.short |= last > e.channel.reserved;
        Ok(())
    }
    /// All records of a slice are known. When a counter has passed its reservation the manifest is on the disk, with a
    /// new one, before this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end_slice(&mut self) -> anyhow::Result<()> {
        if self.short { self.save(false) } else { Ok(()) }
    }
    /// A host's boot and last logon id, whenever it boots and now and then.
    pub fn host(&mut self, host: usize, boot_id: u16, logon_id: u32) {
        self.booted |= self.ids[host].0 != boot_id;
        self.ids[host] = (boot_id, logon_id);
    }
    /// The run ended by itself.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.end_minute()?;
        self.save(true)
    }

    fn end_minute(&mut self) -> anyhow::Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        self.touched.sort_unstable();
        let minute = Time(self.minute * 60_000_000_000).to_string();
        let mut lines = vec![];
        for i in self.touched.drain(..) {
            let (first, last, count) = std::mem::take(&mut self.entries[i].minute);
            let (host, channel) = (&self.hosts[i / self.channels.len()], &self.channels[i % self.channels.len()]);
            let line = serde_json::json!({
                "minute": minute[..16], "host": host, "channel": channel, "first": first, "last": last, "count": count
            });
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        let frame = zstd::encode_all(lines.as_slice(), 3)?;
        let path = self.dir.join(&self.saved.minutes);
        self.minutes.write_all(&frame).with_context(|| format!("cannot write {}", path.display()))?;
        self.saved.until = Time((self.minute + 1) * 60_000_000_000).to_string();
        if self.booted || self.saved_at.elapsed() >= SAVE_EVERY {
            self.save(false)?;
        }
        Ok(())
    }

    fn save(&mut self, ended: bool) -> anyhow::Result<()> {
        self.saved.ended = ended;
        (self.saved_at, self.booted, self.short) = (Instant::now(), false, false);
        for (h, name) in self.hosts.iter().enumerate() {
            let host = self.saved.hosts.get_mut(name).expect("put there at the beginning");
            (host.boot_id, host.logon_id) = self.ids[h];
            for (c, channel) in self.channels.iter().enumerate() {
                let e = &mut self.entries[h * self.channels.len() + c];
                let reserve = RESERVE_MIN.max(RESERVE_MINUTES * e.busiest);
                e.channel.reserved = e.channel.reserved.max(e.channel.last + reserve);
                host.channels.insert(channel.clone(), e.channel);
            }
        }
        let path = self.dir.join("manifest.json");
        replace(&path, &serde_json::to_vec(&self.saved)?).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// All hosts of an earlier run as the next one takes them over.
fn begin_all(old: &Saved) -> BTreeMap<String, Host> {
    let host = |(name, h): (&String, &Host)| {
        let b = old.begin(name).expect("a host of this manifest");
        let channel = |c: &String| {
            let last = b.records[c] - 1;
            (c.clone(), Channel { last, reserved: last, ..Channel::default() })
        };
        let channels = h.channels.keys().map(channel).collect();
        (name.clone(), Host { boot_id: b.boot_id, logon_id: b.logon_id, channels })
    };
    old.hosts.iter().map(host).collect()
}

/// Writes a file so that a reader, or a crash, finds the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    let mut f = File::create(&new)?;
    f.write_all(bytes)?;
    f.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Time = Time(1_772_438_400_000_000_000);

    fn run(id: &str) -> Run {
        Run {
            id: id.into(),
            version: "0.1.0".into(),
            content: "c0ffee".into(),
            seed: 7,
            started: T0.to_string(),
            from: T0.to_string(),
            configuration: serde_json::json!({"seed": 7}),
        }
    }
    fn begin(dir: &Path, id: &str) -> Manifest {
        let names = |all: &[&str]| all.iter().map(|s| s.to_string()).collect();
        Manifest::begin(dir, run(id), names(&["A", "B"]), names(&["Security", "System"])).unwrap()
    }
    fn after(minutes: i64) -> Time {
        Time(T0.0 + minutes * 60_000_000_000)
    }

    #[test]
    fn a_run_that_ended_is_gone_on_from_to_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut m = begin(dir.path(), "one");
        m.host(0, 5, 0x4000);
        m.records(after(0), 0, 0, (100, 119), 20).unwrap();
        m.records(after(0), 0, 0, (120, 129), 8).unwrap();
        m.records(after(1), 0, 0, (130, 130), 1).unwrap();
        m.records(after(1), 1, 1, (7, 9), 3).unwrap();
        m.end().unwrap();
        let saved = Saved::load(dir.path()).unwrap().unwrap();
        assert!(saved.ended);
        let b = saved.begin("A").unwrap();
        assert_eq!((b.boot_id, b.logon_id, b.records["Security"]), (6, 0x4001, 131));
        assert_eq!((saved.begin("B").unwrap().records["System"], saved.begin("C")), (10, None));
        let bytes = fs::read(dir.path().join(&saved.minutes)).unwrap();
        insta::assert_snapshot!(String::from_utf8(zstd::decode_all(bytes.as_slice()).unwrap()).unwrap(), @r#"
        {"minute":"2026-03-02T08:00","host":"A","channel":"Security","first":100,"last":129,"count":28}
        {"minute":"2026-03-02T08:01","host":"A","channel":"Security","first":130,"last":130,"count":1}
        {"minute":"2026-03-02T08:01","host":"B","channel":"System","first":7,"last":9,"count":3}
        "#);
    }

    #[test]
    fn a_run_that_was_killed_is_gone_on_from_beyond_what_it_may_have_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut m = begin(dir.path(), "one");
        m.records(after(0), 0, 0, (1, 5_000), 5_000).unwrap();
        m.end_slice().unwrap();
        let (mut last, mut minute) = (5_000, 0);
        for k in 0..100u64 {
            minute += (k % 3 == 0) as i64;
            m.records(after(minute), 0, 0, (last + 1, last + 40_000), 40_000).unwrap();
            m.end_slice().unwrap();
            last += 40_000;
            let saved = Saved::load(dir.path()).unwrap().unwrap();
            assert!(saved.begin("A").unwrap().records["Security"] > last);
        }
        drop(m);
        let m = begin(dir.path(), "two");
        let saved = Saved::load(dir.path()).unwrap().unwrap();
        assert_eq!((saved.run.id.as_str(), saved.hosts["A"].channels["Security"].count), ("two", 0));
        drop(m);
        assert!(Saved::load(dir.path()).unwrap().unwrap().begin("A").unwrap().records["Security"] > last);
    }

    #[test]
    fn counters_that_start_high_are_not_written_down_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut m = begin(dir.path(), "one");
        let path = dir.path().join("manifest.json");
        m.starts([(0, 0, 70_001), (1, 0, 90_001)].into_iter()).unwrap();
        assert_eq!(Saved::load(dir.path()).unwrap().unwrap().begin("B").unwrap().records["Security"], 91_001);
        fs::remove_file(&path).unwrap();
        for k in 0..10 {
            let n = [70_001, 90_001][k % 2] + k as u64;
            m.records(after(0), k % 2, 0, (n, n), 1).unwrap();
            m.end_slice().unwrap();
        }
        assert!(!path.exists(), "it was not written again");
    }

    #[test]
    fn hosts_of_earlier_runs_are_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut m = begin(dir.path(), "one");
        m.records(after(0), 1, 0, (1, 50), 50).unwrap();
        m.end().unwrap();
        Manifest::begin(dir.path(), run("two"), vec!["C".into()], vec!["Security".into()]).unwrap().end().unwrap();
        assert_eq!(Saved::load(dir.path()).unwrap().unwrap().begin("B").unwrap().records["Security"], 51);
    }

    #[test]
    fn one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _m = begin(dir.path(), "one");
        let e = Manifest::begin(dir.path(), run("two"), vec![], vec![]).unwrap_err().to_string();
        assert!(e.starts_with("another run uses the state folder"), "{e}");
    }

    #[test]
    fn what_is_no_manifest_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for (text, says) in
            [("{", "is no manifest"), ("{\"manifest\": 9}", "has layout 9"), ("{\"manifest\": 1}", "is no")]
        {
            fs::write(dir.path().join("manifest.json"), text).unwrap();
            let e = format!("{:#}", Manifest::begin(dir.path(), run("two"), vec![], vec![]).unwrap_err());
            assert!(e.contains(says) && e.contains("move it away"), "{e}");
            assert_eq!(fs::read_to_string(dir.path().join("manifest.json")).unwrap(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// However runs end, no number is given out twice.
        #[test]
        fn no_number_twice(runs in proptest::collection::vec((proptest::collection::vec(1u64..30_000, 0..12), any::<bool>()), 1..6)) {
            let dir = tempfile::tempdir().unwrap();
            let mut given = 0;
            for (i, (slices, ends)) in runs.iter().enumerate() {
                let saved = Saved::load(dir.path()).unwrap();
                let mut next = saved.and_then(|s| s.begin("A")).map_or(1, |b| b.records["System"]);
                prop_assert!(next > given);
                let mut m = begin(dir.path(), &i.to_string());
                for (k, n) in slices.iter().enumerate() {
                    m.records(after(k as i64 / 3), 0, 1, (next, next + n - 1), *n).unwrap();
                    m.end_slice().unwrap();
                    given = next + n - 1;
                    next += n;
                }
                if *ends {
                    m.end().unwrap();
                }
            }
        }
    }
}

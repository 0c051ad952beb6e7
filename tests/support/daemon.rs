//! The real binary: `run` as a daemon in a folder of its own, and the other commands.

#![allow(dead_code)] // each test binary uses its own part

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for what a daemon should do soon.
const SOON: Duration = Duration::from_secs(120);

/// A command of the binary in a folder.
pub fn skirmish(dir: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_skirmish"));
    // nothing of the machine's own settings
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("SKIRMISH")) {
        c.env_remove(name);
    }
    c.args(args).current_dir(dir).stdin(Stdio::null());
    c
}

/// Runs a command that has to succeed; what it printed.
pub fn done(dir: &Path, args: &[&str]) -> String {
    let out = skirmish(dir, args).output().expect("it runs");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// A running daemon; killed when its test ends before it.
pub struct Daemon {
    pub dir: PathBuf,
    /// Where it is controlled.
    pub address: String,
    /// Where its metrics are.
    pub metrics: String,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// `run` with these arguments, on free ports; comes back when it is ready.
    pub fn start(dir: &Path, args: &[&str]) -> Daemon {
        let all = ["run", "--listen", "127.0.0.1:0", "--set", "control.metrics='127.0.0.1:0'"];
        let mut child = skirmish(dir, &[&all[..], args].concat())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("runs");
        let (said, err) = (Arc::new(Mutex::new(vec![])), child.stderr.take().expect("piped"));
        let lines = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                lines.lock().expect("no panic").push(line);
            }
        });
        let (address, metrics) = (String::new(), String::new());
        let mut d = Daemon { dir: dir.to_owned(), address, metrics, child, said };
        // the addresses follow `ready`, and what to type next follows them
        d.wait_for("`next:`", |d| {
            if let Some(status) = d.child.try_wait().expect("it is ours") {
                panic!("it ended with {status}: {}", d.text());
            }
            d.text().contains("\nnext: ")
        });
        let text = d.text();
        let of = |names: &[&str]| {
            let line = text.lines().find(|l| names.iter().any(|n| l.trim_start().starts_with(n)));
            line.and_then(|l| l.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        (d.address, d.metrics) = (of(&["live ", "control "]), of(&["metrics "]));
        d
    }
    /// What it has said so far.
    pub fn text(&self) -> String {
        self.said.lock().expect("no panic").join("\n") + "\n"
    }
    /// Waits for something that the daemon does by itself.
    pub fn wait_for(&mut self, what: &str, mut happened: impl FnMut(&mut Daemon) -> bool) {
        let deadline = Instant::now() + SOON;
        while !happened(self) {
            assert!(Instant::now() < deadline, "{what} did not come: {}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// `ctl` with these arguments.
    pub fn ctl(&self, args: &[&str]) -> Output {
        skirmish(&self.dir, &[&["ctl", "--connect", &self.address], args].concat()).output().expect("it runs")
    }
    /// `ctl` that has to succeed; what it printed.
    pub fn told(&self, args: &[&str]) -> String {
        done(&self.dir, &[&["ctl", "--connect", &self.address], args].concat())
    }
    /// What `ctl` says when it refuses.
    pub fn refused(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {out:?}");
        String::from_utf8(out.stderr).expect("text").trim().to_owned()
    }
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.told(&["status", "--json"])).expect("JSON")
    }
    /// Logical seconds since the epoch.
    pub fn logical(&self) -> f64 {
        self.sample("skirmish_logical_time_seconds")
    }
    /// A page of its HTTP server: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let mut s = std::net::TcpStream::connect(&self.metrics).expect("it listens");
        write!(s, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut text = String::new();
        s.read_to_string(&mut text).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).and_then(|c| c.parse().ok()).expect("a status"), body.to_owned())
    }
    /// Every sample of `/metrics` with its value.
    pub fn samples(&self) -> Vec<(String, f64)> {
        let text = self.get("/metrics").1;
        let samples = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
        samples.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    }
    /// One sample, by its name and labels as they are written.
    pub fn sample(&self, name: &str) -> f64 {
        self.samples().iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}")).1
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }
    /// Waits for its end; exit code and all it said.
    pub fn ended(mut self) -> (i32, String) {
        let mut status = None;
        self.wait_for("the end", |d| {
            status = d.child.try_wait().expect("it is ours");
            status.is_some()
        });
        // its last words may still be on their way
        let mut before = self.text();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.text();
            if now == before {
                break;
            }
            before = now;
        }
        (status.and_then(|s| s.code()).expect("it ended by itself"), before)
    }
    /// Ctrl-C; exit code and all it said.
    pub fn stop(self) -> (i32, String) {
        self.signal("INT");
        self.ended()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the block that a run prints at its end: delivery, sink, offered, delivered, dropped, in flight, unknown.
pub fn accounts(text: &str) -> Vec<(String, String, [u64; 5])> {
    let after = text.rsplit("delivery ").next().unwrap_or("");
    let lines = after.lines().skip(1).take_while(|l| !l.starts_with("slices "));
    lines
        .map(|l| {
            let w: Vec<&str> = l.split_whitespace().collect();
            let n = |i: usize| w[i].parse().unwrap_or_else(|_| panic!("{l}"));
            (w[0].to_owned(), w[1].to_owned(), [n(2), n(3), n(4), n(5), n(6)])
        })
        .collect()
}

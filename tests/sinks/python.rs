//! Python programs that tests talk to, in an environment of their own under `target/`.
#![allow(dead_code)] // each test uses a part

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The interpreter with the packages of `tests/python/requirements.txt`. None, with a loud line, where there is no
/// Python or no package index; with `CI=true` that is a failure.
pub fn python() -> Option<PathBuf> {
    match environment() {
        Ok(python) => Some(python),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "Python is needed with CI=true: {why}");
            // past the test harness, which would keep it to itself
            let _ = writeln!(std::io::stderr(), "\n*** SKIPPED, no Python environment: {why} ***\n");
            None
        }
    }
}

fn environment() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp").to_owned();
    let root = target.join("python");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).map_err(|e| e.to_string())?;
    // one builds it, the others wait
    let lock = std::fs::File::create(target.join("python.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let (python, stamp) = (root.join("bin/python"), root.join("skirmish-requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|s| s == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&root))?;
    run(Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(&requirements))?;
    std::fs::write(&stamp, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim()))
}

/// A program that says something and ends by itself; killed if its test ends before.
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    pub fn start(python: &Path, script: &str, args: &[&str]) -> Program {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
        let mut command = Command::new(python);
        command.arg(path).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Program { child, stdin, stdout }
    }
    /// The next line it prints; empty when it ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }
    /// The address that it says it listens on.
    pub fn address(&mut self) -> String {
        let line = self.line();
        format!("127.0.0.1:{}", line.strip_prefix("listening ").unwrap_or_else(|| panic!("it said `{line}`")))
    }
    /// Gives it a line.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it reads");
    }
    /// The object that it prints at the end.
    pub fn report(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: it said `{line}`"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

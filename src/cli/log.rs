//! What happens beside the records, on standard error: above the status block where one is drawn.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard};

use tracing_subscriber::EnvFilter;

use crate::yaml::Problems;

/// Environment variable with what is told, as the crate `tracing` writes it: `warn`, `skirmish::sink=debug`.
const FILTER: &str = "SKIRMISH_LOG";
/// What is told without it.
const FILTER_DEFAULT: &str = "warn,skirmish=info";

/// Lines of the status block on the screen. Whoever writes to standard error while it is drawn holds it.
static BLOCK: Mutex<usize> = Mutex::new(0);

/// Begins to tell.
///
/// # Errors
/// A filter that cannot be read.
pub(super) fn start() -> Result<(), Problems> {
    let text = std::env::var(FILTER).unwrap_or_else(|_| FILTER_DEFAULT.into());
    let filter = EnvFilter::try_new(&text).map_err(|e| {
        let mut p = Problems::new();
        p.plain(format!("{FILTER}: `{text}`: {e}")).help("a level (`error`, `warn`, `info`, `debug`), or `PART=LEVEL`");
        p
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(|| Above);
    // an embedding program, or a test, may have its own
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
    Ok(())
}

/// Draws the status block over the one before.
pub(super) fn draw(block: &str) {
    let mut lines = block_lines();
    let _ = write!(std::io::stderr().lock(), "{}{block}", cleared(*lines));
    *lines = block.lines().count();
}

fn block_lines() -> MutexGuard<'static, usize> {
    BLOCK.lock().expect("nobody panics while drawing")
}

/// Back to the first line of a block, and nothing from there on.
fn cleared(lines: usize) -> String {
    if lines > 0 { format!("\x1b[{lines}A\x1b[J") } else { String::new() }
}

/// Writes above the block, which is drawn again when its time comes.
struct Above;

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut lines = block_lines();
        let mut err = std::io::stderr().lock();
        err.write_all(cleared(std::mem::take(&mut *lines)).as_bytes())?;
        err.write(line)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

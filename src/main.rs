//! The `skirmish` command: arguments -> plan -> run -> exit code.

use std::process::ExitCode;

/// A world is planned on some threads and lives on others, and records are let go where they were not made: the system's
/// allocator keeps what each of them once took (a fifth of a large world's memory).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, and memory goes back to the system a second after it was let go. Large pages (`thp:always`) would make
/// cells faster and large worlds larger: `docs/figures.md`.
// Why unsafe: the allocator reads its options from a symbol of this name, and no other crate may have one.
#[cfg(target_os = "linux")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 30] = b"narenas:2,dirty_decay_ms:1000\0";

fn main() -> ExitCode {
    skirmish::cli::main()
}

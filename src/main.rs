//! The `skirmish` command: arguments -> plan -> run -> exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    skirmish::cli::main()
}

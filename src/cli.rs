//! The command line.

pub mod init;

//! skirmish emulates the security telemetry of an organisation under attack.
//!
//! ```text
//! config + data (sources, effects, scenarios, personas, policies, world)
//!   -> plan       everything resolved, checked, sized before anything runs
//!   -> cell       actors act -> effects -> activities          (a plain thread owns a cell for a slice)
//!   -> source     activity -> records in one byte arena, with their truth
//!   -> schedule   how much is due; fill brings a stream to it
//!   -> sink       Kafka, gRPC, OTLP, file, stdout -> receipts -> accounts   (async lives here and in control)
//! ```
//! Imports point one way, down this picture; `tests/tidy.rs` holds it.

/// The counted fate of every record.
pub mod account;
/// What someone did, as facts that any sensor may see.
pub mod activity;
/// Runs a plan as a daemon: driver, board, commands, HTTP.
pub mod app;
/// What goes from cells to sinks.
pub mod batch;
/// A world's share of hosts, what their sensors record, and when it is delivered.
pub mod cell;
/// The command line.
pub mod cli;
/// A client of a running daemon.
pub mod client;
/// The configuration of a run.
pub mod config;
/// The control service.
pub mod control;
/// What sensors see of each step of each attack.
pub mod coverage;
/// The data folders.
pub mod data;
/// Decides when attacks start.
pub mod director;
/// What a program leaves behind.
pub mod effect;
/// Runs cells slice by slice.
pub mod engine;
/// Runs a plan as a batch.
pub mod generate;
/// Connecting to gRPC servers.
pub mod grpc;
/// What was done to a running daemon.
pub mod journal;
/// What a run wrote, for the next one to go on from.
pub mod manifest;
/// When a slice is due.
pub mod pace;
/// Everything resolved before anything runs.
pub mod plan;
/// What each sensor selects.
pub mod policy;
/// Generated from `proto/`.
pub mod proto;
/// Draws that depend on what they are for.
pub mod rng;
/// Attacks, habits and background, from YAML to programs.
pub mod scenario;
/// Rate over time, as an exact integral.
pub mod schedule;
/// Secrets by reference.
pub mod secret;
/// Where records go.
pub mod sink;
/// Log sources: from activity to record.
pub mod source;
/// ATT&CK.
pub mod technique;
/// Logical time.
pub mod time;
/// TLS settings.
pub mod tls;
/// The simulated organisation.
pub mod world;
/// YAML with positions.
pub mod yaml;

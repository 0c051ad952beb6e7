//! What `build.rs` makes of `proto/`: `skirmish::v1` and OpenTelemetry's logs.
#![allow(missing_docs, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/protos.rs"));

/// The descriptors of `skirmish.v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skirmish.binpb"));

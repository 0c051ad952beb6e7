//! skirmish library
pub mod account;
pub mod activity;
pub mod batch;
pub mod rng;
pub mod sink;
pub mod time;
pub mod yaml;

//! The simulated organisation: pure, deterministic, without I/O, clock or threads.
//!
//! [`atlas`] is what never changes while a world runs (hosts, accounts, images), a function of seed and data;
//! [`program`] is what scenarios, effects and habits compile to; a cell plays programs on hosts of the atlas.

pub mod atlas;
mod backdate;
pub mod boot;
mod client;
pub mod day;
pub mod desktop;
pub mod fact;
pub mod habit;
pub mod host;
pub mod instance;
mod kerberos;
pub mod life;
mod logon;
mod machine;
pub mod net;
mod objects;
mod play;
pub mod power;
mod proc;
pub mod program;
pub mod service;
pub mod smb;
pub mod state;
pub mod table;
mod text;
pub mod texts;
pub mod view;

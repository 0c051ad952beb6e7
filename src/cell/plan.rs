//! What all cells share: everything resolved.

use std::sync::Arc;

use crate::cell::{Collect, FillPlan, Power};
use crate::policy::SensorPolicy as Policy;
use crate::schedule::Division;
use crate::source::{Source, Writer};
use crate::time::Time;
use crate::world::state::Shared;

/// A source in use: what records it and where it is delivered.
#[derive(Debug)]
pub struct Feed {
    /// The source.
    pub source: Arc<Source>,
    /// Record numbers are counted per host in this channel (index).
    pub channel: usize,
    /// How long collection takes.
    pub collect: Collect,
    /// Streams that deliver it (indices).
    pub streams: Vec<usize>,
}

/// What a message is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Name of the host.
    Host,
    /// Nothing.
    None,
    /// A field of the activity.
    Field(crate::activity::Field),
}

/// A way from a stream to a sink.
#[derive(Debug)]
pub struct DeliveryPlan {
    /// The source, compiled for the encoding.
    pub writer: Writer,
    /// What messages are keyed by.
    pub key: Key,
    /// Most records of a message, for encodings that hold several.
    pub records_max: u32,
    /// Truth lines for every record, or only those of attacks.
    pub truth_all: bool,
    /// Labels inside the records.
    pub labels: bool,
}

/// A stream as the cells know it.
#[derive(Debug)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// Index of its feed.
    pub feed: usize,
    /// Hosts of the atlas it covers, by index.
    pub hosts: Vec<bool>,
    /// How what is due is divided over the cells.
    pub division: Division,
    /// Only records of attacks are sent.
    pub attack_only: bool,
    /// Bytes of a record of the first delivery, as expected.
    pub mean_bytes: u64,
    /// Where it goes.
    pub deliveries: Vec<DeliveryPlan>,
}

/// What all cells share: everything resolved.
#[derive(Debug)]
pub struct Plan {
    /// The world.
    pub shared: Arc<Shared>,
    /// Id of the run, for truth lines.
    pub run: String,
    /// Sources in use.
    pub feeds: Vec<Feed>,
    /// Streams.
    pub streams: Vec<StreamPlan>,
    /// Channels in which records are numbered.
    pub channels: Vec<String>,
    /// Sensor policies.
    pub policies: Vec<Arc<Policy>>,
    /// Policy of each host of the atlas.
    pub policy_of: Vec<u8>,
    /// How streams are filled, in this order.
    pub fill: Vec<FillPlan>,
    /// First record number per host and channel, where a manifest gives them.
    pub numbers: Option<Vec<u64>>,
    /// Whole hosts follow the schedules.
    pub power: Option<Power>,
    /// Machines that leave their network now and then, by host.
    pub mobile: Vec<bool>,
    /// The first instant whose records are delivered.
    pub start: Time,
    /// Each so many records of a stream and cell one is written, the others are only counted, with the mean size so far: 1,
    /// except where nothing but numbers and sizes is wanted.
    pub written: u64,
}

impl Plan {
    /// Slices that are played before the first one that delivers: late collection has something to deliver at once.
    pub fn lead_max(&self) -> i64 {
        self.feeds.iter().map(|f| f.collect.lead_max()).max().unwrap_or(0)
    }
}

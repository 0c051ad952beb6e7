//! Every sink keeps the contract of `src/sink.rs`.

#[path = "sinks/compliance.rs"]
mod compliance;
#[path = "sinks/destinations.rs"]
mod destinations;
#[path = "sinks/support.rs"]
mod support;

use compliance::{keeps_the_contract, listen};
use destinations::{Folder, Nowhere, Otlp, Pipe, Pushed, Subscribed};

#[tokio::test(flavor = "multi_thread")]
async fn null_keeps_the_contract() {
    listen();
    keeps_the_contract(async |_| Nowhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stdout_keeps_the_contract() {
    listen();
    keeps_the_contract(async |_| Pipe::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_keeps_the_contract() {
    listen();
    keeps_the_contract(async |_| Folder::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_push_keeps_the_contract() {
    listen();
    keeps_the_contract(Pushed::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_keeps_the_contract() {
    listen();
    keeps_the_contract(Otlp::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_serve_keeps_the_contract() {
    listen();
    keeps_the_contract(async |_| Subscribed::new()).await;
}

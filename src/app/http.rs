//! `/metrics` and `/healthz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::app::board::Board;

/// The HTTP server.
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its task.
    pub task: tokio::task::JoinHandle<()>,
}

/// Opens the port and serves.
pub async fn open(address: SocketAddr, board: Arc<Board>) -> std::io::Result<Http> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (metrics, health) = (board.clone(), board);
    let text = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
    let router = Router::new().route("/metrics", get(move || async move { (text, metrics.metrics()) })).route(
        "/healthz",
        get(move || async move {
            match health.is_ready() {
                true => (StatusCode::OK, "ready\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            }
        }),
    );
    let task = tokio::spawn(async move {
        // ends with the task; a listener that fails takes nothing else with it
        let _ = axum::serve(listener, router).await;
    });
    Ok(Http { address, task })
}

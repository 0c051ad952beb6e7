//! `grpc_serve`: the daemon is the server; anybody with the token subscribes. See `proto/skirmish/v1/records.proto`.
//!
//! A record is delivered when it stands in the rings of those who want it, so subscribers never hold the run; each
//! has its own account of sent and left out.

mod filter;
mod hub;
mod linger;

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::middleware::{Next, from_fn};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

pub use self::hub::Hub;
use self::linger::Lingering;
use super::{AddServices, Drained, Gauges, OnSlow, Sink, Task};
use crate::account::Outcome;
use crate::proto::DESCRIPTORS;
use crate::proto::skirmish::v1::records_server::{Records, RecordsServer};
use crate::proto::skirmish::v1::{SubscribeRequest, SubscribeResponse};
use crate::secret::{Secret, SecretRef};
use crate::tls::ServerTls;
use crate::yaml::{Node, Problems};

/// Where the daemon listens unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:7417";

const RECORDS: &str = "skirmish.v1.Records";

/// Options of the serving sink.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS; none for plain text.
    pub tls: Option<ServerTls>,
    /// The token that every call but health must bring.
    pub token: Option<SecretRef>,
    /// Bytes that may wait for one subscriber.
    pub ring_bytes_max: u64,
    /// Subscribers at a time.
    pub subscribers_max: usize,
    /// How responses are compressed for clients that can read it.
    pub compression: Option<CompressionEncoding>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            listen: LISTEN.parse().expect("a literal address"),
            tls: None,
            token: None,
            ring_bytes_max: 16 << 20,
            subscribers_max: 64,
            compression: None,
        }
    }
}

impl ServeOptions {
    /// Reads `{listen: 127.0.0.1:7417, tls: {cert, key, client_ca}, token_file: ..., token_env: ..., ring: 16MiB,
    /// subscribers_max: 64, compression: none}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<ServeOptions> {
        let default = ServeOptions::default();
        if node.is_null() {
            return Some(default);
        }
        let f = node.fields(p, "a grpc_serve sink")?;
        let listen = match f.take("listen") {
            Some(n) => n.text(p, "`listen`").and_then(|t| {
                let address = t.parse().ok();
                if address.is_none() {
                    p.at(n, format!("`listen` is {}", n.describe())).help("an address and a port, `127.0.0.1:7417`");
                }
                address
            }),
            None => Some(default.listen),
        };
        let tls = f.take("tls").map(|n| ServerTls::from_node(n, p));
        let token = SecretRef::from_fields(&f, p, "token", "token_file", "token_env");
        let ring = f.take("ring").map_or(Some(default.ring_bytes_max), |n| n.bytes(p, "`ring`"));
        let subscribers = f.take("subscribers_max");
        let subscribers = subscribers.map_or(Some(default.subscribers_max), |n| n.number(p, "`subscribers_max`"));
        let compression = f.take("compression").map_or(Some(None), |n| super::wire::compression(n, p));
        f.finish(p);
        Some(ServeOptions {
            listen: listen?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            token,
            ring_bytes_max: ring?,
            subscribers_max: subscribers?,
            compression: compression?,
        })
    }
}

/// The serving sink: its options, and what [`Sink::open`] took.
pub struct Serve {
    options: ServeOptions,
    hub: Arc<Hub>,
    listener: Option<TcpListener>,
    tls: Option<ServerTlsConfig>,
    token: Option<Secret>,
    names: Vec<&'static str>,
    more: Vec<AddServices>,
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

impl Serve {
    /// A server that is not open yet.
    pub fn new(options: ServeOptions) -> Serve {
        let hub = Arc::new(Hub::new(options.ring_bytes_max, options.subscribers_max));
        Serve { options, hub, listener: None, tls: None, token: None, names: vec![], more: vec![] }
    }
}

impl Sink for Serve {
    fn on_slow(&self) -> OnSlow {
        OnSlow::Drop
    }
    fn add_services(&mut self, names: &[&'static str], add: AddServices) -> bool {
        self.names.extend(names);
        self.more.push(add);
        true
    }
    fn open(&mut self) -> Result<(), String> {
        if self.listener.is_some() {
            return Ok(());
        }
        let listen = self.options.listen;
        self.tls = self.options.tls.as_ref().map(ServerTls::load).transpose()?;
        self.token = self.options.token.as_ref().map(SecretRef::read).transpose()?;
        let listener = TcpListener::bind(listen).map_err(|e| format!("cannot listen on {listen}: {e}"))?;
        listener.set_nonblocking(true).map_err(|e| format!("cannot listen on {listen}: {e}"))?;
        if !listen.ip().is_loopback() && (self.tls.is_none() || self.token.is_none()) {
            tracing::warn!(%listen, "records are served beyond this machine without both TLS and a token");
        }
        self.listener = Some(listener);
        Ok(())
    }
    fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|l| l.local_addr().ok())
    }
    fn hub(&self) -> Option<Arc<Hub>> {
        Some(self.hub.clone())
    }
    fn gauges(&self) -> Option<Gauges> {
        let hub = self.hub.clone();
        Some(Arc::new(move || hub.gauges()))
    }
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(run(*self, task))
    }
}

async fn run(mut serve: Serve, mut task: Task) -> Drained {
    if serve.listener.is_none()
        && let Err(e) = serve.open()
    {
        task.abandon();
        return Drained { error: Some(e), ..Drained::default() };
    }
    let hub = serve.hub.clone();
    hub.serve(task.deliveries.clone());
    let receipts = task.receipts.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut server = std::pin::pin!(server(serve, async {
        let _ = stopped.await;
    }));
    let mut error = None;
    loop {
        tokio::select! {
            biased;
            r = &mut server => {
                let e = r.err().unwrap_or_else(|| "the server ended".into());
                tracing::error!(sink = task.name, "{e}");
                error = Some(e);
                break;
            }
            offer = task.next() => {
                let Some(offer) = offer else { break };
                hub.put(&offer);
                task.receipts.settle(
                    offer.delivery,
                    Outcome::Delivered,
                    offer.batch.records(),
                    offer.batch.bytes.len() as u64,
                );
            }
        }
    }
    task.abandon();
    hub.close();
    if error.is_none() {
        let _ = stop.send(());
        tokio::select! {
            r = &mut server => error = r.err(),
            () = receipts.deadline() => {}
        }
    }
    Drained { digest: None, error }
}

/// Serves until told to stop, then until every call has ended.
async fn server(serve: Serve, stop: impl Future<Output = ()>) -> Result<(), String> {
    let mut records = RecordsServer::new(RecordsService(serve.hub));
    if let Some(c) = serve.options.compression {
        records = records.send_compressed(c);
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut reflected = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let mut alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    // only what is served: the descriptors also hold Ingest, which others serve
    reflected = reflected.with_service_name("grpc.reflection.v1.ServerReflection");
    alpha = alpha.with_service_name("grpc.reflection.v1alpha.ServerReflection");
    for name in serve.names.iter().chain(&[RECORDS, "grpc.health.v1.Health"]) {
        reflected = reflected.with_service_name(*name);
        alpha = alpha.with_service_name(*name);
        health.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let refused = |e: tonic_reflection::server::Error| format!("reflection: {e}");
    let mut routes = Routes::new(records)
        .add_service(reflected.build_v1().map_err(refused)?)
        .add_service(alpha.build_v1alpha().map_err(refused)?);
    for add in serve.more {
        routes = add(routes);
    }
    let mut router = routes.into_axum_router();
    if let Some(token) = serve.token {
        let expected = digest(&format!("Bearer {}", token.expose()));
        router = router.layer(from_fn(move |r, n| check_token(expected, r, n)));
    }
    // health stays open: whoever restarts a container has no token
    let routes = Routes::from(router).add_service(health_service);
    let listener = serve.listener.ok_or("not open")?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
    let mut builder = Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(20)));
    if let Some(tls) = serve.tls {
        builder = builder.tls_config(tls).map_err(|e| format!("TLS: {}", crate::grpc::chain(&e)))?;
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).map(|io| io.map(Lingering::new));
    builder
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop)
        .await
        .map_err(|e| format!("the server failed: {}", crate::grpc::chain(&e)))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Digests are compared, not texts: how long that takes tells nothing of the token.
async fn check_token(expected: [u8; 32], request: HttpRequest, next: Next) -> axum::response::Response {
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
    if digest(given) == expected {
        next.run(request).await
    } else {
        Status::unauthenticated("a token is needed: metadata `authorization: Bearer TOKEN`").into_http()
    }
}

struct RecordsService(Arc<Hub>);

#[tonic::async_trait]
impl Records for RecordsService {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let peer = request.remote_addr().map_or_else(String::new, |a| a.to_string());
        let reader = self.0.subscribe(request.into_inner(), peer)?;
        let responses = stream::unfold(reader, |mut r| async { r.next().await.map(|x| (Ok(x), r)) });
        Ok(Response::new(Box::pin(responses)))
    }
}

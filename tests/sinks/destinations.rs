//! Destinations that hang and break on demand.

use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use skirmish::client::Client;
use skirmish::grpc::Target;
use skirmish::proto::opentelemetry::proto::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use skirmish::proto::opentelemetry::proto::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use skirmish::proto::opentelemetry::proto::common::v1::any_value::Value;
use skirmish::proto::skirmish::v1::ingest_server::{Ingest, IngestServer};
use skirmish::proto::skirmish::v1::push_request::Item;
use skirmish::proto::skirmish::v1::{PushRequest, PushResponse, SubscribeRequest};
use skirmish::secret::{Secret, SecretRef};
use skirmish::sink::file::FileOptions;
use skirmish::sink::grpc_push::{PushOptions, Remote};
use skirmish::sink::grpc_serve::{Serve, ServeOptions};
use skirmish::sink::null::NullOptions;
use skirmish::sink::otlp::OtlpOptions;
use skirmish::sink::{Drained, Sink, Task, stdout};
use tokio::sync::{mpsc, watch};
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::compliance::{Can, Destination, SECRET};
use crate::support::eventually;

/// Nowhere.
pub struct Nowhere;

#[tonic::async_trait]
impl Destination for Nowhere {
    fn can(&self) -> Can {
        Can::default()
    }
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(NullOptions::default())
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        vec![]
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect()
}

/// A pipe whose reader can stop reading.
#[derive(Clone, Debug, Default)]
pub struct Pipe(Arc<PipeState>);

#[derive(Debug, Default)]
struct PipeState {
    hangs: Mutex<bool>,
    released: Condvar,
    bytes: Mutex<Vec<u8>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let hangs = self.0.hangs.lock().unwrap();
        let _go = self.0.released.wait_while(hangs, |h| *h).unwrap();
        self.0.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink for Pipe {
    fn start(self: Box<Self>, task: Task) -> BoxFuture<'static, Drained> {
        Box::pin(stdout::write(task, move || (*self).clone()))
    }
}

#[tonic::async_trait]
impl Destination for Pipe {
    fn can(&self) -> Can {
        Can { tell: true, hang: true, answer_last: true, ..Can::default() }
    }
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(self.clone())
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        lines(&self.0.bytes.lock().unwrap())
    }
    async fn hang(&self, on: bool) {
        *self.0.hangs.lock().unwrap() = on;
        self.0.released.notify_all();
    }
}

/// A folder on a disk that can be full.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
    fn file(&self) -> PathBuf {
        self.0.path().join("out.jsonl")
    }
    fn part(&self) -> PathBuf {
        self.0.path().join("out.jsonl.part")
    }
}

#[tonic::async_trait]
impl Destination for Folder {
    fn can(&self) -> Can {
        Can { tell: true, hang: true, answer_last: true, ..Can::default() }
    }
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(FileOptions::one(self.file().to_str().unwrap(), None))
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        // the name changes once, when it is complete
        let bytes = std::fs::read(self.file()).or_else(|_| std::fs::read(self.part()));
        lines(&bytes.or_else(|_| std::fs::read(self.file())).unwrap_or_default())
    }
    async fn hang(&self, on: bool) {
        if on {
            // every write says "no space left on device"
            std::os::unix::fs::symlink("/dev/full", self.part()).unwrap();
        } else {
            // gone already if the sink gave its last file a name
            let _ = std::fs::remove_file(self.part());
            if std::fs::symlink_metadata(self.file()).is_ok_and(|m| m.is_symlink()) {
                std::fs::remove_file(self.file()).unwrap();
            }
        }
    }
}

/// What two kinds of servers share: what arrived, and how they misbehave.
#[derive(Default)]
struct Misbehaviour {
    received: Mutex<Vec<Vec<u8>>>,
    hangs: watch::Sender<bool>,
    /// Messages until it breaks; negative for never.
    until_break: AtomicI64,
}

impl Misbehaviour {
    fn new() -> Arc<Misbehaviour> {
        Arc::new(Misbehaviour { until_break: AtomicI64::new(-1), ..Misbehaviour::default() })
    }
    async fn answering(&self) {
        let _ = self.hangs.subscribe().wait_for(|h| !h).await;
    }
    /// Takes messages in; true when it is time to break.
    fn take(&self, payloads: Vec<Vec<u8>>) -> bool {
        let n = payloads.len() as i64;
        self.received.lock().unwrap().extend(payloads);
        let before = self.until_break.load(SeqCst);
        if before < 0 {
            return false;
        }
        self.until_break.store(before - n, SeqCst);
        before - n < 0
    }
    async fn break_after(&self, messages: u64) {
        // the one before has to happen first
        eventually("it broke", || self.until_break.load(SeqCst) < 0).await;
        self.until_break.store(messages as i64, SeqCst);
    }
}

fn check_token<T>(r: &Request<T>) -> Result<(), Status> {
    match r.metadata().get("authorization") {
        Some(v) if v == &format!("Bearer {SECRET}") => Ok(()),
        _ => Err(Status::unauthenticated("the token is missing")),
    }
}

/// A server on a port of its own, or a port where nobody listens.
struct Server {
    address: String,
    state: Arc<Misbehaviour>,
    secret: tempfile::NamedTempFile,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(t) = &self.task {
            t.abort();
        }
    }
}

impl Server {
    async fn start(absent: bool, service: impl FnOnce(Arc<Misbehaviour>) -> tonic::service::Routes) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Misbehaviour::new();
        let routes = service(state.clone());
        let task = (!absent).then(|| {
            let serving =
                tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener));
            tokio::spawn(async { serving.await.unwrap() })
        });
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(SECRET.as_bytes()).unwrap();
        Server { address, state, secret, task }
    }
    fn remote(&self) -> Remote {
        Remote { token: Some(SecretRef::File(self.secret.path().into())), ..Remote::plain(&self.address) }
    }
    fn received(&self) -> Vec<Vec<u8>> {
        self.state.received.lock().unwrap().clone()
    }
}

/// A server for push that keeps each batch once, by its sequence number.
pub struct Pushed(Server);

struct IngestService {
    state: Arc<Misbehaviour>,
    kept_through: Arc<Mutex<u64>>,
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn push(&self, request: Request<Streaming<PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        check_token(&request)?;
        let mut requests = request.into_inner();
        let (tx, rx) = mpsc::channel(1);
        let (state, kept_through) = (self.state.clone(), self.kept_through.clone());
        tokio::spawn(async move {
            while let Ok(Some(r)) = requests.message().await {
                let Some(Item::Batch(b)) = r.item else { continue };
                let messages = b.batches.into_iter().flat_map(|b| b.messages).map(|m| m.payload.to_vec());
                let new = {
                    let mut kept = kept_through.lock().unwrap();
                    let new = b.sequence > *kept;
                    *kept = (*kept).max(b.sequence);
                    new
                };
                if new && state.take(messages.collect()) {
                    let _ = tx.send(Err(Status::unavailable("going down"))).await;
                    return;
                }
                state.answering().await;
                let answer = PushResponse { acked_through: b.sequence, rejected: vec![] };
                if tx.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(rx))))
    }
}

impl Pushed {
    pub async fn new(absent: bool) -> Pushed {
        let service = |state| {
            let service = IngestServer::new(IngestService { state, kept_through: Arc::default() });
            tonic::service::Routes::new(service.accept_compressed(CompressionEncoding::Zstd))
        };
        Pushed(Server::start(absent, service).await)
    }
}

#[tonic::async_trait]
impl Destination for Pushed {
    fn can(&self) -> Can {
        // sequence numbers are there so that nothing arrives twice
        Can { tell: true, hang: true, break_off: true, repeat: false, be_absent: true, answer_last: true }
    }
    fn sink(&self) -> Box<dyn Sink> {
        let mut o = PushOptions::new(self.0.remote());
        o.compression = Some(CompressionEncoding::Zstd);
        o.batch_bytes_max = 20_000;
        o.window_bytes_max = 60_000;
        o.reconnect_max = Duration::from_millis(50);
        Box::new(o)
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        self.0.received()
    }
    async fn hang(&self, on: bool) {
        self.0.state.hangs.send_replace(on);
    }
    async fn break_after(&self, messages: u64) {
        self.0.state.break_after(messages).await;
    }
}

/// An OTLP receiver. It knows no repeats.
pub struct Otlp(Server);

struct Logs(Arc<Misbehaviour>);

#[tonic::async_trait]
impl LogsService for Logs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        check_token(&request)?;
        let records = request.into_inner().resource_logs.into_iter().flat_map(|r| r.scope_logs);
        let mut bodies: Vec<Vec<u8>> = records
            .flat_map(|s| s.log_records)
            .map(|r| match r.body.and_then(|b| b.value) {
                Some(Value::StringValue(s)) => s.into_bytes(),
                other => panic!("the body is {other:?}"),
            })
            .collect();
        // one export holds resources of several hosts, and order is per host
        bodies.sort_by_key(|b| crate::support::parse(b));
        if self.0.take(bodies) {
            return Err(Status::unavailable("going down"));
        }
        self.0.answering().await;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Otlp {
    pub async fn new(absent: bool) -> Otlp {
        let service = |state| {
            let service = LogsServiceServer::new(Logs(state)).accept_compressed(CompressionEncoding::Gzip);
            tonic::service::Routes::new(service)
        };
        Otlp(Server::start(absent, service).await)
    }
}

#[tonic::async_trait]
impl Destination for Otlp {
    fn can(&self) -> Can {
        Can { tell: true, hang: true, break_off: true, repeat: true, be_absent: true, answer_last: true }
    }
    fn sink(&self) -> Box<dyn Sink> {
        let mut o = OtlpOptions::new(self.0.remote());
        o.batch_bytes_max = 20_000;
        Box::new(o)
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        self.0.received()
    }
    async fn hang(&self, on: bool) {
        self.0.state.hangs.send_replace(on);
    }
    async fn break_after(&self, messages: u64) {
        self.0.state.break_after(messages).await;
    }
}

/// A subscriber of the daemon.
pub struct Subscribed {
    options: ServeOptions,
    _secret: tempfile::NamedTempFile,
    served: Mutex<Option<String>>,
    reader: Option<tokio::task::JoinHandle<()>>,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Subscribed {
    pub fn new() -> Subscribed {
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(SECRET.as_bytes()).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let token = Some(SecretRef::File(secret.path().into()));
        let options = ServeOptions { listen, token, ..ServeOptions::default() };
        Subscribed { options, _secret: secret, served: Mutex::default(), reader: None, received: Arc::default() }
    }
}

#[tonic::async_trait]
impl Destination for Subscribed {
    fn can(&self) -> Can {
        Can { tell: true, ..Can::default() }
    }
    fn sink(&self) -> Box<dyn Sink> {
        let mut serve = Serve::new(self.options.clone());
        // opened here already, because only now it can tell its port
        serve.open().unwrap();
        *self.served.lock().unwrap() = Some(serve.address().unwrap().to_string());
        Box::new(serve)
    }
    async fn attach(&mut self) {
        let address = self.served.lock().unwrap().clone().expect("the sink is open");
        let target = Target { address, token: Some(Secret::new(SECRET)), ..Target::default() };
        let mut client = Client::connect(&target).await.unwrap();
        let mut stream = client.subscribe(SubscribeRequest::default()).await.unwrap();
        let received = self.received.clone();
        self.reader = Some(tokio::spawn(async move {
            while let Some(r) = stream.message().await.unwrap() {
                assert!(r.gap.is_none(), "the ring is large enough");
                let payloads = r.batches.into_iter().flat_map(|b| b.messages).map(|m| m.payload.to_vec());
                received.lock().unwrap().extend(payloads);
            }
        }));
    }
    async fn received(&self) -> Vec<Vec<u8>> {
        // the run has ended, so the stream does
        let reader = self.reader.as_ref().expect("attached");
        eventually("the stream has ended", || reader.is_finished()).await;
        self.received.lock().unwrap().clone()
    }
}

//! A real Apache Kafka for tests: fetched by Maven into `target/kafka`, started on free loopback ports, killed by its
//! process id, gone with the test that started it.
//!
//! Without Java or Maven a test says so loudly and is skipped; with `CI=true` it fails.

#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Version of Kafka under test.
pub const VERSION: &str = "4.1.0";
/// User of the SASL listeners.
pub const USER: &str = "skirmish";
/// Password of that user.
pub const PASSWORD: &str = "correct horse \"battery\"";
/// Longest wait for a broker.
const START_MAX: Duration = Duration::from_secs(60);

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
"#;

/// Keeps the broker and its parent in one life: when the test process ends, however it does, its end of the pipe
/// closes, `cat` returns and the broker goes.
const KEEPER: &str = r#"d=$1; shift; "$@" & echo $! >"$d/pid"; cat >/dev/null; kill -9 $! 2>/dev/null; wait; [ -e "$d/keep" ] || rm -rf "$d""#;

struct Running {
    keeper: Child,
    pipe: Option<ChildStdin>,
}

/// A broker with its own data, certificates and ports.
pub struct Broker {
    /// Folder with everything of it.
    pub dir: PathBuf,
    ports: [u16; 4],
    running: Mutex<Option<Running>>,
}

/// Where the jars are, or why there are none.
fn jars() -> Result<&'static Path, String> {
    static JARS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    JARS.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp").join("kafka").join(VERSION);
        let lib = root.join("lib");
        fs::create_dir_all(&root).map_err(|e| e.to_string())?;
        let lock = fs::File::create(root.join("lock")).map_err(|e| e.to_string())?;
        lock.lock().map_err(|e| e.to_string())?;
        let runs = |cmd: &str, arg: &str| {
            Command::new(cmd).arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        if !runs("java", "-version") {
            return Err("no `java`".into());
        }
        if !root.join("complete").exists() {
            if !runs("mvn", "-v") {
                return Err("no `mvn`".into());
            }
            let pom = root.join("pom.xml");
            fs::write(&pom, POM.replace("VERSION", VERSION)).map_err(|e| e.to_string())?;
            let done = Command::new("mvn")
                .args(["-q", "-B", "-f"])
                .arg(&pom)
                .arg("dependency:copy-dependencies")
                .arg(format!("-DoutputDirectory={}", lib.display()))
                .output()
                .map_err(|e| e.to_string())?;
            if !done.status.success() {
                return Err(format!("mvn failed: {}", String::from_utf8_lossy(&done.stdout)));
            }
            fs::write(root.join("complete"), "").map_err(|e| e.to_string())?;
        }
        Ok(lib)
    })
    .as_deref()
    .map_err(Clone::clone)
}

/// The broker that all tests of a binary share, or none where there is no Java or Maven: then the caller returns.
pub fn shared() -> Option<&'static Broker> {
    static SHARED: OnceLock<Option<Broker>> = OnceLock::new();
    SHARED.get_or_init(|| available().then(|| Broker::start("auto.create.topics.enable=false\n"))).as_ref()
}

/// Whether brokers can be had here.
///
/// # Panics
/// When they cannot and `CI=true`.
pub fn available() -> bool {
    let Err(why) = jars() else { return true };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "Kafka tests need Java 17 and Maven: {why}");
    let _ = writeln!(std::io::stderr(), "\n#### SKIPPED: Kafka test, needs Java 17 and Maven: {why} ####");
    false
}

fn java(heap_mb: u32) -> Command {
    let mut c = Command::new("java");
    c.arg(format!("-Xmx{heap_mb}m"))
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"])
        .arg(format!("{}/*", jars().expect("checked before").display()));
    c
}

/// Free ports below those that the system hands out to clients: a client that tries to reach a dead broker on one of
/// those can be given the very port as its own, and then talks to itself.
fn free_ports() -> [u16; 4] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    [(); 4].map(|()| {
        loop {
            let port = first + NEXT.fetch_add(1, Relaxed) % 2_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

impl Broker {
    /// Formats its storage and starts it; `more` are lines for `server.properties`.
    pub fn start(more: &str) -> Broker {
        let dir = tempfile::Builder::new().prefix("kafka-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let dir = dir.keep();
        let b = Broker { dir, ports: free_ports(), running: Mutex::new(None) };
        b.write_files(more);
        let formatted = java(128)
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"])
            .arg(b.dir.join("server.properties"))
            .args(["--add-scram", &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")])
            .args(["--add-scram", &format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]")])
            .output()
            .expect("java runs");
        assert!(formatted.status.success(), "format: {}", String::from_utf8_lossy(&formatted.stderr));
        b.up();
        b
    }

    fn write_files(&self, more: &str) {
        let dir = self.dir.display();
        let [plain, ssl, sasl, controller] = self.ports;
        let escaped = PASSWORD.replace('"', "\\\\\"");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{escaped}\";\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PEM\nssl.keystore.location={dir}/server.pem\n\
             ssl.truststore.type=PEM\nssl.truststore.location={dir}/ca.pem\n\
             listener.name.ssl.ssl.client.auth=required\n\
             log.dirs={dir}/data\nnum.partitions=3\nnum.network.threads=2\nnum.io.threads=2\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nbroker.session.timeout.ms=1000\nbroker.heartbeat.interval.ms=200\n{more}"
        );
        fs::write(self.dir.join("server.properties"), text).expect("written");
        fs::write(
            self.dir.join("log4j2.properties"),
            "rootLogger.level=warn\nrootLogger.appenderRef.e.ref=E\nappender.e.type=Console\nappender.e.name=E\n\
             appender.e.target=SYSTEM_ERR\nappender.e.layout.type=PatternLayout\nappender.e.layout.pattern=%d %p %m%n%throwable{short}%n\n",
        )
        .expect("written");
        let key = || rcgen::KeyPair::generate().expect("a key");
        let (ca_key, server_key, client_key) = (key(), key(), key());
        let mut ca = rcgen::CertificateParams::new(vec![]).expect("valid");
        ca.distinguished_name.push(rcgen::DnType::CommonName, "skirmish test authority");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_cert = ca.self_signed(&ca_key).expect("signed");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let signed = |names: Vec<String>, cn: &str, key: &rcgen::KeyPair| {
            let mut p = rcgen::CertificateParams::new(names).expect("valid");
            p.distinguished_name = rcgen::DistinguishedName::new();
            p.distinguished_name.push(rcgen::DnType::CommonName, cn);
            p.signed_by(key, &issuer).expect("signed").pem()
        };
        let server = signed(vec!["localhost".into(), "127.0.0.1".into()], "broker", &server_key);
        let client = signed(vec!["client".into()], "client", &client_key);
        let write = |name: &str, text: String| fs::write(self.dir.join(name), text).expect("written");
        write("server.pem", server_key.serialize_pem() + &server + &ca_cert.pem());
        write("ca.pem", ca_cert.pem());
        write("client.pem", client);
        write("client.key", client_key.serialize_pem());
        write("password", format!("{PASSWORD}\n"));
    }

    /// Starts the process and waits until it serves.
    pub fn up(&self) {
        let _ = fs::remove_file(self.dir.join("keep"));
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let broker = java(256);
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&self.dir)
            .arg(broker.get_program())
            .args(broker.get_args())
            .arg(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()))
            .arg("kafka.Kafka")
            .arg(self.dir.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().expect("a log")))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("sh runs");
        let pipe = keeper.stdin.take();
        *self.running.lock().expect("no panic before") = Some(Running { keeper, pipe });
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", self.ports[0])).is_err() {
            assert!(Instant::now() < deadline, "the broker did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&self) {
        let Some(mut r) = self.running.lock().expect("no panic before").take() else { return };
        fs::write(self.dir.join("keep"), "").expect("written");
        let pid = fs::read_to_string(self.dir.join("pid")).expect("a pid");
        let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        drop(r.pipe.take());
        let _ = r.keeper.wait();
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Address of the listener without protection.
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }
    /// Address of the TLS listener; it wants a client certificate.
    pub fn ssl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }
    /// Address of the listener with TLS and a login.
    pub fn sasl_ssl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }
    /// A file of it.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Runs one of Kafka's own tools, such as `org.apache.kafka.tools.TopicCommand`.
    pub fn tool(&self, class: &str, args: &[&str]) -> Output {
        java(256)
            .arg(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()))
            .arg(class)
            .args(args)
            .output()
            .expect("java runs")
    }

    /// Kafka's own console consumer: that many messages from the beginning, one a line.
    pub fn console_consumer(&self, topic: &str, messages: usize) -> String {
        let (server, n) = (self.plain(), messages.to_string());
        let args = ["--bootstrap-server", &server, "--topic", topic, "--from-beginning", "--max-messages", &n];
        let out = self
            .tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &[&args[..], &["--timeout-ms", "20000"]].concat());
        assert!(out.status.success(), "console consumer: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

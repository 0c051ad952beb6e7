"""A broker, a daemon and a consumer for the scripts beside this file.

Needs Java 17 and Maven (Kafka is fetched into target/kafka as the tests do it), a release build, and confluent-kafka:

    python3 -m venv target/python-kafka && target/python-kafka/bin/pip install confluent-kafka
    target/python-kafka/bin/python benches/kafka/SCRIPT.py

SKIRMISH names another binary. Everything runs on loopback and is gone afterwards.
"""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VERSION = "4.1.0"
LIB = TARGET / "kafka" / VERSION / "lib"
BINARY = os.environ.get("SKIRMISH", str(TARGET / "release" / "skirmish"))


def free_port():
    """A port below those that the system hands out to clients."""
    for port in range(21000 + os.getpid() % 4000, 31000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                if port not in free_port.given:
                    free_port.given.add(port)
                    return port
            except OSError:
                pass
    raise SystemExit("no free port")


free_port.given = set()


def work_folder(name):
    folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=TARGET))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Broker:
    """Apache Kafka, one node, without protection."""

    def __init__(self, more="", heap_mb=512):
        if not (LIB.parent / "complete").exists():
            raise SystemExit(f"no Kafka in {LIB}: `cargo test --test kafka_sink` fetches it")
        self.folder = work_folder("kafka")
        self.port, controller = free_port(), free_port()
        self.server = f"127.0.0.1:{self.port}"
        self.heap = heap_mb
        (self.folder / "server.properties").write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://{self.server},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={self.folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
{more}
""")
        self.process = None
        self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", "AAAAAAAAAAAAAAAAAAAAAQ",
                   "-c", str(self.folder / "server.properties"))
        self.up()
        atexit.register(self.kill)

    def _java(self, *args):
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{LIB}/*", *args]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{args[0]}: {done.stderr}")
        return done.stdout

    def up(self):
        log = open(self.folder / "log", "a")
        command = ["java", f"-Xmx{self.heap}m", f"-Xms{self.heap}m", "-cp", f"{LIB}/*", "kafka.Kafka",
                   str(self.folder / "server.properties")]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.time() + 180
        while time.time() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the broker did not start: " + (self.folder / "log").read_text()[-2000:])

    def kill(self):
        """kill -9, and gone when this returns."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Daemon:
    """`skirmish run` with a configuration of its own."""

    def __init__(self, config, *args):
        self.folder = work_folder("daemon")
        self.listen, self.metrics_at = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.config = self.folder / "skirmish.yaml"
        self.config.write_text(config)
        self.state = self.folder / "state"
        command = [BINARY, "run", "-c", str(self.config), "--set", f"control.listen='{self.listen}'",
                   "--set", f"control.metrics='{self.metrics_at}'", "--quiet", *args]
        if not os.environ.get("NO_STATE"):
            command += ["--set", f"state.dir='{self.state}'"]
        self.log = self.folder / "log"
        self.process = subprocess.Popen(command, stdout=open(self.log, "a"), stderr=subprocess.STDOUT)
        atexit.register(self.end_now)

    def ctl(self, *args):
        done = subprocess.run([BINARY, "ctl", "--connect", self.listen, *args], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"ctl {args}: {done.stderr} {self.log.read_text()[-3000:]}")
        return done.stdout

    def ready(self):
        self.ctl("status", "--wait", "ready", "--timeout", "60s")

    def status(self):
        return json.loads(self.ctl("status", "--json"))

    def metrics(self):
        """Samples of /metrics: (name, labels as a sorted tuple of pairs) -> value."""
        with urllib.request.urlopen(f"http://{self.metrics_at}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return parse_metrics(text)

    def resident(self):
        """Bytes in memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, wait=60):
        """SIGTERM, and what it said in the end."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(wait)

    def wait(self, wait=600):
        self.process.wait(wait)
        return self.log.read_text()

    def end_now(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def parse_metrics(text):
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        samples[name, tuple(sorted(LABEL.findall(labels or "")))] = float(value)
    return samples


def consume(server, topic, each, idle=3.0):
    """Calls `each(message)` for all of a topic, partition by partition in the order of offsets."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition
    c = Consumer({"bootstrap.servers": server, "group.id": f"lab-{time.time()}", "enable.partition.eof": True,
                  "auto.offset.reset": "earliest", "enable.auto.commit": False, "check.crcs": True,
                  "isolation.level": "read_committed"})
    partitions = c.list_topics(topic, 20).topics[topic].partitions
    ends = {p: c.get_watermark_offsets(TopicPartition(topic, p), 20) for p in partitions}
    left = {p for p, (low, high) in ends.items() if high > low}
    c.assign([TopicPartition(topic, p, ends[p][0]) for p in left])
    n = 0
    while left:
        batch = c.consume(5000, idle)
        if not batch:
            raise SystemExit(f"{topic}: partitions {left} cannot be read to their end")
        for m in batch:
            if m.error():
                if m.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(m.partition())
                    continue
                raise SystemExit(str(m.error()))
            n += 1
            each(m)
    c.close()
    return n


RECORD = re.compile(rb'<EventRecordID>(\d+)</EventRecordID>|"EventRecordID":(\d+)|"record_id":(\d+)')


def record_number(payload):
    """EventRecordID of a Windows event in any of its envelopes."""
    found = RECORD.search(payload)
    return int(next(g for g in found.groups() if g))


def quantile(sorted_values, q):
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))] if sorted_values else float("nan")


def say(*words):
    print(*words, flush=True)


def fail_unless(checks):
    """Prints each (text, fine) and ends with 1 when one is not fine."""
    for text, fine in checks:
        say("ok  " if fine else "FAIL", text)
    sys.exit(0 if all(fine for _, fine in checks) else 1)

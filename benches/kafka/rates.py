#!/usr/bin/env python3
"""Rates into Kafka as an independent consumer and a subscriber see them, over SECONDS (120).

    target/python-kafka/bin/pip install grpcio grpcio-tools
    target/python-kafka/bin/python benches/kafka/rates.py

Sysmon at 10,000 records a second, Security at 3,000, defender.device_process at PROCESSES (the nearest ratio that the
plan accepts unless set), one world under `verbose_lab`, a ransomware instance after 20 s and Sysmon at 12,000 after 60 s. Topics have
LogAppendTime: seconds by release are counted by a subscriber (logical time), ten seconds by append by the consumer.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict

from lab import BINARY, ROOT, Broker, Daemon, consume, fail_unless, quantile, say, work_folder

SECONDS = int(os.environ.get("SECONDS", 120))
RATES = {"sysmon": 10_000, "security": 3_000, "processes": int(os.environ.get("PROCESSES", 0))}
CHANGE = (60, 12_000)
HOSTS = os.environ.get("HOSTS", "2000")


def config(broker, processes):
    to = lambda t, e: (f"[{{sink: main, topic: {t}, encoding: {e}, create: {{partitions: 6, replication: 1, "
                       "config: {message.timestamp.type: LogAppendTime}}}]")
    return f"""
seed: 7
world: {{hosts: {HOSTS}}}
sensors: {{policy: verbose_lab}}
flush: 30s
attacks: {{scenarios: ['ransomware.*']}}
sinks: {{main: {{kafka: {{brokers: '{broker}'}}}}}}
streams:
  sysmon: {{source: windows.sysmon, rate: {RATES['sysmon']}/s, to: {to('rates.sysmon', 'winlogbeat')}}}
  security: {{source: windows.security, rate: {RATES['security']}/s, to: {to('rates.security', 'winlogbeat')}}}
  processes: {{source: defender.device_process, rate: {processes}/s, to: {to('rates.processes', 'defender_row')}}}
truth: {{headers: truth}}
"""


def accepted_ratio():
    """The rate of process rows nearest to 1,000 that the plan takes."""
    folder = work_folder("check")
    for rate in [1000, 900, 800, 700, 600, 500, 450, 400, 350, 300, 250, 200, 150, 120, 100, 80, 60, 50]:
        path = folder / "check.yaml"
        path.write_text(config("127.0.0.1:1", rate))
        done = subprocess.run([BINARY, "check", "-c", str(path)], capture_output=True, text=True)
        if done.returncode == 0:
            return rate, done.stdout
        if rate == 1000:
            say("at 1,000 the plan says:", done.stderr.strip())
    raise SystemExit(f"no ratio is accepted: {done.stderr}")


class Subscriber(threading.Thread):
    """Counts records by stream and second of release."""

    def __init__(self, address):
        super().__init__(daemon=True)
        from grpc_tools import protoc
        out = work_folder("proto")
        files = [f"skirmish/v1/{f}.proto" for f in ("record", "records")]
        protoc.main(["protoc", f"-I{ROOT}/proto", f"--python_out={out}", f"--grpc_python_out={out}", *files])
        sys.path.insert(0, str(out))
        import grpc
        from skirmish.v1 import records_pb2, records_pb2_grpc
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self.stub = records_pb2_grpc.RecordsStub(self.channel)
        self.request = records_pb2.SubscribeRequest(without_payload=True, without_truth=True)
        self.seconds, self.attack = defaultdict(Counter), defaultdict(Counter)
        self.release, self.gap = {}, 0

    def run(self):
        import grpc
        try:
            for r in self.stub.Subscribe(self.request):
                if r.HasField("gap"):
                    self.gap += r.gap.records
                for b in r.batches:
                    count, attack = self.seconds[b.stream], self.attack[b.stream]
                    ids = self.release.setdefault(b.stream, {})
                    for m in b.messages:
                        second = m.release_time_unix_nano // 1_000_000_000
                        count[second] += m.records
                        attack[second] += m.attack_records
                        ids[m.cell << 40 | m.number] = m.release_time_unix_nano // 1_000_000
        except grpc.RpcError:
            pass


def main():
    processes = RATES["processes"]
    if not processes:
        processes, report = accepted_ratio()
        say(report)
    RATES["processes"] = processes
    say(f"asked: sysmon {RATES['sysmon']}/s, then {CHANGE[1]}/s after {CHANGE[0]} s; security {RATES['security']}/s; processes {processes}/s")
    broker = Broker(heap_mb=700)
    daemon = Daemon(config(broker.server, processes))
    subscriber = Subscriber(daemon.listen)
    daemon.ready()
    subscriber.start()
    start = time.time()
    polls, fill = [], []
    changed_at = None
    started = False
    while time.time() - start < SECONDS:
        s = daemon.status()
        fill.append({x["name"]: (x["generated"], x["fill"], x["attack"]) for x in s["streams"]})
        t = time.time() - start
        if t > 20 and not started:
            say("instance:", daemon.ctl("scenario", "start", "ransomware.hands_on").strip())
            started = True
        if t > CHANGE[0] and changed_at is None:
            said = daemon.ctl("rate", "sysmon", f"{CHANGE[1]}/s").strip()
            changed_at = said.split(" from ")[1]
            say("rate:", said)
        time.sleep(1)
    cpu, wall, resident = daemon.cpu_seconds(), time.time() - start, daemon.resident()
    late = {dict(l)["le"]: v for (n, l), v in daemon.metrics().items() if n == "skirmish_slice_late_seconds_bucket"}
    text = daemon.stop()
    subscriber.join(10)
    say(text[text.rfind("stream "):])
    say(f"daemon: {cpu / wall:.2f} cores, {resident >> 20} MiB resident")
    if late:
        say("slices late, cumulative share:", ", ".join(f"<= {k} s {v / late['+Inf']:.2%}" for k, v in late.items()))

    checks = [(f"the subscriber missed nothing ({subscriber.gap} in gaps)", subscriber.gap == 0)]
    change = parse(changed_at) if changed_at else None
    waits = []
    for stream, rate in RATES.items():
        checks += check_stream(broker, subscriber, stream, rate, change if stream == "sysmon" else None, waits)
    waits.sort()
    say(f"append by the broker minus release, ms: p50 {quantile(waits, .5)}, p99 {quantile(waits, .99)}, max {waits[-1]}")
    for name in RATES:
        made, filled, attack = fill[-1][name]
        say(f"{name}: {made} made, {filled / made:.1%} by fill, {attack} of attacks")
    fail_unless(checks)


def parse(instant):
    from datetime import datetime, timezone
    base, fraction = re.match(r"(.*)\.(\d+)Z", instant).groups()
    return datetime.fromisoformat(base).replace(tzinfo=timezone.utc).timestamp() + int(fraction) / 10 ** len(fraction)


def due(rate, change, begin, end):
    """Records due from one second to another."""
    if change is None or end <= change:
        return rate * (end - begin)
    if begin >= change:
        return CHANGE[1] * (end - begin)
    return rate * (change - begin) + CHANGE[1] * (end - change)


def check_stream(broker, subscriber, stream, rate, change, waits):
    seconds = subscriber.seconds[stream]
    known = sorted(seconds)
    # whole seconds only: the first and the last are cut
    whole = known[1:-1]
    off, shared = [], 0
    owed = 0.0
    for s in whole:
        want = due(rate, change, s, s + 1)
        got = seconds[s]
        # one slice is 10 ms
        if abs(got - want) > want * 0.01 + 1:
            off.append((s - whole[0], got, want, subscriber.attack[stream][s]))
        owed += want - got
    total, all_due = sum(seconds[s] for s in whole), due(rate, change, whole[0], whole[-1] + 1)
    say(f"\n{stream}: {total} released in {len(whole)} whole seconds, {all_due:.0f} due, {(total - all_due) / all_due:+.4%}")
    for at, got, w, attack in off[:12]:
        say(f"  second {at}: {got} of {w:.0f} ({(got - w) / w:+.2%}), {attack} of attacks")
    appended, missing, own = Counter(), 0, []

    def each(m):
        nonlocal missing
        kind, stamp = m.timestamp()
        assert kind == 2, "LogAppendTime"
        appended[stamp // 10_000] += 1
        ident = dict(m.headers())["skirmish-id"].decode().split(".")
        released = subscriber.release[stream].get(int(ident[2]) << 40 | int(ident[3]))
        if released is None:
            missing += 1
        else:
            own.append(stamp - released)

    found = consume(broker.server, f"rates.{stream}", each)
    waits.extend(own)
    # a change of rate is seen at the broker when its first records have come there
    if change is not None:
        change += quantile(sorted(own), .5) / 1000
    tens = sorted(appended)[1:-1]
    wrong = []
    for t in tens:
        want = due(rate, change, t * 10, t * 10 + 10)
        if abs(appended[t] - want) > want * 0.01:
            wrong.append((t * 10, appended[t], want))
    say(f"{stream}: {found} found by the consumer, ten-second windows by LogAppendTime: {[appended[t] for t in tens]}")
    # what runs over because attack or shared records alone exceed the schedule is listed, not wrong
    over = [o for o in off if o[1] > o[2]]
    return [
        (f"{stream}: total within 0.1 %", abs(total - all_due) <= total * 0.001),
        (f"{stream}: every second within 1 % at release ({len(off)} of {len(whole)} off, {len(over)} of them above, listed)", len(off) == 0),
        (f"{stream}: every ten seconds within 1 % by LogAppendTime {wrong[:4]}", not wrong),
    ]


if __name__ == "__main__":
    main()

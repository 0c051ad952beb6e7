#!/usr/bin/env python3
"""A broker killed with kill -9 again and again under load from the daemon, and what a consumer finds afterwards.

    target/python-kafka/bin/python benches/kafka/outage.py [MODE...]     catch_up, block, drop; all unless named

KILLS (10), RATE (5000 records a second over two streams), SEED of the kills (1).

With `catch_up` and `block` every EventRecordID is there once and in order per key; with `drop` what is missing is what
the daemon reported, id by id. While it runs /metrics is polled and both balances of every account are checked.
"""

import json
import os
import random
import sys
import threading
import time
from collections import defaultdict

from lab import Broker, Daemon, consume, fail_unless, record_number, say

KILLS = int(os.environ.get("KILLS", 10))
RATE = int(os.environ.get("RATE", 5000))
SEED = int(os.environ.get("SEED", 1))
RISE_MAX = 64 << 20
STREAMS = {"sysmon": "Microsoft-Windows-Sysmon/Operational", "security": "Security"}


def config(broker, mode):
    # a small queue where records are to be refused soon, the usual one elsewhere
    queue = "4MiB" if mode == "drop" else "32MiB"
    return f"""
seed: 7
world: {{hosts: 500}}
sensors: {{policy: verbose_lab}}
attacks: {{scenarios: ['*'], per_hour: 60, first: 5s}}
flush: 60s
sinks:
  main: {{kafka: {{brokers: '{broker.server}', create_topics: {{partitions: 6, replication: 1}}}}, on_slow: {mode}, queue: {queue}}}
streams:
  sysmon: {{source: windows.sysmon, rate: {RATE * 8 // 10}/s, to: [{{sink: main, topic: {mode}.sysmon, encoding: winlogbeat}}]}}
  security: {{source: windows.security, rate: {RATE * 2 // 10}/s, to: [{{sink: main, topic: {mode}.security, encoding: winlogbeat}}]}}
truth: {{headers: id}}
"""


class Watcher(threading.Thread):
    """Polls memory and accounts until told to stop."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_, self.halt = daemon, threading.Event()
        self.base, self.peak, self.polls, self.wrong, self.in_flight_max = None, 0, 0, [], 0

    def run(self):
        while not self.halt.wait(0.1):
            try:
                self.check(self.daemon_.metrics())
            except OSError as e:
                if not self.halt.is_set():
                    self.wrong.append(f"/metrics: {e}")
                return
            self.peak = max(self.peak, self.daemon_.resident())

    def check(self, samples):
        self.polls += 1
        value = lambda name, **labels: samples[name, tuple(sorted(labels.items()))]
        for (name, labels), scheduled in samples.items():
            l = dict(labels)
            if name == "skirmish_records_scheduled_total":
                made, owed = value("skirmish_records_generated_total", **l), value("skirmish_records_owed", **l)
                if scheduled != made + owed:
                    self.wrong.append(f"{l}: scheduled {scheduled} is not {made} made + {owed} owed")
            if name == "skirmish_delivery_offered_records_total":
                parts = [value("skirmish_delivery_records_total", outcome=o, **l) for o in ("delivered", "dropped", "unknown")]
                flight = value("skirmish_delivery_in_flight_records", **l)
                self.in_flight_max = max(self.in_flight_max, flight)
                if scheduled != sum(parts) + flight:
                    self.wrong.append(f"{l}: offered {scheduled} is not {parts} + {flight} in flight")


def run(mode):
    chance = random.Random(SEED)
    broker = Broker()
    daemon = Daemon(config(broker, mode))
    daemon.ready()
    watcher = Watcher(daemon)
    watcher.start()
    time.sleep(10)
    base = watcher.peak
    down = 0.0
    for _ in range(KILLS):
        time.sleep(chance.uniform(2, 6))
        broker.kill()
        for_seconds = chance.uniform(1, 6)
        time.sleep(for_seconds)
        began = time.time()
        broker.up()
        down += for_seconds + time.time() - began
    time.sleep(5)
    # all of a backlog is made up for before the end
    deadline = time.time() + 120
    while mode == "catch_up" and time.time() < deadline:
        if all(abs(s["achieved"] - s["asked"]) < s["asked"] * 0.2 + 50 for s in daemon.status()["streams"]) and \
                sum(d["in_flight"] for s in daemon.status()["streams"] for d in s["deliveries"]) < RATE:
            break
        time.sleep(1)
    watcher.halt.set()
    watcher.join()
    cpu = daemon.cpu_seconds()
    text = daemon.stop(120)
    manifest = json.loads((daemon.state / "manifest.json").read_text())
    lost = losses(daemon.state, manifest["run"]["id"])
    say(f"\n== {mode}: {KILLS} kills, {down:.0f} s without a broker, {cpu:.0f} CPU seconds")
    say("\n".join(l for l in text.splitlines() if "\x1b" not in l)[-2500:])
    checks = [(f"memory: {base >> 20} MiB before, {watcher.peak >> 20} MiB at most, less than 64 MiB more", watcher.peak - base < RISE_MAX),
              (f"accounts balance in each of {watcher.polls} polls (in flight up to {watcher.in_flight_max:.0f}) {watcher.wrong[:2]}",
               watcher.polls > 50 and not watcher.wrong)]
    found_all = reported_all = 0
    for stream, channel in STREAMS.items():
        checks += check_topic(broker, mode, stream, channel, manifest, lost)
    if mode == "drop":
        total = sum(last - first + 1 for spans in lost.values() for first, last in spans)
        checks.append((f"something was dropped: {total} records reported", total > 0))
    broker.kill()
    return [(f"{mode}: {text}", fine) for text, fine in checks]


def losses(state, run):
    """(stream, cell) -> [(first, last)] of the record ids that the daemon reported as dropped."""
    path, spans = state / f"dropped-{run}.jsonl", defaultdict(list)
    if path.exists():
        for line in path.read_text().splitlines():
            l = json.loads(line)
            if l["sink"] != "main":
                continue
            for cell, first, last in l["ids"]:
                spans[l["stream"], cell].append((first, last))
    return spans


def check_topic(broker, mode, stream, channel, manifest, lost):
    last, first, wrong, gaps = {}, {}, [], 0
    seen = defaultdict(set)

    def each(m):
        nonlocal gaps
        key, n = m.key().decode(), record_number(m.value())
        before = last.get(key)
        if before is None:
            first[key] = n
        elif n <= before:
            wrong.append(f"{key}: {n} after {before}")
        else:
            gaps += n - before - 1
        last[key] = n
        ident = dict(m.headers())["skirmish-id"].decode().split(".")
        cell, i = int(ident[2]), int(ident[3])
        if i in seen[cell]:
            wrong.append(f"id {ident} twice")
        seen[cell].add(i)

    got = consume(broker.server, f"{mode}.{stream}", each)
    hosts = {name: h["channels"][channel] for name, h in manifest["hosts"].items() if h["channels"].get(channel, {}).get("count")}
    made = sum(c["count"] for c in hosts.values())
    checks = [(f"{stream}: {got} found, none twice, each in order under its key {wrong[:3]}", not wrong and got > 0)]
    if mode != "drop":
        short = {n: h.split(".")[0] for h, n in ()}
        ends = {k: (first[k], last[k]) for k in first}
        want = {h: (c["first"], c["last"]) for h, c in hosts.items()}
        match = lambda h: ends.get(h) or ends.get(h.split(".")[0])
        off = [h for h, w in want.items() if match(h) != w]
        checks.append((f"{stream}: all {made} EventRecordIDs that were given out are there, from first to last on {len(want)} hosts {off[:3]}",
                       got == made and gaps == 0 and not off))
    else:
        reported = defaultdict(set)
        for (s, cell), spans in lost.items():
            if s == stream:
                for a, b in spans:
                    reported[cell].update(range(a, b + 1))
        missing = {c: set(range(max(seen[c] | reported[c]) + 1)) - seen[c] for c in set(seen) | set(reported)}
        exact = all(missing[c] == reported[c] for c in missing)
        n = sum(len(r) for r in reported.values())
        checks.append((f"{stream}: {made} made, {got} found, {n} reported as dropped: exactly those missing", exact and made == got + n))
    return checks


if __name__ == "__main__":
    checks = []
    for mode in sys.argv[1:] or ["catch_up", "block", "drop"]:
        checks += run(mode)
    say()
    fail_unless(checks)

#!/usr/bin/env bash
# The figures of speed and size in docs/figures.md, as one table: `benches/figures.sh [RUNS] [HOURS]`.
#
# RUNS alternating runs of each command (5), medians and ranges printed; HOURS logical hours for the world of 10,000
# hosts (0.1: at 20,000 records a second 24 hours are 1.7 thousand million records).
# CPU seconds are the process's own, so that a busy machine does not hide what is being measured.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} hours=${2:-0.1}
skirmish=${SKIRMISH:-target/release/skirmish}
[ -x "$skirmish" ] || cargo build --release
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# NAME COMMAND...: one run; wall and CPU seconds, peak KiB and the summary go to a line of $out/NAME
one() {
  local name=$1; shift
  /usr/bin/time -o "$out/time" -f '%e %U %S %M' "$@" >"$out/json" 2>/dev/null
  echo "$(tail -1 "$out/time") $(grep -o '{"records.*' "$out/json" | tail -1)" >>"$out/$name"
}
# NAME LABEL: the table's row
row() {
  python3 - "$out/$1" "$2" <<'PY'
import json, statistics, sys
rows = []
for line in open(sys.argv[1]):
    wall, user, system, kib, summary = line.split(' ', 4)
    s = json.loads(summary)
    cpu = float(user) + float(system) - s['load_seconds'] * min(1, (float(user) + float(system)) / float(wall))
    rows.append((s['records'] / s['seconds'], s['bytes'] / s['seconds'] / 1e6, s['records'] / cpu, s['bytes'] / cpu / 1e6,
                 int(kib) / 1024, s['load_seconds'], s['digest']))
mid = lambda i: statistics.median(r[i] for r in rows)
span = lambda i: f"{min(r[i] for r in rows):,.0f} to {max(r[i] for r in rows):,.0f}"
print(f"| {sys.argv[2]} | {mid(0):,.0f} ({span(0)}) | {mid(1):,.0f} | {mid(2):,.0f} | {mid(3):,.0f} | {mid(4):,.0f} | {mid(5):.2f} | {len(set(r[6] for r in rows))} |")
PY
}

mix=(generate --source windows.sysmon,windows.security,defender.device_process --seed 7 -o null: --json
     --set sensors.policy=verbose_lab --set world.hosts=2000)
cat >"$out/large.yaml" <<'Y'
seed: 7
world: {hosts: 10000}
sensors: {policy: verbose_lab}
clock: {from: 2026-03-02T08:00:00Z, speed: max}
sinks: {out: {null: {}}}
streams:
  sysmon: {source: windows.sysmon, rate: 15k/s, unnatural: true, to: [{sink: out, encoding: nxlog}]}
  security: {source: windows.security, rate: 4k/s, unnatural: true, to: [{sink: out, encoding: nxlog}]}
  device: {source: defender.device_process, rate: 1k/s, unnatural: true, to: [{sink: out}]}
Y
for _ in $(seq "$runs"); do
  one one "$skirmish" "${mix[@]}" --count 3000000 --threads 1
  one two "$skirmish" "${mix[@]}" --count 3000000 --threads 2
  one start "$skirmish" generate --source windows.sysmon,windows.security,defender.device_process --count 1 -o null: --json
done
one large "$skirmish" generate -c "$out/large.yaml" --for "$(python3 -c "print(int(float('$hours')*3600))")s" -o null: --json --threads 2

echo "$(nproc) processors, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs), load $(cut -d' ' -f1-3 /proc/loadavg)"
echo
echo '| what | records/s, median (range) | MB/s | records per CPU second | MB per CPU second | peak MiB | load s | digests |'
echo '|---|---|---|---|---|---|---|---|'
row one '2,000 hosts, three sources, one thread'
row two 'the same, two threads'
row large "10,000 hosts at 20,000/s, $hours logical hours, two threads"
row start '300 hosts, to the first record'
echo
python3 - <<'PY'
import time
block = bytearray(b'x' * (64 << 20)); target = bytearray(64 << 20)
best = 0
for _ in range(20):
    t = time.perf_counter(); target[:] = block; best = max(best, len(block) / (time.perf_counter() - t))
print(f'memcpy of 64 MiB beside it: {best / 1e6:,.0f} MB/s')
PY

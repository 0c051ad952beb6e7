#!/usr/bin/env bash
# skirmish against Kafka's own producer on the same broker: the same 100,000 records, acks=all, batch and compression.
# Five alternating runs; medians of records a second and CPU seconds per million records.
#
#   benches/kafka/throughput.sh [RECORDS]       default 2000000 records a run
#
# Needs Java 17 and Maven, and a release build. COMPRESSION (lz4), BATCH (131072), LINGER (5), PARTITIONS (6), RUNS (5).
set -euo pipefail
cd "$(dirname "$0")/../.."
records=${1:-2000000}
compression=${COMPRESSION:-lz4} batch=${BATCH:-131072} linger=${LINGER:-5} partitions=${PARTITIONS:-6} runs=${RUNS:-5}
version=4.1.0
target=${CARGO_TARGET_DIR:-target}
jars=$PWD/$target/kafka/$version/lib
bin=${SKIRMISH:-$PWD/$target/release/skirmish}
work=$(mktemp -d "$PWD/$target/kafka-bench.XXXXXX")
broker=
cleanup() { [ -z "$broker" ] || kill -9 "$broker" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

[ -x "$bin" ] || cargo build --release
if [ ! -e "$target/kafka/$version/complete" ]; then
  echo "fetching Kafka $version: cargo test --test kafka_sink does it" >&2
  cargo test --test kafka_sink murmur2 >/dev/null
  [ -e "$target/kafka/$version/complete" ] || cargo test --test kafka_sink records_arrive >/dev/null
fi

port=$((21000 + RANDOM % 4000)); controller=$((port + 1))
cat >"$work/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$work/data
offsets.topic.replication.factor=1
num.partitions=$partitions
log.retention.bytes=268435456
log.segment.bytes=134217728
log.retention.check.interval.ms=5000
log.segment.delete.delay.ms=1000
P
java -cp "$jars/*" kafka.tools.StorageTool format --standalone -t AAAAAAAAAAAAAAAAAAAAAQ -c "$work/server.properties" >/dev/null
java -Xmx1g -Xms1g -cp "$jars/*" kafka.Kafka "$work/server.properties" >"$work/log" 2>&1 &
broker=$!
server=127.0.0.1:$port
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.2; done

cat >"$work/skirmish.yaml" <<Y
seed: 7
clock: {from: $(date -u +%Y-%m-%dT%H:%M:%SZ), speed: max}
world: {hosts: 2000}
sensors: {policy: verbose_lab}
sinks:
  main:
    kafka:
      brokers: '$server'
      compression: $compression
      batch: 1000000
      linger: ${linger}ms
      create_topics: {partitions: $partitions, replication: 1}
    queue: 32MiB
streams:
  sysmon: {source: windows.sysmon, rate: 100k/s, to: [{sink: main, topic: bench.skirmish, encoding: winlogbeat, headers: none}]}
truth: {headers: none}
Y

# 100,000 of the very records, one a line
"$bin" generate -c "$work/skirmish.yaml" --count 100000 -o "$work/payload" 2>/dev/null
bytes=$(stat -c %s "$work/payload")

timed() { # FILE COMMAND...: seconds of wall clock and CPU into FILE
  local out=$1; shift
  TIMEFORMAT='%R %U %S'
  { time "$@" >"$work/out" 2>&1; } 2>"$out" || { cat "$work/out" >&2; return 1; }
}
peer() {
  timed "$work/time" java -Xmx512m -cp "$jars/*" org.apache.kafka.tools.ProducerPerformance --topic bench.perf \
    --num-records "${1:-$records}" --throughput -1 --print-metrics --payload-file "$work/payload" --producer-props bootstrap.servers="$server" \
    acks=all compression.type="$compression" batch.size="$batch" linger.ms="$linger" buffer.memory=33554432
  # its own figure leaves out the start of the virtual machine
  rate=$(grep -E '^[0-9]+ records sent' "$work/out" | grep -oE '[0-9.]+ records/sec' | tail -1 | cut -d' ' -f1)
}
ours() {
  timed "$work/time" "$bin" run -c "$work/skirmish.yaml" --count "${1:-$records}" --listen 127.0.0.1:0 --set control.metrics=off
  # as with the peer, from the first connection to the last acknowledgement; planning the world is left out of the rate,
  # not of the processor time
  rate=$(grep -oE '[0-9]+ records in .*: [0-9]+/s' "$work/out" | grep -oE '[0-9]+/s$' | tr -d /s)
}
java -cp "$jars/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$server" --create --topic bench.perf --partitions "$partitions" >/dev/null
# The Java client counts a batch as it guesses it compressed, librdkafka before compression: the same batch on the wire
# needs another figure here.
peer 500000
metric() { grep -E "^producer-metrics:$1:" "$work/out" | sed 's/.*: *//'; }
ours_batch=$(awk -v b="$batch" -v r="$(metric compression-rate-avg)" 'BEGIN {b /= r; print int(b < 1000000 ? b : 1000000)}')
sed -i "s/batch: 1000000/batch: $ours_batch/" "$work/skirmish.yaml"
# what each of them asks of the broker is compiled there when it has been asked some thousand times
for _ in 1 2; do ours 1000000; peer 1000000; done
echo "payload: 100000 records, $((bytes / 100000)) bytes each; $records records a run; acks=all, $compression, linger $linger ms, $partitions partitions"
echo "batch: $batch bytes compressed ($(metric batch-size-avg) on average), $ours_batch before compression"
: >"$work/results"
ticks() { awk '{print $14 + $15}' "/proc/$broker/stat"; }
for run in $(seq "$runs"); do
  for who in ours peer; do
    before=$(ticks)
    $who
    awk -v who="$who" -v rate="$rate" -v n="$records" -v broker="$(($(ticks) - before))" \
      '{printf "%s %.0f %.2f %.2f\n", who, rate, ($2 + $3) * 1e6 / n, broker / 100 * 1e6 / n}' "$work/time" |
      tee -a "$work/results" | sed "s/^/run $run: /"
  done
done
for who in ours peer; do
  for column in 2 3 4; do
    grep "^$who " "$work/results" | cut -d' ' -f$column | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
  done | paste -sd' ' | awk -v who="$who" '{printf "median %s: %d records/s, %s CPU seconds per million, the broker %s\n", who, $1, $2, $3}'
done

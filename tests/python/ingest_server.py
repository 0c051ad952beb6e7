"""A server for skirmish's push sink, written from proto/skirmish/v1 alone.

It acknowledges late (so many batches behind what it has, and after a pause), throws its connection away twice in the
middle of the work, and keeps every record once. Prints `listening PORT`, and at the end one JSON object.

    ingest_server.py PROTO_DIR WORK_DIR --token TOKEN --behind 3 --pause-ms 2 --break-at 20,50
"""

import argparse
import hashlib
import json
import queue
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_tools import protoc

parser = argparse.ArgumentParser()
parser.add_argument("proto_dir")
parser.add_argument("work_dir")
parser.add_argument("--token")
parser.add_argument("--behind", type=int, default=3)
parser.add_argument("--pause-ms", type=float, default=2)
parser.add_argument("--break-at", default="")
parser.add_argument("--reject", type=int, default=0, help="sequence of a batch to refuse for good")
args = parser.parse_args()

files = ["skirmish/v1/ingest.proto", "skirmish/v1/record.proto"]
out = [f"-I{args.proto_dir}", f"--python_out={args.work_dir}", f"--grpc_python_out={args.work_dir}"]
if protoc.main(["protoc", *out, *files]) != 0:
    sys.exit("protoc failed")
sys.path.insert(0, args.work_dir)
from skirmish.v1 import ingest_pb2, ingest_pb2_grpc  # noqa: E402


class Store:
    """What outlives a connection."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kept_through = 0  # highest sequence that was kept
        self.digests = {}  # sequence -> digest of the batch
        self.hellos = []
        self.order = {}  # (stream, key) -> number of the last message
        self.messages = {}  # stream -> messages
        self.truth_lines = 0
        self.repeats = 0
        self.faults = []
        self.break_at = [int(n) for n in args.break_at.split(",") if n]
        self.breaking = threading.Event()
        self.done = threading.Event()

    def hello(self, h):
        with self.lock:
            self.hellos.append(h)
            if h.first_sequence > self.kept_through + 1:
                self.faults.append(f"first_sequence {h.first_sequence} leaves a hole after {self.kept_through}")

    def batch(self, b, expected):
        """Takes in a batch; says whether to break the connection now."""
        with self.lock:
            if b.sequence != expected:
                self.faults.append(f"sequence {b.sequence} came in place of {expected}")
            digest = hashlib.sha256(b.SerializeToString(deterministic=True)).hexdigest()
            if b.sequence <= self.kept_through:
                self.repeats += 1
                if self.digests[b.sequence] != digest:
                    self.faults.append(f"batch {b.sequence} came again and is not the same")
                return False
            self.kept_through = b.sequence
            self.digests[b.sequence] = digest
            if b.sequence == args.reject:
                return False
            for rb in b.batches:
                for m in rb.messages:
                    last = self.order.get((rb.stream, m.key), -1)
                    if m.number <= last:
                        self.faults.append(f"{rb.stream} {m.key}: {m.number} after {last}")
                    self.order[rb.stream, m.key] = m.number
                    self.messages[rb.stream] = self.messages.get(rb.stream, 0) + 1
                    self.truth_lines += m.truth.count(b"\n")
                    if not m.payload.startswith(b"%d/%d " % (rb.stream_index, m.number)):
                        self.faults.append(f"payload of {rb.stream} {m.number} is {m.payload[:40]!r}")
            if self.break_at and b.sequence >= self.break_at[0]:
                self.break_at.pop(0)
                return True
            return False


store = Store()


class Ingest(ingest_pb2_grpc.IngestServicer):
    def Push(self, requests, context):
        if args.token and dict(context.invocation_metadata()).get("authorization") != f"Bearer {args.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        to_answer = queue.Queue()

        def read():
            try:
                first = next(requests)
                if first.WhichOneof("item") != "hello":
                    store.faults.append("the first message is no hello")
                store.hello(first.hello)
                expected = first.hello.first_sequence
                for r in requests:
                    broken = store.batch(r.batch, expected)
                    expected = r.batch.sequence + 1
                    if broken:
                        store.breaking.set()
                        return
                    to_answer.put(r.batch.sequence)
                to_answer.put(None)
            except Exception:  # the connection is gone
                to_answer.put(None)

        threading.Thread(target=read, daemon=True).start()
        through, behind = 0, []
        while True:
            sequence = to_answer.get()
            if sequence is None:
                break
            behind.append(sequence)
            if len(behind) > args.behind:
                time.sleep(args.pause_ms / 1000)
                through = behind.pop(0)
                yield self.answer(through)
            # skirmish may wait for its window: answer all once nothing more comes
            elif to_answer.empty() and len(behind) >= first_window(store):
                through = behind.pop(0)
                yield self.answer(through)
        if behind:
            through = behind[-1]
            yield self.answer(through)
        if context.is_active():
            store.done.set()

    @staticmethod
    def answer(through):
        a = ingest_pb2.PushResponse(acked_through=through)
        if args.reject and through >= args.reject:
            a.rejected.add(sequence=args.reject, reason="not this one")
        return a


def first_window(store):
    return store.hellos[-1].window_batches_max


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    ingest_pb2_grpc.add_IngestServicer_to_server(Ingest(), server)
    for _ in range(200):
        try:
            got = server.add_insecure_port(f"127.0.0.1:{port}")
            break
        except RuntimeError:  # the port of the server before is not free yet
            time.sleep(0.05)
    server.start()
    return server, got


server, port = serve(0)
print(f"listening {port}", flush=True)
while not store.done.is_set():
    if store.breaking.wait(0.02):
        store.breaking.clear()
        server.stop(None).wait()
        server, port = serve(port)
server.stop(5).wait()
with store.lock:
    windows = [h.window_batches_max for h in store.hellos]
    print(
        json.dumps(
            {
                "connections": len(store.hellos),
                "run": store.hellos[0].run,
                "sink": store.hellos[0].sink,
                "batches": store.kept_through,
                "messages": store.messages,
                "truth_lines": store.truth_lines,
                "repeats": store.repeats,
                "repeats_max": sum(windows[1:]),
                "faults": store.faults[:10],
            }
        )
    )

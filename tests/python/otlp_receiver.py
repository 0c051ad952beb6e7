"""An OTLP logs receiver on OpenTelemetry's own Python package.

Answers UNAVAILABLE once, then RESOURCE_EXHAUSTED with RetryInfo once, then takes everything in but the first two log
records of one export, which it rejects. Prints `listening PORT`; after a line on stdin, one JSON object.
"""

import json
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc


def field(number, value):
    return bytes([number << 3 | 2, len(value)]) + value


# google.rpc.Status{details: [Any{RetryInfo{retry_delay: 20 ms}}]}
RETRY_INFO = field(1, b"\x10" + b"\x80\xda\xc4\x09")
ANY = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, RETRY_INFO)
DETAILS = field(3, ANY)


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.calls = 0
        self.records = []
        self.rejected = 0

    def Export(self, request, context):
        with self.lock:
            self.calls += 1
            if self.calls == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
            if self.calls == 2:
                context.set_trailing_metadata([("grpc-status-details-bin", DETAILS)])
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much at once")
            response = logs_service_pb2.ExportLogsServiceResponse()
            skip = 2 if self.calls == 3 else 0
            for resource in request.resource_logs:
                of = {a.key: a.value.string_value for a in resource.resource.attributes}
                for scope in resource.scope_logs:
                    for r in scope.log_records:
                        if skip > 0:
                            skip -= 1
                            self.rejected += 1
                            continue
                        attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in r.attributes}
                        self.records.append(
                            {
                                "resource": of,
                                "scope": scope.scope.name,
                                "time": r.time_unix_nano,
                                "observed": r.observed_time_unix_nano,
                                "severity": r.severity_number,
                                "severity_text": r.severity_text,
                                "body": r.body.string_value,
                                "attributes": attributes,
                            }
                        )
            if self.calls == 3:
                response.partial_success.rejected_log_records = self.rejected
                response.partial_success.error_message = "two too many"
            return response


logs = Logs()
server = grpc.server(futures.ThreadPoolExecutor(4))
logs_service_pb2_grpc.add_LogsServiceServicer_to_server(logs, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening {port}", flush=True)
sys.stdin.readline()
server.stop(5).wait()
print(json.dumps({"calls": logs.calls, "records": logs.records}))

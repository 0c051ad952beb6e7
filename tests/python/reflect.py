"""Asks a daemon for its services by reflection, and reads records with nothing but what reflection told.

    reflect.py ADDRESS TOKEN COUNT        prints one JSON object
"""

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Bearer(grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    def intercept_unary_stream(self, call, details, request):
        return call(self.details(details), request)

    def intercept_stream_stream(self, call, details, requests):
        return call(self.details(details), requests)

    def details(self, d):
        return d._replace(metadata=[*(d.metadata or []), ("authorization", f"Bearer {token}")])


channel = grpc.intercept_channel(grpc.insecure_channel(address), Bearer())
try:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = sorted(database.get_services())
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("skirmish.v1.Records").methods_by_name["Subscribe"]
    request = GetMessageClass(method.input_type)(limit_messages=count)
    subscribe = channel.unary_stream(
        "/skirmish.v1.Records/Subscribe",
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    stream = subscribe(request)
    stream.initial_metadata()
    print("subscribed", flush=True)
    numbers = [m.number for r in stream for b in r.batches for m in b.messages]
    print(json.dumps({"services": services, "numbers": numbers}))
except grpc.RpcError as e:
    print(json.dumps({"code": e.code().name, "details": e.details()}))

"""Reads the cluster's status knowing nothing of Holdfast but an address: services and types come by server reflection.

Usage: status_by_reflection.py HOST:PORT [CA CERT KEY]
Prints the answer as JSON. Not here: generated code; that is the point.
"""

import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "holdfast.v1.ClusterService"
METHOD = "GetStatus"
TIMEOUT_S = 10


def connect(address, files):
    if not files:
        return grpc.insecure_channel(address)
    ca, cert, key = (open(path, "rb").read() for path in files)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert))


def main():
    address, files = sys.argv[1], sys.argv[2:]
    with connect(address, files) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = list(database.get_services())
        if SERVICE not in services:
            sys.exit(f"{SERVICE} isn't among {services}")
        method = DescriptorPool(database).FindServiceByName(SERVICE).methods_by_name[METHOD]
        call = channel.unary_unary(
            f"/{SERVICE}/{METHOD}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(GetMessageClass(method.input_type)(), timeout=TIMEOUT_S)
        print(json_format.MessageToJson(answer, preserving_proto_field_name=True))


if __name__ == "__main__":
    main()

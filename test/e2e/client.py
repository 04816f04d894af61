"""An independent gRPC client: get, set, delete and setr through the unary methods.

Usage: client.py GENERATED HOST:PORT, where GENERATED holds what protoc made from proto/.
"""

import os
import sys

sys.path.insert(0, sys.argv[1])

import grpc  # noqa: E402
from kvs.v1 import kv_pb2, kv_pb2_grpc  # noqa: E402


def refused(call, request):
    try:
        call(request, timeout=10)
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata())
        return error.code(), metadata.get("kvs-code"), error.details()
    raise AssertionError("this was not refused")


def main():
    with grpc.insecure_channel(sys.argv[2]) as channel:
        kvs = kv_pb2_grpc.KeyValueServiceStub(channel)

        first = kvs.Set(kv_pb2.SetRequest(key=b"k", value=b"\x00\xff"), timeout=10)
        read = kvs.Get(kv_pb2.GetRequest(key=b"k"), timeout=10)
        assert (read.found, read.value, read.version) == (True, b"\x00\xff", first.version)
        assert not kvs.Get(kv_pb2.GetRequest(key=b"nothing"), timeout=10).found

        # A retry under the same number takes effect once.
        numbered = kv_pb2.SetRequest(key=b"k", value=b"2", client=os.urandom(16), client_sequence=1)
        second = kvs.Set(numbered, timeout=10)
        assert second.previous == first.version
        assert kvs.Set(numbered, timeout=10).version == second.version

        stale = kv_pb2.SetRequest(
            key=b"k",
            value=b"3",
            condition=kv_pb2.CONDITION_KIND_IF_VERSION,
            if_version=first.version,
        )
        status, code, details = refused(kvs.Set, stale)
        assert status == grpc.StatusCode.FAILED_PRECONDITION, status
        assert code == "CONDITION_NOT_MET", code
        assert str(second.version) in details, details
        status, _, details = refused(kvs.Set, kv_pb2.SetRequest(key=b"", value=b"v"))
        assert status == grpc.StatusCode.INVALID_ARGUMENT and "empty" in details
        status, _, details = refused(kvs.Set, kv_pb2.SetRequest(key=b"k" * 4097, value=b"v"))
        assert status == grpc.StatusCode.INVALID_ARGUMENT and "4 KiB" in details
        status, _, details = refused(kvs.Set, kv_pb2.SetRequest(key=b"k", value=b"v" * (2**20 + 1)))
        assert status == grpc.StatusCode.INVALID_ARGUMENT and "1 MiB" in details

        writes = [kv_pb2.Write(key=b"account %d" % at, value=b"100") for at in range(10)]
        writes.append(kv_pb2.Write(key=b"k", delete=True))
        committed = kvs.SetR(kv_pb2.SetRRequest(writes=writes), timeout=10)
        assert committed.participants > 1 and committed.txid
        for at in range(10):
            account = kvs.Get(kv_pb2.GetRequest(key=b"account %d" % at), timeout=10)
            assert (account.value, account.version) == (b"100", committed.version)
        assert not kvs.Get(kv_pb2.GetRequest(key=b"k"), timeout=10).found
        names = [b"account %d" % at for at in range(10)] + [b"k"]
        together = kvs.GetR(kv_pb2.GetRRequest(keys=names), timeout=10)
        assert {record.version for record in together.records} == {committed.version}
        assert len(together.records) == 10

        assert kvs.Delete(kv_pb2.DeleteRequest(key=b"account 1"), timeout=10).deleted
        assert not kvs.Delete(kv_pb2.DeleteRequest(key=b"account 1"), timeout=10).deleted
        view = kvs.GetServerView(kv_pb2.GetServerViewRequest(), timeout=10).view
        assert view.epoch > 0 and len(view.rows) == view.parameters.bucket_count
    print("all as expected")


main()

"""Collects what Seawall exports of one pull, and holds it against OpenTelemetry's own definition of the protocol.

Usage: traces.py SEAWALL

Whatever the definition does not know, or knows as another type, is an error.
"""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
BLOB = "sha256:" + "a" * 64
# JSON of protocol buffers has bytes in base64, but OTLP has these in hexadecimal.
IDS = {"traceId", "spanId", "parentSpanId"}

exported = []


class Host(BaseHTTPRequestHandler):
    """The collector, and a registry that has nothing."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        exported.append((dict(self.headers), body))
        self.answer(200, b"{}")

    def do_GET(self):
        self.answer(404, b"{}")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def in_base64(value):
    """The same JSON with the ids as every other field of bytes."""
    if isinstance(value, list):
        return [in_base64(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(each)).decode() if key in IDS else in_base64(each)
        for key, each in value.items()
    }


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def pull(address):
    """Asks for a blob that the registry has not, once Seawall listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://{address}/v2/library/app/blobs/{BLOB}")
    request.add_header("traceparent", f"00-{TRACE}-{PARENT}-01")
    request.add_header("tracestate", "vendor=1")
    for _ in range(100):
        try:
            opener.open(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit("Seawall does not listen")


def main():
    host = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    here, address = f"http://127.0.0.1:{host.server_port}", free_address()
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            "PATH": os.environ["PATH"],
            "CACHE_DIRECTORY": cache,
            "SEAWALL_SERVER__LISTEN": address,
            "SEAWALL_SERVER__ADMIN": "127.0.0.1:0",
            "SEAWALL_TRACE": f"{{ endpoint = '{here}', service = 'probe', headers = {{ x-scope-orgid = 'team' }} }}",
            "SEAWALL_UPSTREAM": f"[{{ registry = 'docker.io', url = '{here}', insecure = true }}]",
        }
        seawall = subprocess.Popen([sys.argv[1], "serve"], env=environment, stderr=subprocess.PIPE)
        status = pull(address)
        # What waits is handed over at the end.
        seawall.terminate()
        _, log = seawall.communicate(timeout=60)
    if status != 404 or seawall.returncode != 0:
        sys.exit(f"answered {status}, ended with {seawall.returncode}\n{log.decode()}")
    spans = []
    for headers, body in exported:
        assert headers["content-type"] == "application/json" and headers["x-scope-orgid"] == "team", headers
        request = json_format.ParseDict(in_base64(json.loads(body)), ExportTraceServiceRequest())
        (resource,) = request.resource_spans
        names = {each.key: each.value.string_value for each in resource.resource.attributes}
        assert names["service.name"] == "probe", names
        spans += [span for scope in resource.scope_spans for span in scope.spans]
    by_name = {span.name: span for span in spans}
    assert {"GET blob", "fill", "GET"} <= by_name.keys(), by_name.keys()
    served, filled, asked = by_name["GET blob"], by_name["fill"], by_name["GET"]
    for span, kind, parent in [
        (served, Span.SPAN_KIND_SERVER, bytes.fromhex(PARENT)),
        (filled, Span.SPAN_KIND_INTERNAL, served.span_id),
        (asked, Span.SPAN_KIND_CLIENT, filled.span_id),
    ]:
        assert span.trace_id.hex() == TRACE and span.trace_state == "vendor=1", span
        assert span.kind == kind and span.parent_span_id == parent and len(span.span_id) == 8, span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
    print(f"{len(spans)} spans are as OpenTelemetry defines them")


main()

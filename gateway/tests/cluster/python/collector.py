"""A collector: takes OTLP over HTTP at a port, read by OpenTelemetry's own messages, and appends a line of JSON to a file for each span.

python collector.py PORT FILE
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PORT, FILE = int(sys.argv[1]), sys.argv[2]
LOCK = Lock()


def value(it):
    return getattr(it, it.WhichOneof("value"))


def attributes(of):
    return {it.key: value(it.value) for it in of}


def lines(request):
    for resource_spans in request.resource_spans:
        resource = attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield {
                    "resource": resource,
                    "scope": scope_spans.scope.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "links": [link.span_id.hex() for link in span.links],
                    "status": Status.StatusCode.Name(span.status.code),
                    "sampled": span.flags & 1 == 1,
                }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        answer = ExportTraceServiceResponse().SerializeToString()
        if right:
            request = ExportTraceServiceRequest.FromString(body)
            # It knows every field, and each is as long as it has to be.
            request.DiscardUnknownFields()
            right = request.ByteSize() == len(body)
            with LOCK, open(FILE, "a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines(request))
        self.send_response(200 if right else 400)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


open(FILE, "w").close()
ThreadingHTTPServer(("127.0.0.1", PORT), Collector).serve_forever()

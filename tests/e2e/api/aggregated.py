"""An aggregated API server: a real HTTPS process that believes whoever shows the front proxy's certificate.

python aggregated.py PORT CERTIFICATE KEY CLIENTS
"""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUP, VERSION = "meter.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {
            "name": "readings",
            "singularName": "reading",
            "namespaced": True,
            "kind": "Reading",
            "verbs": ["get", "list", "watch"],
            "shortNames": ["rd"],
        }
    ],
}
GVK = "x-kubernetes-group-version-kind"
DEFINITIONS = "#/definitions/"
SCHEMAS = {
    "swagger": "2.0",
    "info": {"title": "meter", "version": "1"},
    "paths": {f"{ROOT}/readings": {"get": {"operationId": "listReadings"}}, "/other/": {"get": {}}},
    "definitions": {
        "com.example.meter.v1.Reading": {
            "type": "object",
            "properties": {
                "metadata": {"$ref": f"{DEFINITIONS}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                "unit": {"$ref": f"{DEFINITIONS}com.example.meter.v1.Unit"},
            },
            GVK: [{"group": GROUP, "version": VERSION, "kind": "Reading"}],
        },
        "com.example.meter.v1.Unit": {"type": "string"},
        "com.example.meter.v1.Unused": {"type": "string"},
    },
}


def reading(headers):
    told = {name.lower(): headers.get_all(name) for name in headers if name.lower().startswith("x-remote-")}
    metadata = {"name": "one", "namespace": "default", "annotations": {"told": json.dumps(told)}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Reading", "metadata": metadata, "value": 7}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == ROOT:
            self.answer(RESOURCES)
        elif path == f"/openapi/v3{ROOT}":
            self.answer({"openapi": "3.0.0", "paths": {}, "components": {"schemas": {}}})
        elif path == "/openapi/v2":
            self.answer(SCHEMAS)
        elif "watch=true" in query or "watch=1" in query:
            self.stream()
        elif path.endswith("/readings"):
            self.answer({"apiVersion": f"{GROUP}/{VERSION}", "kind": "ReadingList", "metadata": {}, "items": [reading(self.headers)]})
        elif path.endswith("/readings/one"):
            self.answer(reading(self.headers))
        else:
            self.answer(
                {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "none here", "code": 404}, 404
            )

    def answer(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            line = json.dumps({"type": "ADDED", "object": reading(self.headers) | {"value": number}}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments):
        pass


def main():
    port, certificate, key, clients = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

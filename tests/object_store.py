"""A small object store on this machine that speaks enough of S3 for TensorStore."""

import hashlib
import http.server
import json
import threading
import urllib.parse
from contextlib import contextmanager
from xml.sax.saxutils import escape


class Handler(http.server.BaseHTTPRequestHandler):
    """PUT, GET, HEAD and DELETE of /BUCKET/KEY, and the listing of a bucket (ListObjectsV2)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format, *arguments):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def key(self):
        parts = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).split("/", 2)
        return parts[2] if len(parts) > 2 else ""

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            if self.headers.get("If-None-Match") == "*" and self.key in self.server.objects:
                return self.answer(412)
            if self.server.full:
                return self.answer(507)
            self.server.objects[self.key] = body
        return self.answer(200, ETag=etag(body))

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        if not self.key:
            return self.list(query.get("prefix", ""), int(query.get("continuation-token", 0)))
        body = self.server.objects.get(self.key)
        if body is None:
            return self.answer(404)
        return self.answer(200, body, ETag=etag(body))

    do_HEAD = do_GET

    def do_DELETE(self):
        self.server.objects.pop(self.key, None)
        self.answer(204)

    def list(self, prefix, start, most=7):
        keys = sorted(key for key in self.server.objects if key.startswith(prefix))
        some = keys[start : start + most]
        rest = len(keys) > start + most
        following = f"<NextContinuationToken>{start + most}</NextContinuationToken>" if rest else ""
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            f"</Contents>"
            for key in some
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>{str(rest).lower()}</IsTruncated><KeyCount>{len(some)}</KeyCount>"
            f"{following}{contents}</ListBucketResult>"
        )
        self.answer(200, text.encode(), Content_Type="application/xml")


def etag(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


@contextmanager
def object_store():
    """Serves; yields (address of a run folder as JSON, the server with its `objects`)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.objects, server.lock, server.full = {}, threading.Lock(), False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    spec = {
        "driver": "s3",
        "bucket": "bucket",
        "path": "runs/demo/",
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "aws_region": "us-east-1",
        "aws_credentials": {"type": "anonymous"},
        "s3_request_retries": {"max_retries": 1},
    }
    try:
        yield json.dumps(spec), server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

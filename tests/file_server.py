"""A web server on loopback that misbehaves as told, and counts what it sends."""

import contextlib
import dataclasses
import http.server
import threading
import time


@dataclasses.dataclass
class Answer:
    """How one request is answered; the defaults are those of a good server.

    Attributes:
      code: of the answer; 200 becomes 206 if a part is asked for.
      body: what is sent instead of the file.
      headers: more of them, or others; None leaves one out.
      most: bytes that are sent before the connection is closed.
      stall: seconds without a byte after them.
      knows_parts: whether a part can be asked for.
    """

    code: int = 200
    body: bytes | None = None
    headers: dict = dataclasses.field(default_factory=dict)
    most: int | None = None
    stall: float = 0.0
    knows_parts: bool = True


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content` at every address.

    Attributes:
      content: the file.
      tag: its ETag; a new content needs a new one.
      answers: how the next requests are answered, in order; a good server after that.
      requests: path and headers of each request.
      sent: bytes of all bodies sent with code 200 or 206; a client that hangs up may miss some.
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag = content, '"first"'
        self.answers, self.requests, self.sent = [], [], 0
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, format, *arguments):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        answer = server.answers.pop(0) if server.answers else Answer()
        whole = server.content if answer.body is None else answer.body
        headers = {"ETag": server.tag, "Content-Type": "application/octet-stream"}
        code, body = answer.code, whole
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.tag)
        if code == 200 and wanted and same and answer.knows_parts:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(whole):
                code, body = 416, b""
                headers["Content-Range"] = f"bytes */{len(whole)}"
            else:
                code, body = 206, whole[start:]
                headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        headers["Content-Length"] = str(len(body))
        self.send_response(code)
        for name, value in (headers | answer.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        part = body if answer.most is None else body[: answer.most]
        if code in (200, 206):  # counted first: whoever has the bytes finds them counted
            server.sent += len(part)
        self.wfile.write(part)
        if answer.stall:
            self.wfile.flush()
            server.released.wait(answer.stall)
        self.close_connection = True


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers for a host that does not exist."""

    def log_message(self, format, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(server):
    """Runs a server in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        if isinstance(server, FileServer):
            server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(condition, seconds=10.0):
    """Looks again and again, for a test that needs another thread to have come somewhere."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)

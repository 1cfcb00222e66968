"""Downloads from a server on loopback that stalls, truncates, corrupts and lies."""

import hashlib
import http.server
import json
import os
import shutil
import socket
import threading

import numpy as np
import pytest
from file_server import Answer, FileServer, Proxy, serving, wait_until

from jaxinterp.errors import UserError
from jaxinterp.weights import partial_file
from jaxinterp.weights.checksum import Checksum
from jaxinterp.weights.download import DownloadListener, download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
OTHER = np.random.default_rng(1).bytes(3_000_000)


def sha256(content, digits=8):
    return Checksum("sha256", hashlib.sha256(content).hexdigest()[:digits])


class Recorder(DownloadListener):
    def __init__(self):
        self.notes, self.starts, self.received = [], [], []

    def note(self, text):
        self.notes.append(text)

    def started(self, url, total, resumed):
        self.starts.append((total, resumed))

    def advanced(self, received):
        self.received.append(received)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def no_names(monkeypatch):
    """The network has no names: nothing waits for a resolver."""

    def resolve(host, *arguments, **options):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def server():
    with serving(FileServer(CONTENT)) as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "fetched" / "weights.pth"


class Fetch:
    """`download` with a clock that does not tick."""

    def __init__(self, server, target):
        self.server, self.target = server, target
        self.delays, self.listener = [], Recorder()

    def __call__(self, checksum=None, **options):
        options = {"timeout": 5.0, "sleep": self.delays.append, **options}
        checksum = checksum or sha256(self.server.content)
        url = f"{self.server.url}/weights.pth"
        return download(url, self.target, checksum=checksum, listener=self.listener, **options)

    def refused(self, *words, **options):
        """Checks that it raises one sentence; returns it."""
        with pytest.raises(UserError) as caught:
            self(**options)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith(".")
        for word in words:
            assert word in message
        return message


@pytest.fixture
def fetch(server, target):
    return Fetch(server, target)


def files(target):
    """What lies in the folder of the file."""
    return sorted(os.listdir(target.parent)) if target.parent.exists() else []


def parts_asked_for(server):
    return [headers.get("Range") for _, headers in server.requests]


def test_a_file_arrives_whole(fetch, server, target):
    assert fetch() == target
    assert target.read_bytes() == CONTENT
    assert files(target) == ["weights.pth"]
    assert server.sent == len(CONTENT)
    assert fetch.listener.starts == [(len(CONTENT), 0)]
    assert fetch.listener.received[-1] == len(CONTENT)
    assert fetch.listener.received == sorted(fetch.listener.received)
    assert fetch.delays == []
    assert server.requests[0][1]["User-Agent"].startswith("jaxinterp/")


def test_a_file_that_is_there_is_not_asked_for(fetch, server, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    fetch()
    assert target.read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_both_algorithms(fetch, algorithm):
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    fetch(Checksum(algorithm, digest))
    fetch.target.unlink()
    wrong = ("0" if digest[0] != "0" else "1") + digest[1:]
    fetch.refused("not the published file", algorithm, checksum=Checksum(algorithm, wrong))
    assert files(fetch.target) == []


def test_what_was_cut_off_is_resumed(fetch, server, target):
    server.answers = [Answer(most=1_000_000), Answer(most=500_000)]
    fetch()
    assert target.read_bytes() == CONTENT
    # No byte was sent twice.
    assert parts_asked_for(server) == [None, "bytes=1000000-", "bytes=1500000-"]
    assert server.sent == len(CONTENT)
    assert fetch.listener.starts == [(len(CONTENT), at) for at in (0, 1_000_000, 1_500_000)]
    assert any("ended after 1000000 of 3000000 bytes" in note for note in fetch.listener.notes)


def test_a_stall_is_noticed_and_resumed(fetch, server, target):
    server.answers = [Answer(most=1_200_000, stall=30.0)]
    fetch(timeout=0.2)
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)
    assert parts_asked_for(server) == [None, "bytes=1200000-"]
    assert fetch.listener.notes == ["the connection stalled; trying again in 1 s"]


def test_a_server_that_never_answers(fetch, target):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        with pytest.raises(UserError, match=r"in 2 attempts \(the connection stalled\)"):
            download(url, target, timeout=0.1, attempts=2, sleep=fetch.delays.append)
    assert fetch.delays == [1.0]
    assert files(target) == []


def test_an_interrupted_download_is_resumed_by_the_next_call(fetch, server, target):
    class Interrupting(Recorder):
        def advanced(self, received):
            if received > 1_500_000:
                raise KeyboardInterrupt

    fetch.listener = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert files(target) == ["weights.pth.partial", "weights.pth.partial.json"]
    arrived = target.with_name("weights.pth.partial").stat().st_size
    assert 1_500_000 < arrived < len(CONTENT)

    server.requests.clear()
    server.sent = 0
    fetch.listener = Recorder()
    fetch()
    assert target.read_bytes() == CONTENT
    assert files(target) == ["weights.pth"]
    assert parts_asked_for(server) == [f"bytes={arrived}-"]
    assert server.requests[0][1]["If-Range"] == '"first"'
    assert server.sent == len(CONTENT) - arrived
    assert fetch.listener.starts == [(len(CONTENT), arrived)]


def leave_part(fetch, server, most=1_000_000, **answer):
    """What a download leaves that was broken off after `most` bytes."""
    server.answers = [Answer(most=most, **answer)]
    fetch.refused("in 1 attempts", "resumes it", attempts=1)
    server.requests.clear()
    server.sent = 0


def test_a_part_of_another_version_is_thrown_away(fetch, server, target):
    leave_part(fetch, server)
    server.content, server.tag = OTHER, '"second"'
    fetch()
    assert target.read_bytes() == OTHER
    assert parts_asked_for(server) == ["bytes=1000000-"]
    assert server.sent == len(OTHER)  # the server answered with the whole file


def test_a_server_without_versions_is_trusted_only_as_far_as_the_checksum(fetch, server, target):
    server.tag = None
    leave_part(fetch, server)
    server.content = OTHER  # and nothing in the answer tells
    fetch()
    assert target.read_bytes() == OTHER
    assert parts_asked_for(server) == ["bytes=1000000-", None]
    assert "the parts do not make the published file" in fetch.listener.notes[-1]


def test_without_version_and_checksum_nothing_is_resumed(fetch, server, target):
    server.tag = None
    url = f"{server.url}/weights.pth"
    server.answers = [Answer(most=1_000_000)]
    download(url, target, sleep=fetch.delays.append)
    assert target.read_bytes() == CONTENT
    assert parts_asked_for(server) == [None, None]


def test_the_date_serves_where_there_is_no_strong_tag(fetch, server):
    server.tag = 'W/"weak"'
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    leave_part(fetch, server, headers={"Last-Modified": date})
    fetch()
    assert server.requests[0][1]["If-Range"] == date


def test_a_server_that_knows_no_parts(fetch, server, target):
    leave_part(fetch, server)
    server.answers = [Answer(knows_parts=False)]
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_a_server_that_sends_another_part(fetch, server, target):
    leave_part(fetch, server)
    server.answers = [Answer(headers={"Content-Range": "bytes 999999-2999999/3000000"})]
    fetch()
    assert target.read_bytes() == CONTENT
    assert parts_asked_for(server) == ["bytes=1000000-", None]


def test_a_part_of_another_address_is_not_continued(fetch, server, target):
    leave_part(fetch, server)
    download(f"{server.url}/elsewhere.pth", target, checksum=sha256(CONTENT))
    assert parts_asked_for(server) == [None]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("note", [None, b"", b"not json", b"[1]", b'{"url": 5, "version": [2]}'])
def test_a_damaged_note_costs_only_the_part(fetch, server, target, note):
    leave_part(fetch, server)
    path = target.with_name("weights.pth.partial.json")
    path.unlink() if note is None else path.write_bytes(note)
    fetch()
    assert target.read_bytes() == CONTENT
    assert files(target) == ["weights.pth"]


def test_a_part_longer_than_the_file(fetch, server, target):
    leave_part(fetch, server, most=2_000_000)
    server.content = CONTENT[:1_500_000]  # under the same name
    fetch()
    assert target.read_bytes() == CONTENT[:1_500_000]
    assert parts_asked_for(server) == ["bytes=2000000-", None]


def test_a_part_that_is_all_is_not_asked_for_again(fetch, server, target):
    leave_part(fetch, server)
    target.with_name("weights.pth.partial").write_bytes(CONTENT)
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.requests == []


def test_a_corrupt_part_is_found_and_fetched_anew(fetch, server, target):
    leave_part(fetch, server)
    path = target.with_name("weights.pth.partial")
    damaged = bytearray(path.read_bytes())
    damaged[5000] ^= 1
    path.write_bytes(damaged)
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.sent == 2_000_000 + len(CONTENT)


def test_a_corrupt_file_is_refused_and_removed(fetch, server, target):
    damaged = bytearray(CONTENT)
    damaged[2_000_000] ^= 1
    expected, found = sha256(CONTENT), sha256(damaged).digits
    server.content = bytes(damaged)
    fetch.refused(
        "not the published file", f"begins with {found} instead of", expected.digits,
        checksum=expected,
    )  # fmt: skip
    assert files(target) == []
    assert len(server.requests) == 1  # the same bytes would come again


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(fetch, server, target, code):
    server.answers = [Answer(code=code, body=b"busy"), Answer(code=code, body=b"busy")]
    fetch()
    assert target.read_bytes() == CONTENT
    assert fetch.delays == [1.0, 2.0]
    assert f"the server answers {code}" in fetch.listener.notes[0]


def test_the_server_may_say_how_long_to_wait(fetch, server):
    server.answers = [
        Answer(code=503, headers={"Retry-After": "7"}),
        Answer(code=503, headers={"Retry-After": "100000"}),
        Answer(code=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ]
    fetch()
    assert fetch.delays == [7.0, 30.0, 4.0]


def test_a_lasting_fault_is_given_up(fetch, server, target):
    server.answers = [Answer(code=500) for _ in range(9)]
    message = fetch.refused("in 4 attempts", "500", "on another machine", attempts=4)
    assert f"put it at {target}" in message
    assert "resumes it" not in message
    assert fetch.delays == [1.0, 2.0, 4.0]
    assert len(server.requests) == 4
    assert files(target) == []


def test_what_is_thrown_away_again_is_no_progress(fetch, server):
    # A mebibyte arrives and the connection breaks; then another part than was asked for, from zero.
    server.content = np.random.default_rng(2).bytes(3 * 2**20)
    wrong = {"Content-Range": "bytes 7-2999999/3145728"}
    server.answers = [Answer(most=2**20 + 9), Answer(headers=wrong)] * 40
    fetch.refused("in 5 attempts", attempts=5)
    assert len(server.requests) < 12


def test_progress_counts_as_success(fetch, server, target):
    # Nine connections break, each after a mebibyte: two attempts would not do if these counted.
    server.content = np.random.default_rng(2).bytes(10 * 2**20)
    server.answers = [Answer(most=2**20) for _ in range(9)]
    fetch(attempts=2)
    assert target.read_bytes() == server.content
    assert server.sent == len(server.content)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_other_codes_are_final(fetch, server, target, code):
    server.answers = [Answer(code=code, body=b"<html>no</html>")]
    fetch.refused(f"the server answers {code}", "/weights.pth")
    assert len(server.requests) == 1
    assert fetch.delays == []
    assert files(target) == []


PAGES = {
    "by its type": Answer(body=b"please log in", headers={"Content-Type": "text/html"}),
    "by its start": Answer(body=b"\xef\xbb\xbf\n <!DOCTYPE html><html>Log in</html>"),
    "in capitals": Answer(body=b"<HTML><body>blocked</body></HTML>"),
}


@pytest.mark.parametrize("answer", PAGES.values(), ids=PAGES)
def test_a_web_page_is_refused(fetch, server, target, answer):
    server.answers = [answer]
    fetch.refused("a web page instead of a file", "--weights FILE")
    assert files(target) == []


def test_a_web_page_does_not_cost_the_part(fetch, server, target):
    leave_part(fetch, server)
    server.answers = [Answer(body=b"<html>log in</html>", knows_parts=False)]
    fetch.refused("a web page")
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - 1_000_000 + len(b"<html>log in</html>")


def test_a_length_that_is_too_long_is_never_reached(fetch, server, target):
    server.answers = [Answer(headers={"Content-Length": "3000009"}) for _ in range(3)]
    # The rest that is asked for next is no part of the file: the server says so.
    fetch()
    assert target.read_bytes() == CONTENT
    assert any("3000000 of 3000009 bytes" in note for note in fetch.listener.notes)


def test_a_length_that_is_too_short_fails_the_checksum(fetch, server, target):
    server.answers = [Answer(headers={"Content-Length": "1000"})]
    fetch.refused("not the published file")
    assert files(target) == []


@pytest.mark.parametrize("length", [None, "many"])
def test_a_file_of_unknown_length(fetch, server, target, length):
    server.answers = [Answer(headers={"Content-Length": length})]
    fetch()
    assert target.read_bytes() == CONTENT
    assert fetch.listener.starts == [(None, 0)]


def test_redirects_are_followed_with_the_part_that_is_asked_for(fetch, server, target):
    leave_part(fetch, server)
    server.answers = [Answer(code=302, headers={"Location": f"{server.url}/there"})]
    fetch()
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/weights.pth", "/there"]
    assert parts_asked_for(server) == ["bytes=1000000-"] * 2
    assert server.sent == len(CONTENT) - 1_000_000


def test_an_endless_redirect_ends(fetch, server):
    server.answers = [Answer(code=302, headers={"Location": "/weights.pth"}) for _ in range(30)]
    fetch.refused("the server answers 302")
    assert len(server.requests) < 30


@pytest.mark.parametrize("missing", ["refused", "unknown host"])
def test_no_network_says_what_to_do(target, fetch, missing):
    if missing == "refused":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            host = f"127.0.0.1:{closed.getsockname()[1]}"
    else:
        host = "weights.invalid"
    url = f"http://{host}/vgg16.pth"
    with pytest.raises(UserError) as caught:
        download(url, target, sleep=fetch.delays.append)
    message = str(caught.value)
    assert message.startswith(f"{url} cannot be reached (")
    assert f"fetch it on another machine and put it at {target}" in message
    assert "`--weights FILE`" in message
    assert "\n" not in message
    assert fetch.delays == []  # waiting does not bring a network
    assert files(target) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/w.pth", "no http or https address"),
        ("file:///etc/hosts", "no http or https address"),
        ("w.pth", "no http or https address"),
        ("http://host:port/w.pth", "no valid address"),
        ("http://[::1/w.pth", "no valid address"),
        ("http://ho st/w.pth", "no valid address"),
    ],
)
def test_addresses_that_are_none(target, url, words):
    with pytest.raises(UserError, match=words):
        download(url, target, sleep=lambda seconds: pytest.fail("tried again"))


def test_proxies_of_the_environment_are_used(target, monkeypatch):
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)) as proxy:
        proxy.asked, proxy.content = [], CONTENT
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        url = "http://weights.invalid/models/vgg16.pth"  # only the proxy answers for it
        download(url, target, checksum=sha256(CONTENT))
        assert proxy.asked == [url]
        assert target.read_bytes() == CONTENT

        monkeypatch.setenv("no_proxy", "weights.invalid")
        target.unlink()
        with pytest.raises(UserError, match="cannot be reached"):
            download(url, target)
        assert proxy.asked == [url]


def test_too_little_space_is_said_before_it_is_filled(fetch, server, target, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fetch.refused("needs 2.9 MiB more", "1.0 MiB left", "JAXINTERP_CACHE")
    assert files(target) == []


def test_only_the_rest_needs_space(fetch, server, target, monkeypatch):
    leave_part(fetch, server, most=2_500_000)
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fetch()
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(fetch, target):
    target.parents[1].write_bytes(b"a file where the cache folder should be")
    fetch.refused("cannot be written", "JAXINTERP_CACHE")


def test_two_at_once_fetch_it_once(server, target):
    server.answers = [Answer(most=1_000_000, stall=30.0)]
    first, second = Fetch(server, target), Fetch(server, target)
    results = []
    # The second looks at the lock until the first, held up by the server, has finished.
    looks = threading.Event()

    def look(seconds):
        looks.set()
        server.released.wait(0.01)

    fetches = threading.Thread(target=lambda: results.append(first(timeout=30.0)))
    waits = threading.Thread(target=lambda: results.append(second(sleep=look)))
    fetches.start()
    wait_until(lambda: server.sent == 1_000_000)
    waits.start()
    assert looks.wait(10)
    server.released.set()
    fetches.join(10)
    waits.join(10)
    assert results == [target, target]
    assert second.listener.notes == ["another process is fetching weights.pth: waiting"]
    assert second.listener.starts == []
    assert server.sent == len(CONTENT)
    assert files(target) == ["weights.pth"]


def test_who_waits_takes_over_from_one_that_gives_up(server, target):
    server.answers = [Answer(most=1_000_000, stall=30.0)]
    first, second = Fetch(server, target), Fetch(server, target)
    looks = threading.Event()

    def look(seconds):
        looks.set()
        server.released.wait(0.01)

    fails = threading.Thread(target=lambda: first.refused("attempts", attempts=1, timeout=30.0))
    takes_over = threading.Thread(target=lambda: second(sleep=look))
    fails.start()
    wait_until(lambda: server.sent == 1_000_000)
    takes_over.start()
    assert looks.wait(10)
    server.released.set()
    fails.join(10)
    takes_over.join(10)
    assert target.read_bytes() == CONTENT
    assert second.listener.starts == [(len(CONTENT), 1_000_000)]
    assert server.sent == len(CONTENT)


def test_a_part_that_is_removed_before_it_is_locked_is_opened_anew(fetch, target, monkeypatch):
    """Its holder gave it up just then: what is written to it now would be nowhere."""
    calls = []

    def locked(file):
        calls.append(file)
        if len(calls) == 1:
            target.with_name("weights.pth.partial").unlink()
        return real(file)

    real = partial_file._locked
    monkeypatch.setattr(partial_file, "_locked", locked)
    fetch()
    assert len(calls) == 2
    assert target.read_bytes() == CONTENT


def test_the_note_beside_a_part(fetch, server, target):
    leave_part(fetch, server)
    note = json.loads(target.with_name("weights.pth.partial.json").read_text())
    assert note == {"url": f"{server.url}/weights.pth", "version": '"first"', "total": 3_000_000}

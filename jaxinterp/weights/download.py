"""One file from the web, whole and checked, or not at all.

Streams to `NAME.partial` beside the target, resumes what was broken off, tries again after stalls
and passing faults of the server, compares length and checksum, and renames at the end.
"""

from __future__ import annotations

import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxinterp import __version__
from jaxinterp.errors import UserError
from jaxinterp.weights.checksum import Checksum
from jaxinterp.weights.partial_file import PartialFile

__all__ = ["DownloadListener", "download"]

_BLOCK = 1 << 18
_PASSING_CODES = frozenset((408, 425, 429, 500, 502, 503, 504))
_LONGEST_DELAY = 30.0
_ENOUGH_PROGRESS = 1 << 20
"""An attempt that brings so many bytes counts as no failure: a poor line gets there in the end."""


class DownloadListener:
    """Hears how a download goes; the command shows it, a library user may ignore it."""

    def note(self, text: str) -> None:
        """A line worth reading, such as why it is tried again."""

    def started(self, url: str, total: int | None, resumed: int) -> None:
        """The server answers: the file has `total` bytes, and the first `resumed` are here."""

    def advanced(self, received: int) -> None:
        """So many bytes are here now."""


class _PassingError(Exception):
    """What may be gone at the next attempt."""

    def __init__(self, reason: str, *, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


def download(
    url: str,
    target: Path,
    *,
    checksum: Checksum | None = None,
    listener: DownloadListener | None = None,
    timeout: float = 30.0,
    attempts: int = 6,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetches a file, unless it is there already.

    Proxies are taken from the environment (`https_proxy`, `no_proxy`, ...), as by Python's
    `urllib`. If another process is fetching the same file, this one waits for it.

    Args:
      url: http or https.
      target: the file; its folder is made.
      checksum: of the whole file.
      listener: hears of progress.
      timeout: seconds without a byte after which the connection counts as stalled.
      attempts: that fail in a row before it is given up; what arrived is kept for the next call.
      sleep: waits between them, 1 s at first and twice as long each time.

    Returns:
      `target`.

    Raises:
      UserError: no such file, no network, a web page instead of a file, a wrong checksum, too
        little space, a folder that cannot be written; the sentence says what can be done.
      OSError: as for any other file, such as on a disk that runs full meanwhile.

    References: RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
    """
    _check(url)
    if target.exists():
        return target
    listener = listener or DownloadListener()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = PartialFile(
            target,
            checksum,
            wait=lambda: listener.note(f"another process is fetching {target.name}: waiting"),
            sleep=sleep,
        )
    except OSError as error:
        raise UserError(
            f"{target.parent} cannot be written ({error.strerror or error}): name another cache "
            "folder in JAXINTERP_CACHE."
        ) from None
    with partial:
        failures, furthest = 0, partial.size
        while not target.exists():  # whoever was waited for may have brought it
            before = partial.size
            try:
                _attempt(url, target, partial, listener, timeout)
                _complete(url, partial, checksum, resumed=before > 0)
            except _PassingError as error:
                # What a restart threw away and was brought again is no progress.
                enough = partial.size - furthest >= _ENOUGH_PROGRESS
                furthest = max(furthest, partial.size)
                failures = 1 if enough else failures + 1
                if failures >= attempts:
                    kept = ", and the same command resumes it" if partial.size else ""
                    raise UserError(
                        f"{url} could not be fetched in {attempts} attempts ({error}): try again "
                        f"later{kept}, or {_other_way(url, target)}."
                    ) from None
                delay = min(max(2.0 ** (failures - 1), error.delay), _LONGEST_DELAY)
                listener.note(f"{error}; trying again in {delay:.0f} s")
                sleep(delay)
    return target


def _check(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"{url} is no valid address: {error}.") from None
    if not usable:
        raise UserError(f"{url} is no http or https address.")


def _other_way(url: str, target: Path) -> str:
    return (
        f"fetch it on another machine and put it at {target}, or give the file itself "
        "(`--weights FILE`, in Python `weights=FILE`)"
    )


def _complete(url: str, partial: PartialFile, checksum: Checksum | None, *, resumed: bool) -> None:
    """Puts a file that arrived whole in its place."""
    digest = partial.digest()
    if checksum is not None and digest is not None and not checksum.fits(digest):
        if resumed:  # the first part may be another version's
            partial.restart()
            raise _PassingError("the parts do not make the published file")
        partial.discard()
        raise UserError(
            f"What {url} gives is not the published file: its {checksum.algorithm} begins with "
            f"{digest[: len(checksum.digits)]} instead of {checksum.digits}."
        )
    partial.finish()


def _attempt(
    url: str, target: Path, partial: PartialFile, listener: DownloadListener, timeout: float
) -> None:
    """Brings the rest of the file, or raises."""
    known = partial.recall() if partial.size else {}
    if partial.size and known.get("url") != url:
        partial.restart()
    if partial.size and partial.size == known.get("total"):
        return  # all of it was here when the last call ended
    request = urllib.request.Request(url, headers={"User-Agent": f"jaxinterp/{__version__}"})
    if partial.size:
        request.add_header("Range", f"bytes={partial.size}-")
        version = known.get("version")
        if isinstance(version, str) and version.isprintable():
            request.add_header("If-Range", version)
        elif partial.digest() is None:  # nothing would show that two versions were mixed
            partial.restart()
            request.remove_header("Range")
    with _open(request, url, target, partial, timeout) as response:
        block = _read(response)
        content_type = response.headers.get("Content-Type", "")
        if content_type.startswith("text/html") or _is_page(block, response.status):
            raise UserError(
                f"{url} gives a web page instead of a file, perhaps that of a proxy or of a login: "
                f"{_other_way(url, target)}."
            )
        total = _total(response, partial)
        needed = 0 if total is None else total - partial.size
        free = shutil.disk_usage(target.parent).free
        if needed > free:
            raise UserError(
                f"{target.name} needs {_size(needed)} more, and {target.parent} has {_size(free)} "
                "left: name another cache folder in JAXINTERP_CACHE."
            )
        partial.remember(url=url, version=_version(response), total=total)
        listener.started(url, total, partial.size)
        while block:
            partial.append(block)
            listener.advanced(partial.size)
            block = _read(response)
    if total is not None and partial.size < total:
        raise _PassingError(f"the connection ended after {partial.size} of {total} bytes")


def _open(
    request: urllib.request.Request, url: str, target: Path, partial: PartialFile, timeout: float
) -> Any:
    """The server's answer, with code 200 or 206."""
    try:
        response = urllib.request.build_opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            said = f"{error.code} {error.reason}".splitlines()[0][:100]
            if error.code == 416:  # it has no such part
                partial.restart()
                raise _PassingError("the file on the server has changed") from None
            if error.code in _PASSING_CODES:
                after = error.headers.get("Retry-After", "")
                delay = float(after) if after.isdecimal() else 0.0
                raise _PassingError(f"the server answers {said}", delay=delay) from None
            raise UserError(f"{url} cannot be fetched: the server answers {said}.") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{url} is no valid address: {error}.") from None
    except urllib.error.URLError as error:
        reason = error.reason
        passing = isinstance(reason, (TimeoutError, ConnectionError))
        if passing and not isinstance(reason, ConnectionRefusedError):
            raise _PassingError(_describe(reason)) from None
        if isinstance(reason, ssl.SSLCertVerificationError):
            reason = f"its certificate cannot be verified: {reason.verify_message}"
        elif isinstance(reason, OSError) and reason.strerror:
            reason = reason.strerror
        raise UserError(f"{url} cannot be reached ({reason}): {_other_way(url, target)}.") from None
    except (OSError, http.client.HTTPException) as error:  # no answer, or none in HTTP
        raise _PassingError(_describe(error)) from None
    if response.status not in (200, 206):
        response.close()
        raise UserError(f"{url} cannot be fetched: the server answers {response.status}.")
    return response


def _read(response: Any) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(_describe(error)) from None


def _describe(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):
        return "the connection stalled"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return f"the connection broke ({error})" if str(error) else "the connection broke"


def _is_page(block: bytes, status: int) -> bool:
    start = block[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return status == 200 and start.startswith((b"<!doctype html", b"<html"))


def _total(response: Any, partial: PartialFile) -> int | None:
    """Bytes of the whole file, if the server says it; makes the partial file fit the answer."""
    length = response.headers.get("Content-Length", "")
    is_number = re.fullmatch(r"[0-9]{1,18}", length) is not None
    if response.status == 200:
        if partial.size:  # the server knows no parts, or the file is another one now
            partial.restart()
        return int(length) if is_number else None
    part = response.headers.get("Content-Range", "")
    given = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", part)
    if given is None or int(given[1]) != partial.size:
        partial.restart()
        raise _PassingError("the server sent another part than was asked for")
    if given[2] != "*":
        return int(given[2])
    return partial.size + int(length) if is_number else None


def _version(response: Any) -> str | None:
    """What the server calls this version of the file; weak tags do not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _size(number: int) -> str:
    return f"{number / 2**20:.1f} MiB"

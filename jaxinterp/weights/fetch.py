"""`jaxinterp weights fetch`: the published file of a network, in the cache folder."""

from __future__ import annotations

from pathlib import Path

from jaxinterp.errors import UserError
from jaxinterp.models.registry import find_architecture
from jaxinterp.weights.catalogue import PUBLISHED, Published
from jaxinterp.weights.download import DownloadListener, download
from jaxinterp.weights.identity import identify

__all__ = ["fetch", "find_published"]


def find_published(name: str) -> Published:
    """The published file of a network.

    Raises:
      UserError: an unknown network, or one without published weights; the nearest names are given.
    """
    architecture = find_architecture(name)
    if name not in PUBLISHED:
        where = "its weights come with the package" if architecture.bundled else "train it"
        raise UserError(f"No weights are published for {name!r}: {where}.")
    return PUBLISHED[name]


def fetch(name: str, *, listener: DownloadListener | None = None) -> Path:
    """Brings the published weights of a network into the cache folder, unless they are there.

    Args:
      name: a name from `jaxinterp weights list`.
      listener: hears of progress; silent if the file is there already.

    Returns:
      The file, whose checksum is the published one.

    Raises:
      UserError: see `download` and `find_published`; or what lies in the file's place is not the
        published file.
    """
    published = find_published(name)
    path = published.path
    if not path.exists():
        return download(published.address, path, checksum=published.checksum, listener=listener)
    digest = identify(path).sha256
    if not published.checksum.fits_file(path, sha256=digest):
        raise UserError(
            f"{path} is not the published file ({published.checksum}), it may be damaged: remove "
            "it and fetch again."
        )
    return path

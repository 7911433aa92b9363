"""Files on a server or in a mirror folder: addresses, what they are asked, how they fail."""

import datetime
import email.utils
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GONE: Final = (404, 410)
_BUSY: Final = (408, 425, 429)


class RemoteTrouble(Exception):
    """The server or the line failed; another try may work."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks to wait, or None."""


class RemoteMissing(Exception):
    """The file is not there."""


class RemoteUnusable(Exception):
    """The file is refused, damaged, ends early, or is no tiled GeoTIFF; trying again is no use."""


@dataclass(frozen=True)
class RemoteFile:
    """A file below an HTTP(S) address or a folder."""

    base: str
    """`https://…`, `http://…`, `file:///…` or a folder; a query is kept behind the path."""
    path: str
    """Below the base, with forward slashes."""

    @property
    def folder(self) -> Path | None:
        """The folder that the base names, or None for a server."""
        parts = urlsplit(self.base)
        if parts.scheme in ("http", "https"):
            return None
        return Path(urllib.request.url2pathname(parts.path) if parts.scheme else self.base)

    @property
    def address(self) -> str:
        """What GDAL and HTTP requests are given; may hold a signature, so it is never shown."""
        folder = self.folder
        if folder is not None:
            return str(folder / self.path)
        parts = urlsplit(self.base)
        joined = parts._replace(path=f"{parts.path.rstrip('/')}/{quote(self.path)}")
        return joined.geturl()

    @property
    def public_name(self) -> str:
        """Address without query for servers, path below the base for folders."""
        if self.folder is not None:
            return self.path
        return urlsplit(self.address)._replace(query="", fragment="").geturl()


@dataclass(frozen=True)
class Version:
    """What tells one state of a file from another; None where it is not known."""

    size: int
    etag: str | None = None
    modified: str | None = None


def probe(file: RemoteFile, timeout_s: float) -> Version:
    """Ask for a file's first bytes: is it there, is it a TIFF, does the server answer ranges.

    Raises:
        RemoteMissing: it is not there.
        RemoteTrouble: the server is busy or out of reach.
        RemoteUnusable: it is refused, or no TIFF, or the server sends whole files only.
    """
    folder = file.folder
    if folder is not None:
        return _probe_local(folder / file.path, file)
    request = urllib.request.Request(  # noqa: S310 - `folder` let http and https pass, no other
        file.address, headers={"Range": "bytes=0-15", "User-Agent": "terraloom"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            span = re.fullmatch(r"bytes 0-\d+/(\d+)", answer.headers.get("Content-Range", ""))
            if answer.status != 206 or span is None:
                raise RemoteUnusable("the server does not answer range requests")
            start = answer.read(16)
            headers = answer.headers
    except urllib.error.HTTPError as error:
        raise http_failure(error.code, error.headers.get("Retry-After")) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise RemoteTrouble(without_address(str(reason) or type(reason).__name__, file)) from error
    size = int(span[1])
    if len(start) < min(16, size):
        raise RemoteTrouble("the answer was cut off")
    _check_tiff(start)
    return Version(size, headers.get("ETag"), headers.get("Last-Modified"))


def _probe_local(path: Path, file: RemoteFile) -> Version:
    try:
        with open(path, "rb") as handle:
            start = handle.read(16)
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise RemoteMissing(f"{file.public_name} is not in the folder") from error
    except OSError as error:
        raise RemoteUnusable(f"{file.public_name}: {error.strerror}") from error
    _check_tiff(start)
    return Version(size)


def _check_tiff(start: bytes) -> None:
    if start[:4] not in _TIFF:
        raise RemoteUnusable("it is no TIFF file")


def http_failure(status: int, retry_after: str | None) -> Exception:
    """What an HTTP status means for whoever asked."""
    shown = f"HTTP {status} {http.client.responses.get(status, '')}".strip()
    if status in _GONE:
        return RemoteMissing(shown)
    if status in _BUSY or status >= 500:
        return RemoteTrouble(shown, _seconds(retry_after))
    return RemoteUnusable(shown)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", retry_after):
        return float(retry_after)
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


def without_address(text: str, file: RemoteFile) -> str:
    """A message without addresses, which may be signed or lie on this machine."""
    for shown in (f"/vsicurl/{file.address}", file.address, file.base, urlsplit(file.base).query):
        if shown:
            text = text.replace(shown, Path(file.path).name)
    return text

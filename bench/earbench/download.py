"""Files fetched over HTTP: what was cut off goes on where it was, and what has changed meanwhile starts over."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from earbench import files
from earbench.errors import BenchError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
WAITS = (1.0, 3.0, 9.0)
"""Seconds before each further try; a try that brought something counts as the first again."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be others in a moment."""
BLOCK = 1 << 20


@dataclass(frozen=True)
class Version:
    """What tells one version of a remote file from another, as far as the server says. `total` is its size in bytes."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    def condition(self) -> str | None:
        """For If-Range, which takes no weak tags."""
        return self.modified if self.etag is None or self.etag.startswith("W/") else self.etag


class _Broken(Exception):
    """This try failed, and the next one may not."""


def download(url: str, path: Path, arrived: Callable[[int], None]) -> None:
    """Return once `path` holds the whole file at `url`; what it holds of it already is not fetched again.

    `arrived` is called with every number of bytes that came, or, negative, that turned out to be useless. Beside `path`
    lies a file that says which version of the remote file it is a part of; it goes when `path` is whole.
    """
    arrived(_size(path))
    tries = 0
    while True:
        before = _size(path)
        try:
            _go_on(url, path, arrived)
            break
        except _Broken as broken:
            tries = 1 if _size(path) > before else tries + 1
            if tries > len(WAITS):
                raise BenchError(
                    f"{url} could not be fetched: {broken}",
                    f"{_size(path):,} bytes of it are kept: the same command goes on from there",
                ) from None
            time.sleep(WAITS[tries - 1])
    _note(path).unlink(missing_ok=True)


def partial(path: Path) -> tuple[int, int | None]:
    """How many bytes of a file that is being fetched to `path` are here, and of how many, where that is known."""
    version = _version(path)
    return _size(path), version.total if version else None


def _go_on(url: str, path: Path, arrived: Callable[[int], None]) -> None:
    """One try: ask for what is missing and append it, or all of it where that is not what the server sends."""
    known, have = _version(path), _size(path)
    if have and (known is None or known.url != url):
        have = _start_over(path, arrived)
    if have and known and known.total == have:
        return
    try:
        with _ask(url, have, known if have else None) as answer:
            found = _stated(url, answer)
            if answer.status == 206 and not _continues(answer, have, known, found):
                _start_over(path, arrived)
                raise _Broken("the server's file has changed")
            if answer.status != 206 and have:
                have = _start_over(path, arrived)
            files.write_text(_note(path), json.dumps(asdict(found)))
            _append(path, answer, arrived)
    except urllib.error.HTTPError as error:
        _refused(error, url, path, have, arrived)
        return
    except (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise _Broken(str(getattr(error, "reason", error)) or type(error).__name__) from None
    if found.total is not None and _size(path) != found.total:
        if _size(path) > found.total:
            _start_over(path, arrived)
        raise _Broken(f"the connection ended after {_size(path):,} of {found.total:,} bytes")


def _ask(url: str, have: int, known: Version | None) -> http.client.HTTPResponse:
    headers = {"User-Agent": "earbench", "Accept-Encoding": "identity"}
    if known:
        headers["Range"] = f"bytes={have}-"
        if condition := known.condition():
            headers["If-Range"] = condition
    answer: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=TIMEOUT
    )
    return answer


def _stated(url: str, answer: http.client.HTTPResponse) -> Version:
    length = answer.headers.get("Content-Length") if answer.status != 206 else _range(answer)[1]
    return Version(
        url, answer.headers.get("ETag"), answer.headers.get("Last-Modified"), int(length) if length else None
    )


def _range(answer: http.client.HTTPResponse) -> tuple[str | None, str | None]:
    """Where the bytes of a partial answer begin, and of how many; None for what it does not say."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    return (match[1], None if match[2] == "*" else match[2]) if match else (None, None)


def _continues(answer: http.client.HTTPResponse, have: int, known: Version | None, found: Version) -> bool:
    """Whether these are the missing bytes of the version that the first ones are of."""
    if _range(answer)[0] != str(have) or known is None:
        return False
    pairs = ((known.etag, found.etag), (known.modified, found.modified), (known.total, found.total))
    return all(old == new for old, new in pairs if old is not None and new is not None)


def _append(path: Path, answer: http.client.HTTPResponse, arrived: Callable[[int], None]) -> None:
    with files.explained(path), path.open("ab") as file:
        while block := _read(answer):
            file.write(block)
            arrived(len(block))


def _read(answer: http.client.HTTPResponse) -> bytes:
    """The next bytes. What goes wrong here is the network's fault, not the disk's."""
    try:
        return answer.read1(BLOCK)
    except OSError as error:
        raise _Broken(str(error) or type(error).__name__) from None


def _refused(error: urllib.error.HTTPError, url: str, path: Path, have: int, arrived: Callable[[int], None]) -> None:
    """Return if the refusal says that nothing is missing; else say whether another try makes sense."""
    if error.code == 416:
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        _start_over(path, arrived)
        raise _Broken("the server's file has changed")
    if error.code in PASSING:
        raise _Broken(f"HTTP {error.code} {error.reason}")
    raise BenchError(
        f"{url} could not be fetched: HTTP {error.code} {error.reason}",
        "fetch it by hand from the corpus' page, or try another day",
    )


def _start_over(path: Path, arrived: Callable[[int], None]) -> int:
    """Forget what is here of the file; the number of bytes that are left."""
    arrived(-_size(path))
    path.unlink(missing_ok=True)
    return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _version(path: Path) -> Version | None:
    """What was noted of the remote file; None if nothing was, or nothing that can be read."""
    with suppress(OSError, ValueError, TypeError):
        return Version(**json.loads(_note(path).read_text("utf-8")))
    return None

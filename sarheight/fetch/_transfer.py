"""One try at bringing the rest of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
import urllib3

from sarheight.errors import ChecksumError, FetchError
from sarheight.fetch._addresses import plain
from sarheight.fetch._checksums import Checksum
from sarheight.fetch._partial import Origin, Partial
from sarheight.fetch._patience import PASSING, in_words, unsafe_in
from sarheight.fetch._web import refused

if TYPE_CHECKING:
    from sarheight.fetch._web import Web

__all__ = ["Interruption", "Transfer"]

_CHUNK = 1 << 18
_PART, _NOTHING_LEFT, _UNAUTHORISED = 206, 416, 401
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Interruption(Exception):  # noqa: N818  # not an error yet
    """A try failed in a way that another one may not."""

    def __init__(self, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.headers: Mapping[str, str] = {} if headers is None else headers


@dataclass
class Transfer:
    """The bringing of one file.

    Parameters
    ----------
    web : Web
        The network, with its rules.
    url : callable
        Gives the address to ask, newly signed where it has to be.
    partial : Partial
        Where the bytes go.
    size : int, optional
        How many bytes to expect, as far as is known before the server says it.
    vouched : bool
        Whether a checksum will tell a wrong file from a right one. Then a file may be gone on with
        though the server does not name its version.
    report : callable
        Is told the number of bytes here, and of all.
    """

    web: Web
    url: Callable[[], str]
    partial: Partial
    size: int | None
    vouched: bool
    report: Callable[[int, int | None], None]
    stated: Checksum | None = field(default=None, init=False)

    def go_on(self) -> None:
        """Bring what is missing.

        Raises
        ------
        Interruption
            If the connection broke, or the server asks to come again.
        ChecksumError
            If there is more than was announced.
        FetchError
            If it makes no sense to try again.
        OSError
            If the disk does not take it.
        """
        url = self.url()
        self.web.rule.check(url)
        headers = {"Accept-Encoding": "identity"} | self._range(url)
        begun = "Range" in headers
        with self.web.session(patient=False) as session:
            try:
                response = session.get(url, headers=headers, stream=True, timeout=self.web.timeout)
                with response:
                    self._take(url, response, begun=begun)
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
                unsafe = unsafe_in(error)
                if unsafe is not None:
                    raise unsafe from None
                reason = f"{plain(url)} could not be fetched: {in_words(error)}"
                raise Interruption(reason) from None

    def _range(self, url: str) -> dict[str, str]:
        """Ask for the rest only, where there is a beginning that can be trusted."""
        here, origin = self.partial.size(), self.partial.origin()
        if not here:
            return {}
        known = origin is not None and origin.url == plain(url)
        if origin is None or not known or not (origin.validator or self.vouched):
            self.partial.clear()
            return {}
        rest = {"Range": f"bytes={here}-"}
        return rest | ({"If-Range": origin.validator} if origin.validator else {})

    def _take(self, url: str, response: requests.Response, *, begun: bool) -> None:
        status = response.status_code
        if begun and status == _NOTHING_LEFT:
            self._end_of_file(url, response)
            return
        if status in PASSING:
            reason = f"{plain(url)} answered HTTP {status}"
            raise Interruption(reason, response.headers)
        if status == _UNAUTHORISED and self.web.credentials.forget(response.url):
            reason = f"{plain(url)} no longer accepts the token"
            raise Interruption(reason, {"Retry-After": "0"})
        if not response.ok:
            raise refused(response, self.web.credentials)
        coding = response.headers.get("Content-Encoding", "identity")
        if coding not in {"identity", ""}:
            msg = f"{plain(url)} sends the file coded as {coding}, expected it as it is"
            raise FetchError(msg)
        start, origin = self._place(url, response)
        if not self.vouched and None not in {self.size, origin.size} and self.size != origin.size:
            msg = (
                f"{plain(url)} has {origin.size} bytes, and {self.size} were announced: fetch it "
                "from another catalogue"
            )
            raise ChecksumError(msg)
        if start == 0:
            self.partial.begin(origin)
        self._write(url, response, start, origin.size if origin.size is not None else self.size)

    def _end_of_file(self, url: str, response: requests.Response) -> None:
        """Find out why there is nothing after what is here: it is all here, or is another file."""
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if not total.isdigit() or int(total) != self.partial.size():
            self.partial.clear()
            reason = f"{plain(url)} has become shorter than what was here of it"
            raise Interruption(reason, {"Retry-After": "0"})

    def _place(self, url: str, response: requests.Response) -> tuple[int, Origin]:
        """Return the byte where an answer begins, and the version of the file it belongs to."""
        headers = response.headers
        tag = headers.get("ETag")
        strong = tag if tag and not tag.startswith("W/") else None
        if response.status_code != _PART:
            length = headers.get("Content-Length", "")
            size = int(length) if length.isdigit() else None
            self.stated = Checksum.from_headers(headers, whole=True)
            return 0, Origin(plain(url), strong, headers.get("Last-Modified"), size)
        found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        total = int(found[3]) if found and found[3].isdigit() else None
        origin = Origin(plain(url), strong, headers.get("Last-Modified"), total)
        known = self.partial.origin()
        fits = found is not None and int(found[1]) == self.partial.size()
        if not fits or known is None or not known.same_version(origin):
            self.partial.clear()
            reason = f"{plain(url)} has changed since its beginning was fetched"
            raise Interruption(reason, {"Retry-After": "0"})
        self.stated = Checksum.from_headers(headers, whole=False)
        size = total if total is not None else known.size
        return self.partial.size(), Origin(known.url, known.tag, known.modified, size)

    def _write(self, url: str, response: requests.Response, start: int, total: int | None) -> None:
        done = start
        self.partial.require_space(total)
        self.report(done, total)
        with self.partial.path.open("ab") as stream:
            for block in response.raw.stream(_CHUNK, decode_content=False):
                done += len(block)
                if total is not None and done > total:
                    break
                stream.write(block)
                self.report(done, total)
        if total is not None and done > total:
            self.partial.clear()
            msg = f"{plain(url)} sent more than the {total} bytes that were announced"
            raise ChecksumError(msg)
        if total is not None and done < total:
            reason = f"{plain(url)} ended after {done} of {total} bytes"
            raise Interruption(reason)

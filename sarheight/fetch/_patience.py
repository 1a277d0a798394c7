"""How long to wait before trying again, and what an error means in plain words."""

from __future__ import annotations

import email.utils
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sarheight.errors import FetchError, UnsafeAddressError

__all__ = ["PASSING", "Patience", "causes", "in_words", "is_unknown_host", "unsafe_in"]

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of servers that may be other ones a little later."""

_LONGEST_STEP = 60.0


@dataclass(frozen=True)
class Patience:
    """When to try again.

    Parameters
    ----------
    tries : int
        How often to try in all.
    backoff : float
        Seconds before the second try; twice that before the third, and so on.
    longest_wait : float
        Seconds. A server that asks for a longer wait is not waited for.
    """

    tries: int = 6
    backoff: float = 1.0
    longest_wait: float = 300.0

    def wait(
        self,
        failures: int,
        reason: str,
        headers: Mapping[str, str],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wait after a failure that may pass.

        Parameters
        ----------
        failures : int
            How many there were, this one included.
        reason : str
            What happened, and where.
        headers : mapping
            Of the answer; ``Retry-After`` counts.
        pause : callable, optional
            Lets so many seconds pass.

        Raises
        ------
        FetchError
            If there were enough tries, or the server wants a longer wait than there is patience.
        """
        if failures >= self.tries:
            msg = f"{reason}; gave up after {failures} tries, try again later"
            raise FetchError(msg)
        asked = _asked_wait(headers)
        if asked is not None and asked > self.longest_wait:
            msg = f"{reason}; the server asks to come back in {asked:.0f} s, try again then"
            raise FetchError(msg)
        step = min(self.backoff * 2.0 ** (failures - 1), _LONGEST_STEP)
        spread = random.uniform(0.75, 1.25)  # noqa: S311  # so that many clients do not come at once
        pause(step * spread if asked is None else asked)


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, by number or by date."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdigit():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def causes(error: BaseException) -> list[BaseException]:
    """Return an error with all that it wraps, however libraries wrap theirs."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            reason = getattr(each, "reason", None)
            waiting += [*each.args, reason, each.__cause__, each.__context__]
    return found


def is_unknown_host(error: BaseException) -> bool:
    """Tell whether a host name could not be looked up."""
    return any(isinstance(each, socket.gaierror) for each in causes(error))


def unsafe_in(error: BaseException) -> UnsafeAddressError | None:
    """Return the refusal that a library has wrapped into its own errors, if there is one."""
    return next((each for each in causes(error) if isinstance(each, UnsafeAddressError)), None)


def in_words(error: BaseException) -> str:
    """Say what a network error was, without its text: that may hold signed addresses."""
    import requests
    import urllib3

    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (socket.gaierror, "there is no such host, or no network"),
        (requests.exceptions.SSLError, "its certificate is not valid"),
        (requests.exceptions.ProxyError, "the proxy did not let us through"),
        (requests.exceptions.ConnectTimeout, "it did not answer in time"),
        (requests.exceptions.ReadTimeout, "it fell silent"),
        (urllib3.exceptions.ReadTimeoutError, "it fell silent"),
        (requests.exceptions.TooManyRedirects, "it sends us round in circles"),
        (urllib3.exceptions.IncompleteRead, "it cut the file short"),
        (urllib3.exceptions.ProtocolError, "it broke the connection"),
        (OSError, "it cannot be reached"),
    )
    chain = causes(error)
    for kind, words in kinds:
        if any(isinstance(each, kind) for each in chain):
            return words
    return type(error).__name__

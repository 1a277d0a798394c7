"""Requests that go only where they may, and carry only what belongs there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from sarheight.errors import FetchError, NotThereError
from sarheight.fetch._adapter import Adapter, BareSession, hide_secrets_from_logs, without_account
from sarheight.fetch._addresses import AddressRule, plain
from sarheight.fetch._credentials import Credentials
from sarheight.fetch._patience import Patience, in_words, unsafe_in

if TYPE_CHECKING:
    from sarheight.fetch._settings import Network, Settings

__all__ = ["Web", "explained", "refused"]

_MOST_REDIRECTS = 10
_LARGEST_ANSWER = 256 * 2**20
_SIGN_IN = (401, 403)
_GONE = (404, 410)


class Web:
    """The network as one source may use it.

    Parameters
    ----------
    rule : AddressRule
        Where requests may go, first or by redirection.
    settings : Settings
        Patience, and where tokens are had.
    """

    def __init__(self, rule: AddressRule, settings: Settings) -> None:
        self.rule = rule
        self.settings = settings
        self.network: Network = settings.network
        self.credentials = Credentials(settings.logins)
        self.patience = Patience(
            self.network.tries, self.network.backoff, self.network.longest_wait
        )
        hide_secrets_from_logs()

    @classmethod
    def trusting(cls, settings: Settings, *urls: str) -> Web:
        """Open the network for addresses that come from the user, not from a catalogue."""
        return cls(AddressRule.of(*urls, hosts=settings.network.trusted_hosts), settings)

    @property
    def timeout(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for the next byte."""
        return self.network.connect_timeout, self.network.read_timeout

    def session(self, *, patient: bool, anonymous: bool = False) -> requests.Session:
        """Make a session.

        Parameters
        ----------
        patient : bool
            Whether it tries again by itself where a failure may pass.
        anonymous : bool, optional
            Whether no account goes along.
        """
        session = BareSession()
        self.furnish(session, patient=patient, anonymous=anonymous)
        return session

    def furnish(
        self,
        session: requests.Session,
        *,
        patient: bool,
        anonymous: bool = False,
        moved: tuple[str, str] | None = None,
    ) -> None:
        """Make the rules hold for a session that a library has made; see `session`.

        Parameters
        ----------
        session : requests.Session
            Of the library.
        patient, anonymous
            As in `session`.
        moved : pair of str, optional
            An address that the library has built in, and the one to use in its place.
        """
        adapter = Adapter(self, patient=patient, anonymous=anonymous, moved=moved)
        for prefix in ("https://", "http://", ""):  # the last for all others, to be refused
            session.mount(prefix, adapter)
        session.auth = without_account
        session.max_redirects = _MOST_REDIRECTS
        session.headers["User-Agent"] = "sarheight"

    def text(self, url: str, params: Mapping[str, str] | None = None) -> str:
        """Return what an address says, as text.

        Raises
        ------
        FetchError
            If it says nothing, or too much.
        """
        with self.session(patient=True) as session, explained(url):
            data = self._body(session, url, params)
        if len(data) > _LARGEST_ANSWER:
            msg = f"{plain(url)} sent more than {_LARGEST_ANSWER >> 20} MiB, expected a list"
            raise FetchError(msg)
        return data.decode("utf-8", "replace")

    def _body(self, session: requests.Session, url: str, params: Mapping[str, str] | None) -> bytes:
        failures = 0
        while True:
            response = session.get(url, params=params, timeout=self.timeout, stream=True)
            with response:
                if not response.ok:
                    raise refused(response, self.credentials)
                try:
                    return bytes(response.raw.read(_LARGEST_ANSWER + 1, decode_content=True))
                except urllib3.exceptions.HTTPError as error:
                    reason = f"{plain(url)} could not be fetched: {in_words(error)}"
            failures += 1
            self.patience.wait(failures, reason, {})

    def json(self, url: str, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """Return the JSON at an address; see `text`."""
        import json

        text = self.text(url, params)
        try:
            return json.loads(text)
        except ValueError:
            msg = f"{plain(url)} did not send JSON: is it the right address?"
            raise FetchError(msg) from None

    def post_form(self, url: str, form: dict[str, str]) -> Mapping[str, Any]:
        """Send a form, for instance to sign in, and return the JSON that comes back.

        Raises
        ------
        FetchError
            If it is refused. The form is not shown.
        """
        there = Web(AddressRule.of(url), self.settings)
        with there.session(patient=True, anonymous=True) as session, explained(url):
            response = session.post(url, data=form, timeout=self.timeout, allow_redirects=False)
            if not response.ok:
                msg = (
                    f"{plain(url)} did not accept user name and password "
                    f"(HTTP {response.status_code}): check them there"
                )
                raise FetchError(msg)
            try:
                answer = response.json()
            except ValueError:
                answer = {}
        return answer if isinstance(answer, dict) else {}

    def require_online(self, url: str) -> None:
        """Raise where the user wants no network."""
        if self.settings.offline:
            msg = (
                f"{plain(url)} is needed and not in the cache, and SARHEIGHT_OFFLINE forbids the "
                "network: fetch it once with network, or unset the variable"
            )
            raise FetchError(msg)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn network errors into ours, which show neither signatures nor accounts."""
    try:
        yield
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        unsafe = unsafe_in(error)
        msg = f"{plain(url)} could not be fetched: {in_words(error)}"
        raise unsafe or FetchError(msg) from None


def refused(response: requests.Response, credentials: Credentials) -> FetchError:
    """Make the error for an answer that is not what was asked for."""
    where, status = plain(response.url), response.status_code
    if status in _GONE:
        return NotThereError(f"{where} does not exist (HTTP {status})")
    if status in _SIGN_IN:
        return FetchError(
            f"{where} wants to know who is asking (HTTP {status}): "
            f"{credentials.advice(response.url)}"
        )
    return FetchError(f"{where} answered HTTP {status}, expected the file")

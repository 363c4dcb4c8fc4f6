"""Whether an address can be downloaded from, asked for seconds at most."""

from http.client import HTTPException
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

SECONDS = 3.0
"""How long an answer is waited for. A name server alone may take longer, so that a thread asks."""


class _Stay(HTTPRedirectHandler):
    """A redirect is an answer; where it leads may take no HEAD."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


def find_fault(url: str) -> str | None:
    """Say why nothing can be downloaded from an address now; None where it answers.

    Proxies are those of the environment, as for `urllib`.
    """
    answers: SimpleQueue[str | None] = SimpleQueue()
    Thread(target=lambda: answers.put(_ask(url)), daemon=True).start()
    try:
        return answers.get(timeout=SECONDS)
    except Empty:
        return f"no answer within {SECONDS:g} s"


def _ask(url: str) -> str | None:
    try:
        with build_opener(_Stay).open(Request(url, method="HEAD"), timeout=SECONDS):
            return None
    except HTTPError as error:
        return None if error.code < 400 else f"HTTP {error.code} {error.reason}"
    except URLError as error:
        return str(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        return str(error) or type(error).__name__

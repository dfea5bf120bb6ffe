"""Whether a server answers: its list of models, which costs nothing, before hours of sampling."""

from __future__ import annotations

import urllib.error
import urllib.request
from email.message import Message
from typing import IO

from harness.backends.api.endpoint import Endpoint
from harness.core.errors import EnvironmentProblem, UserError

SECONDS = 10.0
_REFUSED = 401


class _Still(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: a key is for the address that was given."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


def check_reach(endpoint: Endpoint, seconds: float = SECONDS) -> None:
    """Ask every replica for its models; any answer but "not authorised" will do.

    Raises:
        EnvironmentProblem: no server is there, or the key is not set.
        UserError: the key is refused.
    """
    key = endpoint.api_key()
    opener = urllib.request.build_opener(_Still)
    for url in endpoint.base_urls:
        asked = urllib.request.Request(f"{url.rstrip('/')}/models")
        if key:
            asked.add_header("Authorization", f"Bearer {key}")
        try:
            opener.open(asked, timeout=seconds).close()
        except urllib.error.HTTPError as error:
            if error.code == _REFUSED and key:
                raise UserError(
                    f"{url} refuses the key in {endpoint.key_variable} (status 401); set the "
                    "variable to a key of this server; nothing was sampled"
                ) from None
        except (TimeoutError, ValueError):
            continue  # slow is not absent
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                continue
            raise EnvironmentProblem(
                f"{endpoint.model} cannot be reached at {url}: {_said(reason)}; start its server "
                "or correct the address (stored responses alone: --offline); nothing was sampled"
            ) from None


def _said(reason: object) -> str:
    found = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(str(found).split())[:120].lower()

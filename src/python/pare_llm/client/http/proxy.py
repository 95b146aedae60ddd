"""The proxy of a request, as the environment or the operating system configures it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import make_headers


@dataclass(frozen=True)
class Proxy:
    """A proxy. Its URL has no user name and no password, so it can be printed."""

    url: str
    credentials: str | None

    def headers(self) -> dict[str, str]:
        """Return the headers for the proxy."""
        return make_headers(proxy_basic_auth=self.credentials) if self.credentials else {}


def find_proxy(url: SplitResult) -> Proxy | None:
    """Return the proxy for a URL, or None if the server is reached directly.

    The environment variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY are used, and on macOS and Windows also the
    settings of the system. This machine itself is never reached through a proxy. A proxy that does not speak
    HTTP raises a ValueError.
    """
    host = url.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return None
    text = getproxies().get(url.scheme)
    if not text or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    proxy = urlsplit(text if "://" in text else f"http://{text}")
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise ValueError(
            f"proxy for {url.scheme}: must be an http or https URL, got one with the scheme {proxy.scheme}"
        )
    credentials, _, address = proxy.netloc.rpartition("@")
    return Proxy(f"{proxy.scheme}://{address}", unquote(credentials) or None)

"""The outgoing proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, interpreted as curl does.

Read when a server's address is configured. Only http:// proxies are supported; https goes through CONNECT.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

MOST_HEAD_BYTES = 16_384


class ProxyError(Exception):
    """The proxy rejected the connection. The message contains neither its address nor its password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    authorization: str = ""

    @property
    def url(self) -> str:
        """Return the address without the password, which goes in headers."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def open_tunnel(self, sock: socket.socket, host: str, port: int) -> None:
        """Ask for a connection to another host. Raises ProxyError, OSError."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # One byte at a time, because what follows the head comes from the other host.
            byte = sock.recv(1)
            head += byte
            if not byte or len(head) > MOST_HEAD_BYTES:
                raise ProxyError("the proxy hung up")
        status = head.split(b" ", 2)[1:2]
        if not status or not status[0].startswith(b"2"):
            raise ProxyError(f"the proxy answered {status[0].decode('ascii', 'replace')[:3] if status else 'nonsense'}")


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy that the environment sets for a host; None if there is none. Raises ValueError."""
    proxies = getproxies_environment()
    address = proxies.get(scheme, "")
    if not address or is_exempt(host, port, proxies.get("no", "")):
        return None
    proxy = _read(address if "://" in address else f"http://{address}")
    if proxy is None:
        raise ValueError(
            f"{scheme.upper()}_PROXY: only http://host:port is supported; a password needs %40 for @, %2F for /"
        )
    return proxy


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that the environment sets for a URL; None if there is none. Raises ValueError."""
    parts = urlsplit(url)
    return proxy_for(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def _read(address: str) -> Proxy | None:
    """Read a proxy's address. None if invalid: no error may quote it, because it may contain a password."""
    try:
        parts = urlsplit(address)
        port = parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or not parts.hostname:
        return None
    return Proxy(parts.hostname, port, _basic(parts.username, parts.password))


def is_exempt(host: str, port: int, listed: str) -> bool:
    """Say whether NO_PROXY lists a host: by its name, a domain above it, its address, a network, or all with *."""
    return any(_matches(host.lower(), port, entry) for entry in listed.replace(",", " ").lower().split())


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        address = _network(host)
        return address is not None and address.version == network.version and address.subnet_of(network)  # type: ignore[arg-type]
    name, _, entry_port = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    if entry_port and int(entry_port) != port:
        return False
    name = name.strip("[]").removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _basic(user: str | None, password: str | None) -> str:
    if user is None:
        return ""
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()

"""A whole deployment on this machine: the shipped nginx before two processes, as docs/deploy.md sets it up."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
import httpx

from tests import servers
from tests.faults.program import Program
from tests.servers import SITE, Process

PROCESSES = 2


class Site:
    """env: the settings of the processes; SECRET_KEY, DATABASE_URL and REDIS_URL among them."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self._directory = directory
        self._env = {"PUBLIC_URL": f"https://{SITE}", "PROXY_HOPS": "1", **env}
        self._ports = [servers.free_port() for _ in range(PROCESSES)]
        self.ended: list[Process] = []
        starting = [gevent.spawn(self._start, index) for index in range(PROCESSES)]
        self.processes: list[Process] = [each.get(timeout=60) for each in starting]
        self.nginx = servers.start(servers.nginx(directory, self._ports), directory)
        self.trust = ssl.create_default_context(cafile=str(directory / "chat.pem"))

    @property
    def url(self) -> str:
        return self.nginx.url

    def client(self, **options: Any) -> httpx.Client:
        """Return a client over HTTP/2 that takes this machine for the site."""

        def name_the_site(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = request.headers["Host"]

        headers = {"Host": SITE} | options.pop("headers", {})
        hooks = {"request": [name_the_site]}
        base = self.url + options.pop("path", "")
        options = {"http2": True, "timeout": 30} | options
        return httpx.Client(base_url=base, verify=self.trust, headers=headers, event_hooks=hooks, **options)

    def replace(self, index: int) -> None:
        """Have a process leave, and start it again, as `systemctl restart` does."""
        process = self.processes[index]
        code = process.stop(seconds=40)
        if code != 0:
            raise RuntimeError(f"a process left with {code}:\n{process.log()}")
        self.start_again(index)

    def start_again(self, index: int) -> None:
        self.ended.append(self.processes[index])
        self.processes[index] = self._start(index)

    def workers(self, index: int) -> list[int]:
        pid = self.processes[index].pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def logs(self) -> str:
        """Return all that anybody wrote: the processes, of now and before, and nginx."""
        texts = [process.log() for process in (*self.ended, *self.processes, self.nginx)]
        return "\n".join([*texts, *(path.read_text() for path in self._directory.glob("chat*.log"))])

    def stop(self) -> None:
        for process in (*self.processes, self.nginx):
            process.kill()

    def _start(self, index: int) -> Process:
        return servers.start_product(self._directory, {**self._env, "PORT": str(self._ports[index])})


class Visitor(Program):
    """A person's program that comes in through nginx."""

    def __init__(self, site: Site, person: Any) -> None:
        self.server = site.nginx
        self.person = person
        self._client = site.client(path="/api", headers=person.headers)

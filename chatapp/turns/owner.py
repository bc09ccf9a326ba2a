"""Who works on a turn, written so that another process can prove that the worker is gone."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def _this_system() -> str:
    """Name the host, its boot and the space its process ids are in: a pid says nothing outside of these three."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = space = "-"
    return f"{socket.gethostname()[:64]}|{boot}|{space}"


def me() -> str:
    pid = os.getpid()
    return f"{_this_system()}|{pid}|{_started(pid)}"


def is_gone(owner: str) -> bool | None:
    """Say whether a turn's owner is no longer there; None where this process cannot know."""
    system, _, process = owner.rpartition("|")
    system, _, pid = system.rpartition("|")
    host, boot, _space = _this_system().split("|")
    if system == _this_system() and boot != "-":
        return _started(int(pid)) != process
    their_host, _, their_boot = system.rpartition("|")[0].partition("|")
    # The same host after a restart: nothing of the time before is alive.
    return True if (their_host == host and "-" not in (boot, their_boot) and their_boot != boot) else None


def _started(pid: int) -> str:
    """Return a process's start in clock ticks since boot; "" when there is no such process (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]

"""The process that works on an exchange, written so that another process can prove that it is gone."""

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
    return _process(os.getpid())


@cache
def _process(pid: int) -> str:
    """Read once: a process that has no file left to open must not forget who it is, and with that its turns."""
    return f"{_this_system()}|{pid}|{_started(pid)}"


def is_gone(owner: str) -> bool | None:
    """Say whether a turn's owner is no longer there; None where this process cannot know.

    A host's name proves nothing: copies of one machine have one name and another boot each.
    """
    system, _, process = owner.rpartition("|")
    system, _, pid = system.rpartition("|")
    if system != _this_system() or "|-|" in system:
        return None
    try:
        return _started(int(pid)) != process
    except OSError:
        return None


def _started(pid: int) -> str:
    """Return a process's start in clock ticks since boot; "" when there is no such process (or it is a zombie).

    Raises OSError where that cannot be read, as with too many open files.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]

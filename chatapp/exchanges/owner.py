"""Identifies the process working on an exchange, so that another process can prove that it is gone."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def _this_system() -> str:
    """Return the host, its boot and its PID namespace: a PID means nothing outside of these three."""
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
    """Cached: a process that cannot open another file must still know its identity, or it loses its turns."""
    return f"{_this_system()}|{pid}|{_started(pid)}"


def is_gone(owner: str) -> bool | None:
    """Return whether a turn's owner is gone; None if this process cannot know.

    A host name proves nothing: copies of a machine share the name, but each has its own boot ID.
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

    Raises OSError if that cannot be read, for example with too many open files.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]

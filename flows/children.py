"""What every process we start has in common: it dies with us, and it listens where no one else does."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_PORT_FIRST = 12_000
_TRIES = 200


def dying_with_parent() -> Callable[[], None]:
    """A `preexec_fn` with which the kernel kills the child (SIGKILL) when this thread's process is gone.

    SIGKILL and not SIGTERM: a service manager starts the next supervisor at once, and the old workers must not write
    to the same state directory beside the new ones. The snapshots are made for that.
    """
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return prepare


def free_ports(count: int, rng: random.Random) -> list[int]:
    """Loopback ports nobody listens on, below the range that outgoing connections take theirs from.

    Between the look and the use another program may still take one: the caller starts again then.
    Raises OSError when none can be found.
    """
    try:
        below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        below = 32_768
    if below <= _PORT_FIRST + 1000:
        below = 65_536
    found: list[int] = []
    for _ in range(_TRIES + count):
        if len(found) == count:
            return found
        port = rng.randrange(_PORT_FIRST, below)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    raise OSError(f"no {count} free ports on the loopback interface")

"""How many events are under way, and whether the worker is asked to stop: one small shared file for all processes.

Queues inside the engine are unbounded, so the sources hold back while more than `in_flight_max` events have been read
and not yet answered for by Redis. Each process owns a line of counters and only ever writes its own: what it has read,
and what it has closed of every other's.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

PROCESSES_MAX = 64


class FlowControl:
    """Counters of events in flight over the processes of one host, and the wish to stop.

    `path` is a file shared by the processes (made and zeroed by the first; None: this process alone).
    """

    def __init__(self, in_flight_max: int, process: int = 0, path: Path | None = None) -> None:
        self.in_flight_max = in_flight_max
        self.process = process
        self.stopping = False
        size = 2 * PROCESSES_MAX * 8
        with open(path, "r+b") if path else tempfile.TemporaryFile() as file:
            if path is None:
                os.ftruncate(file.fileno(), size)
            self._map = mmap.mmap(file.fileno(), size)
        self._counters = np.frombuffer(self._map, np.int64).reshape(2, PROCESSES_MAX)

    @staticmethod
    def create(path: Path) -> None:
        """Make (or zero) the shared file; the supervisor does so before it starts the processes."""
        path.write_bytes(bytes(2 * PROCESSES_MAX * 8))

    def has_room(self) -> bool:
        """May the sources read on?"""
        return self.in_flight() < self.in_flight_max

    def in_flight(self) -> int:
        """Events read and not yet answered for, over all processes."""
        return int(self._counters[0].sum() - self._counters[1].sum())

    def events_read(self) -> int:
        """Events read so far, over all processes."""
        return int(self._counters[0].sum())

    def read(self, events: int) -> None:
        """This process has read so many events (records)."""
        self._counters[0, self.process] += events

    def done(self, events: int) -> None:
        """This process has closed so many events, whoever read them: written, refused or dropped."""
        self._counters[1, self.process] += events

"""What reads one part of the input, whatever it is: one topic's partition, one file."""

from __future__ import annotations

from typing import Any, Protocol

from state.batches import RawBatch


class Reader(Protocol):
    """Hands out the records of a part in order; none of its methods waits.

    When `peek` has given nothing, `exhausted` says that the end is reached for good, `caught_up` that it is for now:
    that nothing more is there, not merely that it is not here or not due yet.
    """

    @property
    def exhausted(self) -> bool: ...
    @property
    def caught_up(self) -> bool: ...

    def peek(self) -> RawBatch | None:
        """The next records, as many as are handed out in one go, without moving on; None when there are none."""
        ...

    def advance(self, records: int) -> None:
        """Move on past so many of the records that `peek` gave."""
        ...

    def position(self) -> Any:
        """Where to go on after the records moved past."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...

    def read(self) -> RawBatch | None:
        """The next records, moving past them."""
        batch = self.peek()
        if batch is not None:
            self.advance(len(batch))
        return batch

"""Trying again: which failures are worth it, how often, and how long to wait before."""

import random
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

_MOST_DOUBLINGS: Final = 64


class RetrySettings(BaseModel):
    """When a request is given up, and how often it is made again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attempts: int = Field(default=5, ge=1)
    """Tries per item and run."""
    first_wait_s: float = Field(default=1.0, ge=0)
    """Longest wait before the second try; it doubles from try to try. Waits are drawn evenly
    between 0 and their longest, so that many items do not come back at once."""
    longest_wait_s: float = Field(default=60.0, ge=0)
    """No wait is longer; a server that asks for a longer one has its item put off to the next
    run."""
    timeout_s: float = Field(default=60.0, gt=0)
    """A request that brings nothing for so long is cut off."""

    def gives_up(self, attempt: int, asked: float) -> bool:
        """Whether the failed try number `attempt` (from 1) was the last.

        Args:
            attempt: tries made so far.
            asked: seconds that the server asks to wait, 0 where it asks for nothing.
        """
        return attempt >= self.attempts or asked > self.longest_wait_s

    def wait_s(self, attempt: int, asked: float, jitter: random.Random) -> float:
        """Seconds to wait after the failed try number `attempt` (from 1)."""
        doubled = self.first_wait_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
        # On top of what the server asks for, or all would come back at that moment.
        drawn = jitter.uniform(0, min(doubled, self.longest_wait_s))
        return min(asked + drawn, self.longest_wait_s)


class Transient(Exception):
    """Worth another try: 5xx, 429, a time-out, a connection reset, a body cut off."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks to wait, or None."""


class Unavailable(Exception):
    """Final: the item is not there, is damaged, or is not what it should be."""


class Stopped(Exception):
    """The run is being stopped because of another item; this one stays pending."""

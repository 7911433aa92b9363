"""A job within a job draws no second bar; without a terminal lines are written."""

import io
import sys

import pytest
from rich.console import Console

from terraloom import progress
from terraloom.progress import meter


@pytest.fixture
def terminal(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=True))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return written


def test_the_outer_job_has_the_bar_and_the_inner_one_lines(terminal):
    with meter("outer", 2) as outer:
        with meter("inner", 3) as inner:
            inner.advance(3)
        outer.advance(2)
        assert outer._bar is not None
        assert inner._bar is None
    assert "inner" in terminal.getvalue()
    with meter("next", 1) as later:
        assert later._bar is not None


def test_a_job_that_failed_leaves_the_bar_to_the_next(terminal):
    with pytest.raises(ValueError, match="stop"), meter("failing", 1):
        raise ValueError("stop")
    with meter("next", 1) as later:
        assert later._bar is not None

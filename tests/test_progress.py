"""Progress: plain lines in logs, a bar on terminals, and nothing per request beyond a few additions."""

from __future__ import annotations

import io

import pytest

from bench.progress import Figures
from bench.show.progress import Bars, duration

SERVED = Figures("ok", 20, 0.001, "CNY")
FAILED = Figures("failed", 0, None, None)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Written(io.StringIO):
    """A stream that counts writes."""

    writes = 0

    def write(self, text: str, /) -> int:
        self.writes += 1
        return super().write(text)


def test_a_log_gets_whole_lines_at_intervals_and_no_carriage_return() -> None:
    clock, stream = Clock(), Written()
    bars = Bars(stream, clock, every_s=5.0)
    bars.start(100, 10, "demo")
    for number in range(50):
        clock.now_s += 0.2
        bars.finished(FAILED if number == 7 else SERVED)
    bars.close()
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert lines[0] == "demo: 100 requests planned, 10 of them done before"
    assert lines[1].startswith("demo: 35/100 requests (35%), 24 ok, 1 failed, 96 tok/s, 0.024 CNY, about 13 s left")
    assert lines[-1].startswith("demo: 60/100 requests (60%), 49 ok, 1 failed")
    assert len(lines) == 4


def test_thousands_of_requests_between_two_looks_write_nothing() -> None:
    clock, stream = Clock(), Written()
    bars = Bars(stream, clock, every_s=5.0)
    bars.start(10_000)
    before = stream.writes
    for _ in range(9_999):
        bars.finished(SERVED)
    assert stream.writes == before
    clock.now_s += 5.0
    bars.finished(SERVED)
    assert stream.writes == before + 1
    assert "10,000/10,000 requests (100%)" in stream.getvalue()


def test_a_terminal_gets_a_bar_with_the_figures_and_a_last_state() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock, terminal=True)
    bars.start(40, 0, "demo")
    for _ in range(20):
        clock.now_s += 1.0
        bars.finished(SERVED)
    bars.note("a note \x1b[2J")
    clock.now_s += 1.0
    bars.finished(FAILED)
    bars.close()
    bars.close()
    text = stream.getvalue()
    assert "demo:  50%|" in text
    assert "20/40, 20 ok, 0 failed, 20 tok/s, 0.02 CNY [ETA 20 s]" in text
    assert "a note \\x1b[2J\n" in text
    assert "21/40, 20 ok, 1 failed" in text.splitlines()[-1]


def test_the_speed_is_that_of_the_last_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock, every_s=5.0)
    bars.start(1000)
    for _ in range(60):
        clock.now_s += 1.0
        bars.finished(SERVED)
    for _ in range(200):
        clock.now_s += 0.1
        bars.finished(SERVED)
    assert "200 tok/s" in stream.getvalue().splitlines()[-1], (
        "ten requests of twenty tokens a second, not the run's mean"
    )


def test_a_stalled_run_shows_what_holds_it_back() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock, every_s=5.0)
    bars.start(10, 0, "demo")
    clock.now_s += 6.0
    bars.throttled("rpm")
    assert "0/10 requests (0%), 0 ok, 0 failed, held back by rpm" in stream.getvalue()
    clock.now_s += 6.0
    bars.throttled(None)
    assert "held back" not in stream.getvalue().splitlines()[-1]
    bars.throttled("limits.rpm")
    bars.close()
    assert "held back" not in stream.getvalue().splitlines()[-1], "nothing holds back a run that is over"


def test_what_was_never_sent_did_not_fail() -> None:
    stream = io.StringIO()
    bars = Bars(stream, Clock())
    bars.start(3, 0, "demo")
    bars.finished(SERVED)
    for _ in range(2):
        bars.finished(Figures("not_sent", 0, None, None))
    bars.close()
    assert "1 ok, 0 failed, 2 not sent" in stream.getvalue()


def test_what_an_interrupt_cut_off_has_not_failed() -> None:
    stream = io.StringIO()
    bars = Bars(stream, Clock())
    bars.start(2, 0, "demo")
    bars.finished(SERVED)
    bars.finished(Figures("cancelled", 0, None, None))
    bars.close()
    assert "1 ok, 0 failed, 1 cut off" in stream.getvalue()


def test_a_total_that_is_not_known_is_no_reason_to_fail() -> None:
    clock = Clock()
    for terminal in (False, True):
        stream = io.StringIO()
        bars = Bars(stream, clock, terminal=terminal)
        bars.start(None)
        clock.now_s += 9.0
        bars.finished(SERVED)
        bars.close()
        assert "1 ok" in stream.getvalue()


def test_two_currencies_are_never_added() -> None:
    clock, stream = Clock(), io.StringIO()
    bars = Bars(stream, clock)
    bars.start(2)
    bars.finished(SERVED)
    bars.finished(Figures("ok", 0, 2.0, "USD"))
    bars.close()
    assert "0.001 CNY, 2 USD" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_read_like_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

"""Sliding windows of requests and tokens per account and model."""

from __future__ import annotations

from collections import deque


class Windows:
    """Who has used how much in the last ``window_s`` seconds. The caller brings the time.

    A refused request uses nothing; one that met a fault before any reply uses no tokens. A request's input counts when
    it is admitted, its output when it has been sent.
    """

    def __init__(self, rpm: int | None, tpm: int | None, window_s: float) -> None:
        self._rpm, self._tpm, self._window_s = rpm, tpm, window_s
        self._requests: dict[tuple[str, str], deque[float]] = {}
        self._tokens: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self._sums: dict[tuple[str, str], int] = {}

    def admit(self, who: tuple[str, str], prompt_tokens: int, now_s: float) -> str | None:
        """Count a request in, or name the limit that it would break: ``RPM`` or ``TPM``."""
        if self._rpm is not None:
            starts = self._requests.setdefault(who, deque())
            while starts and starts[0] <= now_s - self._window_s:
                starts.popleft()
            if len(starts) >= self._rpm:
                return "RPM"
        if self._tpm is not None and self._used(who, now_s) + prompt_tokens > self._tpm:
            return "TPM"
        if self._rpm is not None:
            self._requests[who].append(now_s)
        self.spend(who, prompt_tokens, now_s)
        return None

    def spend(self, who: tuple[str, str], tokens: int, now_s: float) -> None:
        """Count tokens that were read or written."""
        if self._tpm is None:
            return
        self._tokens.setdefault(who, deque()).append((now_s, tokens))
        self._sums[who] = self._sums.get(who, 0) + tokens

    def _used(self, who: tuple[str, str], now_s: float) -> int:
        spent = self._tokens.get(who)
        while spent and spent[0][0] <= now_s - self._window_s:
            self._sums[who] -= spent.popleft()[1]
        return self._sums.get(who, 0)

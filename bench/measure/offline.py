"""Whether the model of a lane is still served.

Services put models on and take them offline at any time. A server that says so for one request may be mistaken (a
replica that restarts, a router that forgets), so it takes two: a request that was sent after the first such answer had
come must hear the same, with no success of a request sent since in between. From then on the lane sends nothing more.
A ``base_url`` with a wrong path answers 404 to every request and so ends every lane of the account by the same rule.

Every worker process hears for itself: one more request each, and those that were in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.domain import Answer, ErrorKind, Failure, Outcome

#: not found, and gone for good
_KINDS = frozenset({ErrorKind.HTTP_404, ErrorKind.HTTP_410})

#: SiliconFlow's "Model does not exist" (400) and "Model disabled" (403), and OpenAI's word for the first
_CODES = frozenset({"20012", "30003", "model_not_found"})


def says_offline(failure: Failure | None) -> bool:
    """Whether a server's answer means that the model is not served."""
    return failure is not None and (failure.kind in _KINDS or failure.code in _CODES)


@dataclass(slots=True)
class Presence:
    """What the answers of one lane say about its model.

    Attributes:
        offline: why nothing more is to be sent, once that is confirmed.
        wall_clock_s: seconds since the epoch, for people to read.
    """

    wall_clock_s: Callable[[], float] = field(default=time.time)
    offline: Failure | None = None
    _doubted_ns: int | None = None

    def saw(self, answer: Answer) -> bool:
        """Take note of an answer; ``True`` when it is the one that confirms that the model is offline."""
        sent_ns, end_ns = answer.timeline.sent_ns, answer.timeline.end_ns
        if self.offline is not None or sent_ns is None or end_ns is None:
            return False
        since_doubt = self._doubted_ns is not None and sent_ns >= self._doubted_ns
        if answer.outcome is Outcome.OK and since_doubt:
            self._doubted_ns = None
        elif answer.failure is not None and says_offline(answer.failure):
            if since_doubt:
                self.offline = self._verdict(answer.failure, answer.status)
                return True
            self._doubted_ns = end_ns if self._doubted_ns is None else self._doubted_ns
        return False

    def _verdict(self, failure: Failure, status: int | None) -> Failure:
        at = datetime.fromtimestamp(self.wall_clock_s(), UTC)
        code = f" ({failure.code})" if failure.code else ""
        told = f"two requests were told HTTP {status}{code}: {failure.detail}"
        detail = f"offline since {at:%Y-%m-%d %H:%M:%S} UTC ({told})"
        return Failure(ErrorKind.MODEL_OFFLINE, detail, failure.code)

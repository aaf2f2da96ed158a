"""The parameter rules of the SiliconFlow chat-completions page, over the JSON body that goes on the wire.

One table for both sides: the client refuses a cell by it before anything is sent, the simulator refuses a request by
it. A rule is a named check; it yields a :class:`Violation` for each breach and never raises, whatever the JSON holds.
An optional field that is ``null`` counts as not sent, and fields the page does not know are not judged: the service
ignores them.
"""

from __future__ import annotations

from bench.rules.cell import Findings, check_cell, describe, drop_unsupported
from bench.rules.messages import MESSAGE_RULES, estimate_tokens
from bench.rules.parameters import PARAMETER_RULES
from bench.rules.rule import Body, ModelFacts, Rule, Severity, Violation
from bench.rules.table import EVERYWHERE_RULES, RULES, violations

__all__ = [
    "EVERYWHERE_RULES",
    "MESSAGE_RULES",
    "PARAMETER_RULES",
    "RULES",
    "Body",
    "Findings",
    "ModelFacts",
    "Rule",
    "Severity",
    "Violation",
    "check_cell",
    "describe",
    "drop_unsupported",
    "estimate_tokens",
    "violations",
]

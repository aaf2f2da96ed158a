"""A JSON reply is valid under the row's schema, and its fields equal the target's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bench.domain import Choice, JsonObject, Label, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.json_values import NoJsonError, canonical, json_in, leaves
from bench.scorers.verdicts import reply_text, share, shown, unparsed, unscored


@plugin("scorer", "json_schema")
@dataclass(frozen=True)
class JsonSchema(Scorer):
    """Reads the JSON of a reply (fenced blocks and text around it are accepted) and compares it with the target.

    A reply that breaks the row's ``schema`` (JSON Schema, draft 2020-12 unless it names another) is ``wrong``.
    Otherwise the value is the share of the target's leaves that are equal; what the target does not name is left to the
    schema. An empty target object asks for a valid reply only.
    References to other documents are never fetched.

    Attributes:
        schema: schema for rows that bring none.
        time_limit_s: for one verdict; a schema may hold regular expressions.
    """

    kind: str = "json_schema"
    version: str = "1"
    schema: dict[str, Any] | None = None
    time_limit_s: float | None = 5.0

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``partial`` or ``wrong``; ``unparsed`` for a reply without JSON."""
        if sample.target is None:
            return unscored("no target")
        schema = sample.fields.get("schema")
        schema = self.schema if schema is None else schema
        try:
            value = json_in(reply_text(choice))
        except NoJsonError as error:
            return unparsed(str(error))
        try:
            broken = violation(value, schema) if isinstance(schema, dict | bool) else ""
        except SchemaError as error:
            return unscored(f"the row's schema is not valid: {error}")
        if broken:
            return Score(0.0, Label.WRONG, shown(value), shown(f"breaks the schema: {broken}"))
        try:
            given = {path: canonical(leaf) for path, leaf in leaves(value)}
            wanted = {path: canonical(leaf) for path, leaf in leaves(sample.target) if sample.target != {}}
        except (ValueError, RecursionError):
            return unparsed("nested too deep")
        different = [path for path, leaf in wanted.items() if given.get(path) != leaf]
        detail = f"different: {', '.join(different)}" if different else ""
        return share(len(wanted) - len(different), len(wanted), value, detail)


class SchemaError(ValueError):
    """A schema is itself not valid, or refers to something outside itself."""


def violation(value: Any, schema: JsonObject | bool) -> str:
    """How a value breaks a schema, in a few words; empty if it does not.

    Raises:
        SchemaError: the schema cannot be used.
    """
    # Imported here: these libraries cost more at start-up than the rest of the harness.
    from jsonschema import Draft202012Validator
    from jsonschema import SchemaError as LibrarySchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)  # type: ignore[arg-type]  # the stubs forget that a schema may be a boolean
        error = next(iter(kind(schema, registry=Registry()).iter_errors(value)), None)
    except LibrarySchemaError as error_in_schema:
        raise SchemaError(error_in_schema.message) from error_in_schema
    except Unresolvable as unresolvable:
        raise SchemaError(f"the reference {unresolvable.ref!r} points outside the schema") from unresolvable
    except RecursionError:
        return "nested too deep"
    except (ValueError, TypeError, ArithmeticError, LookupError, re.error) as misused:
        raise SchemaError(f"{type(misused).__name__}: {misused}") from misused
    return f"{error.json_path}: {error.message}" if error else ""

"""Networks that a record describes, whose fields are options of `create_model` as well."""
from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any


def signature_of(network: type, record: type | Iterable[tuple[str, Field[Any]]]) -> inspect.Signature:
    """What `create_model` takes for a network: the constructor's options and, in place of its record `cfg`, those that
    are the record's fields.

    Args:
        record: the record's class, or the names of options and the field that each is.
    """
    known = inspect.signature(network.__init__).parameters.values()         # type: ignore[misc]
    plain = [one.replace(kind=one.KEYWORD_ONLY) for one in known if one.name not in ('self', 'cfg', 'options')]
    options = [(one.name, one) for one in fields(record)] if isinstance(record, type) else record
    return inspect.Signature([*plain, *(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for name, one in options)])

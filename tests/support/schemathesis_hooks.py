"""What schemathesis does otherwise than by itself when it tries the API (tests/openapi.rs)."""

import itertools
import json

import schemathesis

numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Nearly every request has an Idempotency-Key of its own.

    The generator's are short and come again and again, so that most requests would be refused as other requests with a
    key that was used. Every fifth is left as it is: such a refusal is an answer too.
    """
    key = (case.headers or {}).get("Idempotency-Key")
    number = next(numbers)
    if isinstance(key, str) and 1 <= len(key) <= 200 and key.isascii() and key.isprintable() and " " not in key:
        if number % 5:
            case.headers["Idempotency-Key"] = f"{key}-{number}"


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """A file of lines is text."""
    return (value if isinstance(value, str) else json.dumps(value)).encode(errors="ignore")

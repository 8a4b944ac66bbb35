"""What schemathesis does otherwise than by itself when it tries the API (tests/openapi.rs)."""

import itertools
import json
import re

import schemathesis

numbers = itertools.count()

DIGESTS = ("Content-Digest", "Repr-Digest", "Digest")
A_DIGEST = re.compile(r"sha-256=(:[A-Za-z0-9+/]{43}=:|[A-Za-z0-9+/]{43}=)")


@schemathesis.hook
def before_call(context, case, kwargs):
    """What would have nearly every request refused for one reason is the exception.

    An Idempotency-Key of the generator's is short and comes again and again, so most requests would be others with a key
    that was used; a SHA-256 of its is that of no bytes. Every fifth is left as it is: such a refusal is an answer too.
    """
    key = (case.headers or {}).get("Idempotency-Key")
    number = next(numbers)
    if isinstance(key, str) and 1 <= len(key) <= 200 and key.isascii() and key.isprintable() and " " not in key:
        if number % 5:
            case.headers["Idempotency-Key"] = f"{key}-{number}"
    for name in DIGESTS:
        digest = (case.headers or {}).get(name)
        if number % 5 and isinstance(digest, str) and A_DIGEST.fullmatch(digest):
            del case.headers[name]


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """A file of lines is text."""
    return (value if isinstance(value, str) else json.dumps(value)).encode(errors="ignore")

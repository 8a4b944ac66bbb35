-- What requests with an Idempotency-Key were answered, so that the same one again has no second effect.

CREATE TABLE first_answers (
    -- Rises with time: the oldest are forgotten first.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Who asked, and under which key.
    scope BLOB NOT NULL UNIQUE CHECK (length(scope) = 32),
    -- What was asked.
    request BLOB NOT NULL CHECK (length(request) = 32),
    -- Absent until it has been answered: the row comes with the request's effect, in the same transaction.
    status INTEGER,
    answer BLOB,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX first_answers_by_time ON first_answers (at_ms);

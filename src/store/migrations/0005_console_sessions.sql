-- Who is signed in to the console. A session ends with its key: revoked keys are not joined.
CREATE TABLE console_sessions (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    key_id INTEGER NOT NULL REFERENCES api_keys (id),
    opened_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

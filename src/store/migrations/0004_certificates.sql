-- Certificates and public keys beside pre-shared keys. Credentials of every kind have their ids from the one counter.

-- CAs that are believed about the devices of a project.
CREATE TABLE device_cas (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    certificate BLOB NOT NULL,
    zero_touch INTEGER NOT NULL,
    cohort_id INTEGER REFERENCES cohorts (id),
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    -- The CA that vouched for it when it was last used; without one no session may go on.
    ca_id INTEGER REFERENCES device_cas (id),
    -- Whether an operator said that it is the device's.
    pinned INTEGER NOT NULL,
    organization TEXT,
    common_name TEXT,
    -- Absent, with all that it says, until it is known.
    serial TEXT,
    not_before_s INTEGER,
    not_after_s INTEGER,
    first_seen_ms INTEGER,
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, sha256)
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device_id);
CREATE INDEX certificates_by_ca ON certificates (ca_id, id);
CREATE INDEX certificates_by_expiry ON certificates (not_after_s);

-- Outlives the device that it was, so that nobody gets in with it again.
CREATE TABLE revoked_certificates (
    project_id INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    device_id INTEGER NOT NULL,
    device_name TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (project_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE TABLE raw_public_keys (
    id INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX raw_public_keys_by_device ON raw_public_keys (device_id);

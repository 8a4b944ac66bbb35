-- Facts of a fleet. What scales with the number of devices has an index for every question that is asked of it.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One counter numbers everything that has an id, so that no id is ever given twice.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_sequence INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE packages (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY,
    package_id INTEGER NOT NULL REFERENCES packages (id),
    version TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size BETWEEN 1 AND 1073741824),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    kind TEXT NOT NULL,
    image_version TEXT,
    created_ms INTEGER NOT NULL,
    UNIQUE (package_id, version)
) STRICT;
CREATE INDEX artifacts_by_sha256 ON artifacts (sha256);

CREATE TABLE cohorts (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE deployments (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    cohort_id INTEGER NOT NULL REFERENCES cohorts (id),
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence BETWEEN 1 AND 2147483647),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, sequence),
    UNIQUE (cohort_id, name)
) STRICT;

CREATE TABLE deployment_artifacts (
    deployment_id INTEGER NOT NULL REFERENCES deployments (id),
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id),
    PRIMARY KEY (deployment_id, artifact_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployment_artifacts_by_artifact ON deployment_artifacts (artifact_id);

CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    cohort_id INTEGER REFERENCES cohorts (id),
    enabled INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;
CREATE INDEX devices_by_project ON devices (project_id, id);
CREATE INDEX devices_by_cohort ON devices (cohort_id, id);

CREATE TABLE device_tags (
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (device_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_tags_by_tag ON device_tags (tag, device_id);

CREATE TABLE credentials (
    id INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    identity BLOB NOT NULL UNIQUE CHECK (length(identity) BETWEEN 1 AND 64),
    -- AES-256-GCM under the installation key, bound to the identity.
    sealed BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX credentials_by_device ON credentials (device_id);

-- What a device last reported. The package need not exist: devices report what they have.
CREATE TABLE package_states (
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    package TEXT NOT NULL,
    state INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    version TEXT,
    target TEXT,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (device_id, package)
) STRICT, WITHOUT ROWID;

-- What the gateway itself saw of a device.
CREATE TABLE sightings (
    device_id INTEGER PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    last_seen_ms INTEGER NOT NULL,
    manifest_sent INTEGER NOT NULL,
    manifest_acknowledged INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    role TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
) STRICT;

-- No reference to the project: the audit outlives what it tells of.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_actor ON audit (actor, id);

-- How the fleet's figures moved. Bounded: a span of time for each step, a number of points for each deployment.

CREATE TABLE fleet_history (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    step_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    -- Whether nothing is known of the time before it. Otherwise nothing changed since the row before, but for the last step.
    begins INTEGER NOT NULL,
    connected INTEGER NOT NULL,
    observing INTEGER NOT NULL,
    downloading INTEGER NOT NULL,
    failing INTEGER NOT NULL,
    bytes_per_second REAL NOT NULL,
    PRIMARY KEY (project_id, step_ms, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployment_series (
    deployment_id INTEGER PRIMARY KEY REFERENCES deployments (id),
    step_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE deployment_history (
    deployment_id INTEGER NOT NULL REFERENCES deployments (id),
    -- The time since the deployment was made, in steps; -1 is when it was made, or first seen.
    slot INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    notified INTEGER NOT NULL,
    downloading INTEGER NOT NULL,
    downloaded INTEGER NOT NULL,
    updating INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    bytes_served INTEGER NOT NULL,
    PRIMARY KEY (deployment_id, slot)
) STRICT, WITHOUT ROWID;

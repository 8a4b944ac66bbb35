-- A device's past, bounded: the newest entries of each strand. What belongs to one device lies together, so that an entry
-- costs one page, reading it is one range, and the newest is found without a search.
CREATE TABLE timeline (
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    strand INTEGER NOT NULL,
    -- Rises by one with every entry of the strand.
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    -- An entry that repeats the one before it only counts there.
    count INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    -- What the kind says, as a JSON array.
    facts TEXT NOT NULL,
    PRIMARY KEY (device_id, strand, seq)
) STRICT, WITHOUT ROWID;

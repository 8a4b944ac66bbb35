-- Why an attempt failed last, and at which version: a device that waits for the next one says only that it waits. The two numbers
-- are both null, or none is.

ALTER TABLE package_states ADD COLUMN setback_state INTEGER;
ALTER TABLE package_states ADD COLUMN setback_reason INTEGER;
ALTER TABLE package_states ADD COLUMN setback_target TEXT;

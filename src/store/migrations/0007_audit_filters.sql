-- What the audit is filtered by, each newest first, however much of it there is.

CREATE INDEX audit_by_action ON audit (action, id);
CREATE INDEX audit_by_actor_and_action ON audit (actor, action, id);
CREATE INDEX audit_by_time ON audit (at_ms);

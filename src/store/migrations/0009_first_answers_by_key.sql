-- Whose request it was, so that one API key's are not forgotten for another's. Absent where the request came before this was noted.

ALTER TABLE first_answers ADD COLUMN key_id INTEGER;
CREATE INDEX first_answers_by_key ON first_answers (key_id, id);

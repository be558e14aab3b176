-- +goose Up
-- From which version of its sale's list on a buyer may buy, and up to which; 0: for ever.
ALTER TABLE access_eligible ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE access_eligible ADD COLUMN until INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE access_eligible DROP COLUMN until;
ALTER TABLE access_eligible DROP COLUMN since;

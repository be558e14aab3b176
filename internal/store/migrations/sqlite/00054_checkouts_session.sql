-- +goose Up
-- The provider's own name of a checkout that can be ended there, and those that are open.
ALTER TABLE checkouts ADD COLUMN session TEXT NOT NULL DEFAULT '';
CREATE INDEX checkouts_open ON checkouts (id) WHERE closed = 0 AND session <> '';

-- +goose Down
DROP INDEX checkouts_open;
ALTER TABLE checkouts DROP COLUMN session;

-- +goose Up
-- When the last order that was left unpaid ended; last_at is when the row was written.
-- 0: a node of an earlier version wrote it, and it is last_at.
ALTER TABLE access_tries ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE access_tries DROP COLUMN ended_at;

-- +goose Up
-- When the last order that was left unpaid ended; last_at is when the row was written.
-- 0: a node of an earlier version wrote it, and it is last_at. MySQL cannot add a column
-- again, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'access_tries' AND column_name = 'ended_at') = 0,
    'ALTER TABLE access_tries ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE access_tries DROP COLUMN ended_at;

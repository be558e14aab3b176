-- +goose Up
-- The provider's own name of a checkout that can be ended there. MySQL has no ADD COLUMN
-- IF NOT EXISTS, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'checkouts' AND column_name = 'session') = 0,
    'ALTER TABLE checkouts ADD COLUMN session VARBINARY(200) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE checkouts DROP COLUMN session;

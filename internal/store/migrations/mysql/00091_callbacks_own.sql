-- +goose Up
-- The provider's own id of the refund that a message is about, or ours where it says that.
-- MySQL has no ADD COLUMN IF NOT EXISTS, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'callbacks' AND column_name = 'own') = 0,
    'ALTER TABLE callbacks ADD COLUMN own VARBINARY(200) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE callbacks DROP COLUMN own;

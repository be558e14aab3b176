-- +goose Up
-- The provider's own id of a refund that it has confirmed: a second, different one is money
-- that went back twice. MySQL has no ADD COLUMN IF NOT EXISTS, so it runs only where the
-- column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'refunds' AND column_name = 'given') = 0,
    'ALTER TABLE refunds ADD COLUMN given VARBINARY(200) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE refunds DROP COLUMN given;

-- +goose Up
-- From which version of its sale's list on a buyer may buy, and up to which; 0: for ever.
-- MySQL cannot add a column again, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'access_eligible' AND column_name = 'since') = 0,
    'ALTER TABLE access_eligible ADD COLUMN since BIGINT NOT NULL DEFAULT 0, ADD COLUMN until BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE access_eligible DROP COLUMN until, DROP COLUMN since;

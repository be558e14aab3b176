-- +goose Up
-- What its buyers are told; empty: nothing. MySQL cannot add a column again, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'sales' AND column_name = 'notice') = 0,
    'ALTER TABLE sales ADD COLUMN notice VARCHAR(500) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE sales DROP COLUMN notice;

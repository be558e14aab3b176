-- +goose Up
-- Where a sale stands: draft, hidden, deleted; empty: published. MySQL cannot add a column again, so it runs only where the column is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'sales' AND column_name = 'shelf') = 0,
    'ALTER TABLE sales ADD COLUMN shelf VARCHAR(16) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
ALTER TABLE sales DROP COLUMN shelf;

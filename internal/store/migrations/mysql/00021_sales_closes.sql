-- +goose Up
-- The buyers' list walks the sales by the time at which they close. MySQL cannot run
-- CREATE INDEX again, so it runs only where the index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'sales' AND index_name = 'sales_closes') = 0,
    'CREATE INDEX sales_closes ON sales (closes_at, id)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX sales_closes ON sales;

-- +goose Up
-- Refunds that were told before their payments: few, among very many callbacks. MySQL
-- cannot run CREATE INDEX again, so it runs only where the index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'callbacks' AND index_name = 'callbacks_early') = 0,
    'CREATE INDEX callbacks_early ON callbacks (became, seen_at)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX callbacks_early ON callbacks;

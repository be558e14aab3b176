-- +goose Up
-- Checkouts that are open. MySQL cannot run CREATE INDEX again, so it runs only where the
-- index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'checkouts' AND index_name = 'checkouts_open') = 0,
    'CREATE INDEX checkouts_open ON checkouts (closed, session)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX checkouts_open ON checkouts;

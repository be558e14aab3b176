-- +goose Up
-- Administrators look for orders by their state. Ids rise with time, so new orders come at
-- the end of their state's part of the index.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'tickets' AND index_name = 'tickets_state') = 0,
    'CREATE INDEX tickets_state ON tickets (state, id)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX tickets_state ON tickets;

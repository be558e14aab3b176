-- +goose Up
-- Some databases have the index that 00053 made at first. MySQL cannot drop what may be
-- missing, so it runs only where the index is.
SET @drop = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'tickets' AND index_name = 'tickets_state') > 0,
    'DROP INDEX tickets_state ON tickets', 'DO 0');
PREPARE away FROM @drop;
EXECUTE away;
DEALLOCATE PREPARE away;

-- +goose Down
DO 0;

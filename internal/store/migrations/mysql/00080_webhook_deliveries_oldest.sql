-- +goose Up
-- How old the oldest delivery of a receiver in a state is, and which are old enough to be
-- forgotten, without reading the others. MySQL cannot run CREATE INDEX again, so it runs
-- only where the index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'webhook_deliveries' AND index_name = 'webhook_deliveries_oldest') = 0,
    'CREATE INDEX webhook_deliveries_oldest ON webhook_deliveries (receiver, state, at)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX webhook_deliveries_oldest ON webhook_deliveries;

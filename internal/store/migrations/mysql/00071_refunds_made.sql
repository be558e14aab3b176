-- +goose Up
-- The list of refunds, newest first. MySQL cannot run CREATE INDEX again, so it runs only
-- where the index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'refunds' AND index_name = 'refunds_made') = 0,
    'CREATE INDEX refunds_made ON refunds (made_at, id)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX refunds_made ON refunds;

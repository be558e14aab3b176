-- +goose Up
-- The list of people of the shop. MySQL cannot run CREATE INDEX again, so it runs only
-- where the index is missing.
SET @make = IF((SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'accounts' AND index_name = 'accounts_role') = 0,
    'CREATE INDEX accounts_role ON accounts (role, name)', 'DO 0');
PREPARE make FROM @make;
EXECUTE make;
DEALLOCATE PREPARE make;

-- +goose Down
DROP INDEX accounts_role ON accounts;

-- +goose Up
-- Every node reads the newest of them.
CREATE INDEX access_tries_last ON access_tries (last_at, sale, buyer);

-- +goose Down
DROP INDEX access_tries_last;

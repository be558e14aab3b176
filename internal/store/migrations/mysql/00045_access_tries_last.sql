-- +goose Up
-- The index access_tries_last came with the table: CREATE INDEX cannot be run again.
DO 0;

-- +goose Down
DO 0;

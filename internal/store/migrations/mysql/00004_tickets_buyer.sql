-- +goose Up
-- The index tickets_buyer came with the table: CREATE INDEX cannot be run again.
DO 0;

-- +goose Down
DO 0;

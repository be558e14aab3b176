-- +goose Up
-- The index tickets_active came with the table: CREATE INDEX cannot be run again.
DO 0;

-- +goose Down
DO 0;

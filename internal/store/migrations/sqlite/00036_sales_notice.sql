-- +goose Up
-- What its buyers are told; empty: nothing.
ALTER TABLE sales ADD COLUMN notice TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sales DROP COLUMN notice;

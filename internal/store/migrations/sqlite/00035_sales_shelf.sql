-- +goose Up
-- Where a sale stands: draft, hidden, deleted; empty: published.
ALTER TABLE sales ADD COLUMN shelf TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sales DROP COLUMN shelf;

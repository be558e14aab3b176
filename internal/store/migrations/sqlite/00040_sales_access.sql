-- +goose Up
-- Who may ask for a ticket, as JSON; empty: everybody, for nothing.
ALTER TABLE sales ADD COLUMN access TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sales DROP COLUMN access;

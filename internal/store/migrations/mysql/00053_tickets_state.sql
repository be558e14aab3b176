-- +goose Up
-- The index tickets_state is SQLite's alone: here it would be written with each placed order.
DO 0;

-- +goose Down
DO 0;

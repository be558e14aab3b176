-- +goose Up
-- MySQL's index tickets_state goes; SQLite's stays, for it is not written with each placed order.
SELECT 1;

-- +goose Down
SELECT 1;

-- +goose Up
-- The index came with the column.
SELECT 1;

-- +goose Down
SELECT 1;

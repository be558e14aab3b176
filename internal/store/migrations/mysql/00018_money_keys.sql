-- +goose Up
-- The keys are in the tables here.
SELECT 1;

-- +goose Down
SELECT 1;

-- +goose Up
-- The buyers' list walks the sales by the time at which they close.
CREATE INDEX sales_closes ON sales (closes_at, id);

-- +goose Down
DROP INDEX sales_closes;

-- +goose Up
-- The buyers' list walks the sales by the time at which they open.
CREATE INDEX sales_opens ON sales (opens_at, id);

-- +goose Down
DROP INDEX sales_opens;

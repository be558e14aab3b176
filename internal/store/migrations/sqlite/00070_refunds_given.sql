-- +goose Up
-- The provider's own id of a refund that it has confirmed: a second, different one is money that went back twice.
ALTER TABLE refunds ADD COLUMN given TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE refunds DROP COLUMN given;

-- +goose Up
-- One active order per (sale, buyer).
CREATE UNIQUE INDEX tickets_active ON tickets (sale, buyer) WHERE state IN ('unpaid', 'paid');

-- +goose Down
DROP INDEX tickets_active;

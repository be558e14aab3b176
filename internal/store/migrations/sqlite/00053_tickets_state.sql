-- +goose Up
-- Administrators look for orders by their state. The placing of an order writes nothing
-- more: those that are unpaid have an index of their own, tickets_unpaid.
CREATE INDEX tickets_state ON tickets (state, id) WHERE state = 'paid' OR state = 'cancelled' OR state = 'expired' OR state = 'refunded';

-- +goose Down
DROP INDEX tickets_state;

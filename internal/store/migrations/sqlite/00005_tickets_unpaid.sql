-- +goose Up
CREATE INDEX tickets_unpaid ON tickets (expires_at) WHERE state = 'unpaid';

-- +goose Down
DROP INDEX tickets_unpaid;

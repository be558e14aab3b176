-- +goose Up
-- Refunds that were told before their payments: few, among very many callbacks.
CREATE INDEX callbacks_early ON callbacks (seen_at) WHERE became = 'early';

-- +goose Down
DROP INDEX callbacks_early;

-- +goose Up
-- How old the oldest delivery of a receiver in a state is, and which are old enough to be
-- forgotten, without reading the others.
CREATE INDEX webhook_deliveries_oldest ON webhook_deliveries (receiver, state, at);

-- +goose Down
DROP INDEX webhook_deliveries_oldest;

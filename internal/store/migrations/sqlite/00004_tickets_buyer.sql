-- +goose Up
CREATE INDEX tickets_buyer ON tickets (buyer, id);

-- +goose Down
DROP INDEX tickets_buyer;

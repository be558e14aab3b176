-- +goose Up
-- The list of refunds, newest first.
CREATE INDEX refunds_made ON refunds (made_at, id);

-- +goose Down
DROP INDEX refunds_made;

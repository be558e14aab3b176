-- +goose Up
-- As events, for the receivers of webhooks: deleted when each has its deliveries.
CREATE TABLE webhook_events (
    id   TEXT    NOT NULL PRIMARY KEY,
    type TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    body TEXT    NOT NULL -- the order, in JSON
) WITHOUT ROWID;

-- +goose Down
DROP TABLE webhook_events;

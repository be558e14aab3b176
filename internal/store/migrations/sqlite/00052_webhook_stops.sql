-- +goose Up
-- Receivers that have said that they want no more webhooks.
CREATE TABLE webhook_stops (
    receiver TEXT    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    why      TEXT    NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE webhook_stops;

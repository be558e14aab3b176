-- +goose Up
-- What others want to hear of orders, written with the change, deleted when sent.
CREATE TABLE events (
    id   TEXT    NOT NULL PRIMARY KEY,
    type TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    body TEXT    NOT NULL -- the order, in JSON
) WITHOUT ROWID;

-- +goose Down
DROP TABLE events;

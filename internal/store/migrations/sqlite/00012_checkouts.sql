-- +goose Up
-- Payments that were started for orders. An order has one that is open at most.
CREATE TABLE checkouts (
    id       TEXT    NOT NULL PRIMARY KEY,
    order_id TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    url      TEXT    NOT NULL DEFAULT '', -- empty until the provider has named it
    closed   INTEGER NOT NULL DEFAULT 0,
    at       INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE checkouts;

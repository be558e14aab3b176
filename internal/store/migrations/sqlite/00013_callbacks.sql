-- +goose Up
-- What providers told, by their own event ids: the first one counts.
CREATE TABLE callbacks (
    provider  TEXT    NOT NULL,
    event     TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    order_id  TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    amount    INTEGER NOT NULL,
    currency  TEXT    NOT NULL,
    at        INTEGER NOT NULL, -- by the provider
    seen_at   INTEGER NOT NULL, -- by the store
    became    TEXT    NOT NULL, -- what it changed; early: a refund of a payment that is not known yet
    PRIMARY KEY (provider, event)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE callbacks;

-- +goose Up
-- Refunds that did not reach the buyer, by the provider's own ids of them, or by ours where it has none: the message
-- that one was given back may come after the one that it came back.
CREATE TABLE bounces (
    provider TEXT    NOT NULL,
    own      TEXT    NOT NULL,
    at       INTEGER NOT NULL, -- by the provider: the last time
    PRIMARY KEY (provider, own)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE bounces;

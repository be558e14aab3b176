-- +goose Up
-- One event for one receiver. The ids of an order's events begin with the order's and
-- rise with its states, so the key is also the order in which they are sent.
CREATE TABLE webhook_deliveries (
    receiver TEXT    NOT NULL,
    event    TEXT    NOT NULL,
    type     TEXT    NOT NULL,
    order_id TEXT    NOT NULL,
    at       INTEGER NOT NULL, -- of the event
    body     TEXT    NOT NULL, -- what is sent
    state    TEXT    NOT NULL, -- waiting, delivered, failed
    tries    INTEGER NOT NULL,
    since    INTEGER NOT NULL, -- when it was put to wait
    next_at  INTEGER NOT NULL, -- of the next try; of one that has ended, when that was
    tried_at INTEGER NOT NULL, -- the last try, 0: none
    status   INTEGER NOT NULL, -- HTTP status of the last answer, 0: none
    error    TEXT    NOT NULL,
    PRIMARY KEY (receiver, event)
) WITHOUT ROWID;
CREATE INDEX webhook_deliveries_next ON webhook_deliveries (receiver, state, next_at);
CREATE INDEX webhook_deliveries_at ON webhook_deliveries (receiver, at);

-- +goose Down
DROP TABLE webhook_deliveries;

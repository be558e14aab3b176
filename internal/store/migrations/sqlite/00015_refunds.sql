-- +goose Up
-- Money that goes back. The id is ours: a provider that is asked twice gives back once.
CREATE TABLE refunds (
    id        TEXT    NOT NULL PRIMARY KEY,
    order_id  TEXT    NOT NULL,
    sale      INTEGER NOT NULL,
    provider  TEXT    NOT NULL,
    reference TEXT    NOT NULL, -- of the payment
    amount    INTEGER NOT NULL CHECK (amount >= 0),
    currency  TEXT    NOT NULL,
    units     INTEGER NOT NULL,
    restock   INTEGER NOT NULL,
    held      INTEGER NOT NULL, -- 1: taken from what the order holds
    reason    TEXT    NOT NULL,
    who       TEXT    NOT NULL,
    state     TEXT    NOT NULL, -- due, done
    made_at   INTEGER NOT NULL,
    done_at   INTEGER NOT NULL DEFAULT 0,
    tries     INTEGER NOT NULL DEFAULT 0,
    next_at   INTEGER NOT NULL DEFAULT 0, -- when the provider is asked again
    failure   TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- +goose Down
DROP TABLE refunds;

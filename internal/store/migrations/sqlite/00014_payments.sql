-- +goose Up
-- Money that providers took. A provider's reference is one payment, however many
-- messages tell of it.
CREATE TABLE payments (
    provider  TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    event     TEXT    NOT NULL,
    order_id  TEXT    NOT NULL,
    sale      INTEGER NOT NULL, -- 0: of no order that we know
    amount    INTEGER NOT NULL CHECK (amount > 0),
    currency  TEXT    NOT NULL,
    state     TEXT    NOT NULL, -- kept, late, returned, aside
    note      TEXT    NOT NULL,
    at        INTEGER NOT NULL, -- by the provider
    seen_at   INTEGER NOT NULL, -- by the store
    PRIMARY KEY (provider, reference),
    UNIQUE (provider, event)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE payments;

-- +goose Up
-- Money that providers took. A provider's reference is one payment, however many
-- messages tell of it.
CREATE TABLE IF NOT EXISTS payments (
    provider  VARBINARY(16)  NOT NULL,
    reference VARBINARY(200) NOT NULL,
    event     VARBINARY(200) NOT NULL,
    order_id  VARBINARY(200) NOT NULL,
    sale      BIGINT         NOT NULL, -- 0: of no order that we know
    amount    BIGINT         NOT NULL,
    currency  VARBINARY(12)  NOT NULL,
    state     VARBINARY(16)  NOT NULL, -- kept, late, returned, aside
    note      VARCHAR(200)   NOT NULL,
    at        BIGINT         NOT NULL, -- by the provider
    seen_at   BIGINT         NOT NULL, -- by the store
    PRIMARY KEY (provider, reference),
    UNIQUE KEY payments_event (provider, event),
    KEY payments_order (order_id),
    KEY payments_sale (sale),
    KEY payments_state (state),
    KEY payments_seen (seen_at),
    CHECK (amount > 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS payments;

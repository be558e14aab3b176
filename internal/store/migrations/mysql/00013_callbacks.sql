-- +goose Up
-- What providers told, by their own event ids: the first one counts.
CREATE TABLE IF NOT EXISTS callbacks (
    provider  VARBINARY(16)  NOT NULL,
    event     VARBINARY(200) NOT NULL,
    type      VARBINARY(16)  NOT NULL,
    order_id  VARBINARY(200) NOT NULL,
    reference VARBINARY(200) NOT NULL,
    amount    BIGINT         NOT NULL,
    currency  VARBINARY(12)  NOT NULL,
    at        BIGINT         NOT NULL, -- by the provider
    seen_at   BIGINT         NOT NULL, -- by the store
    became    VARBINARY(16)  NOT NULL, -- what it changed; early: a refund of a payment that is not known yet
    PRIMARY KEY (provider, event),
    KEY callbacks_reference (provider, reference)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS callbacks;

-- +goose Up
-- Money that goes back. The id is ours: a provider that is asked twice gives back once.
CREATE TABLE IF NOT EXISTS refunds (
    id        VARBINARY(64)  NOT NULL,
    order_id  VARBINARY(200) NOT NULL,
    sale      BIGINT         NOT NULL,
    provider  VARBINARY(16)  NOT NULL,
    reference VARBINARY(200) NOT NULL, -- of the payment
    amount    BIGINT         NOT NULL,
    currency  VARBINARY(12)  NOT NULL,
    units     BIGINT         NOT NULL,
    restock   TINYINT        NOT NULL,
    held      TINYINT        NOT NULL, -- 1: taken from what the order holds
    reason    VARCHAR(200)   NOT NULL,
    who       VARBINARY(256) NOT NULL,
    state     VARBINARY(16)  NOT NULL, -- due, done
    made_at   BIGINT         NOT NULL,
    done_at   BIGINT         NOT NULL DEFAULT 0,
    tries     BIGINT         NOT NULL DEFAULT 0,
    next_at   BIGINT         NOT NULL DEFAULT 0, -- when the provider is asked again
    failure   VARCHAR(200)   NOT NULL DEFAULT '',
    PRIMARY KEY (id),
    KEY refunds_order (order_id),
    KEY refunds_payment (provider, reference),
    KEY refunds_sale (sale),
    KEY refunds_state (state, next_at),
    KEY refunds_done (done_at),
    CHECK (amount >= 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS refunds;

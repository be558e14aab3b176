-- +goose Up
-- One event for one receiver. The ids of an order's events begin with the order's and
-- rise with its states, so the key is also the order in which they are sent.
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    receiver VARBINARY(32)   NOT NULL,
    event    VARBINARY(32)   NOT NULL,
    type     VARBINARY(32)   NOT NULL,
    order_id VARBINARY(32)   NOT NULL,
    at       BIGINT          NOT NULL, -- of the event
    body     MEDIUMBLOB      NOT NULL, -- what is sent
    state    VARBINARY(16)   NOT NULL, -- waiting, delivered, failed
    tries    INT             NOT NULL,
    since    BIGINT          NOT NULL, -- when it was put to wait
    next_at  BIGINT          NOT NULL, -- of the next try; of one that has ended, when that was
    tried_at BIGINT          NOT NULL, -- the last try, 0: none
    status   INT             NOT NULL, -- HTTP status of the last answer, 0: none
    error    VARCHAR(300)    NOT NULL,
    PRIMARY KEY (receiver, event),
    KEY webhook_deliveries_next (receiver, state, next_at),
    KEY webhook_deliveries_at (receiver, at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS webhook_deliveries;

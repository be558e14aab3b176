-- +goose Up
-- As events, for the receivers of webhooks: deleted when each has its deliveries.
CREATE TABLE IF NOT EXISTS webhook_events (
    id   VARBINARY(32)   NOT NULL,
    type VARBINARY(32)   NOT NULL,
    at   BIGINT          NOT NULL,
    body VARBINARY(2000) NOT NULL, -- the order, in JSON
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS webhook_events;

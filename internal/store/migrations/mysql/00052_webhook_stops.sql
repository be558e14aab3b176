-- +goose Up
-- Receivers that have said that they want no more webhooks.
CREATE TABLE IF NOT EXISTS webhook_stops (
    receiver VARBINARY(32) NOT NULL,
    at       BIGINT        NOT NULL,
    why      VARCHAR(300)  NOT NULL,
    PRIMARY KEY (receiver)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS webhook_stops;

-- +goose Up
-- Refunds that did not reach the buyer, by the provider's own ids of them, or by ours where it has none: the message
-- that one was given back may come after the one that it came back.
CREATE TABLE IF NOT EXISTS bounces (
    provider VARBINARY(16)  NOT NULL,
    own      VARBINARY(200) NOT NULL,
    at       BIGINT         NOT NULL, -- by the provider: the last time
    PRIMARY KEY (provider, own)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS bounces;

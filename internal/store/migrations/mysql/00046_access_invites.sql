-- +goose Up
-- Invitations: a code opens so many accounts until a time. The code itself is not kept.
CREATE TABLE IF NOT EXISTS access_invites (
    hash  VARBINARY(64) NOT NULL,
    uses  BIGINT        NOT NULL,
    until BIGINT        NOT NULL,
    PRIMARY KEY (hash),
    CHECK (uses >= 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_invites;

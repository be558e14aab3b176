-- +goose Up
-- Sales by the key with which somebody asked for them: asked again, they are the same ones.
CREATE TABLE IF NOT EXISTS creates (
    name        VARBINARY(64) NOT NULL PRIMARY KEY,
    sale        BIGINT NOT NULL,
    fingerprint VARBINARY(64) NOT NULL -- of what was asked for
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS creates;

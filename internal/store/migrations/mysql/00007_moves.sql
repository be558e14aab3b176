-- +goose Up
-- Stock moves between store (growth) and gate (shrinking), by id.
CREATE TABLE IF NOT EXISTS moves (
    sale  BIGINT         NOT NULL,
    id    VARBINARY(256) NOT NULL,
    delta BIGINT         NOT NULL,
    done  TINYINT        NOT NULL DEFAULT 0,
    PRIMARY KEY (sale, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS moves;

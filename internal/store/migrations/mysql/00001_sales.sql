-- +goose Up
-- Every file here is one statement that may be run again: MySQL cannot roll back
-- a change of the schema, and a node may die between it and the note that it was
-- made.
CREATE TABLE IF NOT EXISTS sales (
    id              BIGINT        NOT NULL AUTO_INCREMENT,
    title           VARCHAR(200)  NOT NULL,
    description     VARCHAR(2000) NOT NULL,
    image           VARCHAR(2000) NOT NULL,
    price           BIGINT        NOT NULL,
    list_price      BIGINT        NOT NULL,
    currency        VARBINARY(3)  NOT NULL,
    total           BIGINT        NOT NULL,
    sold            BIGINT        NOT NULL DEFAULT 0,
    seq             BIGINT        NOT NULL DEFAULT 0, -- highest admission number settled
    limit_per_buyer BIGINT        NOT NULL,
    opens_at        BIGINT        NOT NULL,           -- all times: milliseconds since 1970, UTC
    closes_at       BIGINT        NOT NULL,
    hold_seconds    BIGINT        NOT NULL,
    paused          TINYINT       NOT NULL DEFAULT 0,
    ended           TINYINT       NOT NULL DEFAULT 0,
    version         BIGINT        NOT NULL DEFAULT 1,
    applied         BIGINT        NOT NULL DEFAULT 0, -- the version that the gate has in force
    epoch           BIGINT        NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    CHECK (sold >= 0 AND sold <= total)                  -- no oversell, whatever happens above
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS sales;

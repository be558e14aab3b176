-- +goose Up
-- What has become of accounts since they were made, by buyer: one that nothing has
-- happened to has no row. It outlives the account, whose tokens may.
CREATE TABLE IF NOT EXISTS standings (
    buyer      VARBINARY(256) NOT NULL,
    generation BIGINT         NOT NULL, -- tokens of a lower one have ended
    blocked    TINYINT        NOT NULL,
    version    BIGINT         NOT NULL, -- of the whole table when the generation was raised; nodes read what is behind theirs
    changed_at BIGINT         NOT NULL, -- milliseconds since 1970, UTC
    factor     VARBINARY(64)  NOT NULL, -- the secret of the second factor, or empty
    confirmed  TINYINT        NOT NULL, -- the account has shown a code of it
    step       BIGINT         NOT NULL, -- of the last code that was taken
    PRIMARY KEY (buyer),
    KEY standings_version (version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS standings;

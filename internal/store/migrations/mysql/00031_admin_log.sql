-- +goose Up
-- What people of the shop did, each change in its own transaction. Rows are only ever
-- added, but for the result of one that had begun.
CREATE TABLE IF NOT EXISTS admin_log (
    id      BIGINT         NOT NULL AUTO_INCREMENT,
    at      BIGINT         NOT NULL, -- milliseconds since 1970, UTC
    who     VARBINARY(256) NOT NULL,
    role    VARBINARY(16)  NOT NULL,
    origin  VARBINARY(64)  NOT NULL,
    request VARBINARY(64)  NOT NULL,
    what    VARBINARY(64)  NOT NULL,
    sale    BIGINT         NOT NULL, -- 0: none
    subject VARBINARY(256) NOT NULL,
    intent  TEXT           NOT NULL,
    result  VARBINARY(32)  NOT NULL,
    was     TEXT           NOT NULL, -- JSON, or empty
    became  TEXT           NOT NULL,
    PRIMARY KEY (id),
    KEY admin_log_sale (sale, id),
    KEY admin_log_who (who, id),
    KEY admin_log_what (what, subject, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS admin_log;

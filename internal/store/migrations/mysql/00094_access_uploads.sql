-- +goose Up
-- The list of who may buy that is being sent to a sale in pieces, by the name that its
-- sender gave it, and the version of the sale's list that it becomes; 0: it has come into force.
CREATE TABLE IF NOT EXISTS access_uploads (
    sale    BIGINT         NOT NULL PRIMARY KEY,
    upload  VARBINARY(256) NOT NULL,
    version BIGINT         NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_uploads;

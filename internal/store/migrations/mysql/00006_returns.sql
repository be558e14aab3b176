-- +goose Up
-- Units on their way back to the gate, written with the change that freed them.
CREATE TABLE IF NOT EXISTS returns (
    ticket   VARBINARY(26)  NOT NULL,
    sale     BIGINT         NOT NULL,
    buyer    VARBINARY(256) NOT NULL,
    quantity BIGINT         NOT NULL,
    PRIMARY KEY (ticket)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS returns;

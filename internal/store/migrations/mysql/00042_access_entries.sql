-- +goose Up
-- The block list and the allow list. subject is b:BUYER or n:NETWORK; sale 0 is all of
-- them. A subject is on one list at most.
CREATE TABLE IF NOT EXISTS access_entries (
    sale       BIGINT         NOT NULL,
    subject    VARBINARY(260) NOT NULL,
    list       VARBINARY(8)   NOT NULL,
    note       VARCHAR(200)   NOT NULL,
    made_by    VARBINARY(256) NOT NULL,
    created_at BIGINT         NOT NULL,
    PRIMARY KEY (sale, subject)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_entries;

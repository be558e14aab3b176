-- +goose Up
-- The block list and the allow list. subject is b:BUYER or n:NETWORK; sale 0 is all of
-- them. A subject is on one list at most.
CREATE TABLE access_entries (
    sale       INTEGER NOT NULL,
    subject    TEXT    NOT NULL,
    list       TEXT    NOT NULL,
    note       TEXT    NOT NULL,
    made_by    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (sale, subject)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_entries;

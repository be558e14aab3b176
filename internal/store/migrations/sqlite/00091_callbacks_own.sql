-- +goose Up
-- The provider's own id of the refund that a message is about, or ours where it says that.
ALTER TABLE callbacks ADD COLUMN own TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE callbacks DROP COLUMN own;

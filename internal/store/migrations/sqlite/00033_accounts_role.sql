-- +goose Up
-- The list of people of the shop.
CREATE INDEX accounts_role ON accounts (role, name);

-- +goose Down
DROP INDEX accounts_role;

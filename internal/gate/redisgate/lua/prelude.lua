-- What the scripts share; it stands before each of them, together with the states of a
-- hold: PENDING, PLACED, REFUSED, RELEASED. layout.go has the same two forms for Go.

-- A hold is a buyer's newest ticket in a sale: state, ticket, quantity, admission number
-- and outbox entry. Of what is no hold, hold_read returns nothing.
local function hold_read(hold) return string.match(hold, '^(%a)(%w+),(%d+),(%d+),(.+)$') end
local function hold_write(state, ticket, quantity, seq, entry)
  return state .. ticket .. ',' .. quantity .. ',' .. seq .. ',' .. entry
end

-- An outbox entry has one field, t: ticket, sale, quantity, admission number, time (ms
-- since 1970) and buyer.
local function entry_write(ticket, sale, quantity, seq, at, buyer)
  return ticket .. ',' .. sale .. ',' .. quantity .. ',' .. seq .. ',' .. at .. ',' .. buyer
end
local function entry_sale(fields) return string.match(fields[2], '^%w+,(%d+),') end

-- Lua writes large numbers as 1e+15: whatever others read as a whole number goes
-- through here.
local function whole(n) return string.format('%.0f', n) end

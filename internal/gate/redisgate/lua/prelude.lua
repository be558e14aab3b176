-- What the scripts share; it stands before each of them, together with the states of a
-- hold: PENDING, PLACED, REFUSED, RELEASED. layout.go has the same two forms for Go.

-- A hold is a buyer's newest ticket in a sale: its form (2), then state, ticket, quantity,
-- admission number, outbox entry and the seal of what the buyer asked for, which Go makes
-- and checks. The first form, of an earlier version, had neither a form nor a seal. Of what
-- is no hold, or has numbers that no gate writes, hold_read returns nothing.
local function hold_read(hold)
  local state, ticket, quantity, seq, entry, seal = string.match(hold, '^2([porx])(%w+),(%d+),(%d+),([%d%-]+),([%w_%-]+)$')
  if not state then
    state, ticket, quantity, seq, entry = string.match(hold, '^([porx])(%w+),(%d+),(%d+),([%d%-]+)$')
  end
  if not state or seal and #seal ~= 22 or #quantity > 4 or #seq > 16 then return end
  local ms, n = string.match(entry, '^(%d+)%-(%d+)$')
  if entry ~= '-' and (not ms or #ms > 18 or #n > 18) then return end
  return state, ticket, quantity, seq, entry, seal
end
local function hold_write(state, ticket, quantity, seq, entry, seal)
  local hold = state .. ticket .. ',' .. quantity .. ',' .. seq .. ',' .. entry
  if not seal then return hold end
  return '2' .. hold .. ',' .. seal
end

-- A number in a sale's hash is whole, and has no more digits than every language reads. Of
-- anything else number_read returns nothing, and count_read of what is below 0 either: such a
-- state is damaged, and decides nothing until it is rebuilt. readable in layout.go is the same.
local function number_read(text)
  local n = text and string.find(text, '^%-?%d+$') and tonumber(text)
  if n and n <= MAX_SEQ and n >= -MAX_SEQ then return n end
end
local function count_read(text)
  local n = number_read(text)
  if n and n >= 0 then return n end
end

-- The units of a sale: no sale has more of them. left_read is leftReadable in layout.go.
local function left_read(text)
  local n = number_read(text)
  if n and n <= MAX_TOTAL then return n end
end

-- An outbox entry has the field t: ticket, sale, quantity, admission number, time (ms
-- since 1970) and buyer; and s, the form and the seal, which Go writes and reads, and the
-- version of the sale in force.
local function entry_write(ticket, sale, quantity, seq, at, buyer)
  return ticket .. ',' .. sale .. ',' .. quantity .. ',' .. seq .. ',' .. at .. ',' .. buyer
end

-- Lua writes large numbers as 1e+15: whatever others read as a whole number goes
-- through here.
local function whole(n) return string.format('%.0f', n) end

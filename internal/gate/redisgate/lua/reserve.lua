-- Admits buyers of one sale, one after the other, or says why not. One atomic
-- step: the window by Redis' own clock, each buyer's active ticket, stock, room in
-- the outbox; then the outbox entries, the holds, the decrement.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 sale id   2 outbox limit (entries)
--       3 the time (ms since 1970) instead of Redis' clock, in tests; else empty
--       4 the time after which nobody waits for the answer: the buyers have been told
--         that nothing is known, and may have been told since that there is no ticket
--       then for each buyer: buyer, quantity, id for a new ticket, its form and seal
-- returns {"late"} when that time is over, {"closed"} when the state is missing or shut or
--         has hardly any admission numbers left, {"damaged"} when a number of it is none,
--         or {"ok", limit per buyer, entries in the outbox, an answer for each, the buyers and
--         their holds that cannot be read}. Such a hold counts as none, since the store lets
--         nobody have two orders. An answer is the units left
--         when the new ticket is admitted, else "verdict,left,hold": the hold that has decided,
--         for Go to check its seal, empty where none has; the verdict is "quantity" when the
--         sale does not allow it
local sale, holds, outbox = KEYS[1], KEYS[2], KEYS[3]
local id, most, now, latest, FIRST = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), 5
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
if now > latest then return {'late'} end
local s = redis.call('HMGET', sale, 'open', 'opens', 'closes', 'paused', 'ended', 'limit', 'left', 'seq', 'version')
local open, opens, closes, paused, ended = s[1], number_read(s[2]), number_read(s[3]), s[4] == '1', s[5] == '1'
local limit, left, seq, in_force = count_read(s[6]), left_read(s[7]), count_read(s[8]), count_read(s[9])
if open ~= '1' then return {'closed'} end
if not (opens and closes and limit and left and seq and in_force) then return {'damaged'} end
if seq > LAST_SEQ then return {'closed'} end
local version = ',' .. whole(in_force)
local waiting = redis.call('XLEN', outbox)

-- The verdict of the sale itself, whoever asks: none while it admits.
local outside
if ended or now >= closes then outside = 'ended'
elseif now < opens then outside = 'not_open'
elseif paused then outside = 'paused' end

-- What a buyer hears who asks for a quantity: nothing if it is admitted. The same rule
-- for Go is Sale.Admit in admit.go; both are held to gatetest/admission.txt. active: the buyer
-- has an active ticket, same: with this quantity.
local function verdict(quantity, active, same)
  if quantity < 1 or (quantity > limit and not same) then return 'quantity' end
  if outside then return outside end
  if same then return 'queued' end
  if active then return 'limit' end
  if left < quantity then return 'sold_out' end
  if waiting >= most then return 'busy' end
end

local buyers, answers, admitted, writes, damaged = {}, {}, {}, {}, {}
for at = FIRST, #ARGV, 4 do buyers[#buyers + 1] = ARGV[at] end
local held, at_ms = redis.call('HMGET', holds, unpack(buyers)), whole(now)
for i, buyer in ipairs(buyers) do
  local at = FIRST + 4 * (i - 1)
  local wants, ticket, seal = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local quantity, hold = tonumber(wants), admitted[buyer] or held[i]
  local active, same = false, false
  if hold then
    local state, _, units = hold_read(hold)
    active = state == PENDING or state == PLACED
    if not state then damaged[#damaged + 1], damaged[#damaged + 2] = buyer, hold end
    same = active and tonumber(units) == quantity
  end
  local says = verdict(quantity, active, same)
  if says then
    -- left is below 0 while units that were sold already are on their way here
    answers[i] = says .. ',' .. whole(math.max(0, left)) .. ',' .. ((says == 'queued' or says == 'limit') and hold or '')
  else
    seq, left, waiting = seq + 1, left - quantity, waiting + 1
    local number = whole(seq)
    local entry = redis.call('XADD', outbox, '*', 't', entry_write(ticket, id, wants, number, at_ms, buyer), 's', seal .. version)
    hold = hold_write(PENDING, ticket, wants, number, entry, string.sub(seal, 2))
    admitted[buyer], answers[i] = hold, left
    writes[#writes + 1], writes[#writes + 2] = buyer, hold
  end
end
if #writes > 0 then
  redis.call('HSET', holds, unpack(writes))
  redis.call('HSET', sale, 'seq', whole(seq), 'left', left)
end
return {'ok', limit, waiting, answers, damaged}

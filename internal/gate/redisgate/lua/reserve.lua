-- Admits buyers of one sale, one after the other, or says why not. One atomic
-- step: the window by Redis' own clock, each buyer's active ticket, stock, room in
-- the outbox; then the outbox entries, the holds, the decrement.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 sale id   2 outbox limit (entries)
--       3 the time (ms since 1970) instead of Redis' clock, in tests; else empty
--       4 the time after which nobody waits for the answer: the buyers have been told
--         that nothing is known, and may have been told since that there is no ticket
--       then for each: buyer, quantity, id for a new ticket
-- returns {"late"} when that time is over, {"closed"} when the state is missing or shut,
--         or {"ok", limit per buyer, entries in the outbox, an answer for each}. An answer is the units left
--         when the new ticket is admitted, else "verdict,left,ticket" with an empty
--         ticket where there is none; the verdict is "quantity" when the sale does not allow it
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
if now > tonumber(ARGV[4]) then return {'late'} end
local s = redis.call('HMGET', KEYS[1], 'open', 'opens', 'closes', 'paused', 'ended', 'limit', 'left', 'seq')
if s[1] ~= '1' then return {'closed'} end
local outside
if s[5] == '1' or now >= tonumber(s[3]) then outside = 'ended'
elseif now < tonumber(s[2]) then outside = 'not_open'
elseif s[4] == '1' then outside = 'paused' end
local limit, left, seq = tonumber(s[6]), tonumber(s[7]), tonumber(s[8])
local outbox, most = redis.call('XLEN', KEYS[3]), tonumber(ARGV[2])
local buyers, answers, admitted, holds = {}, {}, {}, {}
for i = 5, #ARGV, 3 do buyers[#buyers + 1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[2], unpack(buyers))
local at = string.format('%.0f', now)
for i, buyer in ipairs(buyers) do
  local wants, ticket = ARGV[3 * i + 3], ARGV[3 * i + 4]
  local quantity = tonumber(wants)
  local hold = admitted[buyer] or held[i] -- state, ticket, quantity, admission number, outbox entry
  local active, same = false, false
  if hold then
    local state = string.byte(hold)
    active = state == 112 or state == 111 -- p, o
    same = active and tonumber(string.match(hold, '^,(%d+)', 28)) == quantity
  end
  local verdict
  if quantity < 1 or (quantity > limit and not same) then verdict = 'quantity'
  elseif outside then verdict = outside
  elseif same then verdict = 'queued'
  elseif active then verdict = 'limit'
  elseif left < quantity then verdict = 'sold_out'
  elseif outbox >= most then verdict = 'busy'
  end
  if verdict then
    -- below 0: rebuilt while units that it had sold are on their way to it
    answers[i] = verdict .. ',' .. math.max(0, left) .. ',' .. (verdict == 'queued' and string.sub(hold, 2, 27) or '')
  else
    seq, left, outbox = seq + 1, left - quantity, outbox + 1
    local entry = redis.call('XADD', KEYS[3], '*', 't', ticket .. ',' .. ARGV[1] .. ',' .. wants .. ',' .. seq .. ',' .. at .. ',' .. buyer)
    hold = 'p' .. ticket .. ',' .. wants .. ',' .. seq .. ',' .. entry
    admitted[buyer], answers[i] = hold, left
    holds[#holds + 1], holds[#holds + 2] = buyer, hold
  end
end
if #holds > 0 then
  redis.call('HSET', KEYS[2], unpack(holds))
  redis.call('HSET', KEYS[1], 'seq', seq, 'left', left)
end
return {'ok', limit, outbox, answers}

-- Admits a buyer, or says why not. One atomic step: the window by Redis' own
-- clock, the buyer's active ticket, stock, room in the outbox; then the outbox
-- entry, the hold, the decrement.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 buyer   2 quantity   3 id for a new ticket   4 sale id   5 outbox limit (entries)
--       6 the time (ms since 1970) instead of Redis' clock, in tests; else empty
--       7 the time after which nobody waits for the answer: the buyer has been told
--         that nothing is known, and may have been told since that there is no ticket
-- returns {"closed"} when the state is missing or shut,
--         {"late", 0} when that time is over,
--         {"quantity", limit per buyer} when the sale does not allow it,
--         {verdict, left} or {"queued", left, ticket}
local now = tonumber(ARGV[6])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
if now > tonumber(ARGV[7]) then return {'late', 0} end
local s = redis.call('HMGET', KEYS[1], 'open', 'opens', 'closes', 'paused', 'ended', 'limit', 'left')
if s[1] ~= '1' then return {'closed'} end
local quantity, left = tonumber(ARGV[2]), tonumber(s[7])
local shown = math.max(0, left) -- below 0: rebuilt while units that it had sold are on their way to it
local held = redis.call('HGET', KEYS[2], ARGV[1])
local active, same = false, false
if held then -- state, ticket, quantity, admission number, outbox entry
  local state = string.sub(held, 1, 1)
  active = state == 'p' or state == 'o'
  same = active and tonumber(string.match(held, '^,(%d+)', 28)) == quantity
end
if quantity < 1 or (quantity > tonumber(s[6]) and not same) then return {'quantity', s[6]} end
if s[5] == '1' or now >= tonumber(s[3]) then return {'ended', shown} end
if now < tonumber(s[2]) then return {'not_open', shown} end
if s[4] == '1' then return {'paused', shown} end
if same then return {'queued', shown, string.sub(held, 2, 27)} end
if active then return {'limit', shown} end
if left < quantity then return {'sold_out', shown} end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[5]) then return {'busy', shown} end
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
left = redis.call('HINCRBY', KEYS[1], 'left', -quantity)
local entry = redis.call('XADD', KEYS[3], '*', 't', ARGV[3], 's', ARGV[4], 'b', ARGV[1], 'q', ARGV[2], 'n', seq, 'a', string.format('%.0f', now))
redis.call('HSET', KEYS[2], ARGV[1], 'p' .. ARGV[3] .. ',' .. ARGV[2] .. ',' .. seq .. ',' .. entry)
return {'queued', left, ARGV[3]}

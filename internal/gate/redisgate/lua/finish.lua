-- Learns outcomes of one sale's tickets. A ticket that is not pending is left as
-- it is, so this may be repeated.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 channel to tell who waits; then for each ticket: buyer, ticket, what:
--       "o" placed, "x" refused with its units back, "d" refused because the store had none
-- returns {"closed"} or {"ok", left}
local s = redis.call('HMGET', KEYS[1], 'open', 'finished', 'left')
if s[1] ~= '1' then return {'closed'} end
local buyers, holds, entries, told = {}, {}, {}, {}
local finished, back, short, freed, done = 0, 0, 0, 0, {}
for i = 2, #ARGV, 3 do buyers[#buyers + 1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[2], unpack(buyers))
for i, buyer in ipairs(buyers) do
  local hold, ticket, what = held[i], ARGV[3 * i], ARGV[3 * i + 1]
  if hold and not done[ticket] and string.sub(hold, 1, 27) == 'p' .. ticket then
    local quantity, seq, entry = string.match(hold, '^,(%d+),(%d+),(.+)$', 28)
    done[ticket] = true
    if what == 'x' then back = back + tonumber(quantity) end
    if what == 'd' then short = short + tonumber(quantity) end -- a promise less to make good
    if what ~= 'o' then what, freed = 'x', freed + 1 end
    holds[#holds + 1], holds[#holds + 2] = buyer, what .. string.sub(hold, 2)
    entries[#entries + 1], told[#told + 1] = entry, ticket
    finished = math.max(finished, tonumber(seq))
  end
end
local left = tonumber(s[3])
if #told > 0 then
  redis.call('HSET', KEYS[2], unpack(holds))
  redis.call('XDEL', KEYS[3], unpack(entries))
  redis.call('SPUBLISH', ARGV[1], table.concat(told, ','))
end
if finished > tonumber(s[2] or '0') then redis.call('HSET', KEYS[1], 'finished', finished) end
if freed > 0 then redis.call('HINCRBY', KEYS[1], 'freed', freed) end
if back > 0 then left = redis.call('HINCRBY', KEYS[1], 'left', back) end
if left < 0 and short > 0 then left = redis.call('HINCRBY', KEYS[1], 'left', math.min(-left, short)) end
return {'ok', left}

-- Learns outcomes of one sale's tickets. A ticket that is not pending is left as
-- it is, so this may be repeated.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 channel to tell who waits; then for each ticket: buyer, ticket, what:
--       "o" placed, "x" refused with its units back, "d" refused because the store had none
-- returns {"closed"} or {"ok", left}
if redis.call('HGET', KEYS[1], 'open') ~= '1' then return {'closed'} end
local finished, back, short, freed, told = 0, 0, 0, 0, {}
for i = 2, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[2], ARGV[i])
  if held and string.sub(held, 1, 27) == 'p' .. ARGV[i + 1] then
    local quantity, seq, entry = string.match(held, '^,(%d+),(%d+),(.+)$', 28)
    local what = ARGV[i + 2]
    if what == 'x' then back = back + tonumber(quantity) end
    if what == 'd' then short = short + tonumber(quantity) end -- a promise less to make good
    if what ~= 'o' then what, freed = 'x', freed + 1 end
    redis.call('HSET', KEYS[2], ARGV[i], what .. string.sub(held, 2))
    redis.call('XDEL', KEYS[3], entry)
    finished = math.max(finished, tonumber(seq))
    told[#told + 1] = ARGV[i + 1]
  end
end
if finished > tonumber(redis.call('HGET', KEYS[1], 'finished') or '0') then redis.call('HSET', KEYS[1], 'finished', finished) end
if freed > 0 then redis.call('HINCRBY', KEYS[1], 'freed', freed) end
if #told > 0 then redis.call('SPUBLISH', ARGV[1], table.concat(told, ',')) end
local left = redis.call('HINCRBY', KEYS[1], 'left', back)
if left < 0 and short > 0 then left = redis.call('HINCRBY', KEYS[1], 'left', math.min(-left, short)) end
return {'ok', left}

-- Takes back the units of ended orders of one sale, each ticket once, and frees
-- the buyer whose newest ticket it still is. What was read in another epoch is
-- refused: the state was rebuilt since, and nobody knows any more what came back.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 released (set)   4 outbox (stream)
-- ARGV  1 epoch; then for each ticket: ticket, buyer, quantity
-- returns {"closed"}, {"stale"} or {"ok", left}
local s = redis.call('HMGET', KEYS[1], 'open', 'epoch')
if s[1] ~= '1' then return {'closed'} end
if s[2] ~= ARGV[1] then return {'stale'} end
local back = 0
for i = 2, #ARGV, 3 do
  if redis.call('SADD', KEYS[3], ARGV[i]) == 1 then
    back = back + tonumber(ARGV[i + 2])
    local held = redis.call('HGET', KEYS[2], ARGV[i + 1])
    if held and string.sub(held, 2, 27) == ARGV[i] then
      -- Its order ended before finish came: so it was placed, and is final.
      if string.sub(held, 1, 1) == 'p' then redis.call('XDEL', KEYS[4], string.match(held, '^,%d+,%d+,(.+)$', 28)) end
      redis.call('HSET', KEYS[2], ARGV[i + 1], 'r' .. string.sub(held, 2))
    end
  end
end
redis.call('HINCRBY', KEYS[1], 'freed', 1)
return {'ok', redis.call('HINCRBY', KEYS[1], 'left', back)}

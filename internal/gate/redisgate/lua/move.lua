-- Decides a stock move, once, and only in the epoch in which it was read. Shrinking is all or nothing. The store
-- forgets a refused move, so its id may come again with another delta: that is
-- another move.
--
-- KEYS  1 sale (hash)   2 moves (hash)
-- ARGV  1 id   2 delta   3 epoch
-- returns {"closed"}, {"stale"} or {"applied" | "refused", left}
local s = redis.call('HMGET', KEYS[1], 'open', 'left', 'epoch')
if s[1] ~= '1' then return {'closed'} end
if s[3] ~= ARGV[3] then return {'stale'} end
local move = ARGV[2] .. ':' .. ARGV[1]
local decided, left = redis.call('HGET', KEYS[2], move), s[2]
if not decided then
  decided = 'refused'
  if tonumber(ARGV[2]) > 0 or tonumber(left) + tonumber(ARGV[2]) >= 0 then
    decided = 'applied'
    left = redis.call('HINCRBY', KEYS[1], 'left', ARGV[2])
  end
  redis.call('HSET', KEYS[2], move, decided)
end
return {decided, left}

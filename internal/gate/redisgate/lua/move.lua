-- Decides a stock move, once, and only in the epoch in which it was read. Shrinking is
-- all or nothing. The store forgets a refused move, so its id may come again with
-- another delta: that is another move. It runs when Redis' memory is full too: what the
-- store has begun comes to its end.
--
-- KEYS  1 sale (hash)   2 moves (hash)
-- ARGV  1 id   2 delta   3 epoch
-- returns {"closed"}, {"damaged"} when a number of the sale's is none, {"stale"} or {"applied" | "refused", left}
local sale, moves, id, delta, epoch = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local s = redis.call('HMGET', sale, 'open', 'left', 'epoch')
local open, left, in_force = s[1], s[2], s[3]
if open ~= '1' then return {'closed'} end
if not (left_read(left) and count_read(in_force)) then return {'damaged'} end
if in_force ~= epoch then return {'stale'} end
local move = delta .. ':' .. id
local decided = redis.call('HGET', moves, move)
if not decided then
  decided = 'refused'
  if tonumber(delta) > 0 or tonumber(left) + tonumber(delta) >= 0 then
    decided = 'applied'
    left = redis.call('HINCRBY', sale, 'left', delta)
  end
  redis.call('HSET', moves, move, decided)
end
return {decided, left}

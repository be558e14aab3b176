-- Puts aside, once, what no gate has written in a field of a hash, such as a hold: it goes if
-- it is still what was read. A buyer then has no hold, which the sale's field missing says:
-- nobody may conclude from it that there never was a ticket. It runs when Redis' memory is full too.
--
-- KEYS  1 the hash   2 what was put aside (list)   3 the sale (hash) of a hold
-- ARGV  1 the field   2 its content   3 what is kept of it   4 the most that the list keeps
--       5 "over" if whoever calls has just written something else over it, so that it is only kept
-- returns {"aside"} or {"gone"}: somebody else has put it aside, or it has changed
local hash, aside, sale, field, content, kept, most, over = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if over ~= 'over' then
  if redis.call('HGET', hash, field) ~= content then return {'gone'} end
  redis.call('HDEL', hash, field)
  if sale and redis.call('HEXISTS', sale, 'open') == 1 then redis.call('HSET', sale, 'missing', 1) end
end
redis.call('LPUSH', aside, kept)
redis.call('LTRIM', aside, 0, most - 1)
return {'aside'}

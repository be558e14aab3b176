-- Puts aside, once, what no gate has written in a field of a hash, such as a hold: it goes if
-- it is still what was read. A buyer then has no hold. It runs when Redis' memory is full too.
--
-- KEYS  1 the hash   2 what was put aside (list)
-- ARGV  1 the field   2 its content   3 what is kept of it   4 the most that the list keeps
-- returns {"aside"} or {"gone"}: somebody else has put it aside, or it has changed
local hash, aside, field, content, kept, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', hash, field) ~= content then return {'gone'} end
redis.call('HDEL', hash, field)
redis.call('LPUSH', aside, kept)
redis.call('LTRIM', aside, 0, most - 1)
return {'aside'}

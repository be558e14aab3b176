-- Puts a hold aside that no gate has written, once: it goes if it is still what was read.
-- Its buyer then has none. It runs when Redis' memory is full too.
--
-- KEYS  1 holds (hash)   2 what was put aside (list)
-- ARGV  1 buyer   2 the hold   3 what is kept of it   4 the most that the list keeps
-- returns {"aside"} or {"gone"}: somebody else has put it aside, or it has changed
local holds, aside, buyer, hold, kept, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', holds, buyer) ~= hold then return {'gone'} end
redis.call('HDEL', holds, buyer)
redis.call('LPUSH', aside, kept)
redis.call('LTRIM', aside, 0, most - 1)
return {'aside'}

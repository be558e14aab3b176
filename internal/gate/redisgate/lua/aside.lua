-- Puts an entry of an outbox aside, once: of several readers that find it the first one
-- does. It runs when Redis' memory is full too, since it empties the outbox.
--
-- KEYS  1 outbox (stream)   2 what was put aside (list)
-- ARGV  1 entry   2 what is kept of it   3 the most that the list keeps   4 the outbox's group
-- returns {"aside"} or {"gone"}: another reader has put it aside, or it has its outcome
local outbox, aside, entry, kept, most, group = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('XDEL', outbox, entry) == 0 then return {'gone'} end
redis.call('LPUSH', aside, kept)
redis.call('LTRIM', aside, 0, most - 1)
redis.call('XACK', outbox, group, entry)
return {'aside'}

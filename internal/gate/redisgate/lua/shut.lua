-- Closes a sale for a rebuild; whoever does it last may open it. It runs when Redis' memory
-- is full too: the rebuild of a sale that is over forgets its buyers, which makes room.
--
-- KEYS  1 sale (hash)
-- ARGV  1 a token of who closes it
-- returns {"ok"}
redis.call('HSET', KEYS[1], 'open', 0, 'shut', ARGV[1])
return {'ok'}

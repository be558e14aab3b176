-- Writes holds of a sale aside, for a rebuild; open.lua puts them in the place of the old
-- ones. They end by themselves if no more is written and the sale is not opened. It runs when
-- Redis' memory is full too, since a sale that stays closed keeps the outbox from being emptied.
--
-- KEYS  1 the new holds (hash)
-- ARGV  1 their life (ms); then for each hold: buyer, hold
-- returns {"ok"}
local aside, life = KEYS[1], ARGV[1]
redis.call('HSET', aside, unpack(ARGV, 2))
redis.call('PEXPIRE', aside, life)
return {'ok'}

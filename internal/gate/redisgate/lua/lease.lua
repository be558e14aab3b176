-- Takes a lease, or holds it for longer. It runs when Redis' memory is full too: whoever
-- sends again what got lost empties the outbox.
--
-- KEYS  1 the lease (string)
-- ARGV  1 who wants it   2 its life (ms)
-- returns {"held"} or {"other"}: somebody else holds it
local lease, who, life = KEYS[1], ARGV[1], ARGV[2]
local holder = redis.call('GET', lease)
if holder and holder ~= who then return {'other'} end
redis.call('SET', lease, who, 'PX', life)
return {'held'}

-- Makes the group of an outbox's readers, from the beginning of the outbox, unless it is
-- there. It runs when Redis' memory is full too: without it nothing leaves the outbox.
--
-- KEYS  1 outbox (stream)
-- ARGV  1 the group
-- returns {"ok"}
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
return {'ok'}

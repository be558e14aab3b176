-- Stops a sale while the store is away, and leaves a note of it, from which the store learns
-- when it is back. The note is written with the stop or not at all. It runs when Redis'
-- memory is full too.
--
-- KEYS  1 sale (hash)   2 notes of stops (hash)
-- ARGV  1 the sale's id   2 the note   3 the field of the stop: paused or ended
-- returns {"closed"} or {"ok"}
local sale, stops, id, note, field = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local s = redis.call('HMGET', sale, 'open', 'ended')
if s[1] ~= '1' then return {'closed'} end
if field == 'ended' or s[2] ~= '1' then redis.call('HSET', stops, id, note) end -- a pause must not hide an end
redis.call('HSET', sale, field, 1)
return {'ok'}

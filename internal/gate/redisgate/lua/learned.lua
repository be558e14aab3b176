-- Forgets the note of an emergency stop that the store has learned of, unless it is that of
-- another one by now. It runs when Redis' memory is full too.
--
-- KEYS  1 notes of stops (hash)
-- ARGV  1 the sale's id   2 the field of the stop: paused or ended   3 when it was, as in the note
-- returns {"ok"}
local notes, id, field, at = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local in_force, since = stopped(notes, id)
if in_force == field and since == at then redis.call('HDEL', notes, id) end
return {'ok'}

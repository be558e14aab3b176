-- Puts a version of a sale in force, unless it is not newer. A retired sale takes
-- none: it must be rebuilt with it. An emergency stop that the store has not learned of
-- stays in force: the version knows nothing of it. It runs when Redis' memory is full too:
-- a sale can be paused and ended then.
--
-- KEYS  1 sale (hash)   2 notes of stops (hash)
-- ARGV  1 the sale's id   2 version; then the fields that it sets, each with its value
-- returns {"closed"}, {"damaged"} when a number of the sale's is none, or {"ok", left}
local sale, notes, id, version = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local stop = stopped(notes, id)
local s = redis.call('HMGET', sale, 'open', 'version', 'left', 'retired')
local open, in_force, left, retired = s[1], count_read(s[2]), s[3], s[4]
if open ~= '1' then return {'closed'} end
if not in_force then return {'damaged'} end
if version > in_force then
  if retired == '1' then return {'closed'} end
  redis.call('HSET', sale, unpack(ARGV, 3))
  if stop then redis.call('HSET', sale, stop, 1) end
end
return {'ok', left}

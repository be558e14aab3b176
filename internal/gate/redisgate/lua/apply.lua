-- Puts a version of a sale in force, unless it is not newer. A retired sale takes
-- none: it must be rebuilt with it. It runs when Redis' memory is full too: a sale can
-- be paused and ended then.
--
-- KEYS  1 sale (hash)
-- ARGV  1 version; then the fields that it sets, each with its value
-- returns {"closed"} or {"ok", left}
local sale, version = KEYS[1], tonumber(ARGV[1])
local s = redis.call('HMGET', sale, 'open', 'version', 'left', 'retired')
local open, in_force, left, retired = s[1], tonumber(s[2]), s[3], s[4]
if open ~= '1' then return {'closed'} end
if version > in_force then
  if retired == '1' then return {'closed'} end
  redis.call('HSET', sale, unpack(ARGV, 2))
end
return {'ok', left}

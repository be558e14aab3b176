-- Puts a version of a sale in force, unless it is not newer. A retired sale takes
-- none: it must be rebuilt with it.
--
-- KEYS  1 sale (hash)
-- ARGV  1 version   2 opens   3 closes (ms since 1970)   4 paused   5 ended (0 or 1)   6 limit per buyer
-- returns {"closed"} or {"ok", left}
local s = redis.call('HMGET', KEYS[1], 'open', 'version', 'left', 'retired')
if s[1] ~= '1' then return {'closed'} end
if tonumber(ARGV[1]) > tonumber(s[2]) then
  if s[4] == '1' then return {'closed'} end
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'opens', ARGV[2], 'closes', ARGV[3], 'paused', ARGV[4], 'ended', ARGV[5], 'limit', ARGV[6])
end
return {'ok', s[3]}

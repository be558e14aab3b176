-- Opens a sale with a rebuilt state, if nobody has shut it again since.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 released (set)   4 moves (hash)   5 the new holds (hash with a time to live, may be missing)
-- ARGV  1 the token that shut it   2 epoch   3 version   4 opens   5 closes (ms)   6 paused   7 ended
--       8 limit per buyer   9 left   10 seq   11 finished   12 retired
-- returns {"ok"}, {"newer"} when a newer epoch is in force, {"closed"} when another token shut it
local s = redis.call('HMGET', KEYS[1], 'shut', 'epoch')
local newer = tonumber(s[2] or '0') >= tonumber(ARGV[2])
if newer or s[1] ~= ARGV[1] then
  redis.call('UNLINK', KEYS[5])
  return {newer and 'newer' or 'closed'}
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
if redis.call('EXISTS', KEYS[5]) == 1 then
  redis.call('RENAME', KEYS[5], KEYS[2])
  redis.call('PERSIST', KEYS[2])
end
redis.call('HDEL', KEYS[1], 'shut')
redis.call('HINCRBY', KEYS[1], 'freed', 1)
redis.call('HSET', KEYS[1], 'open', 1, 'epoch', ARGV[2], 'version', ARGV[3], 'opens', ARGV[4], 'closes', ARGV[5], 'paused', ARGV[6],
  'ended', ARGV[7], 'limit', ARGV[8], 'left', ARGV[9], 'seq', ARGV[10], 'finished', ARGV[11], 'retired', ARGV[12])
return {'ok'}

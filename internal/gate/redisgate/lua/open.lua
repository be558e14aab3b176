-- Opens a sale with a rebuilt state, if nobody has shut it again since. An emergency stop
-- that the store has not learned of stays in force.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 released (set)   4 moves (hash)
--       5 the new holds (hash with a time to live; missing if there are none)
--       6 notes of stops (hash)
-- ARGV  1 the token that shut it   2 the sale's id   3 epoch   4 how many new holds there are; then the
--       fields of the sale, each with its value
-- returns {"ok"}, {"newer"} when a newer epoch is in force, {"closed"} when another token shut it or
--         the new holds have ended before this, as where their node stood still for long
local sale, holds, released, moves, aside, notes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, id, epoch, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stop = stopped(notes, id)
local s = redis.call('HMGET', sale, 'shut', 'epoch', 'freed')
local shut, in_force, freed = s[1], count_read(s[2]) or 0, count_read(s[3])
if in_force >= epoch or shut ~= token or redis.call('HLEN', aside) ~= count then
  redis.call('UNLINK', aside)
  return {in_force >= epoch and 'newer' or 'closed'}
end
redis.call('UNLINK', holds, released, moves)
if redis.call('EXISTS', aside) == 1 then
  redis.call('RENAME', aside, holds)
  redis.call('PERSIST', holds)
end
redis.call('HDEL', sale, 'shut', 'missing')
-- What nodes remember goes by freed: it must not begin where it has been before.
freed = (freed or tonumber(redis.call('TIME')[1])) + 1
redis.call('HSET', sale, 'freed', whole(freed))
redis.call('HSET', sale, 'open', 1, unpack(ARGV, 5))
if stop then redis.call('HSET', sale, stop, 1) end
return {'ok'}

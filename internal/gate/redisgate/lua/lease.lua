-- Takes a lease, or holds it for longer. It runs when Redis' memory is full too: whoever
-- sends again what got lost empties the outbox.
--
-- KEYS  1 the lease (string)
-- ARGV  1 who wants it   2 its life (ms)
-- returns {"held"}, {"other"}: somebody else holds it, or {"endless"}: somebody else did, and it
--         ended later than any node makes one, or never; now it ends
local lease, who, life = KEYS[1], ARGV[1], ARGV[2]
local holder = redis.call('GET', lease)
if holder and holder ~= who then
  local ends = redis.call('PTTL', lease)
  if ends >= 0 and ends <= tonumber(life) then return {'other'} end
  redis.call('PEXPIRE', lease, life)
  return {'endless'}
end
redis.call('SET', lease, who, 'PX', life)
return {'held'}

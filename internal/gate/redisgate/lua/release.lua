-- Takes back the units of ended orders of one sale, each ticket once, and frees
-- the buyer whose newest ticket it still is. What was read in another epoch is
-- refused: the state was rebuilt since, and nobody knows any more what came back. It runs
-- when Redis' memory is full too: units must come back.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 released (set)   4 outbox (stream)
-- ARGV  1 epoch; then for each ticket: ticket, buyer, quantity
-- returns {"closed"}, {"damaged"} when a number of the sale's is none, {"stale"} or {"ok", left, the buyers and their holds that cannot be read, which stay as they are}
local sale, holds, released, outbox, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local s = redis.call('HMGET', sale, 'open', 'epoch', 'left', 'freed')
local open, in_force = s[1], s[2]
if open ~= '1' then return {'closed'} end
if not (count_read(in_force) and left_read(s[3]) and count_read(s[4] or '0')) then return {'damaged'} end
if in_force ~= epoch then return {'stale'} end
redis.call('XLEN', outbox) -- fails here, before anything is written, if a key is of another type
redis.call('HLEN', holds)
local returned, damaged = 0, {}
for at = 2, #ARGV, 3 do
  local ticket, buyer, units = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if redis.call('SADD', released, ticket) == 1 then
    returned = returned + units
    local held = redis.call('HGET', holds, buyer)
    if held then
      local state, its, quantity, seq, entry, seal = hold_read(held)
      if not state then damaged[#damaged + 1], damaged[#damaged + 2] = buyer, held end
      if its == ticket then
        -- Its order ended before its outcome was told: so it was placed, and is final.
        if state == PENDING and entry ~= '-' then redis.call('XDEL', outbox, entry) end
        redis.call('HSET', holds, buyer, hold_write(RELEASED, ticket, quantity, seq, entry, seal))
      end
    end
  end
end
redis.call('HINCRBY', sale, 'freed', 1)
return {'ok', redis.call('HINCRBY', sale, 'left', returned), damaged}

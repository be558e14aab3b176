-- Learns outcomes of one sale's tickets. A ticket that is not pending is left as
-- it is, so this may be repeated. It runs when Redis' memory is full too, since it
-- empties the outbox.
--
-- KEYS  1 sale (hash)   2 holds (hash)   3 outbox (stream)
-- ARGV  1 the channel on which nodes hear of it; then for each ticket: buyer, ticket, quantity, and what
--       became of it: "placed", "returns" (refused, its units come back here) or "void"
--       (refused because the store had none: its units do not exist)
-- returns {"closed"}, {"damaged"} when a number of the sale's is none, or {"ok", left, the buyers and their holds that cannot be read, which stay as they are}
local sale, holds, outbox, channel = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local s = redis.call('HMGET', sale, 'open', 'finished', 'left', 'freed')
local open, was_finished, left = s[1], count_read(s[2]), left_read(s[3])
if open ~= '1' then return {'closed'} end
if not (was_finished and left and count_read(s[4] or '0')) then return {'damaged'} end
local buyers = {}
for at = 2, #ARGV, 4 do buyers[#buyers + 1] = ARGV[at] end
local held = redis.call('HMGET', holds, unpack(buyers))
local done, writes, entries, tickets, damaged = {}, {}, {}, {}, {}
local finished, returned, void, freed = 0, 0, 0, 0
for i, buyer in ipairs(buyers) do
  local ticket, units, became = ARGV[4 * i - 1], tonumber(ARGV[4 * i]), ARGV[4 * i + 1]
  if held[i] and not done[ticket] then
    local state, its, quantity, seq, entry, seal = hold_read(held[i])
    if not state then damaged[#damaged + 1], damaged[#damaged + 2] = buyer, held[i] end
    if state == PENDING and its == ticket and entry ~= '-' then
      done[ticket] = true
      local now = PLACED
      if became ~= 'placed' then now, freed = REFUSED, freed + 1 end
      if became == 'returns' then returned = returned + units end
      if became == 'void' then void = void + units end
      writes[#writes + 1], writes[#writes + 2] = buyer, hold_write(now, ticket, quantity, seq, entry, seal)
      entries[#entries + 1], tickets[#tickets + 1] = entry, ticket
      finished = math.max(finished, tonumber(seq))
    end
  end
end
if #tickets > 0 then
  redis.call('XDEL', outbox, unpack(entries))
  redis.call('HSET', holds, unpack(writes))
  redis.call('SPUBLISH', channel, table.concat(tickets, ','))
end
if finished > was_finished then redis.call('HSET', sale, 'finished', whole(finished)) end
if freed > 0 then redis.call('HINCRBY', sale, 'freed', freed) end
if returned > 0 then left = redis.call('HINCRBY', sale, 'left', returned) end
-- The store had none of these units, so the gate does not owe them any more: raise left by
-- as many, up to 0 (Memory.Finish in internal/gate/memory.go does it too).
if left < 0 and void > 0 then left = redis.call('HINCRBY', sale, 'left', whole(math.min(-left, void))) end
return {'ok', left, damaged}

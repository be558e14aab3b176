-- Looks at a sale's state at one moment, for the audit.
--
-- KEYS  1 sale (hash)   2 outbox (stream)
-- ARGV  1 sale id
-- returns {"closed"} or {"ok", left, seq, epoch, {outbox entries of the sale: {id, fields}}}
local sale, outbox, id = KEYS[1], KEYS[2], ARGV[1]
local s = redis.call('HMGET', sale, 'open', 'left', 'seq', 'epoch')
local open, left, seq, epoch = s[1], s[2], s[3], s[4]
if open ~= '1' then return {'closed'} end
local mine = {}
for _, entry in ipairs(redis.call('XRANGE', outbox, '-', '+')) do
  if entry_sale(entry[2]) == id then mine[#mine + 1] = entry end
end
return {'ok', left, seq, epoch, mine}

-- Looks at a sale's state at one moment, for the audit.
--
-- KEYS  1 sale (hash)   2 outbox (stream)
-- ARGV  1 sale id
-- returns {"closed"} or {"ok", left, seq, epoch, {outbox entries of the sale: {id, fields}}}
local s = redis.call('HMGET', KEYS[1], 'open', 'left', 'seq', 'epoch')
if s[1] ~= '1' then return {'closed'} end
local mine, sale = {}, ARGV[1] .. ','
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
  if string.sub(entry[2][2], 28, 27 + #sale) == sale then mine[#mine + 1] = entry end
end
return {'ok', s[2], s[3], s[4], mine}

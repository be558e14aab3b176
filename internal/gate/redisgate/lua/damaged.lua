-- Puts aside what no gate has written: keys of another type than gates make, and the state
-- of an open sale with a number that is none. Such keys go, and the sale is closed until it is
-- rebuilt. Of several nodes that find it the first one does. It runs when Redis' memory is
-- full too.
--
-- KEYS  1 what was put aside (list)   then keys; those of a sale: its hash first
-- ARGV  1 the sale's id, empty if the keys are not of a sale   2 the time, for the list
--       3 the most that the list keeps   then for each key its type
-- returns {"aside", what was found} or {"gone"}: there is nothing, or somebody else has put it aside
local aside, sale, id, at, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local found = {}
local function right(key, type)
  local is = redis.call('TYPE', key).ok
  if is == type or is == 'none' then return is == type end
  redis.call('UNLINK', key)
  found[#found + 1] = key .. ' is a ' .. is
end
right(aside, 'list')
for i = 2, #KEYS do
  if right(KEYS[i], ARGV[i + 2]) and i == 2 and id ~= '' then
    local names = {'version', 'limit', 'epoch', 'seq', 'finished', 'freed', 'opens', 'closes', 'left', 'open'}
    local s = redis.call('HMGET', sale, unpack(names))
    for n = 1, #names - 1 do
      local read = (names[n] == 'left' and left_read or n <= 6 and count_read or number_read)(s[n] or names[n] == 'freed' and '0')
      if s[#names] == '1' and (not read or names[n] == 'seq' and read > LAST_SEQ) then
        found[#found + 1] = names[n] .. ' is ' .. (s[n] and string.sub(s[n], 1, 50) or 'missing')
      end
    end
  end
end
if #found == 0 then return {'gone'} end
if id ~= '' and redis.call('EXISTS', sale) == 1 then redis.call('HSET', sale, 'open', 0) end
found = string.gsub(table.concat(found, '; '), '[^ -~]', '?')
redis.call('LPUSH', aside, cjson.encode({from = 'keys', sale = id, content = found, why = 'no gate has written it', at = at}))
redis.call('LTRIM', aside, 0, most - 1)
return {'aside', found}

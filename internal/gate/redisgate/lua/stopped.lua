-- What the scripts share that know of emergency stops; it stands before each of them. The
-- notes of stops are JSON, as Go writes and reads them (Stop in stock.go).

-- The field of a sale that a note keeps set, paused or ended, until the store has learned
-- of the stop; and when that was. Of what is no note of the sale, stopped returns nothing:
-- who reads the notes puts it aside.
local function stopped(notes, id)
  local note = redis.call('HGET', notes, id)
  if not note then return end
  local read, stop = pcall(cjson.decode, note)
  if not read or type(stop) ~= 'table' or stop.sale ~= id then return end
  return stop['end'] == true and 'ended' or 'paused', stop.at
end

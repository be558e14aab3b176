-- Sends one request for each line of a file of tokens, each token in turn, every
-- thread its own share. Arguments: method path tokens once|again
local workers = {}
function setup(thread)
  thread:set("id", #workers)
  workers[#workers + 1] = thread
  thread:set("threads", tonumber(os.getenv("BENCH_THREADS")))
end

function init(args)
  method, path, again = args[1], args[2], args[4] == "again"
  requests, at, n, dry = {}, 0, 0, 0
  for line in io.lines(args[3]) do
    if n % threads == id then
      requests[#requests + 1] = wrk.format(method, path, { ["Authorization"] = "Bearer " .. line })
    end
    n = n + 1
  end
end

-- The very first request is never sent: wrk asks for it to see what the script does.
-- So its token goes unused, and every request after the last token is a repeat.
function request()
  at = at + 1
  if at > #requests then
    if again then at = 1 else at, dry = #requests, dry + 1 end
  end
  return requests[at]
end

function done(summary, latency)
  local dry = 0 -- requests that found no token of their own
  for _, thread in ipairs(workers) do dry = dry + thread:get("dry") end
  io.write(string.format("BENCH %d %d %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, latency.max, dry))
end

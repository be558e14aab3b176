-- Sends one request for each line of a file of tokens, each token in turn, every
-- thread its own share. Arguments: method path tokens once|again
local counter = 0
function setup(thread)
  thread:set("id", counter)
  counter = counter + 1
  thread:set("threads", tonumber(os.getenv("BENCH_THREADS")))
end

function init(args)
  method, path, again = args[1], args[2], args[4] == "again"
  requests, at, n = {}, 0, 0
  for line in io.lines(args[3]) do
    if n % threads == id then
      requests[#requests + 1] = wrk.format(method, path, { ["Authorization"] = "Bearer " .. line })
    end
    n = n + 1
  end
end

function request()
  at = at + 1
  if at > #requests then
    if again then at = 1 else at = #requests end
    dry = not again
  end
  return requests[at]
end

function done(summary, latency)
  io.write(string.format("BENCH %d %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, latency.max))
end

-- A client for wrk: posts the lines of a file in turn, then prints what came back as one line of JSON.
--
--   wrk -t1 -c16 -d5s -s benchmarks/wrk.lua http://127.0.0.1:8080/embeddings -- BODIES CONNECTIONS
--
-- Rates are counted over whole turns: from the first request until every connection has had the same number of answers on
-- average. Without that, a server that answers all of its connections together would be charged for a turn cut off.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long tv_sec; long tv_nsec; } moment;
  int clock_gettime(int clock, moment *now);
]]
local MONOTONIC = 1

local function seconds()
  local now = ffi.new("moment")
  ffi.C.clock_gettime(MONOTONIC, now)
  return tonumber(now.tv_sec) + tonumber(now.tv_nsec) / 1e9
end

local only_thread

function setup(thread)
  only_thread = thread
end

function init(arguments)
  connections = tonumber(arguments[2])
  requests = {}
  local headers = { ["content-type"] = "application/json" }
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
  n_sent, n_answers, started, counted = 0, 0, 0, 0
end

-- wrk asks for a request when a connection is free: at first, and after each answer.
function request()
  local answers = n_sent - connections + 1
  if n_sent == 0 then
    started = seconds()
  elseif answers > 0 and answers % connections == 0 then
    n_answers, counted = answers, seconds()
  end
  n_sent = n_sent + 1
  return requests[(n_sent - 1) % #requests + 1]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"answers": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "refused": %d, "broken": %d}\n',
    only_thread:get("n_answers"),
    only_thread:get("counted") - only_thread:get("started"),
    latency:percentile(50) / 1000,
    latency:percentile(99) / 1000,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end

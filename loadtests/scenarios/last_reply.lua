-- wrk divides by its whole duration, so of a reply that takes a second it may count one too few. This tells when the
-- last one came, as a line of JSON after wrk's own tables: replies / last_s has no such edge.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } time_of_reply;
  int clock_gettime(int clock, time_of_reply *time);
]]

local CLOCK_MONOTONIC = 1
local time = ffi.new("time_of_reply")
local threads = {}

local function now_s()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

function request()
  started = started or now_s()
  return wrk.format()
end

function response()
  last = now_s() - started
end

function done(summary, latency)
  local last_s = 0
  for _, thread in ipairs(threads) do
    last_s = math.max(last_s, thread:get("last") or 0)
  end
  io.write(string.format('SUMMARY {"replies":%d,"last_s":%.4f,"median_s":%.4f}\n',
    summary.requests, last_s, latency:percentile(50) / 1e6))
end

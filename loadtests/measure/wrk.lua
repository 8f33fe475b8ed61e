-- What wrk cannot tell by itself, as one line of JSON after its own tables:
--   * the right replies in each tenth of a second, wrong bodies, and every error status by its code;
--   * the ramp: each connection's first request asks for RAMP, whose body is told apart from the others', so that the
--     first replies can be timed and taken out of the latencies;
--   * the latencies as they were measured, without the samples that wrk adds to "correct" them.
--
-- wrk -s wrk.lua URL -- CONNECTIONS OF_EACH_THREAD RAMP_PATH RAMP_BODY FILE_WITH_THE_RIGHT_BODY
-- The names are those of WrkCounts (loadtests/results/counts.py). wrk's times are in microseconds; LuaJIT has no clock
-- finer than os.clock but through its FFI.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
  /* wrk's own histogram: data[i] replies took i microseconds. */
  typedef struct { uint64_t count, limit, min, max, data[1]; } bench_histogram;
]]

local WINDOW_US = 100000
local CLOCK_MONOTONIC = 1
local time = ffi.new("bench_time")

local function now_us()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) * 1e6 + tonumber(time.nanoseconds) / 1e3
end

-- In the main state: the threads, whose globals `done` collects.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

-- In each thread's state.
function init(args)
  connections = tonumber(args[1])
  ramp_request = wrk.format("GET", args[2])
  ramp_body = args[3]
  local file = assert(io.open(args[4], "rb"))
  right_body = file:read("*a")
  file:close()
  right_request = wrk.format("GET", wrk.path)
  -- wrk asks the first thread for one request that it never sends, to check its form.
  sent = number == 1 and -1 or 0
  started, ok, wrong = 0, 0, 0
  statuses, windows, first_sent, first_replies = {}, {}, {}, {}
end

function request()
  sent = sent + 1
  if sent > connections then
    return right_request
  end
  if sent > 0 then
    first_sent[sent] = now_us()
    if sent == 1 then started = first_sent[1] end
  end
  return ramp_request
end

-- After a reply that was cut off, wrk hands the part it had read to the next reply of that connection, in front.
local function is_right_but_for_a_rest_in_front(headers, body)
  if body:sub(-#right_body) ~= right_body then return false end
  for name, value in pairs(headers) do
    if name:lower() == "content-length" then return tonumber(value) == #right_body end
  end
  return false
end

function response(status, headers, body)
  local now = now_us()
  if status == 200 and (body == right_body or is_right_but_for_a_rest_in_front(headers, body)) then
    ok = ok + 1
    local window = math.floor((now - started) / WINDOW_US) + 1
    windows[window] = (windows[window] or 0) + 1
  elseif status == 200 and body == ramp_body and #first_replies < connections then
    first_replies[#first_replies + 1] = now
  elseif status > 399 then
    statuses[status] = (statuses[status] or 0) + 1
  else
    wrong = wrong + 1
  end
end

local function sum(name)
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get(name) end
  return total
end

local function add(into, from)
  for key, count in pairs(from) do into[key] = (into[key] or 0) + count end
end

-- wrk has added, for each reply slower than two mean intervals, a reply at each interval below it. From the slowest
-- down, what each true reply added is known, so it can be taken away again.
local function undo_correction(histogram, summary, all)
  local rounds = math.floor(summary.requests / all)
  if rounds == 0 then return end
  local interval = math.floor(summary.duration / rounds)
  for slow = tonumber(histogram.max), 2 * interval, -1 do
    local count = histogram.data[slow]
    if count > 0 then
      for added = slow - interval, interval + 1, -interval do
        histogram.data[added] = histogram.data[added] - count
        histogram.count = histogram.count - count
      end
    end
  end
end

-- Connections are accepted in about the order in which they were opened, so the n-th first reply answers the n-th first request.
local function remove_first_replies(histogram, sent_at, replied_at)
  local removed = 0
  for n, at in ipairs(replied_at) do
    local took = math.max(0, math.floor(at - sent_at[n] + 0.5))
    for distance = 0, tonumber(histogram.max) do
      local near
      for _, candidate in ipairs({ took - distance, took + distance }) do
        if candidate >= 0 and candidate <= tonumber(histogram.max) and histogram.data[candidate] > 0 then near = candidate end
      end
      if near then
        histogram.data[near] = histogram.data[near] - 1
        histogram.count = histogram.count - 1
        removed = removed + 1
        break
      end
    end
  end
  return removed
end

local function quantiles(histogram)
  local wanted = {}
  for percent = 0, 98 do wanted[#wanted + 1] = percent / 100 end
  for tenth = 980, 998 do wanted[#wanted + 1] = (tenth + 1) / 1000 end
  for _, last in ipairs({ 0.9995, 0.9999, 1 }) do wanted[#wanted + 1] = last end
  local points, total, weighted, next_wanted = {}, 0, 0, 1
  local count = tonumber(histogram.count)
  if count == 0 then return points, 0 end
  for took = 0, tonumber(histogram.max) do
    local here = tonumber(histogram.data[took])
    if here > 0 then
      total = total + here
      weighted = weighted + here * took
      while next_wanted <= #wanted and total >= math.max(1, wanted[next_wanted] * count) do
        points[next_wanted] = string.format("[%.4f,%.3f]", wanted[next_wanted], took / 1000)
        next_wanted = next_wanted + 1
      end
    end
  end
  return points, weighted / count
end

local function object(counts)
  local fields = {}
  for key, count in pairs(counts) do fields[#fields + 1] = string.format('"%s":%d', key, count) end
  return "{" .. table.concat(fields, ",") .. "}"
end

local function list(values, format, most)
  local texts = {}
  for i = 1, most or #values do texts[i] = string.format(format, values[i] or 0) end
  return "[" .. table.concat(texts, ",") .. "]"
end

function done(summary, latency)
  local status, windows_ok, ramp, sent_at, replied_at, most = {}, {}, {}, {}, {}, 0
  local all = 0
  for _, thread in ipairs(threads) do
    add(status, thread:get("statuses"))
    local begun, own_sent, own_replies = thread:get("started"), thread:get("first_sent"), thread:get("first_replies")
    for window, count in pairs(thread:get("windows")) do
      windows_ok[window] = (windows_ok[window] or 0) + count
      most = math.max(most, window)
    end
    for n, at in ipairs(own_replies) do
      ramp[#ramp + 1] = (at - begun) / 1e6
      sent_at[#sent_at + 1], replied_at[#replied_at + 1] = own_sent[n], at
    end
    all = all + thread:get("connections")
  end
  local histogram = ffi.cast("bench_histogram **", latency)[0]
  undo_correction(histogram, summary, all)
  local measured = tonumber(histogram.count)
  local removed = remove_first_replies(histogram, sent_at, replied_at)
  local points, mean = quantiles(histogram)
  local errors = summary.errors
  io.write(string.format(
    'SUMMARY {"replies":%d,"duration_s":%.6f,"lost":%d,"late":%d,"sent":%d,"ok":%d,"wrong_body":%d,"statuses":%s,' ..
    '"windows_ok":%s,"first_replies_s":%s,"first_replies_removed":%d,"measured":%d,"limit_us":%.0f,"mean_ms":%.4f,' ..
    '"quantiles":[%s]}\n',
    summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write, errors.timeout, sum("sent"),
    sum("ok"), sum("wrong"), object(status), list(windows_ok, "%d", most), list(ramp, "%.6f"), removed, measured,
    tonumber(histogram.limit), mean / 1000, table.concat(points, ",")))
end

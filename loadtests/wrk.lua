-- Tells replies apart by the class of their status, and ends wrk's own tables with one line of JSON.
-- Times are in microseconds, as wrk has them.

local threads = {}

function setup(thread)
  thread:set("status_4xx", 0)
  thread:set("status_5xx", 0)
  table.insert(threads, thread)
end

function response(status)
  if status >= 500 then
    status_5xx = status_5xx + 1
  elseif status >= 400 then
    status_4xx = status_4xx + 1
  end
end

function done(summary, latency)
  local status = { status_4xx = 0, status_5xx = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(status) do
      status[name] = status[name] + thread:get(name)
    end
  end
  io.write(string.format(
    'SUMMARY {"requests":%d,"duration_us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"status_4xx":%d,"status_5xx":%d,"mean_us":%.1f,"stdev_us":%.1f,"p50_us":%d,"p90_us":%d,"p99_us":%d,' ..
    '"p999_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, summary.bytes, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.timeout, status.status_4xx, status.status_5xx, latency.mean, latency.stdev,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end

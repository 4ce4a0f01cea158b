-- The generic cell rate algorithm on one key, by the clock of this server. The key holds the time at which nothing is used up any more: seconds and nanoseconds.
-- KEYS: the entry. ARGV: interval and window in nanoseconds; "1" to count a request.
-- Returns the nanoseconds of the window that were used up before. Numbers are exact below 2^53, which are 104 days.
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = redis.call('TIME')
local seconds, nanoseconds = tonumber(now[1]), tonumber(now[2]) * 1000
local used, was_more = 0, false
local until_seconds, until_nanoseconds = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if until_seconds then
  used = (tonumber(until_seconds) - seconds) * 1e9 + tonumber(until_nanoseconds) - nanoseconds
  was_more = used > window
  used = math.min(math.max(used, 0), window)
end
local left
if ARGV[3] == '1' and used + interval <= window then
  left = used + interval
elseif ARGV[3] == '1' and was_more then
  -- A larger window of a file before is over: the key is not to wait for its end.
  left = window
end
if left then
  local later = nanoseconds + left
  local value = string.format('%d %d', seconds + math.floor(later / 1e9), later % 1e9)
  redis.call('SET', KEYS[1], value, 'PX', math.ceil(left / 1e6))
end
return used

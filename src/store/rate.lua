-- The generic cell rate algorithm on one key, by the clock of this server. The key holds the time at which nothing is used up any more: seconds and nanoseconds.
-- KEYS: the entry. ARGV: interval and window in nanoseconds; "1" to count a request.
-- Returns the nanoseconds of the window that were used up before. Numbers are exact below 2^53, which are 104 days.
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = redis.call('TIME')
local seconds, nanoseconds = tonumber(now[1]), tonumber(now[2]) * 1000
local used = 0
local until_seconds, until_nanoseconds = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if until_seconds then
  used = (tonumber(until_seconds) - seconds) * 1e9 + tonumber(until_nanoseconds) - nanoseconds
  used = math.min(math.max(used, 0), window)
end
if ARGV[3] == '1' and used + interval <= window then
  local later = nanoseconds + used + interval
  local value = string.format('%d %d', seconds + math.floor(later / 1e9), later % 1e9)
  redis.call('SET', KEYS[1], value, 'PX', math.ceil((used + interval) / 1e6))
end
return used

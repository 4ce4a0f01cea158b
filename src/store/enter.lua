-- A request asks for a place, for the first time or again. Places are leases, and the queue is in the order of arrival.
-- KEYS: the places (ticket by the end of its lease), the queue (ticket by its arrival), those who wait (ticket by the time until which it keeps its turn).
-- ARGV: ticket, most places, most that wait, milliseconds of a lease, milliseconds that a turn is kept.
-- Returns -1 if the queue is full, 0 with a place, and otherwise 1 more than the number of requests before this one.
local held, queue, waiting = KEYS[1], KEYS[2], KEYS[3]
local ticket, at_most, most_waiting = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, patience = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local arrival = time[1] * 1e6 + time[2]
local now = math.floor(arrival / 1000)
redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now)) do
  redis.call('ZREM', queue, gone)
  redis.call('ZREM', waiting, gone)
end
local rank = redis.call('ZRANK', queue, ticket)
local ahead = rank or redis.call('ZCARD', queue)
if redis.call('ZCARD', held) + ahead < at_most then
  redis.call('ZREM', queue, ticket)
  redis.call('ZREM', waiting, ticket)
  redis.call('ZADD', held, now + lease, ticket)
  redis.call('PEXPIRE', held, lease)
  return 0
end
if not rank then
  if ahead >= most_waiting then return -1 end
  redis.call('ZADD', queue, arrival, ticket)
end
redis.call('ZADD', waiting, now + patience, ticket)
redis.call('PEXPIRE', queue, patience)
redis.call('PEXPIRE', waiting, patience)
return ahead + 1

-- Records that a process is alive, and counts those that have reported recently.
--
-- KEYS: the processes, by when they last reported. ARGV: the process, seconds for which it counts as alive.

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])

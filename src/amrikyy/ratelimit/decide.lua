-- Takes all charges, or none.
--
-- A counter is a list of pairs (time, running total), oldest first. Its first pair has left the window: what was used
-- is the last total less the first. So no charge costs more where more was used. Times are microseconds.
--
-- KEYS: the counters. ARGV: the time (0: the server's), whether to take, and for each counter: count, window, cost,
-- slice (0: each request is remembered). Returns the number of the charge that refused (0: none), how long until it
-- would pass, the time, and for each counter: used, how long until some of it is free.

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local refused, wait = 0, 0
local counters = {}

for i, key in ipairs(KEYS) do
  local count, window, cost, slice = unpack(ARGV, 4 * i - 1, 4 * i + 2)
  local head = redis.call('LRANGE', key, 0, 3)
  while head[3] and head[3] + window <= now do
    redis.call('LPOP', key, 2)
    head = redis.call('LRANGE', key, 0, 3)
  end
  local used, total, last, reset = 0, 0, 0, 0
  if head[1] then
    local tail = redis.call('LRANGE', key, -2, -1)
    last, total = tonumber(tail[1]), tonumber(tail[2])
    used = total - head[2]
  end
  if head[3] then
    reset = head[3] + window - now
  end
  local over = used + cost - count
  if over > 0 then
    local waits = reset
    if head[4] - head[2] < over then
      local pairs_left = redis.call('LRANGE', key, 2, -1)
      local j = 2
      while pairs_left[j] - head[2] < over do
        j = j + 2
      end
      waits = pairs_left[j - 1] + window - now
    end
    if refused == 0 or waits > wait then
      refused, wait = i, waits
    end
  end
  counters[i] = {
    key = key, window = window, cost = cost, slice = tonumber(slice),
    used = used, total = total, last = last, reset = reset, is_new = not head[1],
  }
end

local taken = refused == 0 and ARGV[2] == '1'
local answer = {refused, wait, now}
for i, counter in ipairs(counters) do
  if taken then
    local at = now
    if counter.slice > 0 then
      at = (math.floor(now / counter.slice) + 1) * counter.slice
    end
    if counter.is_new then
      redis.call('RPUSH', counter.key, 0, 0)
    end
    if counter.last >= at then -- the same slice, or the clock was set back
      redis.call('LSET', counter.key, -1, counter.total + counter.cost)
    else
      redis.call('RPUSH', counter.key, at, counter.total + counter.cost)
    end
    redis.call('PEXPIRE', counter.key, math.ceil((math.max(at, counter.last) + counter.window - now) / 1000))
    counter.used = counter.used + counter.cost
    if counter.reset == 0 then
      counter.reset = at + counter.window - now
    end
  end
  answer[2 + 2 * i], answer[3 + 2 * i] = counter.used, counter.reset
end
return answer

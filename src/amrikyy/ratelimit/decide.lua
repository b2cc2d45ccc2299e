-- Takes all charges, or none.
--
-- All that a caller has used is in one hash. Each field is a counter: an array of pairs (time, running total), 16 bytes
-- each, oldest first. The first pair has left the window: what was used is the last total minus the first. So a hash is
-- read with one command and written with one, however much was used. Times are in microseconds.
--
-- KEYS: the hashes. ARGV: the time (0: the server's), whether to take, and for each hash: how many of its counters,
-- their names, and an array of doubles with, for each of them: count, window, cost, slice (0: each request is
-- remembered). Returns an array of doubles, because a list costs Redis a buffer and a write of its own: the number of
-- the charge that refused (0: none), how long until it would pass, the time, and for each counter: used, how long until
-- some of it is free.

local UNTIL = '*' -- the field with the time at which the hash expires: asking Redis would take another command
local read, write, part = struct.unpack, struct.pack, string.sub

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local takes = ARGV[2] == '1'
local refused, wait, number, arg = 0, 0, 0, 3
local before, after, hashes = {0, 0, now}, {0, 0, now}, {}

for k, key in ipairs(KEYS) do
  local size = tonumber(ARGV[arg])
  local numbers = ARGV[arg + size + 1]
  local rows = redis.call('HMGET', key, UNTIL, unpack(ARGV, arg + 1, arg + size))
  local changes, needed = {key}, 0
  for i = 1, size do
    local count, window, cost, slice = read('<dddd', numbers, 32 * i - 31)
    local at = now
    if slice > 0 then
      at = now - now % slice + slice
    end
    local row = rows[i + 1]
    local head, used, total, time, oldest = 1, 0, 0, 0, nil
    if row then
      local last, gone, _ = #row - 15, 0, nil
      time, total = read('<dd', row, last)
      gone = total
      if last > 1 then
        _, gone, oldest = read('<ddd', row)
        while oldest and oldest + window <= now do
          head = head + 16
          if head < last then
            gone, oldest = read('<dd', row, head + 8)
          else
            gone, oldest = total, nil
          end
        end
      end
      used = total - gone
      local over = used + cost - count
      if over > 0 then
        local pair = head + 16
        while read('<d', row, pair + 8) - gone < over do
          pair = pair + 16
        end
        local waits = read('<d', row, pair) + window - now
        if refused == 0 or waits > wait then
          refused, wait = number + i, waits
        end
      end
    end
    if takes and refused == 0 then
      local kept
      if not row then
        kept = write('<dd', 0, 0)
      elseif oldest and time >= at then -- the same slice, or the clock was set back
        at, kept = time, part(row, head, -17)
      else
        kept = part(row, head)
      end
      changes[2 * i], changes[2 * i + 1] = ARGV[arg + i], kept .. write('<dd', at, total + cost)
      if at + window > needed then
        needed = at + window
      end
    end
    local place = 2 * (number + i) + 2
    before[place], before[place + 1] = used, oldest and oldest + window - now or 0
    after[place], after[place + 1] = used + cost, (oldest or at) + window - now
  end
  if needed > tonumber(rows[1] or 0) then -- an eighth longer, so that it need not be set each time
    needed = needed + math.floor((needed - now) / 8)
    changes[2 * size + 2], changes[2 * size + 3] = UNTIL, string.format('%.0f', needed)
    changes.lives_ms = math.ceil((needed - now) / 1000)
  end
  hashes[k] = changes
  number, arg = number + size, arg + size + 2
end

local answer = before
if refused > 0 then
  answer[1], answer[2] = refused, wait
elseif takes then
  answer = after
  for _, changes in ipairs(hashes) do
    redis.call('HSET', unpack(changes))
    if changes.lives_ms then
      redis.call('PEXPIRE', changes[1], changes.lives_ms)
    end
  end
end
return write('<' .. string.rep('d', #answer), unpack(answer))

-- Adds to a counter what was used elsewhere, or gives back what was used; decide.lua describes counters.
--
-- KEYS: the hash, and, for a report that may be repeated, the key of the reporter's last report on the counter. ARGV:
-- the counter, the time (0: the server's), the time that ages are counted from (0: the same), window, slice, the number
-- of the report, and pairs (age, amount); a negative amount is given back.

local name, now = ARGV[1], tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local origin, window, slice = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if origin == 0 then
  origin = now
end

if KEYS[2] then
  local told = redis.call('GET', KEYS[2])
  if told and tonumber(told) >= tonumber(ARGV[6]) then
    return 0
  end
end

local times, amounts = {}, {}
local function add(at, amount)
  if at + window > now then
    if not amounts[at] then
      times[#times + 1], amounts[at] = at, 0
    end
    amounts[at] = math.max(0, amounts[at] + amount)
  end
end

local known = redis.call('HMGET', KEYS[1], '*', name)
local lives, row = tonumber(known[1] or 0), known[2] or ''
for i = 17, #row, 16 do
  local before, at, total = struct.unpack('<ddd', row, i - 8)
  add(at, total - before)
end
for i = 7, #ARGV, 2 do
  local at = origin - ARGV[i]
  if slice > 0 then
    at = (math.floor(at / slice) + 1) * slice
  end
  add(at, tonumber(ARGV[i + 1]))
end
table.sort(times)

local total, new = 0, {struct.pack('<dd', 0, 0)}
local needed = 0
for _, at in ipairs(times) do
  if amounts[at] > 0 then
    total, needed = total + amounts[at], at + window
    new[#new + 1] = struct.pack('<dd', at, total)
  end
end
if total > 0 then
  lives = math.max(lives, needed)
  redis.call('HSET', KEYS[1], '*', string.format('%.0f', lives), name, table.concat(new))
  redis.call('PEXPIRE', KEYS[1], math.ceil((lives - now) / 1000))
else
  redis.call('HDEL', KEYS[1], name)
  if redis.call('HLEN', KEYS[1]) == 1 then -- only the hash's expiry is left
    redis.call('DEL', KEYS[1])
  end
end
if KEYS[2] then -- last, because what fails before it must be reported again
  redis.call('SET', KEYS[2], ARGV[6], 'PX', math.ceil(window / 1000))
end
return total

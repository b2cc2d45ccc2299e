-- Adds to a counter what was used elsewhere, or takes back what was used: see decide.lua for what a counter is.
--
-- KEYS: the counter, and what the teller has told it, if it may be told the same again. ARGV: the time (0: the
-- server's), the time that ages are counted from (0: the same), window, slice, the number of what is told, and pairs
-- (age, amount); an amount below zero is given back.

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local origin, window, slice = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if origin == 0 then
  origin = now
end

if KEYS[2] then
  local told = redis.call('GET', KEYS[2])
  if told and tonumber(told) >= tonumber(ARGV[5]) then
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

local counter = redis.call('LRANGE', KEYS[1], 0, -1)
for i = 3, #counter, 2 do
  add(tonumber(counter[i]), counter[i + 1] - counter[i - 1])
end
for i = 6, #ARGV, 2 do
  local at = origin - ARGV[i]
  if slice > 0 then
    at = (math.floor(at / slice) + 1) * slice
  end
  add(at, tonumber(ARGV[i + 1]))
end
table.sort(times)

local total, new = 0, {0, 0}
for _, at in ipairs(times) do
  if amounts[at] > 0 then
    total = total + amounts[at]
    new[#new + 1], new[#new + 2] = at, total
  end
end
redis.call('DEL', KEYS[1])
if total > 0 then
  redis.call('RPUSH', KEYS[1], unpack(new))
  redis.call('PEXPIRE', KEYS[1], math.ceil((new[#new - 1] + window - now) / 1000))
end
if KEYS[2] then -- last, for what fails before it has to be told again
  redis.call('SET', KEYS[2], ARGV[5], 'PX', math.ceil(window / 1000))
end
return total

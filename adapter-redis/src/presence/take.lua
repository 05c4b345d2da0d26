-- Gives events to the one who tells them, and takes those away that were told. Keys: meta, events.
local META, LIST = KEYS[1], KEYS[2]
local sink, teller, lease, first, told, most, ASKED = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function text(number) return string.format('%.0f', number) end
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local over, holder = string.match(redis.call('HGET', META, 'teller:' .. sink) or '', '^(%d+):(.*)$')
if holder and holder ~= teller and tonumber(over) > now then return {'0'} end
if lease > 0 then
  redis.call('HSET', META, 'teller:' .. sink, text(now + lease) .. ':' .. teller, 'asked:' .. sink, text(now))
elseif holder == teller then
  redis.call('HDEL', META, 'teller:' .. sink)
end
if told > 0 and redis.call('LINDEX', LIST, 0) == first then redis.call('LTRIM', LIST, told, -1) end
redis.call('PEXPIRE', LIST, ASKED)
local answer = {'1', text(redis.call('LLEN', LIST))}
if most > 0 then
  for _, event in ipairs(redis.call('LRANGE', LIST, 0, most - 1)) do answer[#answer + 1] = event end
end
return answer

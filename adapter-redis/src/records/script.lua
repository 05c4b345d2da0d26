-- Records in a hash. A field is a name, its value is "stamp:until:body"; until 0 is never. The field without a name has the newest stamp.
local key, what = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function field(name, at)
  local value = redis.call('HGET', key, name)
  return tonumber(value and string.match(value, at) or '0') or 0
end
local function stamp(name) return field(name, '^(%d+)') end
local newest = stamp('')
if what == 'write' then
  local name, lasts, body, above, most = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  if redis.call('HLEN', key) > most and redis.call('HEXISTS', key, name) == 0 then return {} end
  local next = text(math.max(now, newest + 1, above + 1))
  local over = lasts > 0 and text(now + lasts) or '0'
  redis.call('HSET', key, name, next .. ':' .. over .. ':' .. body, '', next)
  return {next, over, text(now)}
elseif what == 'restore' then
  for place = 2, #ARGV, 2 do
    local name, value = ARGV[place], ARGV[place + 1]
    local own = tonumber(string.match(value, '^(%d+)'))
    if own and own > stamp(name) then
      redis.call('HSET', key, name, value)
      newest = math.max(newest, own)
    end
  end
  redis.call('HSET', key, '', text(newest))
elseif what == 'strike' then
  for place = 2, #ARGV do
    local over = field(ARGV[place], '^%d+:(%d+)')
    if over > 0 and over <= now then redis.call('HDEL', key, ARGV[place]) end
  end
end
return {text(now)}

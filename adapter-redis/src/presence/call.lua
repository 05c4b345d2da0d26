-- Takes what a node tells of who is there. `adapter::presence::Ledger` does the same, and says why.
-- Keys: meta, leases, versions, here, names, leaving, events for webhooks and for the stream, what the node has; then what each dead node has.
local META, LEASES, VERSIONS, HERE, NAMES, LEAVING = unpack(KEYS, 1, 6)
local OWN = KEYS[9]
local SINKS, LISTS = {'webhook', 'stream'}, {KEYS[7], KEYS[8]}
local node, version, seen, mode, known, candidate = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local lease, grace, most, PART, DEAD, ASKED = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local sinks, dead, first = ARGV[14], tonumber(ARGV[15]), 16
local function text(number) return string.format('%.0f', number) end
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local epoch = redis.call('HGET', META, 'epoch')
local came, went, resets, buried, dropped, left = {u = 0, r = 0}, {u = 0, r = 0}, 0, 0, 0, 0
local quiet = false

for name in string.gmatch(sinks, '%a+') do redis.call('HSET', META, 'asked:' .. name, text(now)) end

local function event(what, subject)
  local number = redis.call('HINCRBY', META, 'number', 1)
  return epoch .. ':' .. text(number) .. ':' .. text(now) .. ':' .. what .. ':' .. subject
end

local function say(what, subject)
  local said = event(what, subject)
  for place, list in ipairs(LISTS) do
    local asked = tonumber(redis.call('HGET', META, 'asked:' .. SINKS[place]) or '')
    if asked and asked + ASKED > now then
      local waiting = redis.call('RPUSH', list, said)
      if waiting > most then
        dropped = dropped + waiting
        redis.call('DEL', list)
        redis.call('RPUSH', list, event('reset', ''))
        resets = resets + 1
      end
      redis.call('PEXPIRE', list, ASKED)
    end
  end
end

-- Whether this is what the node knew, and whether the nodes told everything again.
local turn = redis.call('HINCRBY', META, 'turn', 1)
local fresh, same = not epoch, epoch == known
local lost = (fresh and known ~= '') or (same and seen > turn - 1)
local late = mode == 'new' and known ~= '' and not same
if fresh or lost then
  epoch = candidate
  redis.call('HSET', META, 'epoch', epoch, 'plain', lost and '0' or '1')
end
local rebuilt = tonumber(redis.call('HGET', META, 'rebuilt') or '') or 0
if lost or (late and redis.call('HGET', META, 'plain') == '1') then
  rebuilt = now + lease
  redis.call('HSET', META, 'plain', '0', 'rebuilt', text(rebuilt))
elseif fresh then
  say('reset', '')
  resets = resets + 1
end
-- If nobody called for half a lease, the store was away, and nobody is dead for a lease.
local called = tonumber(redis.call('HGET', META, 'called') or '')
local spared = tonumber(redis.call('HGET', META, 'spared') or '') or 0
if called and now >= called + math.floor(lease / 2) then
  spared = now + lease
  redis.call('HSET', META, 'spared', text(spared))
end
redis.call('HSET', META, 'called', text(now))
if rebuilt > 0 and now >= rebuilt then
  rebuilt = 0
  redis.call('HDEL', META, 'rebuilt')
  for _, list in ipairs(LISTS) do redis.call('DEL', list) end
  say('reset', '')
  resets = resets + 1
end
quiet = rebuilt > 0

local function set(subject, old, new, due)
  if old == new then return end
  local before, count = string.match(redis.call('HGET', HERE, subject) or '', '^(%d+):(%d+)$')
  before, count = tonumber(before) or 0, tonumber(count) or 0
  local nodes = math.max(before + (new > 0 and 1 or 0) - (old > 0 and 1 or 0), 0)
  count = math.max(count + new - old, 0)
  if nodes > 0 then redis.call('HSET', HERE, subject, text(nodes) .. ':' .. text(count)) else redis.call('HDEL', HERE, subject) end
  local kind = string.sub(subject, 1, 1)
  if not came[kind] then return end
  if nodes == 0 then
    if redis.call('ZSCORE', NAMES, subject) then redis.call('ZADD', LEAVING, text(due), subject) end
  elseif before == 0 then
    redis.call('ZREM', LEAVING, subject)
    if redis.call('ZADD', NAMES, 0, subject) == 1 and not quiet then
      say('first', subject)
      came[kind] = came[kind] + 1
    end
  end
end

local function give_up(key, due)
  local gone = redis.call('ZPOPMIN', key, PART)
  for place = 1, #gone, 2 do set(gone[place], tonumber(gone[place + 1]), 0, due) end
  return redis.call('ZCARD', key)
end

local function take()
  local stored = tonumber(redis.call('HGET', VERSIONS, node) or '')
  if stored and stored >= version then return 'stale' end
  if mode == 'leaves' then
    if not redis.call('ZSCORE', LEASES, node) then return 'unknown' end
    redis.call('HDEL', VERSIONS, node)
    left = give_up(OWN, now + grace)
    if left == 0 then redis.call('ZREM', LEASES, node) end
    return 'known'
  end
  if mode == 'goes' then
    if not stored or known ~= epoch then return 'unknown' end
  end
  redis.call('HSET', VERSIONS, node, text(version))
  redis.call('ZADD', LEASES, text(now), node)
  for place = first + dead, #ARGV, 2 do
    local subject, new = ARGV[place], tonumber(ARGV[place + 1])
    local old = tonumber(redis.call('ZSCORE', OWN, subject) or '') or 0
    if new > 0 then redis.call('ZADD', OWN, text(new), subject) else redis.call('ZREM', OWN, subject) end
    set(subject, old, new, now + grace)
  end
  return 'known'
end
local standing = take()

for place = 1, dead do
  local name = ARGV[first + place - 1]
  local renewed = tonumber(redis.call('ZSCORE', LEASES, name) or '')
  if renewed and renewed + lease <= now and now >= spared then
    redis.call('HDEL', VERSIONS, name)
    if give_up(KEYS[9 + place], math.max(now, renewed + grace)) == 0 then
      redis.call('ZREM', LEASES, name)
      buried = buried + 1
    end
  end
end

if not quiet then
  for _, subject in ipairs(redis.call('ZRANGEBYSCORE', LEAVING, '-inf', text(now), 'LIMIT', 0, PART)) do
    redis.call('ZREM', LEAVING, subject)
    redis.call('ZREM', NAMES, subject)
    say('last', subject)
    local kind = string.sub(subject, 1, 1)
    went[kind] = (went[kind] or 0) + 1
  end
end

local answer = {standing, epoch, text(turn), text(came.u), text(went.u), text(came.r), text(went.r), text(resets), text(buried), text(dropped), text(left)}
if now >= spared then
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', text(now - lease), 'LIMIT', 0, DEAD)) do answer[#answer + 1] = name end
end
return answer

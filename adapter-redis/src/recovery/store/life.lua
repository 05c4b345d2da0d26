-- The store of one namespace: what puts it in order, keeps its logs and its sessions.
--
-- It means what adapter::recovery::Store means, call by call; tests/redis/recovery/agree.rs holds the two together.
-- One call is one run: nothing comes between, and what it publishes leaves in the order of its positions.
--
-- All keys begin with KEYS[1], which tells how long the namespace's name is, so that no name hides another's keys. It is
-- itself the key of what the whole namespace has. Behind it stands:
--   p#PROCESS        what is known of a process; beats: when each was heard last
-- and, behind the name of the epoch, so that another epoch begins with nothing:
--   #logs, #names    of each log its places and counts; their names in order, to sweep
--   #l#LOG           the entries of a log
--   #s#C             the sessions whose secret begins with the character C
--   #away, #o#PROCESS  since when sessions are away; those of a process
--   #t#PROCESS       what was taken from a process
--
-- Numbers are exact up to 2^53; as text they are written with all their digits.

local call = redis.call
local down, max, min = math.floor, math.max, math.min
local format = string.format
local encode, decode = struct.pack, struct.unpack

local MAX_POSITION = 9007199254740991
local MAX_ERAS = 8
-- Fields of one command, and entries of one look into a log.
local CHUNK, PAGE = 1000, 64
-- How a log's places and counts are written, and what an entry begins with: its place as text, and its size.
local LOG, HEAD = '>c16ddddd', '>c16I4'

local base = KEYS[1]
local server, kind, process, fresh = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local keep_messages, keep_bytes, keep_back, window, lease, settle, read_bytes, stays_kept, sweep_count, departed, ttl =
  decode('>ddddddddddd', ARGV[6])
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local last_argument = 6
local function take()
  last_argument = last_argument + 1
  return ARGV[last_argument]
end

local function text(number)
  return format('%.0f', number)
end

-- A place as it stands in offsets: 16 digits, of which those of seconds seldom change.
local seconds, seconds_text
local function place_text(position)
  local whole = down(position / 1000000)
  if whole ~= seconds then
    seconds, seconds_text = whole, format('%010d', whole)
  end
  return seconds_text .. format('%06d', position - whole * 1000000)
end

local function back(from, microseconds)
  return max(0, from - microseconds)
end

local epoch, last, era, eras, awaited, settle_until, forgotten, begin, swept, log_count, refreshed

-- What was read of logs, by their names, and the names of those that changed.
local logs, touched, is_new_log = {}, {}, false

-- What changed of the fields of the namespace.
local changed = {}
local function set(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end

local function save(key, fields)
  for from = 1, #fields, CHUNK do
    call('HSET', key, unpack(fields, from, min(from + CHUNK - 1, #fields)))
  end
end

-- Nothing may be removed before it is sure that this server takes writes now: Redis looks at the first write of a
-- script. What is published is published last.
local function be_sure()
  call('HSET', base, 'sure', '1')
end

local function expire(key)
  call('PEXPIRE', key, ttl)
end

local function advance()
  last = min(max(now, last + 1), MAX_POSITION)
  return last
end

local function peer_key(name)
  return base .. 'p#' .. name
end

local function of_epoch(name)
  return base .. epoch .. name
end

-- The servers in a row, each with its first place and the last one of before that it knows of.
local function all_eras()
  if type(eras) == 'string' then
    eras = cmsgpack.unpack(eras)
  end
  return eras
end

local function set_awaited(list)
  awaited = list
  set('awaited', table.concat(list, ' '))
end

local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- What seldom happens to the life of the log stands together: a function that is not needed costs its making.
local function changes_of_life()
  local function set_eras(list)
    eras = list
    era = list[#list][1]
    set('eras', cmsgpack.pack(list))
    set('era', text(era))
  end

  local function begin_life()
    epoch = fresh
    last = max(now, 1)
    begin, forgotten, swept, log_count, refreshed, settle_until = last, 0, false, 0, now, 0
    set('epoch', epoch)
    set('begin', text(begin))
    set('forgotten', '0')
    set('logs', '0')
    set('refreshed', text(now))
    set('settle', '0')
    set('server', server)
    set_eras({ { last, 0 } })
    set_awaited({})
  end

  -- What was confirmed is missing: nothing of before counts any more.
  local function renew(known)
    for _, name in ipairs({ '#logs', '#names', '#away' }) do
      call('UNLINK', of_epoch(name))
    end
    for character in ALPHABET:gmatch('.') do
      call('UNLINK', of_epoch('#s#' .. character))
    end
    for _, name in ipairs(call('ZRANGE', base .. 'beats', 0, -1)) do
      call('UNLINK', of_epoch('#o#' .. name), of_epoch('#t#' .. name))
    end
    epoch = fresh
    last = max(last, known or 0)
    begin = advance()
    forgotten, log_count = begin, 0
    logs, touched = {}, {}
    set('epoch', epoch)
    set('begin', text(begin))
    set('forgotten', text(forgotten))
    set('logs', '0')
    set_eras({ { begin, 0 } })
  end

  -- Another server took over. Those who lived when the one before was heard last are awaited.
  local function begin_era()
    local boundary = last
    local list = all_eras()
    list[#list + 1] = { advance(), boundary }
    if #list > MAX_ERAS then
      table.remove(list, 1)
    end
    set_eras(list)
    set('server', server)
    local beats = base .. 'beats'
    local newest = call('ZRANGE', beats, -1, -1, 'WITHSCORES')
    local lived = back(tonumber(newest[2]) or 0, lease)
    local is_awaited = {}
    for _, name in ipairs(awaited) do
      is_awaited[name] = true
    end
    list = awaited
    for _, name in ipairs(call('ZRANGEBYSCORE', beats, text(lived), '+inf')) do
      if not call('HGET', peer_key(name), 'retired') then
        call('ZADD', beats, text(now), name)
        if not is_awaited[name] then
          list[#list + 1] = name
        end
      end
    end
    set_awaited(list)
    settle_until = now + settle
    set('settle', text(settle_until))
  end

  return { begin_life = begin_life, renew = renew, begin_era = begin_era }
end

local function load_life()
  local life = call('HMGET', base, 'epoch', 'last', 'era', 'awaited', 'server', 'forgotten', 'logs', 'begin', 'eras',
    'settle', 'swept', 'refreshed')
  epoch = life[1]
  if not epoch then
    return changes_of_life().begin_life()
  end
  last, era, forgotten, log_count = tonumber(life[2]), tonumber(life[3]), tonumber(life[6]), tonumber(life[7])
  begin, settle_until, swept, refreshed = tonumber(life[8]), tonumber(life[10]), life[11], tonumber(life[12])
  if swept == '' then
    swept = false
  end
  awaited = {}
  if life[4] ~= '' then
    for name in life[4]:gmatch('%S+') do
      awaited[#awaited + 1] = name
    end
  end
  eras = life[9]
  if life[5] ~= server then
    be_sure()
    changes_of_life().begin_era()
    if #awaited == 0 then
      changes_of_life().renew()
    end
  end
  if #awaited > 0 and now > settle_until then
    be_sure()
    set_awaited({})
    changes_of_life().renew()
  end
  -- Redis threw away what it had confirmed: it was told to evict keys.
  if kind ~= 'A' and call('HLEN', of_epoch('#logs')) ~= log_count then
    be_sure()
    changes_of_life().renew()
  end
end

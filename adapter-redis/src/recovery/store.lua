-- The store of one namespace: what puts it in order, keeps its logs and its sessions.
--
-- It means what adapter::recovery::Store means, call by call; tests/redis/recovery/agree.rs holds the two together.
-- One call is one run: nothing comes between, and what it publishes leaves in the order of its positions.
--
-- All keys begin with KEYS[1], which is itself the key of what the whole namespace has. Behind it stands:
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
local max, min = math.max, math.min
local format = string.format
local encode, decode = struct.pack, struct.unpack

local MAX_POSITION = 9007199254740991
local MAX_ERAS = 8
-- Fields of one command, and entries of one look into a log.
local CHUNK, PAGE = 1000, 64
-- How a log's places and counts are written, and what an entry begins with: its place and its size.
local LOG, HEAD = '>dddddd', '>dI4'

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

local function back(from, microseconds)
  return max(0, from - microseconds)
end

local epoch, last, era, eras, awaited, settle_until, forgotten, begin, swept, log_count, refreshed

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

-- Nothing may be published or removed before it is sure that this server takes writes now: Redis looks at the first
-- one of a script.
local function be_sure()
  call('HSET', base, 'server', server)
end

local function expire(key)
  call('PEXPIRE', key, ttl)
end

local function advance()
  last = min(max(now, last + 1), MAX_POSITION)
  return last
end

local function set_eras(list)
  eras = list
  era = list[#list][1]
  set('eras', cmsgpack.pack(list))
  set('era', text(era))
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

local function peer_key(name)
  return base .. 'p#' .. name
end

local function of_epoch(name)
  return base .. epoch .. name
end

-- What was read of logs, by their names, and the names of those that changed.
local logs, touched, is_new_log = {}, {}, false

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
  local alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for character in alphabet:gmatch('.') do
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

local function load_life()
  local life = call('HMGET', base, 'epoch', 'last', 'era', 'awaited', 'server', 'forgotten', 'logs', 'begin', 'eras',
    'settle', 'swept', 'refreshed')
  epoch = life[1]
  if not epoch then
    return begin_life()
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
    begin_era()
    if #awaited == 0 then
      renew()
    end
  end
  if #awaited > 0 and now > settle_until then
    be_sure()
    set_awaited({})
    renew()
  end
  -- Redis threw away what it had confirmed: it was told to evict keys.
  if kind ~= 'A' and call('HLEN', of_epoch('#logs')) ~= log_count then
    be_sure()
    renew()
  end
end

-- Whether a place is here, or belongs to an epoch before this one.
local function has(known_epoch, known_era, known)
  if known_epoch ~= epoch then
    return known < begin
  end
  for index, it in ipairs(all_eras()) do
    if it[1] == known_era then
      local following = eras[index + 1]
      return known <= (following and following[2] or last)
    end
  end
  return false
end

-- Whether a client may have seen a place.
local function may_have_been(position)
  for index = 2, #all_eras() do
    if position > eras[index][2] and position < eras[index][1] then
      return false
    end
  end
  return position <= last
end

-- Logs ----------------------------------------------------------------------------------------------------------

local function load_log(name)
  local log = logs[name]
  if log == nil then
    local found = call('HGET', of_epoch('#logs'), name)
    log = false
    if found then
      log = { key = of_epoch('#l#' .. name) }
      -- `first` is not behind the place of the first entry.
      log.last, log.trimmed, log.bytes, log.count, log.first, log.fresh = decode(LOG, found)
    end
    logs[name] = log
  end
  return log
end

local function new_log(name)
  local log = { key = of_epoch('#l#' .. name), last = 0, trimmed = forgotten, bytes = 0, count = 0, first = 0, fresh = 0 }
  logs[name] = log
  log_count = log_count + 1
  is_new_log = true
  call('ZADD', of_epoch('#names'), 0, name)
  return log
end

local function touch(name, log)
  if not log.is_touched then
    log.is_touched = true
    touched[#touched + 1] = name
  end
end

local function lose_entries(log)
  log.trimmed, log.bytes, log.count = max(log.trimmed, log.last), 0, 0
end

local function trim(log, position)
  local horizon = back(position, keep_back)
  while log.count > 0 do
    if log.count <= keep_messages and log.bytes <= keep_bytes then
      if log.first >= horizon then
        return
      end
      local head = call('LINDEX', log.key, 0)
      if not head then
        return lose_entries(log)
      end
      log.first = decode(HEAD, head)
      if log.first >= horizon then
        return
      end
    end
    local entry = call('LPOP', log.key)
    if not entry then
      return lose_entries(log)
    end
    local at, size = decode(HEAD, entry)
    log.trimmed, log.first = at, at + 1
    log.bytes, log.count = log.bytes - size, log.count - 1
  end
end

local function append(name, position, entry)
  local log = load_log(name) or new_log(name)
  local length = call('RPUSH', log.key, encode('>d', position) .. entry)
  if length ~= log.count + 1 then
    -- It was evicted, or is left over.
    lose_entries(log)
    call('LTRIM', log.key, -1, -1)
    length = 1
  end
  if length == 1 then
    log.first = position
  end
  if length == 1 or now > log.fresh + ttl * 250 then
    expire(log.key)
    log.fresh = now
  end
  log.count = log.count + 1
  log.bytes = log.bytes + decode('>I4', entry)
  log.last = position
  touch(name, log)
  trim(log, position)
end

local function save_logs()
  if #touched == 0 then
    return
  end
  local fields = {}
  for _, name in ipairs(touched) do
    local log = logs[name]
    fields[#fields + 1] = name
    fields[#fields + 1] = encode(LOG, log.last, log.trimmed, log.bytes, log.count, log.first, log.fresh)
  end
  save(of_epoch('#logs'), fields)
  if is_new_log then
    set('logs', text(log_count))
    expire(of_epoch('#logs'))
    expire(of_epoch('#names'))
  end
end

-- How many entries are not behind a place.
local function up_to(log, position)
  if position >= log.last then
    return log.count
  end
  if position < log.first then
    return 0
  end
  local low, high = 0, log.count
  while low < high do
    local middle = math.floor((low + high) / 2)
    if decode(HEAD, call('LINDEX', log.key, middle)) <= position then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- A log to read: without entries if they were evicted.
local function readable(name)
  local log = load_log(name)
  if not log then
    return { last = 0, trimmed = forgotten, bytes = 0, count = 0, first = 0 }
  end
  if log.count > 0 and call('LLEN', log.key) ~= log.count then
    lose_entries(log)
  end
  return log
end

-- What is behind `after` and not behind `through`, and how far that is; and what is left of the budget.
local function read(log, after, through, budget)
  local found, at_last = {}, after
  if log.count == 0 then
    return found, through, budget
  end
  local from = up_to(log, after)
  while from < log.count do
    local page = call('LRANGE', log.key, from, from + PAGE - 1)
    for _, entry in ipairs(page) do
      local at, size = decode(HEAD, entry)
      if at > through then
        return found, through, budget
      end
      if size > budget and #found > 0 or budget == 0 then
        return found, at_last, budget
      end
      budget = back(budget, size)
      found[#found + 1] = entry
      at_last = at
    end
    from = from + PAGE
  end
  return found, through, budget
end

-- Sessions ------------------------------------------------------------------------------------------------------

-- What a session has: sid, user, data, stays {room, since, until}, forgotten, owner, generation, start, attached, away.
local SID, USER, DATA, STAYS, FORGOTTEN, OWNER, GENERATION, START, ATTACHED, AWAY = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

local function bucket(secret)
  return of_epoch('#s#' .. secret:sub(1, 1))
end

local function load_session(secret)
  local found = call('HGET', bucket(secret), secret)
  return found and cmsgpack.unpack(found)
end

local function save_session(secret, session)
  local owned = of_epoch('#o#' .. session[OWNER])
  call('HSET', bucket(secret), secret, cmsgpack.pack(session))
  call('ZADD', owned, session[AWAY] and 1 or 0, secret)
  expire(bucket(secret))
  expire(owned)
end

local function set_away(secret, session, since)
  session[AWAY] = since
  call('ZADD', of_epoch('#away'), text(since), secret)
  expire(of_epoch('#away'))
end

local function remove_session(secret, session)
  if session[AWAY] then
    call('ZREM', of_epoch('#away'), secret)
  end
  call('HDEL', bucket(secret), secret)
  call('ZREM', of_epoch('#o#' .. session[OWNER]), secret)
end

local function whole(session, floor)
  if floor >= session[ATTACHED] then
    return max(session[START], floor)
  end
  return session[START]
end

local function join(session, rooms, since)
  local is_in = {}
  local stays = session[STAYS]
  for _, stay in ipairs(stays) do
    if not stay[3] then
      is_in[stay[1]] = true
    end
  end
  for _, room in ipairs(rooms) do
    if not is_in[room] then
      is_in[room] = true
      stays[#stays + 1] = { room, since, false }
    end
  end
end

local function leave(session, rooms, through)
  local leaves = {}
  for _, room in ipairs(rooms) do
    leaves[room] = true
  end
  local stays, ended = {}, 0
  for _, stay in ipairs(session[STAYS]) do
    if not stay[3] and leaves[stay[1]] then
      stay[3] = through
    end
    -- What ended before it began covers nothing.
    if not stay[3] or stay[3] > stay[2] then
      stays[#stays + 1] = stay
      ended = ended + (stay[3] and 1 or 0)
    end
  end
  session[STAYS] = {}
  for _, stay in ipairs(stays) do
    if stay[3] and ended > stays_kept then
      ended = ended - 1
      session[FORGOTTEN] = max(session[FORGOTTEN], stay[3])
    else
      table.insert(session[STAYS], stay)
    end
  end
end

-- Processes -----------------------------------------------------------------------------------------------------

-- What was taken from the process that calls, as it is answered, and of each socket the newest generation.
local taken, newest_taken = {}, nil

local function split_taken(item)
  local at, generation, sid = item:match('^(%d+) (%d+) (.*)$')
  return tonumber(at), tonumber(generation), sid
end

local function load_taken(seen)
  local key = of_epoch('#t#' .. process)
  local all = call('LRANGE', key, 0, -1)
  taken = {}
  for _, item in ipairs(all) do
    if split_taken(item) > seen then
      taken[#taken + 1] = item
    end
  end
  if #all > #taken then
    call('LTRIM', key, #all - #taken, -1)
  end
end

local function is_taken(sid, generation)
  if not newest_taken then
    newest_taken = {}
    for _, item in ipairs(taken) do
      local _, of_item, of = split_taken(item)
      newest_taken[of] = max(newest_taken[of] or 0, of_item)
    end
  end
  return (newest_taken[sid] or 0) > generation
end

local function tell_taken(former, position, session)
  local item = text(position) .. ' ' .. text(session[GENERATION]) .. ' ' .. session[SID]
  local key = of_epoch('#t#' .. former)
  call('RPUSH', key, item)
  expire(key)
  if former == process then
    taken[#taken + 1] = item
    newest_taken = nil
  end
end

-- Acts ----------------------------------------------------------------------------------------------------------

-- What Redis said when it refused to publish. The entry is in the log, and shows as a hole.
local complaint = ''

local function publish_message(channel, message)
  local reached = redis.pcall('PUBLISH', channel, message)
  if type(reached) == 'table' then
    complaint = reached.err
    return -1
  end
  return reached
end

-- What an act begins with tells whether a socket sent it: its generation and its id.
local function publish(act)
  local channel, count = take(), 1
  if act:sub(1, 1) == 'M' then
    count = tonumber(take())
  end
  local first_name = last_argument + 1
  last_argument = last_argument + count
  local before, behind, entry = take(), take(), take()
  if #act > 1 then
    local generation, sid = act:match('^.(%d+) (.*)$')
    if is_taken(sid, tonumber(generation)) then
      return 0
    end
  end
  local position = advance()
  local places
  if count == 1 then
    local log = load_log(ARGV[first_name])
    places = format('%016.0f', log and log.last or 0)
  else
    places = {}
    for index = 0, count - 1 do
      local log = load_log(ARGV[first_name + index])
      places[index + 1] = format('%016.0f', log and log.last or 0)
    end
    places = table.concat(places)
  end
  if entry ~= '' then
    for index = first_name, first_name + count - 1 do
      append(ARGV[index], position, entry)
    end
  end
  if channel ~= '' then
    local offset = epoch .. format('.%016.0f', position)
    publish_message(channel, before .. offset .. behind .. format('%016.0f', era) .. places)
  end
  return position
end

local function open(act)
  local secret, sid, user, data, rooms = unpack(act)
  local position = advance()
  local former = load_session(secret)
  if former then
    remove_session(secret, former)
  end
  local stays = {}
  for index, room in ipairs(rooms) do
    stays[index] = { room, position, false }
  end
  local session = { sid, user, data, stays, 0, process, 1, position, position, false }
  save_session(secret, session)
  return { 1, position, epoch, secret }
end

local function write(act, floor)
  local secret, generation, changes = unpack(act)
  local position = advance()
  local session = load_session(secret)
  if not session or session[OWNER] ~= process or session[GENERATION] ~= generation then
    return 0
  end
  for _, change in ipairs(changes) do
    local what = change[1]
    if what == 'J' then
      join(session, change[2], position)
    elseif what == 'L' then
      leave(session, change[2], change[3])
    elseif what == 'D' then
      session[DATA] = change[2]
    elseif what == 'A' then
      session[START] = whole(session, floor)
      set_away(secret, session, session[AWAY] or now)
    else
      remove_session(secret, session)
      return { 2, position }
    end
  end
  save_session(secret, session)
  return { 2, position }
end

local UNKNOWN, EXPIRED, EPOCH, TRIMMED, WRONG_USER, LOST, UNSETTLED = 1, 2, 3, 4, 5, 6, 7

local function claim(act)
  local secret, start_epoch, start, offset_epoch, offset, user = unpack(act)
  -- An offset of another epoch is that of an earlier session.
  local shown = offset_epoch == start_epoch and offset
  if start_epoch ~= epoch then
    return { 4, EPOCH }
  end
  if #awaited > 0 then
    return { 4, UNSETTLED }
  end
  if not may_have_been(start) or shown and not may_have_been(shown) then
    return { 4, LOST }
  end
  local position = advance()
  local session = load_session(secret)
  if not session then
    return { 4, UNKNOWN }
  end
  if session[USER] ~= user then
    return { 4, WRONG_USER }
  end
  local former = session[OWNER]
  local beat = tonumber(call('ZSCORE', base .. 'beats', former))
  local floor = beat and tonumber(call('HGET', peer_key(former), 'floor')) or 0
  local since = session[AWAY]
  if not since and (not beat or back(now, beat) > lease) then
    since = beat or 0
  end
  if since and back(now, since) > window then
    return { 4, EXPIRED }
  end
  local from = session[AWAY] and session[START] or whole(session, floor)
  from = max(from, shown or 0)
  if from < session[FORGOTTEN] then
    return { 4, TRIMMED }
  end
  remove_session(secret, session)
  session[START], session[ATTACHED], session[AWAY] = from, position, false
  session[GENERATION] = session[GENERATION] + 1
  session[OWNER] = process
  save_session(secret, session)
  if beat then
    tell_taken(former, position, session)
  end
  return { 3, session[SID], session[DATA], session[STAYS], session[GENERATION], from }
end

local function retire(floor)
  call('HSET', peer_key(process), 'retired', '1')
  for _, secret in ipairs(call('ZRANGEBYSCORE', of_epoch('#o#' .. process), 0, 0)) do
    local session = load_session(secret)
    if session then
      session[START] = whole(session, floor)
      set_away(secret, session, now)
      save_session(secret, session)
    end
  end
  return { 5 }
end

local function acts()
  local peer = call('HMGET', peer_key(process), 'era', 'number', 'floor')
  local number, seen = tonumber(take()), tonumber(take())
  local last_number = tonumber(peer[2])
  if not peer[1] or tonumber(peer[1]) ~= era or number > last_number + 1 then
    return { 'F' }
  end
  if number < last_number then
    return { 'O' }
  end
  local done
  if number == last_number then
    load_taken(0)
    done = call('HGET', peer_key(process), 'done') or cmsgpack.pack({})
  else
    be_sure()
    load_taken(seen)
    local floor = tonumber(peer[3])
    local results = {}
    for index = 1, tonumber(take()) do
      local act = take()
      local what = act:sub(1, 1)
      local result
      if what == 'P' or what == 'M' then
        result = publish(act)
      elseif what == 'R' then
        result = retire(floor)
      else
        local blob = cmsgpack.unpack(take())
        if what == 'O' then
          result = open(blob)
        elseif what == 'W' then
          result = write(blob, floor)
        else
          result = claim(blob)
        end
      end
      results[index] = result
    end
    done = cmsgpack.pack(results)
    call('HSET', peer_key(process), 'number', text(number), 'done', done)
    save_logs()
  end
  return { 'D', number, epoch, era, last, done, taken, complaint }
end

-- Heartbeats ----------------------------------------------------------------------------------------------------

local function sweep_process(name)
  local owned = of_epoch('#o#' .. name)
  local secrets = call('ZRANGEBYSCORE', owned, 0, 0, 'LIMIT', 0, sweep_count)
  for _, secret in ipairs(call('ZRANGEBYSCORE', owned, 1, 1, 'LIMIT', 0, sweep_count)) do
    secrets[#secrets + 1] = secret
  end
  table.sort(secrets)
  for index = 1, min(sweep_count, #secrets) do
    local session = load_session(secrets[index])
    if session then
      remove_session(secrets[index], session)
    else
      call('ZREM', owned, secrets[index])
    end
  end
end

local function sweep_sessions()
  local last_away = back(now, window)
  local away = of_epoch('#away')
  for _, secret in ipairs(call('ZRANGEBYSCORE', away, '-inf', '(' .. text(last_away), 'LIMIT', 0, sweep_count)) do
    local session = load_session(secret)
    if session then
      remove_session(secret, session)
    else
      call('ZREM', away, secret)
    end
  end
  local last_beat = back(last_away, lease)
  local dead = call('ZRANGEBYSCORE', base .. 'beats', '-inf', '(' .. text(last_beat))
  for _, name in ipairs(dead) do
    call('UNLINK', of_epoch('#t#' .. name))
    if call('EXISTS', of_epoch('#o#' .. name)) == 1 then
      sweep_process(name)
      break
    end
  end
  for index = 1, #dead - departed do
    local name = dead[index]
    if call('EXISTS', of_epoch('#o#' .. name)) == 0 then
      call('ZREM', base .. 'beats', name)
      call('UNLINK', peer_key(name), of_epoch('#t#' .. name))
    end
  end
end

local function sweep_logs()
  local horizon = back(last, keep_back)
  local from = swept and '(' .. swept or '-'
  local names = call('ZRANGEBYLEX', of_epoch('#names'), from, '+', 'LIMIT', 0, sweep_count)
  swept = #names == sweep_count and names[#names] or false
  set('swept', swept or '')
  for _, name in ipairs(names) do
    local log = load_log(name)
    if log then
      local count = log.count
      if count > 0 and log.last < horizon then
        call('UNLINK', log.key)
        lose_entries(log)
      else
        trim(log, last)
      end
      if log.count == 0 and log.last < horizon then
        forgotten = max(forgotten, log.trimmed)
        set('forgotten', text(forgotten))
        log_count = log_count - 1
        set('logs', text(log_count))
        call('HDEL', of_epoch('#logs'), name)
        call('ZREM', of_epoch('#names'), name)
        logs[name] = nil
      elseif log.count ~= count then
        touch(name, log)
      end
    end
  end
end

-- Nothing is left behind for ever: what nobody refreshes expires.
local function refresh()
  expire(base)
  expire(base .. 'beats')
  expire(peer_key(process))
  if now <= refreshed + ttl * 250 then
    return
  end
  set('refreshed', text(now))
  for _, name in ipairs({ '#logs', '#names', '#away' }) do
    expire(of_epoch(name))
  end
  local alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for character in alphabet:gmatch('.') do
    expire(of_epoch('#s#' .. character))
  end
  for _, name in ipairs(call('ZRANGE', base .. 'beats', 0, -1)) do
    expire(peer_key(name))
    expire(of_epoch('#o#' .. name))
    expire(of_epoch('#t#' .. name))
  end
end

local function beat()
  local number, acknowledged, known_epoch, known_era, known, floor, seen, heads = unpack(cmsgpack.unpack(take()))
  be_sure()
  local peer = call('HMGET', peer_key(process), 'number', 'floor')
  local is_of_now = known_epoch == epoch
  local last_number = tonumber(peer[1]) or 0
  if known_epoch and not has(known_epoch, known_era, known) or is_of_now and last_number < acknowledged then
    renew(known_epoch and known)
  end
  local previous = last
  advance()
  local still = {}
  for _, name in ipairs(awaited) do
    if name ~= process then
      still[#still + 1] = name
    end
  end
  if #still < #awaited then
    set_awaited(still)
  end
  floor = max(tonumber(peer[2]) or 0, floor)
  call('HSET', peer_key(process), 'era', text(era), 'number', text(max(last_number, acknowledged)), 'floor', text(floor))
  call('ZADD', base .. 'beats', text(now), process)
  load_taken(seen)
  local places = {}
  for _, name in ipairs(heads) do
    local log = load_log(name)
    places[#places + 1] = name
    places[#places + 1] = log and log.last or 0
  end
  local mark = cmsgpack.pack({ process, number, epoch, era, last, previous, places })
  local reached = publish_message(take(), mark)
  sweep_sessions()
  sweep_logs()
  save_logs()
  refresh()
  return { 'B', number, epoch, era, last, taken, reached, complaint }
end

-- Reads ---------------------------------------------------------------------------------------------------------

local function pieces()
  local answer = { 'R', epoch }
  local budget = read_bytes
  while last_argument < #ARGV do
    local log, after, through = readable(take()), tonumber(take()), tonumber(take())
    local entries, reached
    entries, reached, budget = read(log, after, through, budget)
    answer[#answer + 1] = { reached, log.trimmed, entries }
  end
  return answer
end

local function history()
  local log, what, after, through, count = readable(take()), take(), tonumber(take()), tonumber(take()), tonumber(take())
  if what == 'L' then
    local before = log.count > 0 and up_to(log, through) - count - 1 or -1
    after = before >= 0 and decode(HEAD, call('LINDEX', log.key, before)) or log.trimmed
  end
  local entries, reached = read(log, after, through, read_bytes)
  if #entries > count then
    local first = {}
    for index = 1, count do
      first[index] = entries[index]
    end
    entries = first
    reached = count > 0 and decode(HEAD, entries[count]) or after
  end
  return { 'H', epoch, reached, log.last, log.trimmed > after and 1 or 0, entries }
end

load_life()
local answer
if kind == 'B' then
  answer = beat()
elseif kind == 'A' then
  answer = acts()
elseif kind == 'R' then
  answer = pieces()
else
  answer = history()
end
set('last', text(last))
if #changed > 2 or kind == 'A' or kind == 'B' then
  save(base, changed)
  expire(base)
end
return answer

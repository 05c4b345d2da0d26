-- Acts: what a process wants done, in order, once.

-- What was taken from the process that calls, as it is answered, and of each socket the newest generation.
local taken, newest_taken = {}, nil

local TAKEN = '^(%d+) (%d+) (.*)$'

-- What is not seen stays.
local function load_taken(peer, seen)
  local key = of_epoch('#t#' .. process)
  local all = call('LRANGE', key, 0, -1)
  taken = {}
  for _, item in ipairs(all) do
    if tonumber((item:match(TAKEN))) > seen then
      taken[#taken + 1] = item
    end
  end
  if #all > #taken then
    call('LTRIM', key, #all - #taken, -1)
  end
  if #taken == 0 then
    peer.taken = 0
    changed_peers[process] = true
  end
end

local function is_taken(sid, generation)
  if not newest_taken then
    newest_taken = {}
    for _, item in ipairs(taken) do
      local _, of_item, of = item:match(TAKEN)
      newest_taken[of] = max(newest_taken[of] or 0, tonumber(of_item))
    end
  end
  return (newest_taken[sid] or 0) > generation
end

-- What is published when all is written: channels, each with its message.
local messages = {}
local era_text

-- What is made of acts that are no publications, where it is needed.
local sessions

-- The first byte of an act that is published to one log, and to several.
local ONE, MANY = 80, 77

-- Where the names of the logs of a publication begin, and how many there are.
local function log_names(act)
  if ARGV[act]:byte() == MANY then
    return act + 3, tonumber(ARGV[act + 2])
  end
  return act + 2, 1
end

-- The logs of publications, read at once.
local function load_logs_of(count)
  local names, is_named, act = {}, {}, last_argument + 1
  for _ = 1, count do
    local first, logs_of = log_names(act)
    for index = first, first + logs_of - 1 do
      local name = ARGV[index]
      if not is_named[name] then
        is_named[name] = true
        names[#names + 1] = name
      end
    end
    act = first + logs_of + 3
  end
  local key = of_epoch('#logs')
  for from = 1, #names, CHUNK do
    local through = min(from + CHUNK - 1, #names)
    local found = call('HMGET', key, unpack(names, from, through))
    for index = from, through do
      read_log(names[index], found[index - from + 1])
    end
  end
end

-- What an act begins with tells whether a socket sent it: its generation and its id.
local function publish()
  local at = last_argument + 1
  local act, channel = ARGV[at], ARGV[at + 1]
  local first, count = log_names(at)
  local behind_names = first + count
  local before, behind, size = ARGV[behind_names], ARGV[behind_names + 1], tonumber(ARGV[behind_names + 2])
  last_argument = behind_names + 2
  if #act > 1 then
    local generation, sid = act:match('^.(%d+) (.*)$')
    if is_taken(sid, tonumber(generation)) then
      return 0
    end
  end
  local position = advance()
  local place = place_text(position)
  local places = ''
  for index = first, behind_names - 1 do
    local name = ARGV[index]
    local log = load_log(name)
    places = places .. (log and log.last_text or ZERO)
    if size then
      append(name, log, position, place, size, before, behind)
    end
  end
  if channel ~= '' then
    era_text = era_text or place_text(era)
    messages[#messages + 1] = channel
    messages[#messages + 1] = before .. epoch .. '.' .. place .. behind .. era_text .. places
  end
  return position
end

local function acts()
  local peer = peers[process]
  local number, seen, count = tonumber(take()), tonumber(take()), tonumber(take())
  if not peer or peer.era ~= era or number > peer.number + 1 then
    return { 'F' }
  end
  if number < peer.number then
    return { 'O' }
  end
  local done
  if number == peer.number then
    if peer.taken ~= 0 then
      load_taken(peer, 0)
    end
    done = call('HGET', base, 'd#' .. process) or cmsgpack.pack({})
  else
    if peer.taken ~= 0 then
      load_taken(peer, seen)
    end
    if kind == 'P' then
      load_logs_of(count)
    end
    local results, all = {}
    for index = 1, count do
      local act = ARGV[last_argument + 1]
      local what = act:byte()
      if what == ONE or what == MANY then
        results[index] = publish()
      else
        all = all or sessions()
        last_argument = last_argument + 1
        results[index] = all[act](act ~= 'R' and cmsgpack.unpack(take()), peer.floor)
      end
    end
    done = cmsgpack.pack(results)
    peer.number = number
    changed_peers[process] = true
    set('d#' .. process, done)
    save_logs()
  end
  return { 'D', number, epoch, era, last, done, taken }
end

-- Writes what changed, and then publishes.
local function finish(answer, expires)
  if last ~= known_last then
    set('last', text(last))
  end
  for name in pairs(changed_peers) do
    local peer = peers[name]
    set('p#' .. name, encode(PEER, peer.era, peer.number, peer.floor, peer.retired, peer.taken))
  end
  save(base, changed)
  if expires and #changed > 0 then
    expire(base)
  end
  -- All is written, so nothing can fail any more. What Redis may not publish is in the log, and shows as a hole.
  local reached, complaint = -1, ''
  for index = 1, #messages, 2 do
    reached = redis.pcall('PUBLISH', messages[index], messages[index + 1])
    if type(reached) == 'table' then
      reached, complaint = -1, reached.err
    end
  end
  if answer[1] == 'B' then
    answer[#answer + 1] = reached
  end
  if answer[1] == 'B' or answer[1] == 'D' then
    answer[#answer + 1] = complaint
  end
  return answer
end

-- Publications are the most, and need no more than this: the functions below cost their making.
local is_acts = kind == 'P' or kind == 'A'
if kind == 'P' and epoch and life[4] == server and life[5] == '' then
  return finish(acts(), false)
end

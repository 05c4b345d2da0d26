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
local messages = plain_messages or {}
local era_text

-- What is made of acts that are no publications, where it is needed.
local sessions

-- What an act begins with that is published, to any number of logs.
local MANY = 77

-- Publishes to the logs with the names from one argument through another. A sender is its generation and its id.
local function publish(sender, channel, first, through, before, behind, size)
  if sender ~= '' then
    local generation, sid = sender:match('^(%d+) (.*)$')
    if is_taken(sid, tonumber(generation)) then
      return 0
    end
  end
  local position = advance()
  local place = place_text(position)
  local places = ''
  for index = first, through do
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

-- Publications to one log each: the arguments are as above.
local function publish_all(results)
  local _, _, count, name_count, at = decode(ASKED, asked)
  local names = 7 + 2 * count
  local others = names + name_count
  load_logs(ARGV, names + 1, others)
  for index = 1, count do
    local size, name, channel, sender, next = decode(PUBLICATION, asked, at)
    at = next
    results[index] = publish(
      sender ~= NONE and ARGV[others + sender] or '', channel ~= NONE and ARGV[others + channel] or '',
      names + name, names + name, ARGV[6 + 2 * index], ARGV[7 + 2 * index], size ~= UNLOGGED and size
    )
  end
end

-- A publication among other acts: its sender stands behind its first byte, then come its channel, how many logs, their
-- names, what is before the place and behind it, and its bytes.
local function publish_next(act)
  local channel, count = take(), tonumber(take())
  local first = last_argument + 1
  last_argument = last_argument + count
  return publish(act:sub(2), channel, first, first + count - 1, take(), take(), tonumber(take()))
end

local function acts()
  local peer = peers[process]
  local number, seen, count
  if kind == 'P' then
    number, seen, count = decode(ASKED, asked)
  else
    number, seen, count = tonumber(take()), tonumber(take()), tonumber(take())
  end
  -- Of one that was silent for long a new server would not know that it lived.
  local is_silent = peer and peer.beat ~= '' and last - lease > decode(BEAT, peer.beat)
  local is_ended = peer and peer.retired == 1 and number > peer.number
  if not peer or peer.era ~= era or is_silent or is_ended or number > peer.number + 1 then
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
    local results, all = {}
    if kind == 'P' then
      publish_all(results)
      count = 0
    end
    for index = 1, count do
      local act = take()
      if act:byte() == MANY then
        peer.retired = 0
        results[index] = publish_next(act)
      else
        all = all or sessions()
        peer.retired = 0
        results[index] = all[act](act ~= 'R' and cmsgpack.unpack(take()), peer.floor)
      end
    end
    if all then
      all.flush()
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
    set('p#' .. name, encode(PEER, peer.era, peer.number, peer.floor, peer.retired, peer.taken) .. peer.beat)
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

-- What is left to do for publications that were plain: to trim, and to write what changed.
local function finish_plain()
  local number, _, count = decode(ASKED, asked)
  peers[process].number = number
  changed_peers[process] = true
  for index, it in ipairs(plain_logs) do
    if it and it[NOW] then
      local name = ARGV[7 + 2 * count + index]
      local log = { key = it[KEY], last = it[NOW], last_text = it[LAST], trimmed = it[TRIMMED], dropped = it[DROPPED] }
      log.total, log.count, log.first, log.fresh = it[TOTAL], it[COUNT], it[PLACE], it[FRESH]
      logs[name] = log
      touched[#touched + 1] = name
      trim_grown(log)
    end
  end
  save_logs()
  local done = cmsgpack.pack(plain_results)
  set('d#' .. process, done)
  return { 'D', number, epoch, era, last, done, {} }
end

-- Publications are the most, and need no more than this: the functions below cost their making.
local is_acts = kind == 'P' or kind == 'A'
if plain_results then
  return finish(finish_plain(), false)
end
if kind == 'P' and epoch and life[4] == server and life[5] == '' then
  return finish(acts(), false)
end

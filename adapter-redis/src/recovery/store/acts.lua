-- Acts: what a process wants done, in order, once.

-- What is published when all is written: channels, each with its message.
local messages = {}
local era_text

-- What an act begins with tells whether a socket sent it: its generation and its id.
local function publish(act)
  local channel, count = take(), 1
  if act:sub(1, 1) == 'M' then
    count = tonumber(take())
  end
  local first_name = last_argument + 1
  last_argument = last_argument + count
  local before, behind, entry = ARGV[last_argument + 1], ARGV[last_argument + 2], ARGV[last_argument + 3]
  last_argument = last_argument + 3
  if #act > 1 then
    local generation, sid = act:match('^.(%d+) (.*)$')
    if is_taken(sid, tonumber(generation)) then
      return 0
    end
  end
  local position = advance()
  local place = place_text(position)
  local places = ''
  for index = first_name, first_name + count - 1 do
    local name = ARGV[index]
    local log = load_log(name)
    places = places .. (log and log.last_text or ZERO)
    if entry ~= '' then
      append(name, log, position, place, entry)
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
    load_taken(seen)
    local floor = tonumber(peer[3])
    local results, all = {}
    for index = 1, tonumber(take()) do
      local act = take()
      local what = act:sub(1, 1)
      local result
      if what == 'P' or what == 'M' then
        result = publish(act)
      else
        all = all or sessions()
        result = all[what](what ~= 'R' and cmsgpack.unpack(take()), floor)
      end
      results[index] = result
    end
    done = cmsgpack.pack(results)
    call('HSET', peer_key(process), 'number', text(number), 'done', done)
    save_logs()
  end
  return { 'D', number, epoch, era, last, done, taken }
end

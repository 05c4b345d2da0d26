-- The life of the log: servers, and who is awaited after one took over.

-- The servers in a row, each with its first place and the last one of before that it knows of.
local function all_eras()
  if type(eras) == 'string' then
    eras = cmsgpack.unpack(eras)
  end
  return eras
end

-- Nothing may be removed before it is sure that this server takes writes now: Redis looks at the first write of a
-- script. What is published is published last.
local function be_sure()
  call('HSET', base, 'sure', '1')
end

-- Of rounds of heartbeats the newest, and the first of those whose processes count as alive.
local function count_rounds()
  local newest = tonumber(call('ZRANGE', base .. 'rounds', -1, -1, 'WITHSCORES')[2]) or 0
  return newest, rounds_kept > 0 and max(0, newest - rounds_kept + 1)
end

-- The names of the processes that count as alive. The clock may have jumped forward: then those that were heard before it
-- seem to be silent, and rounds tell.
local function who_lived()
  local beats = base .. 'beats'
  local newest = tonumber(call('ZRANGE', beats, -1, -1, 'WITHSCORES')[2]) or 0
  local names = call('ZRANGEBYSCORE', beats, text(back(newest, lease)), '+inf')
  local _, oldest = count_rounds()
  local counted = oldest and call('ZRANGEBYSCORE', base .. 'rounds', text(oldest), '+inf') or {}
  local is_there = {}
  for _, name in ipairs(names) do
    is_there[name] = true
  end
  for _, name in ipairs(counted) do
    if not is_there[name] then
      names[#names + 1] = name
    end
  end
  return names
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
    set('format', FORMAT)
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
    passed_entries, passed_bytes, all_entries, all_bytes = 0, 0, 0, 0
    set('sums', encode(SUMS, 0, 0, 0, 0))
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
    local is_awaited = {}
    for _, name in ipairs(awaited) do
      is_awaited[name] = true
    end
    list = awaited
    for _, name in ipairs(who_lived()) do
      local peer = load_peer(name)
      if not peer or peer.retired == 0 then
        call('ZADD', beats, text(last), name)
        if not is_awaited[name] then
          is_awaited[name] = true
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

-- Answers why nothing can be done, if so.
local function load_life()
  if not epoch then
    return changes_of_life().begin_life()
  end
  local rest = call('HMGET', base, 'begin', 'eras', 'settle', 'swept', 'refreshed', 'sums', 'format')
  local found = rest[7] or '1'
  if found ~= FORMAT then
    return 'ERR the logs of this namespace are of format ' .. found .. ', and this version writes format ' .. FORMAT
  end
  begin, eras, settle_until, swept, refreshed = tonumber(rest[1]), rest[2], tonumber(rest[3]), rest[4], tonumber(rest[5])
  if rest[6] then
    passed_entries, passed_bytes, all_entries, all_bytes = decode(SUMS, rest[6])
  end
  if swept == '' then
    swept = false
  end
  awaited = {}
  for name in life[5]:gmatch('%S+') do
    awaited[#awaited + 1] = name
  end
  if life[4] ~= server then
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
  if not is_acts and call('HLEN', of_epoch('#logs')) ~= log_count then
    be_sure()
    changes_of_life().renew()
  end
end

-- Sessions.

function sessions()
  -- What a session has: sid, user, data, stays {room, since, until}, forgotten, owner, generation, start, attached, away.
  local SID, USER, DATA, STAYS, FORGOTTEN, OWNER, GENERATION, START, ATTACHED, AWAY = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

  -- Sessions as they are by now, by their secrets, and of what is written its owner and since when it is away. They are
  -- written together, all of a key by one command: one that changes twice is written once.
  local loaded, written, touched_secrets = {}, {}, {}

  local function load_session(secret)
    local session = loaded[secret]
    if session == nil then
      local found = call('HGET', of_epoch('#s#' .. secret:sub(1, 1)), secret)
      session = found and cmsgpack.unpack(found)
      loaded[secret] = session
      written[secret] = session and { session[OWNER], session[AWAY] }
    end
    return session
  end

  local function touch(secret)
    if not touched_secrets[secret] then
      touched_secrets[secret] = true
      touched_secrets[#touched_secrets + 1] = secret
    end
  end

  local function save_session(secret, session)
    loaded[secret] = session
    touch(secret)
  end

  local function remove_session(secret)
    loaded[secret] = false
    touch(secret)
  end

  -- What was taken, by from whom.
  local taken_from = {}

  -- Runs a command for each key with all its arguments.
  local function run_all(command, lists, expires)
    for key, list in pairs(lists) do
      for from = 1, #list, CHUNK do
        call(command, key, unpack(list, from, min(from + CHUNK - 1, #list)))
      end
      if expires then
        expire(key)
      end
    end
  end

  -- Writes what changed. What removes stands last: see be_sure.
  local function flush()
    local fields, gone, scores, left, awaits = {}, {}, {}, {}, of_epoch('#away')
    local function add(lists, key, first, second)
      local list = lists[key]
      if not list then
        list = {}
        lists[key] = list
      end
      list[#list + 1] = first
      list[#list + 1] = second
    end
    for _, secret in ipairs(touched_secrets) do
      local session, before = loaded[secret], written[secret]
      local bucket = of_epoch('#s#' .. secret:sub(1, 1))
      local owner, away = before and before[1], before and before[2]
      if session then
        local is_others = owner ~= session[OWNER]
        add(fields, bucket, secret, cmsgpack.pack(session))
        if is_others or not away ~= not session[AWAY] then
          add(scores, of_epoch('#o#' .. session[OWNER]), session[AWAY] and '1' or '0', secret)
        end
        if owner and is_others then
          add(left, of_epoch('#o#' .. owner), secret)
        end
        if away and not session[AWAY] then
          add(left, awaits, secret)
        elseif session[AWAY] and away ~= session[AWAY] then
          add(scores, awaits, text(session[AWAY]), secret)
        end
      elseif before then
        add(gone, bucket, secret)
        add(left, of_epoch('#o#' .. owner), secret)
        if away then
          add(left, awaits, secret)
        end
      end
    end
    run_all('HSET', fields, true)
    run_all('ZADD', scores, true)
    run_all('RPUSH', taken_from, true)
    run_all('HDEL', gone)
    run_all('ZREM', left)
    loaded, written, touched_secrets, taken_from = {}, {}, {}, {}
  end

  local function whole(session, known)
    if known >= session[ATTACHED] then
      return max(session[START], known)
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

  local function tell_taken(former, position, session)
    local item = text(position) .. ' ' .. text(session[GENERATION]) .. ' ' .. session[SID]
    local key = of_epoch('#t#' .. former)
    local items = taken_from[key] or {}
    items[#items + 1] = item
    taken_from[key] = items
    local peer = load_peer(former)
    if peer then
      peer.taken = 1
      changed_peers[former] = true
    end
    if former == process then
      taken[#taken + 1] = item
      newest_taken = nil
    end
  end

  local function open(act)
    local secret, sid, user, data, rooms = unpack(act)
    local position = advance()
    load_session(secret)
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
        session[AWAY] = session[AWAY] or now
      else
        remove_session(secret)
        return { 2, position }
      end
    end
    save_session(secret, session)
    return { 2, position }
  end

  local UNKNOWN, EXPIRED, EPOCH, TRIMMED, WRONG_USER, LOST, UNSETTLED = 1, 2, 3, 4, 5, 6, 7

  -- Whether a client may have seen a place.
  local function may_have_been(position)
    for index = 2, #all_eras() do
      if position > eras[index][2] and position < eras[index][1] then
        return false
      end
    end
    return position <= last
  end

  -- When processes were heard last, which stays as it is in a call.
  local beats = {}
  local function beat_of(name)
    local beat = beats[name]
    if beat == nil then
      beat = tonumber(call('ZSCORE', base .. 'beats', name)) or false
      beats[name] = beat
    end
    return beat
  end

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
    local beat = beat_of(former)
    local peer = beat and load_peer(former)
    local floor = peer and peer.floor or 0
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
    session[START], session[ATTACHED], session[AWAY] = from, position, false
    session[GENERATION] = session[GENERATION] + 1
    session[OWNER] = process
    save_session(secret, session)
    if beat then
      tell_taken(former, position, session)
    end
    return { 3, session[SID], session[DATA], session[STAYS], session[GENERATION], from }
  end

  local function retire(_, floor)
    flush()
    local owned = of_epoch('#o#' .. process)
    local secrets = call('ZRANGEBYSCORE', owned, '0', '0', 'LIMIT', 0, retire_count + 1)
    for index = 1, min(#secrets, retire_count) do
      local secret = secrets[index]
      local session = load_session(secret)
      if session then
        session[START], session[AWAY] = whole(session, floor), now
        save_session(secret, session)
      else
        -- It was evicted.
        call('ZREM', owned, secret)
      end
    end
    if #secrets > retire_count then
      return { 6 }
    end
    peers[process].retired = 1
    return { 5 }
  end

  return { load = load_session, remove = remove_session, flush = flush, O = open, W = write, C = claim, R = retire }
end

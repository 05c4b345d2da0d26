-- Sessions.

function sessions()
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
    call('RPUSH', key, item)
    expire(key)
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

  -- Whether a client may have seen a place.
  local function may_have_been(position)
    for index = 2, #all_eras() do
      if position > eras[index][2] and position < eras[index][1] then
        return false
      end
    end
    return position <= last
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
    local beat = tonumber(call('ZSCORE', base .. 'beats', former))
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

  local function retire(_, floor)
    peers[process].retired = 1
    changed_peers[process] = true
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

  return { load = load_session, remove = remove_session, O = open, W = write, C = claim, R = retire }
end

-- Heartbeats: a process lives, and something is cleared away each time.

local function beat()
  local all = sessions()

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

  local function sweep_process(name)
    local owned = of_epoch('#o#' .. name)
    local secrets = call('ZRANGEBYSCORE', owned, '0', '0', 'LIMIT', 0, sweep_count)
    for _, secret in ipairs(call('ZRANGEBYSCORE', owned, '1', '1', 'LIMIT', 0, sweep_count)) do
      secrets[#secrets + 1] = secret
    end
    table.sort(secrets)
    for index = 1, min(sweep_count, #secrets) do
      if all.load(secrets[index]) then
        all.remove(secrets[index])
      else
        call('ZREM', owned, secrets[index])
      end
    end
    all.flush()
  end

  local function sweep_sessions()
    local last_away = back(now, window)
    local away = of_epoch('#away')
    for _, secret in ipairs(call('ZRANGEBYSCORE', away, '-inf', '(' .. text(last_away), 'LIMIT', 0, sweep_count)) do
      if all.load(secret) then
        all.remove(secret)
      else
        call('ZREM', away, secret)
      end
    end
    all.flush()
    local last_beat = back(last_away, lease)
    local rounds = base .. 'rounds'
    local _, oldest = count_rounds()
    for _, name in ipairs(oldest and call('ZRANGEBYSCORE', rounds, '-inf', '(' .. text(oldest)) or {}) do
      call('ZREM', rounds, name)
    end
    local dead = {}
    for _, name in ipairs(call('ZRANGEBYSCORE', base .. 'beats', '-inf', '(' .. text(last_beat))) do
      if not (oldest and call('ZSCORE', rounds, name)) then
        dead[#dead + 1] = name
      end
    end
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
        call('HDEL', base, 'p#' .. name, 'd#' .. name, 'm#' .. name)
        call('ZREM', base .. 'new', name)
        call('UNLINK', of_epoch('#t#' .. name))
        peers[name], changed_peers[name] = nil, nil
      end
    end
  end

  local function sweep_logs()
    local horizon = back(last, keep_back)
    local _, trim = searches()
    local from = swept and '(' .. swept or '-'
    local names = call('ZRANGEBYLEX', of_epoch('#names'), from, '+', 'LIMIT', 0, sweep_count)
    swept = #names == sweep_count and names[#names] or false
    set('swept', swept or '')
    load_logs(names, 1, #names)
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
        else
          passed_entries, passed_bytes = passed_entries + log.count, passed_bytes + log.total - log.dropped
          if log.count ~= count then
            touched[#touched + 1] = name
          end
        end
      end
    end
    if not swept then
      all_entries, all_bytes, passed_entries, passed_bytes = passed_entries, passed_bytes, 0, 0
    end
    set('sums', encode(SUMS, passed_entries, passed_bytes, all_entries, all_bytes))
  end

  -- Nothing is left behind for ever: what nobody refreshes expires.
  local function refresh()
    expire(base)
    expire(base .. 'beats')
    expire(base .. 'rounds')
    expire(base .. 'new')
    if now <= refreshed + ttl * 250 then
      return
    end
    set('refreshed', text(now))
    for _, name in ipairs({ '#logs', '#names', '#away' }) do
      expire(of_epoch(name))
    end
    for character in ALPHABET:gmatch('.') do
      expire(of_epoch('#s#' .. character))
    end
    for _, name in ipairs(call('ZRANGE', base .. 'beats', 0, -1)) do
      expire(of_epoch('#o#' .. name))
      expire(of_epoch('#t#' .. name))
    end
  end

  -- Whether a process counts as alive, before the heartbeat that it makes now.
  local function has_lived()
    local beats = base .. 'beats'
    local own = tonumber(call('ZSCORE', beats, process) or -1)
    local newest = tonumber(call('ZRANGE', beats, -1, -1, 'WITHSCORES')[2]) or 0
    if own < 0 or own >= back(newest, lease) then
      return own >= 0
    end
    local _, oldest = count_rounds()
    return oldest and tonumber(call('ZSCORE', base .. 'rounds', process) or -1) >= oldest
  end

  -- What is published to a process comes by the channel of its heartbeats. One of a version that does not know of new
  -- processes has none here.
  local function channel_of(name)
    return call('HGET', base, 'm#' .. name)
  end

  -- A process makes a heartbeat. Whether it may act, and the channels of those that are to make one now: those to which
  -- it is new, or those that are new and of which it knows. See adapter::recovery::store::newcomers.
  local function introduce(knows)
    local new, channels = base .. 'new', {}
    local since = call('ZSCORE', new, process)
    if not since then
      for _, name in ipairs(call('ZRANGEBYSCORE', new, '-inf', text(knows))) do
        call('ZREM', new, name)
        channels[#channels + 1] = channel_of(name)
      end
      return true, channels
    end
    since = tonumber(since)
    -- Of what restarts under its name the life before is over.
    local own_node, is_alone = process:match('^[^!]*'), true
    for _, name in ipairs(who_lived()) do
      local peer = name:match('^[^!]*') ~= own_node and load_peer(name)
      local of_other = peer and peer.retired == 0 and tonumber(call('ZSCORE', new, name) or 0)
      if of_other and of_other < since then
        local channel = channel_of(name)
        if not channel then
          is_alone = true
          break
        end
        is_alone = false
        if of_other == 0 then
          channels[#channels + 1] = channel
        end
      end
    end
    if is_alone then
      call('ZREM', new, process)
      return true, {}
    end
    return false, channels
  end

  local number, acknowledged, known_epoch, known_era, known, floor, seen, heads, sweeps = unpack(cmsgpack.unpack(take()))
  local peer = peers[process] or { number = 0, floor = 0, retired = 0, taken = 0 }
  local is_of_now = known_epoch == epoch
  local is_renewed = known_epoch and not has(known_epoch, known_era, known) or is_of_now and peer.number < acknowledged
  if is_renewed then
    be_sure()
    changes_of_life().renew(known_epoch and known)
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
  peer.number, peer.floor, peer.beat = max(peer.number, acknowledged), max(peer.floor, floor), encode(BEAT, last)
  peers[process] = peer
  changed_peers[process] = true
  if not has_lived() or peer.retired == 1 then
    call('ZADD', base .. 'new', text(last), process)
    peer.retired = 0
  end
  -- By the clock of the log: that of the server may go backwards, and others would seem to have lived longer.
  call('ZADD', base .. 'beats', text(last), process)
  local round = count_rounds()
  if sweeps and tonumber(call('ZSCORE', base .. 'rounds', process) or 0) == round then
    round = round + 1
  end
  call('ZADD', base .. 'rounds', text(round), process)
  local may_act, channels = introduce(is_of_now and not is_renewed and known or 0)
  peer.era = may_act and era or 0
  if peer.taken ~= 0 then
    load_taken(peer, seen)
  end
  local places = {}
  load_logs(heads, 1, #heads)
  for _, name in ipairs(heads) do
    local log = load_log(name)
    places[#places + 1] = name
    places[#places + 1] = log and log.last or 0
  end
  local mark = cmsgpack.pack({ process, number, epoch, era, last, previous, places })
  local channel = take()
  set('m#' .. process, channel)
  messages = {}
  for _, other in ipairs(channels) do
    messages[#messages + 1] = other
    messages[#messages + 1] = mark
  end
  messages[#messages + 1] = channel
  messages[#messages + 1] = mark
  if sweeps then
    sweep_sessions()
    sweep_logs()
    save_logs()
    refresh()
  end
  return { 'B', number, epoch, era, last, taken, log_count, all_entries, all_bytes, may_act and 1 or 0 }
end

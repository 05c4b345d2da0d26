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
    local secrets = call('ZRANGEBYSCORE', owned, 0, 0, 'LIMIT', 0, sweep_count)
    for _, secret in ipairs(call('ZRANGEBYSCORE', owned, 1, 1, 'LIMIT', 0, sweep_count)) do
      secrets[#secrets + 1] = secret
    end
    table.sort(secrets)
    for index = 1, min(sweep_count, #secrets) do
      local session = all.load(secrets[index])
      if session then
        all.remove(secrets[index], session)
      else
        call('ZREM', owned, secrets[index])
      end
    end
  end

  local function sweep_sessions()
    local last_away = back(now, window)
    local away = of_epoch('#away')
    for _, secret in ipairs(call('ZRANGEBYSCORE', away, '-inf', '(' .. text(last_away), 'LIMIT', 0, sweep_count)) do
      local session = all.load(secret)
      if session then
        all.remove(secret, session)
      else
        call('ZREM', away, secret)
      end
    end
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
        call('HDEL', base, 'p#' .. name, 'd#' .. name)
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

  local number, acknowledged, known_epoch, known_era, known, floor, seen, heads, sweeps = unpack(cmsgpack.unpack(take()))
  local peer = peers[process] or { number = 0, floor = 0, retired = 0, taken = 0 }
  local is_of_now = known_epoch == epoch
  if known_epoch and not has(known_epoch, known_era, known) or is_of_now and peer.number < acknowledged then
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
  peer.era, peer.number, peer.floor = era, max(peer.number, acknowledged), max(peer.floor, floor)
  peers[process] = peer
  changed_peers[process] = true
  -- By the clock of the log: that of the server may go backwards, and others would seem to have lived longer.
  call('ZADD', base .. 'beats', text(last), process)
  local round = count_rounds()
  if sweeps and tonumber(call('ZSCORE', base .. 'rounds', process) or 0) == round then
    round = round + 1
  end
  call('ZADD', base .. 'rounds', text(round), process)
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
  messages = { take(), mark }
  if sweeps then
    sweep_sessions()
    sweep_logs()
    save_logs()
    refresh()
  end
  return { 'B', number, epoch, era, last, taken, log_count, all_entries, all_bytes }
end

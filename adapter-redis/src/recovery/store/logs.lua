-- Logs: what was published to a room, or to everybody, for as long as somebody may come back for it.

local ZERO = '0000000000000000'

local function load_log(name)
  local log = logs[name]
  if log == nil then
    local found = call('HGET', of_epoch('#logs'), name)
    log = false
    if found then
      log = { key = of_epoch('#l#' .. name) }
      -- `first` is not behind the place of the first entry.
      log.last_text, log.trimmed, log.bytes, log.count, log.first, log.fresh = decode(LOG, found)
      log.last = tonumber(log.last_text)
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

-- The place and the size of an entry.
local function head(entry)
  local place, size = decode(HEAD, entry)
  return tonumber(place), size
end

local function drop_first(log, entry)
  local at, size = head(entry)
  log.trimmed, log.first = at, at + 1
  log.bytes, log.count = log.bytes - size, log.count - 1
end

local function trim(log, position)
  local horizon = back(position, keep_back)
  if log.count > keep_messages then
    local count = log.count - keep_messages
    local entries = call('LPOP', log.key, count) or {}
    for _, entry in ipairs(entries) do
      drop_first(log, entry)
    end
    if #entries < count then
      return lose_entries(log)
    end
  end
  while log.count > 0 do
    if log.bytes <= keep_bytes then
      if log.first >= horizon then
        return
      end
      local first = call('LINDEX', log.key, 0)
      if not first then
        return lose_entries(log)
      end
      log.first = head(first)
      if log.first >= horizon then
        return
      end
    end
    local entry = call('LPOP', log.key)
    if not entry then
      return lose_entries(log)
    end
    drop_first(log, entry)
  end
end

-- Takes an entry, which is written with the others of the call.
local function append(name, log, position, place, entry)
  log = log or new_log(name)
  local pending = log.pending
  if not pending then
    pending = {}
    log.pending, log.known, log.known_bytes = pending, log.last, log.bytes
    if log.count == 0 then
      log.first = position
    end
    touch(name, log)
  end
  pending[#pending + 1] = place .. entry
  log.bytes = log.bytes + decode('>I4', entry)
  log.last, log.last_text = position, place
end

local function write_entries(log)
  local pending = log.pending
  if not pending then
    return
  end
  local length
  for from = 1, #pending, CHUNK do
    length = call('RPUSH', log.key, unpack(pending, from, min(from + CHUNK - 1, #pending)))
  end
  log.count = log.count + #pending
  if length ~= log.count then
    -- Entries were evicted, or are left over: only these are known.
    call('LTRIM', log.key, -#pending, -1)
    log.trimmed, log.bytes, log.count = max(log.trimmed, log.known), log.bytes - log.known_bytes, #pending
    log.first = head(pending[1])
  end
  if log.count == #pending or now > log.fresh + ttl * 250 then
    expire(log.key)
    log.fresh = now
  end
  trim(log, log.last)
end

local function save_logs()
  if #touched == 0 then
    return
  end
  local fields = {}
  for _, name in ipairs(touched) do
    local log = logs[name]
    write_entries(log)
    fields[#fields + 1] = name
    fields[#fields + 1] = encode(LOG, log.last_text, log.trimmed, log.bytes, log.count, log.first, log.fresh)
  end
  save(of_epoch('#logs'), fields)
  if is_new_log then
    set('logs', text(log_count))
    expire(of_epoch('#logs'))
    expire(of_epoch('#names'))
  end
end

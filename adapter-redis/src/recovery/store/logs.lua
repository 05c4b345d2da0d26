-- Logs: what was published to a room, or to everybody, for as long as somebody may come back for it.

-- `total` counts the bytes of all entries that there were, `dropped` of those that are gone. `first` is not behind the
-- place of the first entry.
local function read_log(name, found)
  local log = false
  if found then
    log = { key = of_epoch('#l#' .. name) }
    log.last_text, log.trimmed, log.dropped, log.total, log.count, log.first, log.fresh = decode(LOG, found)
    log.last = tonumber(log.last_text)
  end
  logs[name] = log
  return log
end

local function load_log(name)
  local log = logs[name]
  if log == nil then
    return read_log(name, call('HGET', of_epoch('#logs'), name))
  end
  return log
end

-- Reads logs at once, by the names from one place of a list through another.
local function load_logs(names, first, through)
  local key = of_epoch('#logs')
  for from = first, through, CHUNK do
    local to = min(from + CHUNK - 1, through)
    local found = call('HMGET', key, unpack(names, from, to))
    for index = from, to do
      if logs[names[index]] == nil then
        read_log(names[index], found[index - from + 1])
      end
    end
  end
end

local function lose_entries(log)
  log.trimmed, log.dropped, log.count = max(log.trimmed, log.last), log.total, 0
end

-- The place of an entry, the bytes of all up to it, and its own.
local function head(text_of_head)
  local place, total, size = decode(HEAD, text_of_head)
  return tonumber(place), total, size
end

local function head_at(log, index)
  return head(call('LINDEX', log.key, ENTRY * index))
end

-- What looks into a log: a function that is not needed costs its making.
local function searches()
  -- How many of the first entries meet a condition that all behind one that does not fail as well.
  local function count_first(log, meets)
    local low, high = 0, log.count
    while low < high do
      local middle = down((low + high) / 2)
      if meets(head_at(log, middle)) then
        low = middle + 1
      else
        high = middle
      end
    end
    return low
  end

  local function trim(log, position)
    local horizon = back(position, keep_back)
    local too_many, too_large = log.count - keep_messages, log.total - log.dropped > keep_bytes
    if log.count == 0 or too_many <= 0 and not too_large and log.first >= horizon then
      return
    end
    if call('LLEN', log.key) ~= ENTRY * log.count then
      return lose_entries(log)
    end
    local count = max(0, too_many)
    if too_large then
      local enough = log.total - keep_bytes
      local smaller = count_first(log, function(_, total)
        return total < enough
      end)
      count = max(count, smaller + 1)
    end
    if log.first < horizon then
      local older = count_first(log, function(at)
        return at < horizon
      end)
      count = max(count, older)
      log.first = horizon
    end
    if count > 0 then
      local at, total = head_at(log, count - 1)
      call('LTRIM', log.key, ENTRY * count, -1)
      log.trimmed, log.first, log.dropped, log.count = at, at + 1, total, log.count - count
    end
  end

  return count_first, trim
end

-- Takes an entry, which is written with the others of the call.
local function append(name, log, position, place, size, before, behind)
  if not log then
    log = { key = of_epoch('#l#' .. name), last = 0, trimmed = forgotten }
    log.dropped, log.total, log.count, log.first, log.fresh = 0, 0, 0, 0, 0
    logs[name] = log
    log_count = log_count + 1
    is_new_log = true
    call('ZADD', of_epoch('#names'), 0, name)
  end
  local pending = log.pending
  if not pending then
    pending = {}
    log.pending, log.known, log.known_total = pending, log.last, log.total
    if log.count == 0 then
      log.first = position
    end
    touched[#touched + 1] = name
  end
  local total, count = log.total + size, #pending
  pending[count + 1], pending[count + 2], pending[count + 3] = place .. encode('>dI4', total, size), before, behind
  log.total, log.last, log.last_text = total, position, place
end

-- Trims a log that has grown, or grown old, for long enough.
local function trim_grown(log)
  local horizon = back(log.last, most_back)
  if log.first < horizon then
    log.first = head_at(log, 0)
  end
  if log.count > most_messages or log.total - log.dropped > most_bytes or log.first < horizon then
    local _, trim = searches()
    trim(log, log.last)
  end
end

local function write_entries(log)
  local pending = log.pending
  local length
  for from = 1, #pending, CHUNK do
    length = call('RPUSH', log.key, unpack(pending, from, min(from + CHUNK - 1, #pending)))
  end
  local count = #pending / ENTRY
  log.count = log.count + count
  if length ~= ENTRY * log.count then
    -- Entries were evicted, or are left over: only these are known.
    call('LTRIM', log.key, -#pending, -1)
    log.trimmed, log.dropped, log.count = max(log.trimmed, log.known), log.known_total, count
    log.first = head(pending[1])
  end
  if log.count == count or now > log.fresh + ttl * 250 then
    expire(log.key)
    log.fresh = now
  end
  trim_grown(log)
end

local function save_logs()
  if #touched == 0 then
    return
  end
  local fields = {}
  for index, name in ipairs(touched) do
    local log = logs[name]
    if log.pending then
      write_entries(log)
    end
    fields[2 * index - 1] = name
    fields[2 * index] = encode(LOG, log.last_text, log.trimmed, log.dropped, log.total, log.count, log.first, log.fresh)
  end
  save(of_epoch('#logs'), fields)
  if is_new_log then
    set('logs', text(log_count))
    expire(of_epoch('#logs'))
    expire(of_epoch('#names'))
  end
end

-- Publications to one log each when all is as ever: the most of all calls. There is no function here, and no table with
-- names, since the making of these costs more than the work. What is not as ever is left to the functions below.
--
-- What is asked stands in one argument, as is read here: the number of the call, what of it was seen, how many
-- publications and how many names of logs; and of each publication its bytes, its log, its channel and its sender. Then
-- come, of each, what is before its place and behind it; the names of logs; and channels and senders.
local ASKED, PUBLICATION = '>ddI2I2', '>I4I2I2I2'
local asked = ARGV[7]

-- The bytes of what is not logged, the channel of what is not published, and who sent what no socket did.
local UNLOGGED, NONE = 4294967295, 0

-- What is known of a log here: its key, what is written of it, its last place as a number, and behind which index it
-- has no elements of this call. The first of these stands at ELEMENTS, so that Redis gets all of a log at once.
local KEY, LAST, TRIMMED, DROPPED, TOTAL, COUNT, PLACE, FRESH, NOW, NEXT, ELEMENTS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

-- What was published here although some logs are to be trimmed below: logs by their number, messages, and places.
local plain_logs, plain_messages, plain_results

if kind == 'P' and epoch and life[4] == server and life[5] == '' and life[8] then
  local of_era, known, floor, retired, of_taken = decode(PEER, life[8])
  local number, _, count, name_count, head = decode(ASKED, asked)
  local names = 7 + 2 * count
  local beat = life[8]:sub(BEAT_AT)
  local is_silent = beat ~= '' and last - lease > decode(BEAT, beat)
  local is_plain = of_era == era and number == known + 1 and of_taken == 0 and retired == 0 and not is_silent
  local of_epoch, logs = base .. epoch, {}
  local of_logs = of_epoch .. '#logs'
  if is_plain then
    local is_all_there = true
    for from = 1, name_count, CHUNK do
      local through = min(from + CHUNK - 1, name_count)
      local found = call('HMGET', of_logs, unpack(ARGV, names + from, names + through))
      for index = from, through do
        local it = found[index - from + 1]
        if it then
          local log = { of_epoch .. '#l#' .. ARGV[names + index], decode(LOG, it) }
          log[NOW], log[NEXT] = false, ELEMENTS
          logs[index] = log
        else
          is_all_there = false
          logs[index] = false
        end
      end
    end
    if not is_all_there then
      local at = head
      for _ = 1, count do
        local size, name, _, _, next = decode(PUBLICATION, asked, at)
        is_plain, at = is_plain and (logs[name] or size == UNLOGGED), next
      end
    end
  end
  if is_plain then
    local results, messages, said = {}, {}, 0
    local others = names + name_count
    local era_text = format('%010d%06d', down(era / 1000000), era % 1000000)
    local second, seconds_text, place = -1000000, ''
    for index = 1, count do
      local size, name, channel, _, next = decode(PUBLICATION, asked, head)
      head = next
      last = min(max(now, last + 1), MAX_POSITION)
      local micros = last - second
      if micros >= 1000000 then
        local whole = down(last / 1000000)
        second = whole * 1000000
        micros, seconds_text = last - second, format('%010d', whole)
      end
      place = seconds_text .. format('%06d', micros)
      local log, before, behind = logs[name], ARGV[6 + 2 * index], ARGV[7 + 2 * index]
      local previous = log and log[LAST] or ZERO
      if size ~= UNLOGGED then
        local total, at = log[TOTAL] + size, log[NEXT]
        log[at], log[at + 1], log[at + 2] = encode(HEAD, place, total, size), before, behind
        log[LAST], log[TOTAL], log[NOW], log[NEXT] = place, total, last, at + ENTRY
      end
      results[index] = last
      if channel ~= NONE then
        messages[said + 1] = ARGV[others + channel]
        messages[said + 2] = before .. epoch .. '.' .. place .. behind .. era_text .. previous
        said = said + 2
      end
    end
    local fields, is_to_trim = {}, false
    local fresh_after = now - ttl * 250
    for index = 1, name_count do
      local log = logs[index]
      local at = log and log[NOW]
      if at then
        local key, past, length = log[KEY], log[NEXT]
        local added = (past - ELEMENTS) / ENTRY
        for from = ELEMENTS, past - 1, CHUNK do
          length = call('RPUSH', key, unpack(log, from, min(from + CHUNK, past) - 1))
        end
        local entries = log[COUNT] + added
        if length ~= ENTRY * entries then
          -- Entries were evicted, or are left over: only these are known.
          call('LTRIM', key, -ENTRY * added, -1)
          local lost = tonumber((decode(LOG, call('HGET', of_logs, ARGV[names + index]))))
          local first, total, size = decode(HEAD, log[ELEMENTS])
          log[TRIMMED], log[DROPPED], log[PLACE] = max(log[TRIMMED], lost), total - size, tonumber(first)
          entries = added
        elseif entries == added then
          log[PLACE] = tonumber((decode(HEAD, log[ELEMENTS])))
        end
        if entries == added or log[FRESH] < fresh_after then
          call('PEXPIRE', key, ttl)
          log[FRESH] = now
        end
        local bytes, first = log[TOTAL] - log[DROPPED], log[PLACE]
        local is_long = entries > most_messages
        if first < at - most_back or bytes > most_bytes or is_long and (first < at - keep_back or bytes > keep_bytes) then
          is_to_trim = true
        elseif is_long then
          local surplus = entries - keep_messages
          local trimmed, total = decode(HEAD, call('LINDEX', key, ENTRY * (surplus - 1)))
          call('LTRIM', key, ENTRY * surplus, -1)
          trimmed = tonumber(trimmed)
          log[TRIMMED], log[DROPPED], log[PLACE], entries = trimmed, total, trimmed + 1, keep_messages
        end
        log[COUNT] = entries
        fields[#fields + 1] = ARGV[names + index]
        fields[#fields + 1] =
          encode(LOG, log[LAST], log[TRIMMED], log[DROPPED], log[TOTAL], log[COUNT], log[PLACE], log[FRESH])
      end
    end
    if not is_to_trim then
      for from = 1, #fields, CHUNK do
        call('HSET', of_logs, unpack(fields, from, min(from + CHUNK - 1, #fields)))
      end
      local done = cmsgpack.pack(results)
      local peer = encode(PEER, era, number, floor, retired, 0) .. beat
      call('HSET', base, 'last', place, 'p#' .. process, peer, 'd#' .. process, done)
      -- All is written, so nothing can fail any more. What Redis may not publish is in the log, and shows as a hole.
      local complaint = ''
      for index = 1, said, 2 do
        local reached = redis.pcall('PUBLISH', messages[index], messages[index + 1])
        if type(reached) == 'table' then
          complaint = reached.err
        end
      end
      if complaint == '' then
        return { 'P', epoch, encode('>ddd', number, era, last) .. done }
      end
      return { 'D', number, epoch, era, last, done, {}, complaint }
    end
    plain_logs, plain_messages, plain_results = logs, messages, results
  end
end

-- Reads, which change nothing.

local function reads()
  local count_first = searches()

  -- How many entries are not behind a place.
  local function up_to(log, position)
    if position >= log.last then
      return log.count
    end
    if position < log.first then
      return 0
    end
    return count_first(log, function(at)
      return at <= position
    end)
  end

  -- A log to read: without entries if they were evicted.
  local function readable(name)
    local log = load_log(name)
    if not log then
      return { last = 0, trimmed = forgotten, count = 0, first = 0 }
    end
    if log.count > 0 and call('LLEN', log.key) ~= ENTRY * log.count then
      lose_entries(log)
    end
    return log
  end

  -- What is behind `after` and not behind `through`, and how far that is; and what is left of the budget.
  local function read(log, after, through, budget)
    local found, at_last = {}, after
    if log.count == 0 then
      return found, through, budget
    end
    local from = up_to(log, after)
    while from < log.count do
      local page = call('LRANGE', log.key, ENTRY * from, ENTRY * (from + PAGE) - 1)
      for index = 1, #page, ENTRY do
        local at, _, size = head(page[index])
        if at > through then
          return found, through, budget
        end
        if size > budget and #found > 0 or budget == 0 then
          return found, at_last, budget
        end
        budget = back(budget, size)
        for part = index, index + ENTRY - 1 do
          found[#found + 1] = page[part]
        end
        at_last = at
      end
      from = from + PAGE
    end
    return found, through, budget
  end

  local function pieces()
    local answer, names = { 'R', epoch }, {}
    for index = last_argument + 1, #ARGV, 3 do
      names[#names + 1] = ARGV[index]
    end
    load_logs(names, 1, #names)
    local budget = read_bytes
    while last_argument < #ARGV do
      local log, after, through = readable(take()), tonumber(take()), tonumber(take())
      local entries, reached
      entries, reached, budget = read(log, after, through, budget)
      answer[#answer + 1] = { reached, log.trimmed, entries }
    end
    return answer
  end

  local function history()
    local log, what, after, through, count = readable(take()), take(), tonumber(take()), tonumber(take()), tonumber(take())
    if what == 'L' then
      local before = log.count > 0 and up_to(log, through) - count - 1 or -1
      after = before >= 0 and head_at(log, before) or log.trimmed
    end
    local entries, reached = read(log, after, through, read_bytes)
    if #entries > ENTRY * count then
      local first = {}
      for index = 1, ENTRY * count do
        first[index] = entries[index]
      end
      entries = first
      reached = count > 0 and head(entries[ENTRY * (count - 1) + 1]) or after
    end
    local is_cut, is_settled = log.trimmed > after, #awaited == 0
    return { 'H', epoch, reached, log.last, is_cut and 1 or 0, is_settled and 1 or 0, entries }
  end

  if kind == 'R' then
    return pieces()
  end
  return history()
end


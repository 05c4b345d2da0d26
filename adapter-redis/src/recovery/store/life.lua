-- What is needed where more is to do than to publish: the clock, what is known of processes, and what changed.

local last_argument = 6
local function take()
  last_argument = last_argument + 1
  return ARGV[last_argument]
end

-- A whole number with all its digits. Printed as a fraction without places it would cost twice as much.
local function text(number)
  local whole = down(number / 1000000)
  if whole == 0 then
    return format('%d', number)
  end
  return format('%d%06d', whole, number - whole * 1000000)
end

-- A place as it stands in offsets: 16 digits, of which those of seconds seldom change.
local seconds, seconds_text
local function place_text(position)
  local whole = down(position / 1000000)
  if whole ~= seconds then
    seconds, seconds_text = whole, format('%010d', whole)
  end
  return seconds_text .. format('%06d', position - whole * 1000000)
end

local function back(from, microseconds)
  return max(0, from - microseconds)
end

local eras, awaited, settle_until, begin, swept, refreshed
-- Entries and bytes: of logs that were swept since the first, and of all when the last one was swept last.
local passed_entries, passed_bytes, all_entries, all_bytes = 0, 0, 0, 0

-- What was read of logs, by their names, and the names of those that changed.
local logs, touched, is_new_log = {}, {}, false

-- What changed of the fields of the namespace.
local changed = {}
local function set(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end

local function save(key, fields)
  for from = 1, #fields, CHUNK do
    call('HSET', key, unpack(fields, from, min(from + CHUNK - 1, #fields)))
  end
end

local ttl_text = text(ttl)
local function expire(key)
  call('PEXPIRE', key, ttl_text)
end

local function advance()
  last = min(max(now, last + 1), MAX_POSITION)
  return last
end

local function of_epoch(name)
  return base .. epoch .. name
end

-- What is known of processes, by their names, and the names of those of which it changed. Of one it is in which era it
-- told what it knows, the number of its last call, the place up to where all of it is whole, whether it is retired,
-- whether something was taken from it, and when it was heard last, as it is written.
local peers, changed_peers = {}, {}

local function load_peer(name, found)
  local peer = peers[name]
  if peer == nil then
    peer = false
    found = found or call('HGET', base, 'p#' .. name)
    if found then
      peer = {}
      peer.era, peer.number, peer.floor, peer.retired, peer.taken = decode(PEER, found)
      peer.beat = found:sub(BEAT_AT)
    end
    peers[name] = peer
  end
  return peer
end

if life[8] then
  load_peer(process, life[8])
else
  peers[process] = false
end

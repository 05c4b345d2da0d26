-- The store of one namespace: what puts it in order, keeps its logs and its sessions.
--
-- It means what adapter::recovery::Store means, call by call; tests/redis/recovery/agree.rs holds the two together.
-- One call is one run: nothing comes between, and what it publishes leaves in the order of its positions.
--
-- All keys begin with KEYS[1], which tells how long the namespace's name is, so that no name hides another's keys. It is
-- itself the key of what the whole namespace has, with `p#PROCESS`, what is known of a process, and `d#PROCESS`, what
-- its last call came to. Behind it stands:
--   beats            when each process was heard last
-- and, behind the name of the epoch, so that another epoch begins with nothing:
--   #logs, #names    of each log its places and counts; their names in order, to sweep
--   #l#LOG           the entries of a log, each of ENTRY elements: its head, and what was published without its place
--   #s#C             the sessions whose secret begins with the character C
--   #away, #o#PROCESS  since when sessions are away; those of a process
--   #t#PROCESS       what was taken from a process
--
-- Numbers are exact up to 2^53; as text they are written with all their digits.

local call = redis.call
local down, max, min = math.floor, math.max, math.min
local format = string.format
local encode, decode = struct.pack, struct.unpack

local MAX_POSITION = 9007199254740991
local MAX_ERAS = 8
-- Values of one command, and entries of one look into a log.
local CHUNK, PAGE = 999, 64
-- How a log's places and counts are written; the head of an entry: its place as text, the bytes of all up to it, and its
-- own; and what is known of a process. That of a log has one byte more than what Redis keeps in a list, where it looks
-- for each from the front. And how sums are written.
local LOG, HEAD, PEER, SUMS = '>c16ddddddx', '>c16dI4', '>dddBB', '>dddd'

local base, ARGV = KEYS[1], ARGV
local server, kind, process, fresh = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local keep_messages, keep_bytes, keep_back, window, lease, settle, read_bytes, stays_kept, sweep_count, departed, ttl =
  decode('>ddddddddddd', ARGV[6])
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local last_argument = 6
local function take()
  last_argument = last_argument + 1
  return ARGV[last_argument]
end

local function text(number)
  return format('%.0f', number)
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

-- What every call needs, and what only those need that are no mere publications.
local life = call('HMGET', base, 'epoch', 'last', 'era', 'server', 'awaited', 'forgotten', 'logs', 'p#' .. process)
local epoch, last, era = life[1], tonumber(life[2] or 0), tonumber(life[3] or 0)
local forgotten, log_count = tonumber(life[6] or 0), tonumber(life[7] or 0)
local known_last = last
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

local function expire(key)
  call('PEXPIRE', key, ttl)
end

local function advance()
  last = min(max(now, last + 1), MAX_POSITION)
  return last
end

local function of_epoch(name)
  return base .. epoch .. name
end

-- What is known of processes, by their names, and the names of those of which it changed. Of one it is in which era it
-- told what it knows, the number of its last call, the place up to where all of it is whole, whether it is retired, and
-- whether something was taken from it.
local peers, changed_peers = {}, {}

local function load_peer(name, found)
  local peer = peers[name]
  if peer == nil then
    peer = false
    found = found or call('HGET', base, 'p#' .. name)
    if found then
      peer = {}
      peer.era, peer.number, peer.floor, peer.retired, peer.taken = decode(PEER, found)
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

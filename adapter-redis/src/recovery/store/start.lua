-- The store of one namespace: what puts it in order, keeps its logs and its sessions.
--
-- It means what adapter::recovery::Store means, call by call; tests/redis/recovery/agree.rs holds the two together.
-- One call is one run: nothing comes between, and what it publishes leaves in the order of its positions.
--
-- All keys begin with KEYS[1], which tells how long the namespace's name is, so that no name hides another's keys. It is
-- itself the key of what the whole namespace has, with `p#PROCESS`, what is known of a process, `d#PROCESS`, what its
-- last call came to, and `m#PROCESS`, the channel of its heartbeats. Behind it stands:
--   beats, rounds    when each process was heard last, and in which round of heartbeats
--   new              since when processes are here of which no other one knows
-- and, behind the name of the epoch, so that another epoch begins with nothing:
--   #logs, #names    of each log its places and counts; their names in order, to sweep
--   #l#LOG           the entries of a log, each of ENTRY elements: its head, and what was published without its place
--   #s#C             the sessions whose secret begins with the character C
--   #away, #o#PROCESS  since when sessions are away; those of a process
--   #t#PROCESS       what was taken from a process
--
-- Numbers are exact up to 2^53; as text they are written with all their digits.
--
-- Whoever changes what is written changes FORMAT: versions that write differently do not touch each other's keys. Where
-- it is not told, it is 1.
local FORMAT = '1'

local call = redis.call
local down, max, min = math.floor, math.max, math.min
local format = string.format
local encode, decode = struct.pack, struct.unpack

local MAX_POSITION = 9007199254740991
local MAX_ERAS = 8
-- Values of one command: whole fields with what they are, and whole entries. And entries of one look into a log.
local CHUNK, PAGE = 996, 64
-- How a log's places and counts are written; the head of an entry: its place as text, the bytes of all up to it, and its
-- own; and what is known of a process. That of a log has one byte more than what Redis keeps in a list, where it looks
-- for each from the front. And how sums are written. Behind what is known of a process stands when it was heard last:
-- versions that do not know of that leave it out.
local LOG, HEAD, PEER, SUMS, BEAT = '>c16ddddddx', '>c16dI4', '>dddBB', '>dddd', '>d'
local BEAT_AT = 27

-- Elements of the list that an entry takes, and the place before all entries.
local ENTRY, ZERO = 3, '0000000000000000'

local base, ARGV = KEYS[1], ARGV
local server, kind, process, fresh = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local keep_messages, keep_bytes, keep_back, window, lease, rounds_kept, settle, read_bytes, stays_kept, sweep_count, departed,
  retire_count, ttl = decode('>ddddddddddddd', ARGV[6])
-- A log is trimmed when an eighth more is in it than is kept: to drop many at once costs less than one each time.
local most_messages = keep_messages + down(keep_messages / 8)
local most_bytes, most_back = keep_bytes + down(keep_bytes / 8), keep_back + down(keep_back / 8)
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- What every call needs, and what only those need that are no mere publications.
local life = call('HMGET', base, 'epoch', 'last', 'era', 'server', 'awaited', 'forgotten', 'logs', 'p#' .. process)
local epoch, last, era = life[1], tonumber(life[2] or 0), tonumber(life[3] or 0)
local forgotten, log_count = tonumber(life[6] or 0), tonumber(life[7] or 0)
local known_last = last


-- Says who is there. Keys: here, names. A name of the index is what a subject's text is.
local HERE, NAMES = KEYS[1], KEYS[2]
local prefix, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function sockets(subject)
  local count = string.match(redis.call('HGET', HERE, subject) or '', '^%d+:(%d+)$')
  return count or '0'
end
-- No text of ours has the byte 255 in it.
local last = '[' .. prefix .. '\255'
local from = after == '' and '[' .. prefix or '(' .. prefix .. after
local answer = {string.format('%.0f', redis.call('ZLEXCOUNT', NAMES, '[' .. prefix, last)), sockets(ARGV[4]), sockets(ARGV[5])}
if limit > 0 then
  for _, subject in ipairs(redis.call('ZRANGEBYLEX', NAMES, from, last, 'LIMIT', 0, limit)) do
    answer[#answer + 1] = string.sub(subject, #prefix + 1)
    answer[#answer + 1] = sockets(subject)
  end
end
return answer

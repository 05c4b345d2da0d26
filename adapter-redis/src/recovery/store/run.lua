-- What happens in a run.

load_life()
local answer
if kind == 'B' then
  answer = beat()
elseif kind == 'A' then
  answer = acts()
else
  answer = reads()
end
set('last', text(last))
if #changed > 2 or kind == 'A' or kind == 'B' then
  save(base, changed)
end
if #changed > 2 then
  expire(base)
end
-- All is written, so nothing can fail any more. What Redis may not publish is in the log, and shows as a hole.
local reached, complaint = -1, ''
for index = 1, #messages, 2 do
  reached = redis.pcall('PUBLISH', messages[index], messages[index + 1])
  if type(reached) == 'table' then
    reached, complaint = -1, reached.err
  end
end
if answer[1] == 'B' then
  answer[#answer + 1] = reached
end
if answer[1] == 'B' or answer[1] == 'D' then
  answer[#answer + 1] = complaint
end
return answer

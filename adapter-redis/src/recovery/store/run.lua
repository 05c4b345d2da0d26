-- What happens in any other run.

local complaint = load_life()
if complaint then
  return redis.error_reply(complaint)
end
local answer
if kind == 'B' then
  answer = beat()
elseif is_acts then
  answer = acts()
else
  answer = reads()
end
return finish(answer, true)

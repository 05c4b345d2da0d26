-- What happens in any other run.

load_life()
local answer
if kind == 'B' then
  answer = beat()
elseif is_acts then
  answer = acts()
else
  answer = reads()
end
return finish(answer, true)

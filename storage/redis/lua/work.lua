-- work: what a consumer of a worker stream does in one step.
--
-- KEYS[1] the stream of a partition, KEYS[2] its dead letters
-- ARGV[1] claim or leave, ARGV[2] group, ARGV[3] consumer
-- claim:
--   ARGV[4] how many ms without an acknowledgement make an entry anybody's
--   ARGV[5] how often an entry is handed over at most
--   ARGV[6] how many entries to look at
--   ARGV[7] how many ms a dead letter is kept
--   ARGV[8] how many ms without a sign make a consumer without entries vanish
--
-- claim answers { dead letters, { id, deliveries, fields } … }, what is the
-- consumer's from now on.  leave removes the consumer unless it still has
-- entries, which would vanish with it.
local stream, dead = KEYS[1], KEYS[2]
local mode, group, consumer = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

if mode == 'leave' then
  if #call('XPENDING', stream, group, '-', '+', 1, consumer) == 0 then
    call('XGROUP', 'DELCONSUMER', stream, group, consumer)
  end
  return {}
end

local idle, most, count = ARGV[4], tonumber(ARGV[5]), ARGV[6]

-- A letter says whose it was, which, and how often it was tried.
local function bury(id, times)
  local entry = call('XRANGE', stream, id, id)[1]
  call('XACK', stream, group, id)
  if not entry then return 0 end
  local fields = entry[2]
  for _, word in ipairs({ 'dead_group', group, 'dead_entry_id', id, 'dead_deliveries', times }) do
    fields[#fields + 1] = word
  end
  local time = call('TIME')
  local least = string.format('%.0f', math.max(time[1] * 1000 - ARGV[7], 0))
  call('XADD', dead, 'MINID', '~', least, '*', unpack(fields))
  call('PEXPIRE', dead, ARGV[7])
  return 1
end

local times, letters = {}, 0
for _, pending in ipairs(call('XPENDING', stream, group, 'IDLE', idle, '-', '+', count)) do
  if pending[4] >= most then
    letters = letters + bury(pending[1], pending[4])
  else
    times[pending[1]] = pending[4]
  end
end

-- No more than were looked at above.  Each step goes past ten times as many as it
-- may take, and says where it stopped.
local answer, from, room = { letters }, '0-0', count - letters
for _ = 1, 10 do
  if room <= 0 then break end
  local step = call('XAUTOCLAIM', stream, group, consumer, idle, from, 'COUNT', room)
  for _, entry in ipairs(step[2]) do
    answer[#answer + 1] = { entry[1], (times[entry[1]] or 1) + 1, entry[2] }
  end
  from, room = step[1], room - #step[2]
  if from == '0-0' then break end
end

for _, other in ipairs(call('XINFO', 'CONSUMERS', stream, group)) do
  local facts = {}
  for at = 1, #other, 2 do facts[other[at]] = other[at + 1] end
  if facts.name ~= consumer and facts.pending == 0 and facts.idle >= tonumber(ARGV[8]) then
    call('XGROUP', 'DELCONSUMER', stream, group, facts.name)
  end
end
return answer

-- moves: when users first moved to an offset, or past it.
--
-- KEYS[1] stream of the channel's moves (records.lua)
-- ARGV[1] no such move is older, in ms; ARGV[2] the offset; then the users
--
-- Answers two numbers for each user: when read, when delivered, in ms; 0: not known.
local call = redis.call
local offset, users, left = tonumber(ARGV[2]), {}, #ARGV - 2
for at = 3, #ARGV do users[ARGV[at]] = { 0, 0 } end

-- A page at a time, until the end or until all have read it.
local from, page = ARGV[1], nil
repeat
  page = call('XRANGE', KEYS[1], from, '+', 'COUNT', 256)
  for _, entry in ipairs(page) do
    local times = users[entry[2][2]]
    local kind, to = string.match(entry[2][1], '^(%a)(%d+)$')
    if times and tonumber(to) >= offset then
      local at = tonumber(string.match(entry[1], '^%d+'))
      if kind == 'c' and times[1] == 0 then
        times[1] = at
        left = left - 1
      end
      if times[2] == 0 then times[2] = at end
    end
    from = '(' .. entry[1]
  end
until #page < 256 or left <= 0

local answer = {}
for at = 3, #ARGV do
  answer[#answer + 1] = users[ARGV[at]][1]
  answer[#answer + 1] = users[ARGV[at]][2]
end
return answer

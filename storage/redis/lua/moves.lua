-- moves: when users first moved to an offset, or past it, as far as one page tells.
--
-- KEYS[1] stream of the channel's moves (records.lua)
-- KEYS[2] sorted set: up to where a user's moves are of a membership that has ended
-- KEYS[3] hash of the members
-- ARGV[1] where the page begins: in ms, no such move is older; or '(' and the entry before it
-- ARGV[2] how many entries it has at most
-- ARGV[3] the offset; then the users
--
-- Answers where the next page begins, '' at the end, and three numbers for each user: when
-- read, when delivered, in ms; 0: not on this page; and the first offset that is for this
-- member, 0: is none.
local offset, users = tonumber(ARGV[3]), {}
for at = 4, #ARGV do
  users[ARGV[at]] = { 0, 0, tonumber(redis.call('ZSCORE', KEYS[2], ARGV[at]) or '0') }
end

local page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
for _, entry in ipairs(page) do
  local times = users[entry[2][2]]
  local kind, to = string.match(entry[2][1], '^(%a)(%d+)$')
  if times and tonumber(to) >= offset then
    local at, number = string.match(entry[1], '^(%d+)-(%d+)$')
    at = at * 1024 + math.min(number, 1023) > times[3] and tonumber(at) or 0
    if kind == 'c' and times[1] == 0 then times[1] = at end
    if times[2] == 0 then times[2] = at end
  end
end

local answer = { #page == tonumber(ARGV[2]) and '(' .. page[#page][1] or '' }
for at = 4, #ARGV do
  answer[#answer + 1] = users[ARGV[at]][1]
  answer[#answer + 1] = users[ARGV[at]][2]
  local member = redis.call('HGET', KEYS[3], ARGV[at]) or ''
  answer[#answer + 1] = tonumber(string.match(member, '^%d+') or '0')
end
return answer

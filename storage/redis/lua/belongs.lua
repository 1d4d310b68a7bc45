-- belongs: which channels users belong to, as the channels' partitions told it.
--
-- KEYS    a hash for each user, all of one partition: channel ▶ "<ms> <number> 1", or 0 for
--         one that was left, kept for an hour so that older news does not undo it
-- ARGV[1] channel, ARGV[2] and ARGV[3] when and as what it was told, ARGV[4] for each user in
--         order '+' or '-'
local call = redis.call
local channel, ms, number, signs = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function tidy(key)
  local all = call('HGETALL', key)
  for at = 1, #all, 2 do
    local when, is_member = string.match(all[at + 1], '^(%d+) %d+ (%d)$')
    if is_member == '0' and tonumber(when) + 3600000 < ms then call('HDEL', key, all[at]) end
  end
end

for at, key in ipairs(KEYS) do
  local is_joining = string.sub(signs, at, at) == '+'
  local when, which = string.match(call('HGET', key, channel) or '0 0 0', '^(%d+) (%d+)')
  when, which = tonumber(when), tonumber(which)
  if ms > when or ms == when and number > which then
    call('HSET', key, channel, ARGV[2] .. ' ' .. ARGV[3] .. (is_joining and ' 1' or ' 0'))
    if not is_joining then tidy(key) end
  end
end
return #KEYS

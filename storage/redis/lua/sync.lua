-- sync: where one client of a user stands in its conversations.
--
-- KEYS[1] hash: channel ▶ "<offset> <ms> <epoch>"
-- ARGV[1] how many ms it is kept from now on
-- ARGV[2] how many channels it holds at most
-- then three arguments for each position to be saved: channel, offset, epoch
--
-- Answers the whole hash when nothing is saved.
local key, most = KEYS[1], tonumber(ARGV[2])
local call = redis.call
local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))

for at = 3, #ARGV, 3 do
  call('HSET', key, ARGV[at], ARGV[at + 1] .. ' ' .. now .. ' ' .. ARGV[at + 2])
end
if call('HLEN', key) > most then
  local all, ages = call('HGETALL', key), {}
  for at = 1, #all, 2 do
    ages[#ages + 1] = { tonumber(string.match(all[at + 1], '^%d+ (%d+) ')), all[at] }
  end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  for i = 1, #ages - most do call('HDEL', key, ages[i][2]) end
end
call('PEXPIRE', key, ARGV[1])
if #ARGV > 2 then return {} end
return call('HGETALL', key)

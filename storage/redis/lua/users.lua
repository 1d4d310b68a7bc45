-- users: what is said about users, in an order that all nodes share.
--
-- One stream a partition of users, users: <time>-<n> o <origin> d <text>.  Ids carry
-- this server's time, so what is too old goes by itself, and who was away knows from
-- where to read.
--
-- ARGV[5] mode
--   tell   ARGV[6] how long it is kept in ms, ARGV[7] origin, ARGV[8] text
--          answers { id }, announced on the channel users as
--          "<id before> <id> <now> <origin>\n<text>"
--   hear   ARGV[6] after this id; '' begins ARGV[8] ms ago; ARGV[7] most,
--          ARGV[9] '1': the server may be another one, with a clock behind
--          answers { now, where it began, entries }
local stream = base .. 'users'
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if ARGV[5] == 'tell' then
  local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  local before = last[1] and last[1][1] or '0-0'
  local least = digits(now - tonumber(ARGV[6]))
  local id = call('XADD', stream, 'MINID', '~', least, '*', 'o', ARGV[7], 'd', ARGV[8])
  call('PEXPIRE', stream, tonumber(ARGV[6]) * 2)
  local line = before .. ' ' .. id .. ' ' .. digits(now) .. ' ' .. ARGV[7] .. '\n' .. ARGV[8]
  redis.pcall('SPUBLISH', base .. 'users', line)
  return { id }
end

local after = ARGV[6]
if after == '' then after = digits(now - tonumber(ARGV[8])) .. '-0' end
if ARGV[9] == '1' and tonumber(string.match(after, '^(%d+)')) > now then after = digits(now) .. '-0' end
return { digits(now), after, call('XRANGE', stream, '(' .. after, '+', 'COUNT', ARGV[7]) }

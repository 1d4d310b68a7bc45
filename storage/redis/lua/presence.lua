-- presence: who attends the channels of one partition, as each life says (nodes.lua).
--
-- An entry is not refreshed: it lasts until its life takes it back, or until the
-- life has ended and somebody cleans up after it.  Of a channel:
--   at:<channel>             set of the lives that have entries of it
--   in:<life>:<channel>      hash, listed entries: client ▶ mark and body
--   hid:<life>:<channel>     the same for those whose coming and going is told only
--   who:<channel>            hash: user ▶ listed entries, of all lives
--   of:<life>                set of the channels in which a life has entries
-- mark is t when the join was told, else -; body begins with the client (16 bytes)
-- and the sized user.
--
-- ARGV[5] mode
--   change  ARGV[6] life, ARGV[7] origin, ARGV[8] entries above which nobody is
--           told, then for each change four: kind, flags, channel, body
--             e enter; l leave (its body is the client alone); c clear: takes back
--             everything of this life in the partition, untold, channel ''
--             flags: p listed, t is told, q but not now
--           answers { epoch }
--   count   ARGV[6] channel, ARGV[7] most, ARGV[8…] lives that have ended
--   list    the same; answers { epoch, clients, users, bodies with their marks },
--           without the last when there are more clients than `most`
--   clean   ARGV[6] a life that has ended, ARGV[7] most entries, ARGV[8] as above;
--           answers { epoch, 1 when there is more }
--
-- Announced as append.lua does, for others than the origin:
--   j 0 <epoch> <origin> and the body    somebody came
--   g 0 <epoch> <origin> and the body    somebody went
local mode = ARGV[5]

local function hash_of(list, life, channel)
  return base .. list .. ':' .. life .. ':' .. channel
end

local function user_of(body)
  return (struct.unpack('<I4c0', body, 17))
end

-- Entries of a channel, listed or not.
local function crowd_of(channel)
  local count = 0
  for _, life in ipairs(call('SMEMBERS', base .. 'at:' .. channel)) do
    count = count + call('HLEN', hash_of('in', life, channel))
                  + call('HLEN', hash_of('hid', life, channel))
  end
  return count
end

local function announce(kind, channel, origin, body)
  local line = kind .. ' 0 ' .. epoch .. ' ' .. origin
  redis.pcall('SPUBLISH', base .. 'c:' .. channel, line .. '\n' .. body)
end

local function enter(life, origin, limit, flags, channel, body)
  local is_listed = string.find(flags, 'p') ~= nil
  local is_told = string.find(flags, 't') and crowd_of(channel) < limit
  local hash = hash_of(is_listed and 'in' or 'hid', life, channel)
  local fresh = call('HSET', hash, string.sub(body, 1, 16), (is_told and 't' or '-') .. body)
  if fresh == 1 then
    call('SADD', base .. 'at:' .. channel, life)
    call('SADD', base .. 'of:' .. life, channel)
    if is_listed then call('HINCRBY', base .. 'who:' .. channel, user_of(body), 1) end
  end
  if is_told and not string.find(flags, 'q') then announce('j', channel, origin, body) end
end

-- Takes an entry out; the life leaves the channel with its last one.
local function take_out(list, life, channel, client, value)
  local hash = hash_of(list, life, channel)
  call('HDEL', hash, client)
  if list == 'in' then
    local users, user = base .. 'who:' .. channel, user_of(string.sub(value, 2))
    if call('HINCRBY', users, user, -1) <= 0 then call('HDEL', users, user) end
  end
  if call('EXISTS', hash_of('in', life, channel), hash_of('hid', life, channel)) == 0 then
    call('SREM', base .. 'at:' .. channel, life)
    call('SREM', base .. 'of:' .. life, channel)
  end
end

local function leave(life, origin, limit, flags, channel, client)
  local list = string.find(flags, 'p') and 'in' or 'hid'
  local value = call('HGET', hash_of(list, life, channel), client)
  if not value then return end
  local is_told = string.sub(value, 1, 1) == 't' and crowd_of(channel) <= limit
  take_out(list, life, channel, client, value)
  if is_told then announce('g', channel, origin, string.sub(value, 2)) end
end

-- Takes out up to `most` entries of a life; true when there are more.
local function clean(life, most, limit, origin)
  local channel = call('SRANDMEMBER', base .. 'of:' .. life)
  while channel and most > 0 do
    local is_told = origin and crowd_of(channel) <= limit
    for _, list in ipairs({ 'in', 'hid' }) do
      local page = call('HRANDFIELD', hash_of(list, life, channel), 128, 'WITHVALUES')
      for at = 1, #page, 2 do
        take_out(list, life, channel, page[at], page[at + 1])
        if is_told and string.sub(page[at + 1], 1, 1) == 't' then
          announce('g', channel, origin, string.sub(page[at + 1], 2))
        end
      end
      most = most - #page / 2
    end
    -- Without entries it is no longer in the set; a set left over from lost hashes is.
    if call('EXISTS', hash_of('in', life, channel), hash_of('hid', life, channel)) == 0 then
      call('SREM', base .. 'of:' .. life, channel)
      call('SREM', base .. 'at:' .. channel, life)
    end
    channel = call('SRANDMEMBER', base .. 'of:' .. life)
  end
  return channel and true or false
end

-- The lives of a channel but those that have ended, and whether there are such.
local function lives_of(channel)
  local ended, lives, is_whole = {}, {}, true
  for at = 8, #ARGV do ended[ARGV[at]] = true end
  for _, life in ipairs(call('SMEMBERS', base .. 'at:' .. channel)) do
    if ended[life] then is_whole = false else lives[#lives + 1] = life end
  end
  return lives, is_whole
end

local function roll(channel, most)
  local lives, is_whole = lives_of(channel)
  local clients, values = 0, {}
  for _, life in ipairs(lives) do clients = clients + call('HLEN', hash_of('in', life, channel)) end
  local users = call('HLEN', base .. 'who:' .. channel)
  if clients <= most and (mode == 'list' or not is_whole) then
    local seen, count = {}, 0
    for _, life in ipairs(lives) do
      for _, value in ipairs(call('HVALS', hash_of('in', life, channel))) do
        local user = user_of(string.sub(value, 2))
        if not seen[user] then
          seen[user] = true
          count = count + 1
        end
        values[#values + 1] = value
      end
    end
    users = count
  end
  return { epoch, clients, users, mode == 'list' and values or {} }
end

if mode == 'count' or mode == 'list' then return roll(ARGV[6], tonumber(ARGV[7])) end
local life, limit = ARGV[6], tonumber(ARGV[8])
if mode == 'clean' then
  -- Of no node: everyone hears it.
  return { epoch, clean(life, tonumber(ARGV[7]), limit, 'clean:0') and 1 or 0 }
end
for at = 9, #ARGV, 4 do
  local kind, flags, channel, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if kind == 'e' then enter(life, ARGV[7], limit, flags, channel, body)
  elseif kind == 'l' then leave(life, ARGV[7], limit, flags, channel, body)
  else clean(life, math.huge, limit, nil) end
end
return { epoch }

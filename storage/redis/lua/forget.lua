-- forget: channels that nobody uses, and that hold nothing, go.
--
-- Of a channel Redis keeps its meta for as long as it has publications, members, moves of
-- cursors, a mark of its own or somebody who hears it.  When it has none of them a look marks
-- the meta with the time.  Whoever opens the channel or changes it takes the mark away, as does a look
-- that finds it in use; what was marked for longer than its namespace says, and longer than
-- idempotency keys live, is forgotten, and comes again by another birth (partition.lua).
--
-- The nodes share the work: the key "<prefix>:{p<k>}:idle" says where the round through the
-- metas stands, and before which time nobody need look.
--
-- ARGV[5] mode
--   look    ARGV[6] metas of a look, ARGV[7] ms between two rounds, ARGV[8] ms that a mark
--           must be old to be told
--           answers { ms until the next look, channel, mark, age of the mark in ms … }
--   forget  ARGV[6…] channels, each with the mark that was told of it
--           answers how many were forgotten
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local letters = string.match(epoch, '^%a+')

local function is_used(channel, members)
  if call('EXISTS', base .. 's:' .. channel, base .. 'v:' .. letters .. ':' .. channel) > 0 then
    return true
  end
  if call('PUBSUB', 'SHARDNUMSUB', base .. 'c:' .. channel)[2] > 0 then return true end
  if members == 0 then return false end
  -- A list that is gone is no list of nobody: whoever opens the channel finds it.
  local hash = base .. 'm:' .. channel
  return call('HLEN', hash) ~= 1 or call('HGET', hash, '') ~= 'none'
end

local function look_at(channel, value)
  local head, revision, members, _, confirmed_head, confirmed_revision, _, idle, policy =
    parse_meta(value)
  local is_held = confirmed_head < head or confirmed_revision < revision
  if is_held or policy > 0 or is_used(channel, members) then return nil, idle end
  return idle, idle
end

-- Since when nobody uses it, '' when that is not known, nil when somebody does; its mark.
-- Of what is damaged, nil and '': whoever mends it decides, and the others go on.
local function idle_since(channel, value)
  local is_whole, since, mark = pcall(look_at, channel, value)
  if not is_whole then return nil, '' end
  return since, mark
end

if ARGV[5] == 'forget' then
  local count = 0
  for at = 6, #ARGV, 2 do
    local channel = ARGV[at]
    local value = call('HGET', meta, channel)
    if value and idle_since(channel, value) == ARGV[at + 1] then
      call('HDEL', meta, channel)
      call('UNLINK', base .. 'm:' .. channel, base .. 'w:' .. channel, base .. 't:' .. channel,
           base .. 'x:' .. channel)
      call('HSET', base .. 'forgot', part_of(channel), '-' .. string.sub(ARGV[3], 2))
      count = count + 1
    end
  end
  return count
end

local place = base .. 'idle'
local cursor, due = string.match(call('GET', place) or '0 0', '^(%d+) (%d+)$')
if tonumber(due) > now then return { tonumber(due) - now } end

local page = call('HSCAN', meta, cursor, 'COUNT', ARGV[6])
local pause, age_least = tonumber(ARGV[7]), tonumber(ARGV[8])
local answer, values = { page[1] == '0' and pause or 0 }, {}
local function save()
  if values[1] then call('HSET', meta, unpack(values)) end
  values = {}
end
for at = 1, #page[2], 2 do
  local channel, value = page[2][at], page[2][at + 1]
  if channel ~= '' then
    local since, mark = idle_since(channel, value)
    if since == nil and mark ~= '' then
      values[#values + 1] = channel
      values[#values + 1] = string.sub(value, 1, -(#mark + 3))
    elseif since == '' then
      values[#values + 1] = channel
      values[#values + 1] = value .. ' @' .. digits(now)
    elseif since and now - since >= age_least then
      answer[#answer + 1] = channel
      answer[#answer + 1] = since
      answer[#answer + 1] = now - since
    end
    if #values >= 1000 then save() end
  end
end
save()
call('SET', place, page[1] .. ' ' .. digits(now + answer[1]))
return answer

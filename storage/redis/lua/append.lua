-- append: takes many records of one partition, in order.
--
-- ARGV[5] horizon of the idempotency keys in ms
-- ARGV[6] origin: names this call, so that the node knows its own records
-- ARGV[7] the streams that others read (streams.lua)
-- then for each record eight arguments:
--   kind          p publication that is kept, l live publication, m members, c cursor,
--                 r removal of everything up to the head
--   channel
--   known epoch, known head
--   a, b          p, m: history size and ttl in ms; c: the offset read up to, 0
--   key           "<scope size>:<scope><key>", or '' for none
--   body          p, l: the encoded publication; m: sized user ids; c: the user id;
--                 r: nothing
--
-- Answers { epoch, offset, revision … }: for each record 2 * offset, plus 1 for
-- a repeat, and the revision that anything but a publication made; the offset of
-- a member list or a removal is the head at which it came into force.
--
-- Announced on "<prefix>:{p<k>}:c:<channel>" as one line and the body:
--   p <offset> <epoch> <origin>          a publication
--   l 0 <epoch> <origin>
--   m <head> <epoch> <origin> <revision>
--   c <offset> <epoch> <origin> <revision>
--   r <head> <epoch> <origin> <revision>
--
-- A stream entry's id is <offset>-0 for a publication (field d) and
-- <head>-<revision> for a member list (field m), so one XRANGE gives both in
-- the order in which they happened.  Trimming by MINID keeps exactly the size.
local horizon, origin = ARGV[5], ARGV[6]
-- A key belongs to the epoch that it was answered in: what came before other
-- letters is void, and its offsets are given again.
local letters = string.match(epoch, '^%a+')
local results = { '' }
local metas = {}

local function load(channel)
  local m = metas[channel]
  if not m then
    m = {}
    m.head, m.revision, m.members, m.removed = read_meta(channel)
    metas[channel] = m
  end
  return m
end

local function save(channel, m)
  local value = digits(m.head) .. ' ' .. digits(m.revision) .. ' ' .. digits(m.members)
  if m.removed > 0 then value = value .. ' ' .. digits(m.removed) end
  call('HSET', meta, channel, value)
end

-- The last step of a record: what is written is written, and the sweep of each
-- node finds what it was not told.
local function announce(channel, kind, number, revision, body)
  local line = kind .. ' ' .. digits(number) .. ' ' .. epoch .. ' ' .. origin
  if kind == 'm' or kind == 'c' or kind == 'r' then line = line .. ' ' .. digits(revision) end
  redis.pcall('SPUBLISH', base .. 'c:' .. channel, line .. '\n' .. body)
end

-- The stream may be left over from a meta hash that vanished: then its last id
-- is not below ours.  What it holds belongs to an epoch that has ended.
local function add(stream, id, least, field, body)
  local answer = redis.pcall('XADD', stream, 'MINID', '=', least, id, field, body)
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'equal or smaller') then error(answer.err) end
    call('UNLINK', stream)
    call('XADD', stream, id, field, body)
  end
end

local function append_publication(channel, m, size, ttl, body)
  local stream = base .. 's:' .. channel
  local offset = m.head + 1
  add(stream, digits(offset) .. '-0', digits(math.max(offset - size + 1, 0)) .. '-0', 'd', body)
  call('PEXPIRE', stream, ttl)
  m.head = offset
  save(channel, m)
  return offset
end

local function append_members(channel, m, size, ttl, body)
  local hash = base .. 'm:' .. channel
  local gone, joined = {}, {}
  for _, user in ipairs(call('HKEYS', hash)) do gone[user] = true end
  local at, user = 1, nil
  local fresh = digits(m.head + 1) .. ' ' .. digits(m.head)
  while at <= #body do
    user, at = struct.unpack('<I4c0', body, at)
    if gone[user] then
      gone[user] = nil
    elseif call('HSETNX', hash, user, fresh) == 1 then
      joined[#joined + 1] = user
    end
  end
  local left = {}
  for name in pairs(gone) do
    call('HDEL', hash, name)
    left[#left + 1] = name
  end
  m.revision = m.revision + 1
  m.members = m.revision
  if size > 0 then
    local stream = base .. 's:' .. channel
    add(stream, digits(m.head) .. '-' .. digits(m.revision),
        digits(math.max(m.head - size + 1, 0)) .. '-0', 'm', body)
    call('PEXPIRE', stream, ttl)
  end
  save(channel, m)
  copy_members(channel, joined, left)
  return m.head
end

-- A cursor only grows and never passes the head.  It is announced in any case:
-- whoever sent it waits for that.
local function append_cursor(channel, m, offset, user)
  local hash = base .. 'm:' .. channel
  local value = call('HGET', hash, user)
  offset = math.min(offset, m.head)
  if value then
    local joined, read = string.match(value, '^(%d+) (%d+)$')
    if offset > tonumber(read) then
      call('HSET', hash, user, joined .. ' ' .. digits(offset))
      copy_cursor(channel, user, offset)
    end
    offset = math.max(offset, tonumber(read))
  end
  m.revision = m.revision + 1
  save(channel, m)
  return offset
end

-- The stream goes, the place where offsets go on stays.
local function append_remove(channel, m)
  call('UNLINK', base .. 's:' .. channel)
  m.revision = m.revision + 1
  m.removed = m.head
  save(channel, m)
  copy_remove(channel)
  return m.head
end

for at = 8, #ARGV, 8 do
  local kind, channel = ARGV[at], ARGV[at + 1]
  local a, b, key, body = tonumber(ARGV[at + 4]), ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local m = load(channel)
  check_loss(m.head, ARGV[at + 2], ARGV[at + 3])
  local name, seen
  if key ~= '' then
    name = base .. 'k:' .. letters .. ':' .. #channel .. ':' .. channel .. ':' .. key
    seen = call('GET', name)
  end
  if seen then
    results[#results + 1] = tonumber(seen) * 2 + 1
    results[#results + 1] = 0
  else
    local offset = 0
    if kind == 'p' then offset = append_publication(channel, m, a, b, body)
    elseif kind == 'm' then offset = append_members(channel, m, a, b, body)
    elseif kind == 'c' then offset = append_cursor(channel, m, a, body)
    elseif kind == 'r' then offset = append_remove(channel, m) end
    if name then call('SET', name, digits(offset), 'PX', horizon) end
    if kind == 'p' then copy_publication(channel, m, offset, body) end
    announce(channel, kind, offset, m.revision, body)
    results[#results + 1] = offset * 2
    results[#results + 1] = m.revision
  end
end
copies_end()
results[1] = epoch
return results

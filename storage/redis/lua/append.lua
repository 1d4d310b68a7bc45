-- append: takes many records of one partition, in order.
--
-- ARGV[5] origin: names this call, so that the node knows its own records
-- ARGV[6] the streams that others read (streams.lua)
-- ARGV[7] horizon of the idempotency keys in ms
-- ARGV[8] '1': hold what is appended, the caller confirms it when enough replicas have it
-- ARGV[9] what the records are sealed with, "<name> <value> <ms that they may live>", or ''
-- then for each record eight arguments:
--   kind          p publication that is kept, l live publication, m members, c cursor,
--                 r removal of everything up to the head, t nothing: to confirm what is held
--   channel
--   known epoch, known head
--   a, b          p, m: history size and ttl in ms; c: the offset read up to, 0
--   key           "<scope size>:<scope><key>", or '' for none
--   body          p, l: the encoded publication; m: sized user ids; c: the user id;
--                 r: nothing
--
-- Answers { position, offset, revision … }: what count_write left, and for each record 2 * offset, plus 1 for
-- a repeat, and the revision that anything but a publication made; the offset of
-- a member list or a removal is the head at which it came into force.  With
-- ARGV[8] three numbers a record: the last two are the position to be confirmed,
-- revision and head.
--
-- A stream entry's id is <offset>-0 for a publication (field d) and
-- <head>-<revision> for a member list (field m), so one XRANGE gives both in
-- the order in which they happened.  Trimming by MINID keeps exactly the size.
--
-- A live publication is announced at once in any case: nothing of it is kept, only
-- its key waits for replicas.
local horizon, must_hold = ARGV[7], ARGV[8] == '1'
-- A key belongs to the epoch that it was answered in: what came before other
-- letters is void, and its offsets are given again.
local letters = string.match(epoch, '^%a+')
local results = { '' }
local must_write, has_written = false, false

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
  return offset
end

-- A cursor never passes the head.
local function append_change(channel, m, kind, a, b, body)
  local number = m.head
  if kind == 'c' then number = math.min(a, number) end
  m.revision = m.revision + 1
  if kind == 'm' and a > 0 then
    local stream = base .. 's:' .. channel
    add(stream, digits(m.head) .. '-' .. digits(m.revision),
        digits(math.max(m.head - a + 1, 0)) .. '-0', 'm', body)
    call('PEXPIRE', stream, b)
  end
  if must_hold then
    hold(channel, m, kind, number, body)
  else
    number = apply(channel, m, kind, m.revision, number, body)
  end
  return number
end

local function append(channel, m, kind, a, b, body)
  local offset = 0
  if kind == 'p' then
    offset = append_publication(channel, m, a, b, body)
  elseif kind ~= 'l' then
    offset = append_change(channel, m, kind, a, b, body)
  end
  if not must_hold then m.confirmed_head, m.confirmed_revision = m.head, m.revision end
  if kind ~= 'l' then save(channel, m) end
  return offset
end

-- A node that does not wait goes on behind what others hold: that is confirmed with it.
local function settle(channel, m)
  confirm(channel, m, m.head, m.revision)
  save(channel, m)
  announce(channel, 'h', m.head, m.revision, '')
  has_written = true
end

-- In one step with the records: where they are, there is what opens them.
if ARGV[9] ~= '' then
  local name, value, ttl = string.match(ARGV[9], '^(%a+) (%x+) (%d+)$')
  call('SET', base .. 'seal:' .. name, value, 'PX', ttl)
end

for at = 10, #ARGV, 8 do
  local kind, channel = ARGV[at], ARGV[at + 1]
  local a, b, key, body = tonumber(ARGV[at + 4]), ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local m = load(channel)
  check_loss(m.head, ARGV[at + 2], ARGV[at + 3])
  if not must_hold and is_held(m) then settle(channel, m) end
  local name, seen
  if key ~= '' then
    name = base .. 'k:' .. letters .. ':' .. #channel .. ':' .. channel .. ':' .. key
    seen = call('GET', name)
  end
  local revision = 0
  if seen then
    results[#results + 1] = tonumber(seen) * 2 + 1
    must_write = true
  elseif kind == 't' then
    results[#results + 1] = 0
    must_write = true
  else
    local offset = append(channel, m, kind, a, b, body)
    has_written = true
    if name then call('SET', name, digits(offset), 'PX', horizon) end
    if not must_hold then
      if kind == 'p' then copy_publication(channel, m, offset, body) end
      announce(channel, kind, offset, m.revision, body)
    elseif kind == 'l' then
      announce(channel, kind, offset, m.revision, body)
    end
    results[#results + 1] = offset * 2
    revision = m.revision
  end
  if must_hold then
    results[#results + 1] = m.revision
    results[#results + 1] = m.head
  else
    results[#results + 1] = revision
  end
end
copies_end()
-- WAIT speaks of what its own connection has written: whoever repeats what another
-- wrote must write something behind it.
if has_written or must_hold and must_write then count_write(must_hold) end
results[1] = position()
return results

-- append: takes many records of one partition, in order.
--
-- ARGV[5] origin: names this call, so that the node knows its own records
-- ARGV[6] the streams that others read (streams.lua)
-- ARGV[7] horizon of the idempotency keys in ms
-- ARGV[8] '1': hold what is appended, the caller confirms it when enough replicas have it
-- ARGV[9] what the records are sealed with, "<name> <value> <ms that they may live>", or ''
-- then for each record eight arguments:
--   kind          p publication that is kept, l live publication, m members, c read and
--                 d delivered up to an offset, u unread from one, x hidden (1) or not (0),
--                 s the channel's own mark,
--                 r removal of everything up to the head, t nothing: to confirm what is held,
--                 k nothing: what was the key answered
--   channel
--   known epoch, known head
--   a, b          p, m: history size and ttl in ms; c, d, u, x: the offset, 0; s: the number, 0
--   key           "<scope size>:<scope><key>", or '' for none
--   body          p, l: the encoded publication; m: a list (storage/member.h), before it
--                 the bytes ff ff ff and its kind unless that is SET; c, d, u, x: the user
--                 id; r, s: nothing
--
-- Answers { position, offset, revision … }: for each record 2 * offset, plus 1 for
-- a repeat, and the revision that anything but a publication made; the offset of
-- a member list or a removal is the head at which it came into force.  -1 or -2 in the
-- place of the offset: damage, and nothing was changed (records.lua).  With
-- ARGV[8] three numbers a record: the last two are the position to be confirmed,
-- revision and head.  Behind all of them the number, from 1, and the birth of each record
-- whose channel is not in its first.
--
-- A stream entry's id is <offset>-0 for a publication (field d) and
-- <head>-<revision> for a member list (field m), so one XRANGE gives both in
-- the order in which they happened.  Trimming by MINID keeps exactly the size.
--
-- A publication whose flags say so (16, storage/record.h) takes away another one, whose
-- offset stands where its own does not, for that is the id's to say.  A stream entry cannot
-- be written over: what is deleted goes from the stream, and the sorted set
-- "<prefix>:{p<k>}:x:<channel>" has its offset and, as the member, its eight bytes of time
-- and the offset in digits; read.lua puts it in its place.  It lives as long as the stream.
--
-- A live publication is announced at once in any case: nothing of it is kept, only
-- its key waits for replicas.
local horizon, must_hold = ARGV[7], ARGV[8] == '1'
-- A key belongs to the epoch that it was answered in: what came before other
-- letters is void, and its offsets are given again.
local letters = string.match(epoch, '^%a+')
local births = {}

-- Where the last record of each channel stands that may go to its stream: trimming walks
-- through a node of the stream, so only that one trims.
local last = {}
for at = 10, #ARGV, 8 do
  if ARGV[at] == 'p' or ARGV[at] == 'm' then last[ARGV[at + 1]] = at end
end

-- The stream may be left over from a meta hash that vanished: then its last id
-- is not below ours.  What it holds belongs to an epoch that has ended.
local function add(m, id, least, ttl, field, body)
  local answer
  if m.is_last and least > 0 then
    answer = redis.pcall('XADD', m.stream, 'MINID', '=', digits(least), id, field, body)
  else
    answer = redis.pcall('XADD', m.stream, id, field, body)
  end
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'equal or smaller') then error(answer) end
    call('UNLINK', m.stream)
    call('XADD', m.stream, id, field, body)
  end
  m.ttl = ttl
end

local function delete(channel, m, offset, least)
  local graves, id = base .. 'x:' .. channel, digits(offset) .. '-0'
  m.must_save, has_written = true, true -- whatever comes, the publication is in the stream
  if m.deleted == 0 then call('UNLINK', graves) end -- of an earlier life
  local entry = call('XRANGE', m.stream, id, id)[1]
  if not entry then return end -- it was, or is kept no longer
  local time = string.sub(entry[2][2] .. string.rep('\0', 18), 11, 18)
  call('ZADD', graves, digits(offset), time .. digits(offset))
  call('XDEL', m.stream, id)
  if m.deleted > 0 then call('ZREMRANGEBYSCORE', graves, '-inf', '(' .. digits(least)) end
  m.deleted = math.max(m.deleted, offset)
  copy_delete(channel, m, offset)
end

local function append_publication(channel, m, size, ttl, body)
  local offset = m.head + 1
  local least = offset - size + 1
  add(m, digits(offset) .. '-0', least, ttl, 'd', body)
  m.head, has_begun = offset, true
  if m.deleted > 0 and m.deleted < least then forget_deleted(channel, m) end
  if string.byte(body, 2) >= 16 then delete(channel, m, struct.unpack('<I8', body, 3), least) end
  return offset
end

-- A cursor never passes the head; a mark stands as it is.
local function append_change(channel, m, kind, a, b, body)
  changes_begin()
  local number = m.head
  if kind == 'c' or kind == 'd' then
    number = math.min(a, number)
  elseif kind == 'u' or kind == 'x' or kind == 's' then
    number = a
  end
  -- Before the list is in the stream: one that could not be taken would stay there, above
  -- the revision, and the next one would be held for what another life left behind.
  if kind == 'm' then call('HLEN', base .. 'm:' .. channel) end
  local revision = m.revision + 1
  if kind == 'm' and a > 0 then
    add(m, digits(m.head) .. '-' .. digits(revision), m.head - a + 1, b, 'm', body)
  end
  m.revision, m.must_save, has_begun, has_written = revision, true, true, true
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
  if kind ~= 'l' or m.idle ~= '' then m.must_save = true end
  return offset
end

-- A node that does not wait goes on behind what others hold: that is confirmed with it.
local function settle(channel, m)
  changes_begin()
  m.must_save, has_written, has_begun = true, true, true
  confirm(channel, m, m.head, m.revision)
  announce(m, 'h', m.head, m.revision, '')
end

-- In one step with the records: where they are, there is what opens them.
if ARGV[9] ~= '' then
  local name, value, ttl = string.match(ARGV[9], '^(%a+) (%x+) (%d+)$')
  call('SET', base .. 'seal:' .. name, value, 'PX', ttl)
end

-- A publication's offset is known before it is there: its key is looked up and taken by one
-- command.
local function look_up(m, kind, name)
  if kind ~= 'p' and kind ~= 'l' then return call('GET', name) end
  local offset = kind == 'p' and digits(m.head + 1) or '0'
  local seen = call('SET', name, offset, 'PX', horizon, 'NX', 'GET')
  if not seen then taken = name end
  return seen
end

take_all(10, 8, must_hold, function(at)
  local kind, channel = ARGV[at], ARGV[at + 1]
  local a, b, key, body = tonumber(ARGV[at + 4]), ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local m = load(channel)
  m.is_last = last[channel] == at
  check_loss(m.head, m.birth, ARGV[at + 2], ARGV[at + 3])
  if not must_hold and is_held(m) then settle(channel, m) end
  local name, seen
  if key ~= '' then
    m.keys = m.keys or base .. 'k:' .. letters .. ':' .. #channel .. ':' .. channel .. ':'
    name = m.keys .. key
    seen = look_up(m, kind, name)
  end
  local revision = 0
  -- By it a node learns whether records are taken again: it is refused as they would be.
  if kind == 't' and not must_hold then write_epoch() end
  if seen or kind == 't' or kind == 'k' then
    results[#results + 1] = seen and tonumber(seen) * 2 + 1 or 0
    -- WAIT speaks of what its own connection has written: whoever repeats what another
    -- wrote must write something behind it.
    has_written = has_written or must_hold
  else
    local offset = append(channel, m, kind, a, b, body)
    has_written = true
    if name and not taken then call('SET', name, digits(offset), 'PX', horizon) end
    taken = nil
    if not must_hold then
      if kind == 'p' then
        copy_publication(channel, m, offset, body)
        if m.members > 0 then
          changes_begin()
          move_publisher(channel, m, offset, body)
        end
      end
      announce(m, kind, offset, m.revision, body)
    elseif kind == 'l' then
      announce(m, kind, offset, m.revision, body)
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
  if m.birth ~= '' then
    births[#births + 1] = (at - 2) / 8
    births[#births + 1] = m.birth
  end
end, must_hold and 3 or 2)
results[1] = position()
for _, value in ipairs(births) do results[#results + 1] = value end
return results

-- records: what append and confirm do to a channel.
--
-- A node that waits for replicas appends in two steps.  What it appends is held
-- first: it has its offset and its place in the stream, and nobody is told of it.
-- When enough replicas have it, confirm moves the confirmed position over it and
-- announces it.  The confirmed position stands behind the others in the meta hash
-- while it is below them (partition.lua), so that reads end there.
--
-- Members, cursors and removals that are held wait, in order, in the list
-- "<prefix>:{p<k>}:w:<channel>" as "<kind> <revision> <number>" and the body, and
-- are applied when they are confirmed: what is read beside the stream is always
-- confirmed.  The list goes to the replicas with the rest, so any node can confirm.
--
-- Announced on "<prefix>:{p<k>}:c:<channel>" as one line and the body:
--   p <offset> <epoch> <origin>          a publication
--   l 0 <epoch> <origin>
--   m <head> <epoch> <origin> <revision>
--   c <offset> <epoch> <origin> <revision>
--   r <head> <epoch> <origin> <revision>
--   h <head> <epoch> <origin> <revision> the confirmed position, without what is below it
local origin = ARGV[5]
local metas = {}

local function load(channel)
  local m = metas[channel]
  if not m then
    m = {}
    m.head, m.revision, m.members, m.removed, m.confirmed_head, m.confirmed_revision =
      read_meta(channel)
    m.stream, m.topic = base .. 's:' .. channel, base .. 'c:' .. channel
    metas[channel] = m
  end
  return m
end

local function is_held(m) return m.confirmed_head < m.head or m.confirmed_revision < m.revision end

local function meta_of(m)
  if is_held(m) then
    return string.format('%d %d %d %d %d %d', m.head, m.revision, m.members, m.removed,
                         m.confirmed_head, m.confirmed_revision)
  elseif m.removed > 0 then
    return string.format('%d %d %d %d', m.head, m.revision, m.members, m.removed)
  end
  return string.format('%d %d %d', m.head, m.revision, m.members)
end

-- Records were written: the partition's count rises.
local has_written = false
-- The key of what is being appended, until it is.
local taken

-- What the records changed, written once for all of them: `must_save` what a channel's meta
-- says, `ttl` how long its stream is kept from now on.
local function save_all(must_confirm)
  local values = {}
  for channel, m in pairs(metas) do
    if m.must_save then
      values[#values + 1] = channel
      values[#values + 1] = meta_of(m)
    end
    if m.ttl then call('PEXPIRE', m.stream, m.ttl) end
  end
  if has_written then
    count_write(must_confirm)
    values[#values + 1] = ''
    values[#values + 1] = epoch_text()
  end
  if values[1] then call('HSET', meta, unpack(values)) end
  if taken then call('DEL', taken) end
  copies_end()
end

local function has_changed()
  for _, m in pairs(metas) do
    if m.must_save or m.ttl then return true end
  end
  return has_written or taken
end

-- Takes the records that begin at `first` and every `step` arguments.  When one of them fails
-- those before it stay as they are, with their metas: offsets are never given twice.
-- Redis' own words, which nodes take for a refusal, are told only where nothing was changed.
local function take_all(first, step, must_confirm, take)
  local is_done, failure = pcall(function()
    for at = first, #ARGV, step do take(at) end
  end)
  local is_saved, unsaved = pcall(save_all, must_confirm)
  if is_done and is_saved then return end
  failure = failure or unsaved
  if has_changed() then
    failure = 'it stopped at a record: ' .. (type(failure) == 'table' and failure.err or failure)
  end
  error(failure, 0)
end

-- The last step of a record: what is written is written, and the sweep of each
-- node finds what it was not told.
local function announce(m, kind, number, revision, body)
  local mark = '\n'
  if kind ~= 'p' and kind ~= 'l' then mark = ' ' .. digits(revision) .. '\n' end
  redis.pcall('SPUBLISH', m.topic,
              kind .. ' ' .. digits(number) .. ' ' .. epoch .. ' ' .. origin .. mark .. body)
end

-- The list in force from the head `number` on.
local function apply_members(channel, m, number, body)
  local hash = base .. 'm:' .. channel
  local gone, joined, left = {}, {}, {}
  local users = call('HKEYS', hash)
  if m.members > 0 and #users == 0 then mark_members_lost(channel) end
  for _, user in ipairs(users) do gone[user] = true end
  gone[''] = nil
  local at, user = 1, nil
  local fresh = digits(number + 1) .. ' ' .. digits(number)
  while at <= #body do
    user, at = struct.unpack('<I4c0', body, at)
    if gone[user] then
      gone[user] = nil
    elseif call('HSETNX', hash, user, fresh) == 1 then
      joined[#joined + 1] = user
    end
  end
  for name in pairs(gone) do
    call('HDEL', hash, name)
    left[#left + 1] = name
  end
  if #body == 0 then
    call('HSET', hash, '', 'none')
  elseif users[1] == '' or m.members > 0 and #users == 0 then
    call('HDEL', hash, '')
  end
  copy_members(channel, joined, left)
end

-- A cursor only grows.  It is announced in any case: whoever sent it waits for that.
local function apply_cursor(channel, m, offset, user)
  local hash = base .. 'm:' .. channel
  local value = call('HGET', hash, user)
  if not value then
    has_members(channel, m.members)
    return offset
  end
  local joined, read = string.match(value, '^(%d+) (%d+)$')
  if offset <= tonumber(read) then return tonumber(read) end
  call('HSET', hash, user, joined .. ' ' .. digits(offset))
  copy_cursor(channel, user, offset)
  return offset
end

-- Publications up to `number` go, the place where offsets go on stays.  The copy
-- goes first: it stands where a right may be missing.
local function apply_remove(channel, m, number)
  local stream = base .. 's:' .. channel
  copy_remove(channel)
  if number == m.head then
    call('UNLINK', stream)
  else
    call('XTRIM', stream, 'MINID', '=', digits(number + 1) .. '-0')
  end
  m.removed = number
end

-- Gives what is announced as its number.
local function apply(channel, m, kind, revision, number, body)
  if kind == 'm' then
    apply_members(channel, m, number, body)
    m.members = revision
  elseif kind == 'c' then
    number = apply_cursor(channel, m, number, body)
  else
    apply_remove(channel, m, number)
  end
  return number
end

-- What a list of an earlier life left behind is not ours.
local function hold(channel, m, kind, number, body)
  local list = base .. 'w:' .. channel
  if m.confirmed_revision + 1 == m.revision then call('UNLINK', list) end
  call('RPUSH', list, kind .. ' ' .. digits(m.revision) .. ' ' .. digits(number) .. '\n' .. body)
end

-- Publications from behind the confirmed head up to `head`; `body`: the last one's.
local function copy_held(channel, m, head, body)
  local first = m.confirmed_head + 1
  if not has_copies or first > head then return end
  if body and first == head then
    copy_publication(channel, m, head, body)
    return
  end
  for _, entry in ipairs(call('XRANGE', base .. 's:' .. channel, digits(first) .. '-0',
                              '(' .. digits(head + 1) .. '-0')) do
    local offset = tonumber(string.match(entry[1], '^(%d+)'))
    if entry[2][1] == 'd' then copy_publication(channel, m, offset, entry[2][2]) end
  end
end

-- Moves the confirmed position up to (head, revision), applies and announces what
-- was held below it but for publications.  Gives the numbers announced, by revision.
local function confirm(channel, m, head, revision, body)
  local list = base .. 'w:' .. channel
  local numbers = {}
  revision = math.min(revision, m.revision)
  while m.confirmed_revision < revision do
    local held = call('LINDEX', list, 0)
    local kind, at, number, body = string.match(held or '', '^(%a) (%d+) (%d+)\n(.*)$')
    at = tonumber(at)
    if not at or at > revision then break end
    call('LPOP', list)
    if at > m.confirmed_revision then
      numbers[at] = apply(channel, m, kind, at, tonumber(number), body)
      announce(m, kind, numbers[at], at, body)
      m.confirmed_revision = at
    end
  end
  m.confirmed_revision = math.max(m.confirmed_revision, revision)
  head = math.min(head, m.head)
  copy_held(channel, m, head, body)
  m.confirmed_head = math.max(m.confirmed_head, head)
  return numbers
end

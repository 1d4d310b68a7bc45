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
--   m <head> <epoch> <origin> <revision>   its body as append.lua has it
--   c <offset> <epoch> <origin> <revision>, and d, u, x, s (append.lua)
--   r <head> <epoch> <origin> <revision>
--   h <head> <epoch> <origin> <revision> the confirmed position, without what is below it
local origin = ARGV[5]
local metas = {}

local function load(channel)
  local m = metas[channel]
  if not m then
    m = {}
    m.head, m.revision, m.members, m.removed, m.confirmed_head, m.confirmed_revision, m.birth,
      m.idle, m.policy, m.deleted = read_meta(channel)
    m.stream, m.topic = base .. 's:' .. channel, base .. 'c:' .. channel
    metas[channel] = m
  end
  return m
end

local function is_held(m) return m.confirmed_head < m.head or m.confirmed_revision < m.revision end

local function meta_of(m)
  local text = string.format('%d %d %d', m.head, m.revision, m.members)
  if is_held(m) then
    text = text .. string.format(' %d %d %d', m.removed, m.confirmed_head, m.confirmed_revision)
  elseif m.removed > 0 then
    text = text .. ' ' .. digits(m.removed)
  end
  if m.policy > 0 then text = text .. ' p' .. digits(m.policy) end
  if m.deleted > 0 then text = text .. ' x' .. digits(m.deleted) end
  return m.birth == '' and text or text .. ' ' .. m.birth
end

-- Nothing that was deleted alone is within the history any more.
local function forget_deleted(channel, m)
  if m.deleted == 0 then return end
  call('UNLINK', base .. 'x:' .. channel)
  m.deleted = 0
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
    if m.ttl then
      call('PEXPIRE', m.stream, m.ttl)
      if m.deleted > 0 then call('PEXPIRE', base .. 'x:' .. channel, m.ttl) end
    end
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
  return has_written
end

-- The answer; and whether the record at hand has changed something.
local results, has_begun = { '' }, false

-- Takes the records that begin at `first` and every `step` arguments.  `width`: of a record in
-- the answer, where one that meets damage before it changed anything is passed over, for the
-- others are of other channels: -1 or -2 says that a meta is none or a key has another type.
-- When one fails in another way those before it stay as they are, with their metas: offsets
-- are never given twice.
-- Where nothing was changed the error begins with a word that nodes take for a refusal.  pcall
-- makes a string of Redis' error; a table keeps Redis from putting ERR before ours.
local function take_all(first, step, must_confirm, take, width)
  local is_done, failure = true, nil
  for at = first, #ARGV, step do
    has_begun = false
    is_done, failure = pcall(take, at)
    if not is_done then
      if type(failure) == 'table' then failure = failure.err end
      local damage = string.find(failure, '^DAMAGED ') and -1 or
        string.find(failure, '^WRONGTYPE ') and -2
      if not damage or has_begun or not width then break end
      if taken then redis.pcall('DEL', taken) end
      taken, is_done = nil, true
      results[#results + 1] = damage
      for _ = 2, width do results[#results + 1] = 0 end
    end
  end
  local is_saved, unsaved = pcall(save_all, must_confirm)
  if is_done and is_saved then return end
  if is_done then failure = type(unsaved) == 'table' and unsaved.err or unsaved end
  local word = 'REFUSED '
  if has_changed() or taken and not is_saved then
    word = 'ERR it stopped at a record: '
  elseif string.find(failure, '^DAMAGED ') or string.find(failure, '^WRONGTYPE ') then
    word = '' -- what stands there, not the server
  end
  error({ err = word .. failure }, 0)
end

-- The last step of a record: what is written is written, and the sweep of each
-- node finds what it was not told.
local function announce(m, kind, number, revision, body)
  local mark = '\n'
  if kind ~= 'p' and kind ~= 'l' then mark = ' ' .. digits(revision) .. '\n' end
  redis.pcall('SPUBLISH', m.topic,
              kind .. ' ' .. digits(number) .. ' ' .. epoch .. m.birth .. ' ' .. origin .. mark ..
                body)
end

-- Changes of members, cursors and removals, and what is held, are made by functions that are
-- there only when they are needed: twenty of them cost a call of one publication more than
-- a command does.
local apply, hold, confirm, move_publisher
local function changes_begin()
  if apply then return end

  -- A member's value: "joined read", and behind it "delivered unread_from hidden" where
  -- they say more.  The rules are those of storage/member.c.
  local function member_open(value)
    local joined, read, delivered, unread, hidden =
      string.match(value, '^(%d+) (%d+) ?(%d*) ?(%d*) ?(%d*)$')
    read = tonumber(read)
    return { joined = tonumber(joined), read = read, delivered = tonumber(delivered) or read,
             unread = tonumber(unread) or 0, hidden = tonumber(hidden) or 0 }
  end

  local function member_text(member)
    local text = digits(member.joined) .. ' ' .. digits(member.read)
    if member.delivered == member.read and member.unread == 0 and member.hidden == 0 then
      return text
    end
    return text .. ' ' .. digits(member.delivered) .. ' ' .. digits(member.unread) .. ' ' ..
      digits(member.hidden)
  end

  local function member_begin(joined, read, head)
    joined = joined == 0 and head + 1 or math.min(joined, head + 1)
    return digits(joined) .. ' ' .. digits(math.min(math.max(read, joined - 1), head))
  end

  -- Applies a mark: whether anything changed, and whether a cursor moved.
  local function member_move(member, kind, offset)
    if kind == 'c' then
      local had_mark = member.unread > 0 and member.unread <= offset
      if had_mark then member.unread = 0 end
      local has_moved = offset > member.read
      member.read = math.max(member.read, offset)
      member.delivered = math.max(member.delivered, offset)
      return has_moved or had_mark, has_moved
    elseif kind == 'd' then
      local has_moved = offset > member.delivered
      member.delivered = math.max(member.delivered, offset)
      return has_moved, has_moved
    elseif kind == 'u' then
      if offset > 0 then offset = math.max(offset, member.joined) end
      if offset > member.read then offset = 0 end
      local has_changed = member.unread ~= offset
      member.unread = offset
      return has_changed, false
    end
    local has_changed = member.hidden ~= offset
    member.hidden = offset
    return has_changed, false
  end

  local time_ms
  local function now_ms()
    if not time_ms then
      local time = call('TIME')
      time_ms = time[1] * 1000 + math.floor(time[2] / 1000)
    end
    return time_ms
  end

  -- When cursors moved: "<prefix>:{p<k>}:v:<letters>:<channel>", an entry of one field a
  -- move, c or d and the offset, whose value is the user (moves.lua).  For small channels.
  -- With other letters of the epoch offsets begin anew.
  local moves_ms, moves_members_max = 604800000, 256
  local function note_move(channel, kind, user, offset)
    if call('HLEN', base .. 'm:' .. channel) > moves_members_max then return end
    local stream = base .. 'v:' .. string.match(epoch, '^%a+') .. ':' .. channel
    call('XADD', stream, 'MINID', '~', digits(math.max(now_ms() - moves_ms, 0)), '*',
         kind .. digits(offset), user)
    call('PEXPIRE', stream, moves_ms)
  end

  -- Who comes back joins anew: of the moves of who left, moves.lua passes over those up to
  -- the last one there was by then, which "<prefix>:{p<k>}:l:<letters>:<channel>" says.  Kept
  -- for longer than any move is told.
  local function note_left(channel, left)
    if not left[1] then return end
    local key = string.match(epoch, '^%a+') .. ':' .. channel
    local last = call('XREVRANGE', base .. 'v:' .. key, '+', '-', 'COUNT', 1)[1]
    if not last then return end
    local ms, number = string.match(last[1], '^(%d+)-(%d+)$')
    local place, words = digits(ms * 1024 + math.min(number, 1023)), {}
    for at, user in ipairs(left) do
      words[#words + 1] = place
      words[#words + 1] = user
      if #words == 4000 or at == #left then
        call('ZADD', base .. 'l:' .. key, unpack(words))
        words = {}
      end
    end
    call('ZREMRANGEBYSCORE', base .. 'l:' .. key, '-inf', digits((now_ms() - 2 * moves_ms) * 1024))
    call('PEXPIRE', base .. 'l:' .. key, 2 * moves_ms)
  end

  -- Who came and who went, for the users' own lists of channels, which are kept in other
  -- partitions: the stream "<prefix>:{p<k>}:o" holds it until a node has carried it there
  -- (belongs.lua).  Entries: channel ▶ users, each behind '+' or '-' and its size.
  local function note_members(channel, joined, left)
    local words = {}
    for _, user in ipairs(joined) do
      words[#words + 1] = struct.pack('<c1I4', '+', #user) .. user
    end
    for _, user in ipairs(left) do
      words[#words + 1] = struct.pack('<c1I4', '-', #user) .. user
    end
    if #words > 0 then call('XADD', base .. 'o', '*', channel, table.concat(words)) end
  end

  -- Whom a list speaks of that replaces: everybody, or those between two users.  For a list
  -- in pieces the members stand sorted in "<prefix>:{p<k>}:t:<channel>", from its first piece
  -- until its last, or for a minute: so a piece finds those it speaks of without a look at
  -- all others.  Whoever joins or leaves meanwhile, by whatever record, does so there too:
  -- who stood in it and is no member would be taken for one.  '' is nobody and in it so that
  -- it is there.
  local sorted_ms, sorted_step = 60000, 2000
  local function sort_in(sorted, users)
    local words = {}
    for at, user in ipairs(users) do
      words[#words + 1] = 0
      words[#words + 1] = user
      if #words == sorted_step or at == #users then
        call('ZADD', sorted, unpack(words))
        words = {}
      end
    end
  end

  local function sort_out(sorted, users)
    for at = 1, #users, sorted_step do
      call('ZREM', sorted, unpack(users, at, math.min(at + sorted_step - 1, #users)))
    end
  end

  local function members_meant(hash, sorted, after, upto)
    local users, meant
    if after then
      if after == '' or call('EXISTS', sorted) == 0 then
        users = call('HKEYS', hash)
        users[#users + 1] = ''
        call('UNLINK', sorted)
        sort_in(sorted, users)
      end
      users = call('ZRANGEBYLEX', sorted, after == '' and '-' or '(' .. after,
                   upto == '' and '+' or '[' .. upto)
      if upto == '' then call('UNLINK', sorted) else call('PEXPIRE', sorted, sorted_ms) end
    else
      users = call('HKEYS', hash)
    end
    meant = {}
    for _, user in ipairs(users) do meant[user] = true end
    meant[''] = nil
    return meant
  end

  -- A hash that has nobody holds '' alone.
  local function members_mark(hash, is_whole)
    local count, has_mark = call('HLEN', hash), call('HEXISTS', hash, '')
    if count > has_mark then
      if has_mark == 1 then call('HDEL', hash, '') end
    elseif is_whole or has_mark == 0 then
      call('HSET', hash, '', 'none')
    end
  end

  local function apply_members(channel, m, number, body)
    local hash = base .. 'm:' .. channel
    local kind, at, after, upto = 0, 1, nil, nil
    if string.sub(body, 1, 3) == '\255\255\255' then kind, at = string.byte(body, 4), 5 end
    if kind == 3 then
      after, at = struct.unpack('<I4c0', body, at)
      upto, at = struct.unpack('<I4c0', body, at)
    end
    local gone, joined, left, sorted = {}, {}, {}, base .. 't:' .. channel
    if m.members > 0 and call('HLEN', hash) == 0 then
      mark_members_lost(channel)
      call('UNLINK', sorted)
    end
    if kind == 0 or kind == 3 then gone = members_meant(hash, sorted, after, upto) end
    local users, values = {}, {}
    while at <= #body do
      local user, begins, read
      user, at = struct.unpack('<I4c0', body, at)
      begins, read = 0, 0
      if kind == 1 then begins, read, at = struct.unpack('<I8I8', body, at) end
      if kind == 2 then
        gone[user] = true
      elseif gone[user] then
        gone[user] = nil
      else
        users[#users + 1] = user
        values[#values + 1] = member_begin(begins, read, number)
      end
    end
    if users[1] and call('EXISTS', sorted) == 1 then sort_in(sorted, users) end
    for i, user in ipairs(users) do
      if call('HSETNX', hash, user, values[i]) == 1 then joined[#joined + 1] = user end
    end
    for user in pairs(gone) do
      if call('HDEL', hash, user) == 1 then left[#left + 1] = user end
    end
    if left[1] and call('EXISTS', sorted) == 1 then sort_out(sorted, left) end
    members_mark(hash, kind == 0)
    copy_members(channel, m, joined, left)
    note_members(channel, joined, left)
    note_left(channel, left)
  end

  -- Announced in any case, as it was asked: whoever sent it waits for that, and what it moves
  -- follows from the marks before it.
  local function apply_cursor(channel, m, kind, offset, user)
    local hash = base .. 'm:' .. channel
    local value = call('HGET', hash, user)
    if not value then
      has_members(channel, m.members)
      return offset
    end
    local member = member_open(value)
    local has_changed, has_moved = member_move(member, kind, offset)
    if has_changed then call('HSET', hash, user, member_text(member)) end
    if has_moved then
      note_move(channel, kind, user, offset)
      if kind == 'c' then copy_cursor(channel, m, user, offset) end
    end
    return offset
  end

  -- Who published it, sealed or not (storage/record.h, storage/seal.h).
  local function publisher_of(body)
    local version, flags = string.byte(body, 1, 2)
    local at = 19
    if version == 1 then
      if flags % 2 == 0 then return '' end
      at = at + 4 + struct.unpack('<I4', body, at)
      at = at + 4 + struct.unpack('<I4', body, at) + 16
    end
    return (struct.unpack('<I4c0', body, at))
  end

  -- Whoever publishes has read what came before.
  function move_publisher(channel, m, offset, body)
    local user = publisher_of(body)
    if user ~= '' then apply_cursor(channel, m, 'c', offset, user) end
  end

  -- Publications up to `number` go, the place where offsets go on stays.  The copy
  -- goes first: it stands where a right may be missing.
  local function apply_remove(channel, m, number)
    local stream = base .. 's:' .. channel
    copy_remove(channel)
    if number == m.head then
      call('UNLINK', stream)
      forget_deleted(channel, m)
    else
      call('XTRIM', stream, 'MINID', '=', digits(number + 1) .. '-0')
      if m.deleted > 0 then
        call('ZREMRANGEBYSCORE', base .. 'x:' .. channel, '-inf', digits(number))
      end
    end
    m.removed = number
  end

  -- Gives what is announced as its number.
  function apply(channel, m, kind, revision, number, body)
    if kind == 'm' then
      apply_members(channel, m, number, body)
      m.members = revision
    elseif kind == 's' then
      m.policy = number
    elseif kind ~= 'r' then
      number = apply_cursor(channel, m, kind, number, body)
    else
      apply_remove(channel, m, number)
    end
    return number
  end

  -- What a list of an earlier life left behind is not ours.
  function hold(channel, m, kind, number, body)
    local list = base .. 'w:' .. channel
    if m.confirmed_revision + 1 == m.revision then call('UNLINK', list) end
    call('RPUSH', list, kind .. ' ' .. digits(m.revision) .. ' ' .. digits(number) .. '\n' .. body)
  end

  -- Publications from behind the confirmed head up to `head`; `body`: the last one's.
  local function take_held(channel, m, head, body)
    local first = m.confirmed_head + 1
    if not has_copies and m.members == 0 or first > head then return end
    if body and first == head then
      copy_publication(channel, m, head, body)
      if m.members > 0 then move_publisher(channel, m, head, body) end
      return
    end
    for _, entry in ipairs(call('XRANGE', base .. 's:' .. channel, digits(first) .. '-0',
                                '(' .. digits(head + 1) .. '-0')) do
      local offset = tonumber(string.match(entry[1], '^(%d+)'))
      if entry[2][1] == 'd' then
        copy_publication(channel, m, offset, entry[2][2])
        if m.members > 0 then move_publisher(channel, m, offset, entry[2][2]) end
      end
    end
  end

  -- Moves the confirmed position up to (head, revision), applies and announces what
  -- was held below it but for publications.  Gives the numbers announced, by revision.
  function confirm(channel, m, head, revision, body)
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
    take_held(channel, m, head, body)
    m.confirmed_head = math.max(m.confirmed_head, head)
    return numbers
  end
end

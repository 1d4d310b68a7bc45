-- read: one atomic look at a channel.
--
-- ARGV[5]  channel
-- ARGV[6]  known epoch, ARGV[7] known head
-- ARGV[8]  open     the newest ARGV[11] publications and all members
--          fill     entries after the id ARGV[9], at most ARGV[11] of them, and with the
--                   last of them the members when the revision is not ARGV[10]
--          forward  publications after the offset ARGV[9], at most ARGV[11]
--          reverse  publications below the offset ARGV[9] (0: from the head), at most
--                   ARGV[11], newest first
-- ARGV[12] history size, ARGV[13] ttl in ms, ARGV[14] store time in ms, which
--          the nodes take from the server's clock, and publications carry
--
-- Answers { position, head, revision, members revision, entries, members, removed, seals,
-- lost, held, birth, mark, first, last }:
-- entries as XRANGE gives them, members as HGETALL does, removed the offset up to
-- which everything was removed, lost whether its members were, and no list has come
-- since.  What is held (1: something is) ends it all: head and revision are
-- the confirmed ones.  The channel's epoch is that of the position, and its birth.
-- first and last: the offsets of forward and reverse, both of them inclusive, so
-- that what is missing among the entries is seen; 0 0 for none.
local channel, mode = ARGV[5], ARGV[8]
local stored_head, stored_revision, members_revision, removed, head, revision, birth, idle,
  policy, deleted = read_meta(channel)
check_loss(stored_head, birth, ARGV[6], ARGV[7])
-- Somebody uses it.  Where nothing may be written the mark stays, and a look finds who hears
-- the channel: no answer waits for a server that is full or misses its replicas.
if mode == 'open' and idle ~= '' then
  redis.pcall('HSET', meta, channel, (string.gsub(call('HGET', meta, channel), ' @%d+$', '')))
end
local last = '+'
local held = head < stored_head or revision < stored_revision
if held then
  last = string.format('%.0f-%.0f', head, revision)
end

local stream = base .. 's:' .. channel
local size, ttl, now = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local count = tonumber(ARGV[11])
local entries, members = {}, {}

local lost = 0
local function read_members()
  local hash = base .. 'm:' .. channel
  members = call('HGETALL', hash)
  if #members == 0 and members_revision > 0 then
    mark_members_lost(channel)
    members = { '', 'lost' }
  end
  if members[1] == '' then
    if members[2] == 'lost' then lost = 1 end
    members = {}
  end
end

local function offset_of(entry) return tonumber(string.match(entry[1], '^(%d+)')) end

-- The time stands in the publication, little-endian after version, flags and
-- offset.
local function is_dated(entry)
  return entry[2][1] == 'm' or entry[2][1] == 'd' and #entry[2][2] >= 18
end

local function is_live(entry)
  return entry[2][1] == 'd' and is_dated(entry) and
    struct.unpack('<I8', entry[2][2], 11) + ttl > now
end

-- Takes out what outlived its ttl, oldest first; each entry is paid for once.
-- Answers the offset of the first publication that stays, or nil.  Member lists
-- go with what they stand before; the revision tells who missed one.  What is damaged
-- and has no date stays with what follows it.
-- Where nothing may be written it stays until the next look.
local function trim_expired()
  local from, page = '-', 1
  while true do
    local oldest = call('XRANGE', stream, from, '+', 'COUNT', page)
    local at = 1
    while oldest[at] and not is_live(oldest[at]) do at = at + 1 end
    if oldest[at] or #oldest < page then
      while at > 1 and not is_dated(oldest[at - 1]) do at = at - 1 end
      if oldest[at] then
        if at > 1 or from ~= '-' then
          redis.pcall('XTRIM', stream, 'MINID', '=', oldest[at][1])
        end
        return offset_of(oldest[at])
      end
      if at > 1 then redis.pcall('UNLINK', stream) end
      return nil
    end
    if page > 1 then from = oldest[page][1] end
    page = 64
  end
end

-- What was deleted alone stands beside the stream (append.lua), and in an answer where it
-- stood: with nothing but its time.
local graves = base .. 'x:' .. channel
local function is_grave_live(grave) return struct.unpack('<I8', grave, 1) + ttl > now end

local function grave_entry(grave)
  local body = '\1\32' .. string.rep('\0', 8) .. string.sub(grave, 1, 8) .. string.rep('\0', 8)
  return { string.sub(grave, 9) .. '-0', { 'd', body } }
end

-- The first publication may be one: all that stand before what the stream begins with.
local function first_grave(first)
  if not first or deleted == 0 then return first end
  for _, grave in ipairs(call('ZREVRANGEBYSCORE', graves, '(' .. digits(first), '-inf')) do
    if tonumber(string.sub(grave, 9)) ~= first - 1 or not is_grave_live(grave) then break end
    first = first - 1
  end
  return first
end

-- Entries of the stream from `least` to `most`, with those between them.
local function with_graves(found, least, most, is_reverse)
  if deleted < least or least > most then return found end
  local command, from, to = 'ZRANGEBYSCORE', digits(least), digits(most)
  if is_reverse then command, from, to = 'ZREVRANGEBYSCORE', to, from end
  local missing = call(command, graves, from, to)
  if #missing == 0 then return found end
  local merged, at = {}, 1
  for _, grave in ipairs(missing) do
    local offset = tonumber(string.sub(grave, 9))
    while found[at] do
      local there = offset_of(found[at])
      -- A member list of that offset stands behind the publication.
      if is_reverse and there < offset or not is_reverse and there >= offset then break end
      merged[#merged + 1] = found[at]
      at = at + 1
    end
    merged[#merged + 1] = grave_entry(grave)
  end
  for left = at, #found do merged[#merged + 1] = found[left] end
  return merged
end

local first_read, last_read = 0, 0
if mode == 'fill' then
  entries = call('XRANGE', stream, '(' .. ARGV[9], last, 'COUNT', count)
  -- A full page is followed by another, and 100,000 members by nothing else for a while.
  if #entries < count and ARGV[10] ~= digits(revision) then read_members() end
  local most = #entries < count and head or offset_of(entries[#entries])
  entries = with_graves(entries, tonumber(string.match(ARGV[9], '^%d+')) + 1, most, false)
else
  if mode == 'open' then read_members() end
  local first = nil
  if size > 0 and ttl > 0 and count > 0 then first = first_grave(trim_expired()) end
  if first then
    local least = math.max(first, head - size + 1, 1)
    local since = tonumber(ARGV[9])
    if mode == 'forward' then
      least = math.max(least, since + 1)
      local most = math.min(least + count - 1, head)
      if least <= most then
        entries = with_graves(call('XRANGE', stream, digits(least) .. '-0',
                                   '(' .. digits(most + 1) .. '-0'), least, most, false)
        first_read, last_read = least, most
      end
    else
      local most = head
      if mode == 'reverse' and since > 0 then most = math.min(head, since - 1) end
      least = math.max(least, most - count + 1)
      if least <= most then
        local command, from, to = 'XRANGE', digits(least) .. '-0', '(' .. digits(most + 1) .. '-0'
        if mode == 'reverse' then command, from, to = 'XREVRANGE', to, from end
        entries = with_graves(call(command, stream, from, to), least, most, mode == 'reverse')
        first_read, last_read = least, most
      end
    end
  end
end
-- The layout of a sealed body stands in storage/seal.h.
local function seal_of(body)
  local _, at = struct.unpack('<I4c0', body, 19)
  _, at = struct.unpack('<I4c0', body, at)
  return (struct.unpack('<Bc0', body, at))
end

local seals, met = {}, {}
for _, entry in ipairs(entries) do
  if entry[2][1] == 'd' and string.byte(entry[2][2]) == 2 then
    local is_whole, name = pcall(seal_of, entry[2][2])
    if is_whole and not met[name] then
      met[name] = true
      seals[#seals + 1] = name
      seals[#seals + 1] = call('GET', base .. 'seal:' .. name) or ''
    end
  end
end
return { position(), digits(head), digits(revision), digits(members_revision), entries, members,
         digits(removed), seals, lost, held and 1 or 0, birth, digits(policy),
         digits(first_read), digits(last_read) }

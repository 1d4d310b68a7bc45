-- partition: the first lines of every script.
--
-- A partition is the unit that lives and dies together: its keys share one tag
-- and therefore one server.  KEYS[1] is its meta hash, "<prefix>:{p<k>}:meta".
-- The field '' holds "<epoch>.<generation> <lineage>"; every other field is a
-- channel and holds "<head> <revision> <members revision>", behind it the offset up
-- to which publications were removed, if any were, and behind that the confirmed head
-- and revision while they are below the others (records.lua).
--
-- The epoch is drawn when the hash is made.  The generation rises whenever data
-- that somebody was told of may have vanished: the server is another one than
-- before and does not keep everything over a restart, or a node knows a head
-- above the stored one.  So no offset is ever given twice in one epoch.
--
-- ARGV[1] lineage of the server, as the calling node read it
-- ARGV[2] the lineage that this server had before it was started again, when the node saw
--         that, and it answers only after its log is on disk and took over from no
--         other: then nothing is lost.  Otherwise nothing: what was restarted
--         unseen may hold older data
-- ARGV[3] letters for a new epoch, or generation
-- ARGV[4] '1': the lineage was read moments ago, so a difference is the server's
--         doing; otherwise the node must read it again first.  Behind the 1, each
--         after a space, the lineages of other primaries that live: what they
--         had came here whole, by a slot that moved
-- KEYS[2], in a Cluster: a key that never is.  While a slot moves Redis refuses
--         a command that misses one of its keys, so no script runs then: it
--         would find some of a partition here and some there.
local meta = KEYS[1]
local base = string.sub(meta, 1, -5)
local call = redis.call

local epoch, lineage
local known = call('HGET', meta, '')
if known then epoch, lineage = string.match(known, '^(%S+) (%S+)$') end

local function write_epoch()
  call('HSET', meta, '', epoch .. ' ' .. ARGV[1])
end

-- A process that was promoted once, and has forgotten of whom it was the replica.
local function is_forgotten(before, now)
  return string.sub(before, 1, 16) == string.sub(now, 1, 16) and
    string.find(now, '^0+$', 17) ~= nil
end

-- The number alone would not do: it is stored with the data, and older data that took
-- over counts from an older one, to what another server has given before.
local function raise_generation()
  local letters, generation = string.match(epoch, '^(%a+)%.(%d+)')
  epoch = letters .. '.' .. string.format('%.0f', generation + 1) .. ARGV[3]
  write_epoch()
end

if not epoch then
  epoch = ARGV[3] .. '.1'
  write_epoch()
elseif lineage ~= ARGV[1] then
  if string.sub(ARGV[4], 1, 1) ~= '1' then
    return redis.error_reply('LINEAGE the server is another one than the node thinks')
  end
  local moved = string.find(ARGV[4], ' ' .. lineage, 1, true)
  local is_same = moved or ARGV[2] == lineage or is_forgotten(lineage, ARGV[1])
  if is_same then write_epoch() else raise_generation() end
end

-- head, revision, members revision, removed offset, confirmed head and revision of a
-- channel; zeros when it has none.
local function read_meta(channel)
  local value = call('HGET', meta, channel)
  if not value then return 0, 0, 0, 0, 0, 0 end
  local head, revision, members, removed, confirmed_head, confirmed_revision =
    string.match(value, '^(%d+) (%d+) (%d+) ?(%d*) ?(%d*) ?(%d*)$')
  head, revision = tonumber(head), tonumber(revision)
  return head, revision, tonumber(members), tonumber(removed) or 0,
    tonumber(confirmed_head) or head, tonumber(confirmed_revision) or revision
end

-- A node that saw a higher head in this very epoch proves a loss.
local function check_loss(head, known_epoch, known_head)
  if known_epoch == epoch and tonumber(known_head) > head then raise_generation() end
end

local function digits(number) return string.format('%.0f', number) end

-- Where a member list is in force there is the hash "<prefix>:{p<k>}:m:<channel>": its
-- users, or the field '' alone when it has none.  A hash that is not there was evicted or
-- deleted.  That ends the epoch, and is marked for whoever reads it before the next list.
local function mark_members_lost(channel)
  raise_generation()
  call('HSET', base .. 'm:' .. channel, '', 'lost')
end

local function has_members(channel, members_revision)
  if members_revision == 0 then return false end
  local hash = base .. 'm:' .. channel
  local count = call('HLEN', hash)
  if count == 0 then mark_members_lost(channel) end
  return count > 1 or count == 1 and call('HEXISTS', hash, '') == 0
end

-- partition: the first lines of every script.
--
-- A partition is the unit that lives and dies together: its keys share one tag
-- and therefore one server.  KEYS[1] is its meta hash, "<prefix>:{p<k>}:meta".
-- The field '' holds "<epoch>.<generation> <lineage> <count> <sure> <w or n><partitions>", and
-- behind it up to four earlier lineages, each with its last count; every other field is a
-- channel and holds "<head> <revision> <members revision>", behind it the offset up
-- to which publications were removed, if any were, behind that the confirmed head and
-- revision while they are below the others (records.lua), then "p<number>", the channel's
-- own mark, if it has one, "x<offset>", the highest that was deleted alone, if one may be
-- kept still, its birth, if that is not the first, and last "@<ms>" while nobody uses it
-- (forget.lua).
--
-- Every call that writes records raises the count.  `sure` is the count that nobody may
-- find missing: what is acknowledged is not above it.  It is the count itself, or with
-- replicas to wait for what they are known to have.  w: every record of this lineage
-- waited for them.  The number of partitions stands here too, for with another one the
-- same names would be elsewhere.
--
-- The epoch is drawn when the hash is made.  The generation rises whenever data
-- that somebody was told of may have vanished: the server is another one than
-- before and does not keep everything over a restart, or a node knows a head
-- above the stored one, or a higher count.  So no offset is ever given twice in one epoch.
--
-- ARGV[1] lineage of the server, as the calling node read it
-- ARGV[2] how many partitions the node has, and, each after a space: -, or the lineage that
--         this server goes on from without a loss, as the node saw: d and the lineage
--         when it was started again, and answers only after its log is on disk; w
--         and the lineage when it took over from a primary whose every replica
--         was waited for; r and its run id when it took over from nobody: the same
--         process, once promoted, forgets that an hour after its last replica went.
--         What was restarted unseen may hold older data.  Behind it the epoch,
--         lineage and count that the node knows, unless it knows none, and behind
--         that the last epochs of other letters that it saw replaced
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

local partitions, vouched, known_epoch, known_lineage, known_count, gone =
  string.match(ARGV[2], '^(%d+) ?(%S*) ?(%S*) ?(%S*) ?(%d*)(.*)$')
known_count = tonumber(known_count)

local epoch, lineage, count, sure, waits, made_with, past
local known = call('HGET', meta, '')
if known then
  epoch, lineage, count, sure, waits, made_with, past =
    string.match(known, '^(%S+) (%S+) (%d+) (%d+) (%a)(%d+)(.*)$')
  count, sure = tonumber(count), tonumber(sure)
end

local function digits(number) return string.format('%d', number) end

local function epoch_text()
  return epoch .. ' ' .. ARGV[1] .. ' ' .. digits(count) .. ' ' .. digits(sure) .. ' ' .. waits ..
    partitions .. past
end

local function write_epoch() call('HSET', meta, '', epoch_text()) end

-- Records were written, and epoch_text will be; what is not held is acknowledged by that.
local function count_write(is_held)
  count = count + 1
  if not is_held then sure, waits = count, 'n' end
end

-- What a node remembers of the partition, and what its next call is judged by.
local function position()
  return epoch .. ' ' .. ARGV[1] .. ' ' .. digits(count) .. ' ' .. digits(sure)
end

-- The number alone would not do: it is stored with the data, and older data that took
-- over counts from an older one, to what another server has given before.  `highest` is
-- what a node knows of these letters.
local highest = 0
local function raise_generation()
  local letters, generation = string.match(epoch, '^(%a+)%.(%d+)')
  epoch = letters .. '.' .. digits(math.max(generation, highest) + 1) .. ARGV[3]
  count = count + 1
  sure, waits, past = count, 'w', ''
  write_epoch()
end

-- The node saw this replaced by data of other letters: that is gone, if this is here again.
local function is_gone(letters, generation)
  for gone_letters, gone_generation in string.gmatch(gone, ' (%a+)%.(%d+)') do
    if gone_letters == letters then
      highest = tonumber(gone_generation)
      return highest >= tonumber(generation)
    end
  end
  return false
end

-- The node knows more than there is, or what came after this.  Without a loss a count
-- that was seen in an earlier lineage is not above the last one of it, nor of a later one.
local function is_short()
  if not known_count then return false end
  local least, was_before = count, known_lineage == lineage and lineage ~= ARGV[1]
  if known_lineage ~= lineage then
    for name, last in string.gmatch(past, ' (%S+) (%d+)') do
      least, was_before = tonumber(last), name == known_lineage
      if was_before then break end
    end
  end
  if known_epoch == epoch then return known_count > least end
  local letters, generation = string.match(epoch, '^(%a+)%.(%d+)')
  local known_letters, known_generation = string.match(known_epoch, '^(%a+)%.(%d+)')
  if known_letters == letters then
    highest = tonumber(known_generation)
    return highest > tonumber(generation)
  end
  -- Emptied since, unless this was here before that.
  return was_before or is_gone(letters, generation)
end

-- The same data on another server.
local function adopt()
  past = ' ' .. lineage .. ' ' .. digits(count) .. past
  past = string.match(past, '^ %S+ %d+ %S+ %d+ %S+ %d+ %S+ %d+') or past
  lineage, waits = ARGV[1], 'w'
  write_epoch()
end

if not epoch then
  epoch, lineage, count, sure, waits, past = ARGV[3] .. '.1', ARGV[1], 0, 0, 'w', ''
  write_epoch()
elseif made_with ~= partitions then
  return redis.error_reply('PARTITIONS what is here was made with redis.partitions ' .. made_with)
else
  local is_other, is_whole = lineage ~= ARGV[1], false
  if is_other then
    if string.sub(ARGV[4], 1, 1) ~= '1' then
      return redis.error_reply('LINEAGE the server is another one than the node thinks')
    end
    is_whole = string.find(ARGV[4], ' ' .. lineage, 1, true) or vouched == 'd' .. lineage or
               waits == 'w' and vouched == 'w' .. lineage or
               vouched == 'r' .. string.sub(lineage, 1, 16)
  end
  if is_short() or is_other and not is_whole then
    raise_generation()
  elseif is_other then
    adopt()
  elseif known_lineage == lineage and known_epoch == epoch then
    sure = math.max(sure, known_count)
  end
end

-- A channel's epoch is the partition's and the channel's birth, '' or '-' and seven letters.
-- What was forgotten begins at offset 1 when it comes again, so by another birth: the hash
-- "<prefix>:{p<k>}:forgot" has the birth of those without a meta for each of 256 parts of
-- the names, and the first record keeps it in the meta.  Letters again, not a number: a
-- replica that took over without the last of them could give that number once more.
local function part_of(channel) return string.sub(redis.sha1hex(channel), 1, 2) end

local function parse_meta(value)
  local head, revision, members, removed, confirmed_head, confirmed_revision, policy, deleted,
    birth, idle = string.match(value,
      '^(%d+) (%d+) (%d+) ?(%d*) ?(%d*) ?(%d*) ?p?(%d*) ?x?(%d*) ?(%-?%a*) ?@?(%d*)$')
  head, revision = tonumber(head), tonumber(revision)
  if not head then error(redis.error_reply('DAMAGED meta of a channel')) end
  return head, revision, tonumber(members), tonumber(removed) or 0,
    tonumber(confirmed_head) or head, tonumber(confirmed_revision) or revision, birth, idle,
    tonumber(policy) or 0, tonumber(deleted) or 0
end

-- head, revision, members revision, removed offset, confirmed head and revision of a
-- channel, zeros when it has none; its birth; since when nobody uses it, or ''; its mark; the
-- highest offset that was deleted alone.
local function read_meta(channel)
  local value = call('HGET', meta, channel)
  if value then return parse_meta(value) end
  return 0, 0, 0, 0, 0, 0, call('HGET', base .. 'forgot', part_of(channel)) or '', '', 0, 0
end

-- A node that saw a higher head in this very epoch proves a loss.
local function check_loss(head, birth, known_epoch, known_head)
  if known_epoch == epoch .. birth and tonumber(known_head) > head then raise_generation() end
end

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

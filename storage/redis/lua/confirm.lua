-- confirm: enough replicas have these records; now they count and are announced.
--
-- ARGV[5] origin
-- ARGV[6] the streams that others read (streams.lua)
-- then for each record five arguments:
--   kind            as in append; h: only the position
--   channel
--   head, revision  the position after the record
--   body            p: the encoded publication
--
-- Answers { position, number … }: what was announced of a cursor or a mark as its number.
-- What another node has confirmed meanwhile is announced already.
changes_begin()

take_all(7, 5, true, function(at)
  local kind, channel, body = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local head, revision = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local m = load(channel)
  local head_before, revision_before = m.confirmed_head, m.confirmed_revision
  local numbers = confirm(channel, m, head, revision, kind == 'p' and body)
  local has_moved = m.confirmed_head > head_before
  if has_moved or m.confirmed_revision > revision_before then
    m.must_save, has_written = true, true
  end
  if has_moved and kind == 'p' then
    announce(m, 'p', head, revision, body)
  elseif has_moved then
    announce(m, 'h', m.confirmed_head, m.confirmed_revision, '')
  end
  results[#results + 1] = kind ~= 'p' and numbers[revision] or head
end)
results[1] = position()
return results

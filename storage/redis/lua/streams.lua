-- streams: what is appended, once more, for programs that are no gateway.
--
-- ARGV[6] '' for none, or seven numbers: how many ms group_msg, offline_msg,
--         membership_change, read_receipt and the fan-out stream keep an entry
--         (0: not written), how many entries a conversation's stream holds
--         (0: not written), and how many ms it outlives the last one
--
--   <prefix>:{p<k>}:group_msg               every publication that is kept
--   <prefix>:{p<k>}:offline_msg             those of channels with members
--   <prefix>:{p<k>}:membership_change       what a new member list changed
--   <prefix>:{p<k>}:read_receipt            each cursor that moved
--   stream:conversation:{p<k>}:<channel>    the publications of one channel
--   stream:fanout:{p<k>}:all-conversations  where in those streams each one stands
--
-- One step with the record itself: nothing is here that was not appended, and
-- nothing twice.  Ids are the server's, "<ms>-<number>".  A stream without new
-- entries vanishes when the last one is past its time.
local has_copies = ARGV[6] ~= ''
local function no_copy() end
local copy_publication, copy_members, copy_cursor, copy_remove, copy_delete, copies_end =
  no_copy, no_copy, no_copy, no_copy, no_copy, no_copy
-- Without such streams nothing of this is made: eight functions cost a call of one record 6 %.
if has_copies then
  local group_ms, offline_ms, members_ms, receipts_ms, fanout_ms, conversation_size,
        conversation_ms = string.match(ARGV[6], '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  local tag = string.match(base, '{p%d+}')
  local has_conversations = conversation_size ~= '0'
  local copied = {}

  -- These keys stand outside of the prefix.  Whoever may not touch them is refused
  -- before anything is changed, not between a record and its copy.
  if has_conversations then
    local answer = redis.pcall('EXISTS', 'stream:fanout:' .. tag .. ':all-conversations')
    if type(answer) == 'table' and answer.err then
      return redis.error_reply('NOPERM redis.streams.conversations needs the right to stream:*')
    end
  end

  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)

  -- '~' leaves up to a node of the stream, a hundred entries, past its time.
  local function copy(key, keep_ms, ...)
    if keep_ms == '0' then return end
    call('XADD', key, 'MINID', '~', digits(math.max(now - keep_ms, 0)), '*', ...)
    copied[key] = keep_ms
  end

  -- The layout of the body stands in storage/record.h.
  function copy_publication(channel, m, offset, body)
    -- What another node sealed is not for others to read.
    if string.byte(body) ~= 1 then return end
    local is_offline = has_members(channel, m.members)
    local payload, tags, at, sender = nil, nil, nil, ''
    payload, at = struct.unpack('<I4c0', body, 19)
    tags, at = struct.unpack('<I4c0', body, at)
    if string.byte(body, 2) % 2 == 1 then sender = struct.unpack('<I4c0', body, at + 16) end
    local fields = { 'conversation_id', channel, 'sequence_number', digits(offset), 'epoch',
                     epoch .. m.birth, 'timestamp', digits(struct.unpack('<I8', body, 11)),
                     'sender_id', sender, 'payload', payload }
    if tags ~= '' then
      fields[#fields + 1] = 'tags'
      fields[#fields + 1] = tags
    end
    copy(base .. 'group_msg', group_ms, unpack(fields))
    if is_offline then
      copy(base .. 'offline_msg', offline_ms, unpack(fields))
    end
    if not has_conversations then return end
    local stream = 'stream:conversation:' .. tag .. ':' .. channel
    local id = call('XADD', stream, 'MAXLEN', '~', conversation_size, '*', unpack(fields))
    copied[stream] = conversation_ms
    copy('stream:fanout:' .. tag .. ':all-conversations', fanout_ms, 'conversation_id', channel,
         'stream_key', stream, 'entry_id', id)
  end

  local function json_list(items)
    if #items == 0 then return '[]' end
    return cjson.encode(items)
  end

  function copy_members(channel, m, joined, left)
    if #joined + #left == 0 then return end
    copy(base .. 'membership_change', members_ms, 'conversation_id', channel, 'epoch',
         epoch .. m.birth, 'timestamp', digits(now), 'joined', json_list(joined), 'left',
         json_list(left))
  end

  function copy_cursor(channel, m, user, offset)
    copy(base .. 'read_receipt', receipts_ms, 'conversation_id', channel, 'user_id', user,
         'sequence_number', digits(offset), 'epoch', epoch .. m.birth, 'timestamp', digits(now))
  end

  -- What the worker streams hold of it goes with their time.
  function copy_remove(channel)
    if has_conversations then call('UNLINK', 'stream:conversation:' .. tag .. ':' .. channel) end
  end

  -- The same of one message; its copy is looked for from the newest on.
  function copy_delete(channel, m, offset)
    if not has_conversations then return end
    local stream, upto = 'stream:conversation:' .. tag .. ':' .. channel, '+'
    while true do
      local page = call('XREVRANGE', stream, upto, '-', 'COUNT', 100)
      for _, entry in ipairs(page) do
        local number = tonumber(entry[2][4])
        if number == offset and entry[2][6] == epoch .. m.birth then
          call('XDEL', stream, entry[1])
          return
        end
        if number < offset then return end
      end
      if #page < 100 then return end
      upto = '(' .. page[#page][1]
    end
  end

  function copies_end()
    for key, keep_ms in pairs(copied) do call('PEXPIRE', key, keep_ms) end
  end
end

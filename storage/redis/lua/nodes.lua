-- nodes: which shards of all nodes are alive, by leases that this server's clock judges.
--
-- A life is one shard of one process; it names itself and never comes back.  It
-- holds a lease in the sorted set nodes (life ▶ time of its last beat).  Whose
-- lease is over goes to the set graves (life ▶ when somebody began to clean up
-- after it), and stays there until that is done (presence.lua, clean).
--
-- ARGV[5] mode
--   beat    ARGV[6] life, ARGV[7] '1' when it begins, ARGV[8] the lease in ms,
--           ARGV[9] a claim of a grave in ms, ARGV[10] '1': has time for a grave,
--           ARGV[11] another life that this one replaces, or ''
--           answers { now, 1 alive or 0 over, claimed grave or '', graves }
--   lives   answers { now, all that hold a lease, each with its last beat }
--   done    ARGV[6] a life after which everything is cleaned up
--   bye     ARGV[6] a life that ends; what it may have left is looked for
local nodes, graves = base .. 'nodes', base .. 'graves'
local mode = ARGV[5]

local function bury(life, claimed)
  call('ZREM', nodes, life)
  call('ZADD', graves, digits(claimed), life)
end

local function now_ms()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

if mode == 'lives' then
  return { digits(now_ms()), call('ZRANGE', nodes, 0, -1, 'WITHSCORES') }
end

local function bury_the_dead(now, lease)
  local dead = call('ZRANGEBYSCORE', nodes, '-inf', '(' .. digits(now - lease))
  for _, life in ipairs(dead) do bury(life, 0) end
end

local function claim(now, pause)
  local first = call('ZRANGEBYSCORE', graves, '-inf', digits(now - pause), 'LIMIT', 0, 1)
  if not first[1] then return '' end
  call('ZADD', graves, digits(now), first[1])
  return first[1]
end

if mode == 'done' then return call('ZREM', graves, ARGV[6]) end
if mode == 'bye' then return bury(ARGV[6], 0) end

local now = now_ms()
bury_the_dead(now, tonumber(ARGV[8]))
-- Something that it said may still be on its way, so this one is let rest for a while.
if ARGV[11] ~= '' then bury(ARGV[11], now) end
local alive = ARGV[7] == '1' or call('ZSCORE', nodes, ARGV[6])
if alive then call('ZADD', nodes, digits(now), ARGV[6]) end
local claimed = ''
if ARGV[10] == '1' then claimed = claim(now, tonumber(ARGV[9])) end
return { digits(now), alive and 1 or 0, claimed, call('ZRANGE', graves, 0, 63) }

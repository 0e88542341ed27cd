package limit

import "sluice/proxy/redis"

// The arithmetic of limits over hosts
//
// A permit is granted by Redis, by the clock of Redis, and spent by a host a
// little later: an answer travels up to the deadline of a call (50 ms), and a
// block of permits is spent within BlockLife (100 ms, counted from before the
// call). Call the longest such delay d. What is promised is about spending:
//
//	in any t seconds at most L + ⌊L·t/W⌋ permits are spent,
//
// L being the limit and W the window of 60 s. If n permits are spent within t
// seconds, and j is the one of them that was granted first and k the one that
// was granted last, then g(k)-g(j) <= t+d. So it is enough to grant such that
// between every two grants j and k, both counted, there are at most
//
//	L + L/W · max(0, g(k)-g(j)-d)                                      (1)
//
// A key holds a debt x in permits·microseconds: a grant adds W, a microsecond
// takes L off, and a grant that would make it more than L·W is refused. That
// alone gives L + L/W·(g(k)-g(j)) - x(j)/W between j and k, where x(j) is the
// debt before j. It is (1) where the debt before j is at least L·d. Where it
// is less, nothing is taken off the debt until the instant
//
//	E = g(j) + d - x(j)/L
//
// and then only g(k)-E is, which is (1) again. So a caller who comes fresh has
// the whole limit at once, and one who keeps coming has L·(1 - d/W), 0.25 %
// less, as a burst. The state of a key is E and the debt that will stand at E.
//
// What was not spent comes back, after an age a. Had it never been granted, the
// debt would be smaller, but by how much is not known: the bucket may have been
// full meanwhile, and then nothing is owed any more. Two things are certain.
// Debts that differ draw together no faster than one of them is paid off, so it
// would be smaller by no less than n·W - L·a. And if the debt was never below m
// since, by no less than min(n·W, m). The larger of both comes back. A further
// L·d is withheld from either, so that what was said about x(j) stays true of
// everything that was granted in between; it is lost until it is paid off.
//
// Of several grants that come back each would be given the same lowest debt. So
// what comes back is taken off the lowest debts too, from the instant of its
// grant on: before that it makes no difference. They are remembered in slots of
// a span each: two of a second for requests, and for tokens, whose real number
// is known late, sixteen that are a window and more. Were there but two of them,
// requests that reserve ten times what they use would get no more than a quarter
// of their limit. What an answer took beyond its estimate is added, whatever
// stands there.
//
// Fixed windows are those of Redis' clock. A permit is spent in the window
// that it was granted in: a block dies with its window, which a host knows
// from how much of it was left, counted from before the call.
//
// Parallel requests: a hash, a field for each process of every host: how many
// requests it may have at once, and until when it is believed. The sum of the
// fields is never above the limit, and a process never has more requests than
// its field says.
//
// A value that is not what is expected here is taken for none: whoever writes
// into these keys restarts a window, and nobody sees an error.
const source = `
local k, op = KEYS[1], ARGV[1]
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]

local function get()
  local v = redis.pcall('GET', k)
  if type(v) == 'table' and v.err then
    if not string.find(v.err, 'WRONGTYPE', 1, true) then return v end
    redis.call('DEL', k)
    v = false
  end
  if not v then return nil end
  if not string.find(v, '^%d+ %d+ %d+ %d+ [%d ]*%d$') then return nil end
  local was = {}
  for word in string.gmatch(v, '%d+') do was[#was + 1] = tonumber(word) end
  return was
end

if op == 'host' then
  local life, self, leave = tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
  local all = redis.pcall('HGETALL', k)
  if all.err then redis.call('DEL', k) all = {} end
  if leave then redis.call('HDEL', k, self) return {0, 0} end
  redis.call('HSET', k, self, string.format('%.0f', now + life))
  redis.call('PEXPIRE', k, math.ceil(life / 1000))
  local hosts, seen, n = 0, {}, 0
  all[#all + 1] = self all[#all + 1] = now + life
  local had = {}
  for i = 1, #all, 2 do
    local who, till = all[i], tonumber(all[i + 1])
    if not till or till < now or till > now + 2 * life then
      if who ~= self then redis.call('HDEL', k, who) end
    elseif not had[who] then
      had[who] = true
      n = n + 1
      local host = string.match(who, '^[^/]*')
      if not seen[host] then seen[host] = true hosts = hosts + 1 end
    end
  end
  return {hosts, n}
end

if op == 'hold' then
  local L, life, self, own, n, more = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local all = redis.pcall('HGETALL', k)
  if all.err then
    if not string.find(all.err, 'WRONGTYPE', 1, true) then return all end
    redis.call('DEL', k)
    all = {}
  end
  local others = 0
  for i = 1, #all, 2 do
    if all[i] ~= self then
      local c, till = string.match(all[i + 1], '^(%d+) (%d+)$')
      till = tonumber(till)
      if till and till > now and till <= now + 2 * life then others = others + tonumber(c)
      else redis.call('HDEL', k, all[i]) end
    end
  end
  local room, got = L - others - own, 0
  if n > 0 and room >= n then got = n + math.min(more, room - n) end
  if own + got > 0 then
    redis.call('HSET', k, self, string.format('%.0f %.0f', own + got, now + life))
    redis.call('PEXPIRE', k, math.ceil(life / 1000))
  else
    redis.call('HDEL', k, self)
  end
  return {got, 0, room - got, now}
end

local L, W, d, n = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local arg, charge, span, slots = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local was = get()
if was and was.err then return was end

if span == 0 then
  local w, count, got = math.floor(now / W), charge, 0
  if was and was[1] >= w and was[1] <= w + 1 then w = was[1] count = was[2] + charge end
  local left = (w + 1) * W - now
  if op == 'ask' then
    local room = L - count
    if room >= n then
      got = n
      if left > d then got = n + math.min(arg, room - n) end
    elseif charge == 0 then
      return {0, left, math.max(0, room), now}
    end
    count = count + got
  elseif op == 'charge' then
    count = count + n
  elseif arg <= now - w * W then
    count = math.max(0, count - n)
  end
  redis.call('SET', k, string.format('%.0f %.0f 0 0 0', w, count), 'PX', math.ceil(left / 1000) + 1000)
  return {got, left, math.max(0, L - count), now}
end

local E, x, S, m = now, 0, now, {}
local passed = slots
if was then
  E = math.min(was[1], now + d)
  x = math.max(0, was[2] - math.max(0, now - E) * L)
  E = math.max(E, now)
  if was[3] <= now then
    passed = math.floor((now - was[3]) / span)
    S = was[3] + passed * span
  end
end
-- m[1] is the lowest debt of the present slot, m[2] of the one before it. In a
-- slot that nobody has looked into the debt was never below what it is now.
for i = 1, slots do
  m[i] = x
  if i > passed then m[i] = math.min(was[3 + i - passed] or 0, x) end
end
x = x + charge * W
local got, wait = 0, 0
if op == 'ask' then
  local room = math.floor((L * W - x) / W)
  if room >= n then
    got = n + math.min(arg, room - n)
    E = math.max(E, now + math.ceil(math.max(0, d - x / L)))
    x = x + got * W
  else
    wait = E - now + math.max(0, math.ceil((x + n * W - L * W) / L))
    if charge == 0 then return {0, wait, math.max(0, room), now} end
  end
elseif op == 'charge' then
  x = x + n * W
else
  local back = math.max(0, n * W - (arg + d) * L)
  local first = math.max(1, math.ceil((arg + d - now + S) / span) + 1) -- slot that it was granted in
  if first <= slots then back = math.max(back, math.min(n * W, math.min(unpack(m, 1, first)) - L * d)) end
  back = math.min(back, x)
  x = x - back
  for i = 1, math.min(first, slots) do m[i] = math.max(0, m[i] - back) end
end
x = math.ceil(x)
for i = 1, slots do m[i] = string.format('%.0f', math.floor(m[i])) end
redis.call('SET', k, string.format('%.0f %.0f %.0f ', E, x, S) .. table.concat(m, ' '), 'PX', math.ceil((E - now + x / L) / 1000) + 1000)
if got > 0 then wait = math.ceil(E - now + x / L) end
return {got, wait, math.max(0, math.floor((L * W - x) / W)), now}
`

var script = redis.NewScript(source)

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
// everything that was granted in between; it is lost until it is paid off. The
// lowest debt is remembered for one to two spans: a second for requests, a
// window for tokens, whose real number is known late. What an answer took
// beyond its estimate is added, whatever stands there.
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
  local a, b, S, m0, m1 = string.match(v, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return tonumber(a), tonumber(b), tonumber(S), tonumber(m0), tonumber(m1)
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
  return {got, 0, math.max(0, room - got), now}
end

local L, W, d, n = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local arg, charge, span = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local a, b, S, m0, m1 = get()
if type(a) == 'table' then return a end

if span == 0 then
  local w, count, got = math.floor(now / W), charge, 0
  if a and a >= w and a <= w + 1 then w = a count = b + charge end
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

local E, x = now, 0
if a then
  E = math.min(a, now + d)
  x = math.max(0, b - math.max(0, now - E) * L)
  E = math.max(E, now)
  m1 = math.min(m1, x)
  if now - S >= span or now < S then m0 = m1 m1 = x S = now end
else
  S, m0, m1 = now, 0, 0
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
  if arg <= span then back = math.max(back, math.min(n * W, math.min(m0, m1) - L * d)) end
  back = math.min(back, x)
  x = x - back
  m0 = math.max(0, m0 - back)
  m1 = math.max(0, m1 - back)
end
x = math.ceil(x)
redis.call('SET', k, string.format('%.0f %.0f %.0f %.0f %.0f', E, x, S, math.floor(m0), math.floor(m1)), 'PX', math.ceil((E - now + x / L) / 1000) + 1000)
if got > 0 then wait = math.ceil(E - now + x / L) end
return {got, wait, math.max(0, math.floor((L * W - x) / W)), now}
`

var script = redis.NewScript(source)

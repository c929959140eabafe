//! The functions that run in the server: all of the group's decisions that must not be taken twice.
//!
//! Each uses the server's clock, checks before it adds, and touches one hash slot. They are sent
//! once and then called by their hash. A change of meaning needs a new version in `keys`: two
//! versions of llmproxy may share a server.

use redis::Script;

/// Which of them; what each does stands with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Admit,
    Beat,
    Keep,
    Offer,
    Publish,
    Renew,
    Settle,
    Tell,
    Unlock,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    admit: Script,
    beat: Script,
    keep: Script,
    offer: Script,
    publish: Script,
    renew: Script,
    settle: Script,
    tell: Script,
    unlock: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self::by_clock(CLOCK)
    }

    /// The same with another way to know the time.
    pub(super) fn by_clock(clock: &str) -> Self {
        let counting = |body: &str| Script::new(&format!("{clock}{body}"));
        Self {
            admit: counting(ADMIT),
            beat: counting(BEAT),
            keep: Script::new(KEEP),
            offer: Script::new(OFFER),
            publish: counting(PUBLISH),
            renew: counting(RENEW),
            settle: counting(SETTLE),
            tell: Script::new(TELL),
            unlock: Script::new(UNLOCK),
        }
    }

    pub(super) const fn of(&self, function: Function) -> &Script {
        match function {
            Function::Admit => &self.admit,
            Function::Beat => &self.beat,
            Function::Keep => &self.keep,
            Function::Offer => &self.offer,
            Function::Publish => &self.publish,
            Function::Renew => &self.renew,
            Function::Settle => &self.settle,
            Function::Tell => &self.tell,
            Function::Unlock => &self.unlock,
        }
    }
}

/// The server's time in milliseconds.
const CLOCK: &str = "
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
";

/// A lease, if there is one to be had and every window has room.
///
/// KEYS: leases, windows…. ARGV: lease, most leases (0: any), a lease's life, and for each window its
/// length, slices (0: it ends as a whole), requests and tokens allowed (0: any), and what the caller
/// was told of it last: requests counted, when it ends, and when that was said. A server that lost it
/// has it again from that; one that ended in order has not. Who comes later may have been told more
/// before it was lost, and what it has more than those before (`b`) is added.
/// Answer: {0, now, and of each window the requests counted and its end…}, {place of the full window,
/// now, when it has room}, or {-1, now} if all leases are out. The window comes first: for a lease
/// one may wait, and would do so in vain.
const ADMIT: &str = "
local most = tonumber(ARGV[2])
local life = tonumber(ARGV[3])
local answer = {0, now}
for i = 2, #KEYS do
  local at = 7 * i - 10
  local span, slices = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local requests, tokens = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local known, ends, said = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local used, spent, room = 0, 0, now + 1000
  if slices == 0 then
    -- In its last millisecond it has no time left, and yet it is there. Asked once: some versions
    -- let the time go on within a function.
    local left = redis.call('PTTL', KEYS[i])
    if left == 0 then redis.call('DEL', KEYS[i]) end
    local counts = redis.call('HMGET', KEYS[i], 'r', 't', 'o', 'b')
    used, spent = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
    local opened, base = tonumber(counts[3] or 0), tonumber(counts[4] or 0)
    if known > base and ends > now + 2000 and (left < 0 or said < opened) then
      used = used + known - base
      redis.call('HSET', KEYS[i], 'r', used, 'b', known)
      if left < 0 then
        left = ends - now
        redis.call('HSET', KEYS[i], 'o', now)
        redis.call('PEXPIRE', KEYS[i], left)
      end
    end
    if left > 0 then room = now + left else room = now + span end
  else
    local length = math.ceil(span / slices)
    local newest = math.floor(now / length)
    local fields, ages = redis.call('HGETALL', KEYS[i]), {}
    for f = 1, #fields, 2 do
      local slice = tonumber(string.sub(fields[f], 2))
      if slice and newest - slice > slices then
        redis.call('HDEL', KEYS[i], fields[f])
      elseif slice then
        local age = math.max(newest - slice, 0)
        local count = tonumber(fields[f + 1])
        ages[age] = ages[age] or {0, 0}
        if string.sub(fields[f], 1, 1) == 'r' then
          ages[age][1] = ages[age][1] + count
          used = used + count
        else
          ages[age][2] = ages[age][2] + count
          spent = spent + count
        end
      end
    end
    local r, t = used, spent
    for age = slices, 0, -1 do
      if ages[age] then
        r, t = r - ages[age][1], t - ages[age][2]
        if (requests == 0 or r < requests) and (tokens == 0 or t < tokens) then
          room = (newest - age + slices + 1) * length
          break
        end
      end
    end
  end
  if (requests > 0 and used >= requests) or (tokens > 0 and spent >= tokens) then
    return {i - 1, now, room}
  end
  answer[2 * i - 1] = used + 1
  answer[2 * i] = room
end
if most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  if redis.call('ZCARD', KEYS[1]) >= most then return {-1, now} end
  redis.call('ZADD', KEYS[1], now + life, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], 2 * life)
end
for i = 2, #KEYS do
  local at = 7 * i - 10
  local span, slices = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if slices == 0 then
    redis.call('HINCRBY', KEYS[i], 'r', 1)
    if redis.call('PTTL', KEYS[i]) < 0 then
      redis.call('HSET', KEYS[i], 'o', now)
      redis.call('PEXPIRE', KEYS[i], span)
    end
  else
    local length = math.ceil(span / slices)
    redis.call('HINCRBY', KEYS[i], 'r' .. string.format('%d', math.floor(now / length)), 1)
    redis.call('HSETNX', KEYS[i], 'o', now)
    redis.call('PEXPIRE', KEYS[i], span + 2 * length)
  end
end
return answer
";

/// A lease comes back: its request is taken back or was served unseen, its tokens are counted.
///
/// KEYS: leases, windows…. ARGV: lease, when it was taken, requests and tokens to add, and for each
/// window its length and slices, and what was known of it when the lease was given (see `ADMIT`):
/// what was served unseen adds to that where the server lost the window, and of what was counted
/// there before it was lost the request itself is known. What was taken before a window was opened
/// (`o`) is not in it, and nothing of it is taken back.
const SETTLE: &str = "
local taken, requests, tokens = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[1] ~= '' then redis.call('ZREM', KEYS[1], ARGV[1]) end
for i = 2, #KEYS do
  local at = 5 * i - 5
  local span, slices = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local known, ends, said = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if requests >= 0 and slices == 0 and known > 0 and ends > now + 2000 then
    local counts = redis.call('HMGET', KEYS[i], 'r', 'o', 'b')
    local opened, base = tonumber(counts[2] or 0), tonumber(counts[3] or 0)
    if requests == 0 then known, said = known + 1, taken end
    if not counts[1] or (said < opened and known > base) then
      redis.call('HSET', KEYS[i], 'r', tonumber(counts[1] or 0) + known - base, 'b', known)
      if not counts[1] then
        redis.call('HSET', KEYS[i], 'o', now)
        redis.call('PEXPIRE', KEYS[i], ends - now)
      end
    end
  end
  local suffix, first, life = '', '', span
  if slices > 0 then
    local length = math.ceil(span / slices)
    suffix = string.format('%d', math.floor(now / length))
    first = string.format('%d', math.floor(taken / length))
    life = span + 2 * length
  end
  if requests < 0 then
    local opened = tonumber(redis.call('HGET', KEYS[i], 'o') or 0)
    local count = tonumber(redis.call('HGET', KEYS[i], 'r' .. first) or 0)
    if opened <= taken and count + requests >= 0 then
      redis.call('HINCRBY', KEYS[i], 'r' .. first, requests)
    end
  elseif requests > 0 then
    redis.call('HINCRBY', KEYS[i], 'r' .. suffix, requests)
  end
  if tokens > 0 then redis.call('HINCRBY', KEYS[i], 't' .. suffix, tokens) end
  if redis.call('EXISTS', KEYS[i]) == 1 and (slices > 0 or redis.call('PTTL', KEYS[i]) < 0) then
    redis.call(slices == 0 and 'HSET' or 'HSETNX', KEYS[i], 'o', now)
    redis.call('PEXPIRE', KEYS[i], life)
  end
end
return 1
";

/// Leases that are still held. KEYS: leases. ARGV: a lease's life, leases….
const RENEW: &str = "
local life = tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + life, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 2 * life)
return 1
";

/// An instance is there. KEYS: instances, what they say. ARGV: instance, what it says, how long a
/// silent one is remembered. Answer: {now, how many are there}.
const BEAT: &str = "
local life = tonumber(ARGV[3])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - life)) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], 2 * life)
redis.call('PEXPIRE', KEYS[2], 2 * life)
return {now, redis.call('ZCARD', KEYS[1])}
";

/// Conversations, as many as there is room for. KEYS: conversations. ARGV: life, most of them, then
/// field and record of each.
const KEEP: &str = "
local count, most = redis.call('HLEN', KEYS[1]), tonumber(ARGV[2])
for i = 3, #ARGV, 2 do
  if count < most or redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    count = count + redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
";

/// Words on credentials: of two on one thing the later counts. KEYS: states. ARGV: channel, life,
/// beginning and end of the message, then field, time and record of each.
/// Answer: the version of the states: a time, so that those of a server that forgot, or lost its last
/// words, are never those that it had before.
const PUBLISH: &str = "
for i = 5, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local time = known and tonumber(string.match(known, '^(-?%d+) '))
  if not time or time <= tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
end
local after = tonumber(redis.call('HGET', KEYS[1], 'version') or 0) or 0
local version = math.max(after + 1, now)
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', version))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local versions = string.format('%.0f,\"after\":%.0f', version, after)
redis.call('PUBLISH', ARGV[1], ARGV[3] .. versions .. ARGV[4])
return version
";

/// What a book holds on a day. KEYS: the day's rows. ARGV: their life, 1 if these are all of them, then
/// field and counts of each.
const TELL: &str = "
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
";

/// Tokens, unless newer ones are there. KEYS: tokens. ARGV: generation, sealed tokens, life.
const OFFER: &str = "
local known = tonumber(redis.call('HGET', KEYS[1], 'generation') or -1)
if known >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'sealed', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

/// Gives a lock back, if it is still ours. KEYS: lock. ARGV: holder.
const UNLOCK: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

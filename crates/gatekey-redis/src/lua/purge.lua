-- Removes the sessions of a list that are over, and corrects the bounds of those that only looked so.
--
-- KEYS: purge, revocations, then for each session its row and its subject's index
-- ARGV: the time before which they must have ended, then for each session its member and its field
-- Returns how many it removed, and how many members of the list it corrected.
local REUSE = 4
local removed, corrected = 0, 0
for i = 3, #KEYS, 2 do
  local row, member, field = redis.call('GET', KEYS[i]), ARGV[i - 1], ARGV[i]
  if not row then
    -- Redis itself has removed it, long after its end.
    redis.call('ZREM', KEYS[1], member)
    redis.call('ZREM', KEYS[2], field)
    redis.call('HDEL', KEYS[i + 1], field)
    corrected = corrected + 1
  elseif row:byte(1) == 1 then
    -- What another version has written is that version's to remove.
    local over = row:sub(11, 18)
    -- Reuse is evidence: kept until the session would have ended anyway.
    if row:byte(2) ~= REUSE and before(row, 27, row, 11) then over = row:sub(27, 34) end
    if before(over, 1, ARGV[1], 1) then
      redis.call('DEL', KEYS[i])
      redis.call('ZREM', KEYS[1], member)
      redis.call('ZREM', KEYS[2], (text(row, 192)))
      redis.call('HDEL', KEYS[i + 1], field)
      removed = removed + 1
    elseif row:sub(19, 26) ~= over then
      redis.call('SET', KEYS[i], row:sub(1, 18) .. over .. row:sub(27), 'KEEPTTL')
      redis.call('ZADD', KEYS[1], score(over, 1), member)
      corrected = corrected + 1
    end
  end
end
return {removed, corrected}

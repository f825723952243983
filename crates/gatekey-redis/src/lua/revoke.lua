-- Ends a session that is not ended yet.
--
-- KEYS: the row, revocations. ARGV: when, why, channel, and its owner where that is asked
-- Returns whether it did.
local row = read(KEYS[1])
if not row or row:byte(2) ~= OPEN then return 0 end
if ARGV[4] then
  local _, subject = text(row, 192)
  if text(row, subject) ~= ARGV[4] then return 0 end
end
finish(KEYS[1], row, ARGV[2], ARGV[1], KEYS[2], ARGV[3])
return 1

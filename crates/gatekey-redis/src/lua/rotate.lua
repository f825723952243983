-- The happy path of a refresh: the presented token is the live one, and nothing speaks against swapping it. The
-- conditions are a part of those under which `rotation::decide` says Rotated; whatever else there is, core decides.
--
-- KEYS: the row
-- ARGV: presented digest, now, now - grace, successor's generation, its digest, its expiry, client and sealed successor
-- Returns nothing where there is no row; else whether it was swapped, and the row as it was before.
local row = read(KEYS[1])
if not row then return false end
local presented, now, edge, expiry = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
if row:byte(2) ~= OPEN or row:sub(68, 99) ~= presented or row:byte(51) % 2 ~= 0
  or not before(now, 1, row, 11) or not before(now, 1, row, 27) then
  return {0, row}
end
local idle = expiry
if before(row, 11, expiry, 1) then idle = row:sub(11, 18) end
-- An end before the bound that the purge knows: rare, and not done here.
if before(idle, 1, row, 19) then return {0, row} end
local birth = struct.unpack('>I4', row, 188)
-- Cut short: whoever reads it will tell.
if #row <= 191 + birth then return {0, row} end
local windows = row:sub(140, 171)
if before(row, 148, edge, 1) then windows = row:sub(60, 67) .. now .. row:sub(140, 155) end
redis.call('SET', KEYS[1], row:sub(1, 26) .. idle .. now .. now .. '\4\0\0\0\0\0\0\0\0' .. ARGV[4] .. ARGV[5]
  .. row:sub(60, 67) .. presented .. windows .. row:sub(172, 191 + birth) .. ARGV[7], 'KEEPTTL')
return {1, row}

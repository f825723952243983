-- The open sessions of a subject, expired or not.
--
-- KEYS: the subject's index, then rows of it. ARGV: the fields of those rows
-- Returns 1 and the rows, or 3 and the index (its rows are needed).
local known, fields = sessions(KEYS[1], 2, -1)
if not known then
  table.insert(fields, 1, 3)
  return fields
end
local rows = {1}
for _, field in ipairs(fields) do
  local row = read(known[field])
  if row and row:byte(2) == OPEN then rows[#rows + 1] = row end
end
return rows

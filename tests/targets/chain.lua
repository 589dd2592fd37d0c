-- Spends its time in main -> outer -> (the interpreter's own code) -> middle -> inner, until it is killed.
-- It says "ready" after the first round, by which time the interpreter has started.
local function inner(turns)
  local total = 0
  for i = 1, turns do
    total = (total + i * i) % 1000003
  end
  return total
end

local function middle(turns)
  return inner(turns) + 1
end

local function outer()
  local worked, total = pcall(middle, 100000)
  return worked and total
end

local function main()
  outer()
  io.write("ready\n")
  io.flush()
  while true do
    outer()
  end
end

main()

# Spends its time in main -> outer -> (the interpreter's own code) -> middle -> inner, until it is killed.
# It says "ready" after the first round, by which time the interpreter has started.
def inner(turns)
  total = 0
  i = 0
  while i < turns
    total += i * i
    i += 1
  end
  total
end

def middle(turns)
  inner(turns) + 1
end

def outer
  [50_000, 50_000].sort_by { |turns| middle(turns) }
end

def main
  outer
  $stdout.write("ready\n")
  $stdout.flush
  outer while true
end

main

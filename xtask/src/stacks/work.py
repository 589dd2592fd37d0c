# What a script does: sorting, JSON, regular expressions, calls, hashes.
import hashlib, json, random, re

def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def work():
    numbers = sorted(random.random() for _ in range(20000))
    numbers.sort(key=lambda number: -number)
    text = json.dumps({str(i): [i, str(i), {"third": i / 3}] for i in range(2000)})
    json.loads(text)
    re.findall(r"(\w+)@(\w+)\.com", " ".join(f"user{i}@host{i}.com" for i in range(3000)))
    hashlib.sha256(text.encode()).hexdigest()
    return fib(20)

while True:
    work()

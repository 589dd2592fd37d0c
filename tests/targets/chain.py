# Spends its time in main -> outer -> (the interpreter's own code) -> middle -> inner, until it is killed.
# It says "ready" after the first round, by which time the interpreter has started.
def inner(turns):
    total = 0
    for i in range(turns):
        total += i * i
    return total


def middle(turns):
    return inner(turns) + 1


def outer():
    return sorted([50000], key=middle)


def main():
    outer()
    print("ready", flush=True)
    while True:
        outer()


main()

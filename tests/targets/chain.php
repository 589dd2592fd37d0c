<?php
// Spends its time in main -> outer -> (the interpreter's own code) -> middle -> inner, until it is killed.
// It says "ready" after the first round, by which time the interpreter has started.
function inner($turns) {
    $total = 0;
    for ($i = 0; $i < $turns; $i++) {
        $total += $i * $i % 7;
    }
    return $total;
}

function middle($turns) {
    return inner($turns) + 1;
}

function outer() {
    return array_map('middle', [100000]);
}

function main() {
    outer();
    fwrite(STDOUT, "ready\n");
    while (true) {
        outer();
    }
}

main();

// Spends its time in main -> outer -> (the runtime's own code) -> middle -> inner, until it is killed.
// It says "ready" after the first round, by which time the runtime has started.
function inner(turns) {
  let total = 0;
  for (let i = 0; i < turns; i++) total = (total + i * i) % 1000003;
  return total;
}

function middle(turns) {
  return inner(turns) + 1;
}

function outer() {
  return JSON.parse('1000000', (key, turns) => middle(turns));
}

function main() {
  outer();
  require('fs').writeSync(1, 'ready\n');
  for (;;) outer();
}

main();

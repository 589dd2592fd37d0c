// What a script does: calls, sorting, JSON, regular expressions, hashes, maps.
const crypto = require('crypto');

function fib(n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

class Point {
  constructor(x, y) {
    this.x = x;
    this.y = y;
  }
  distance() {
    return Math.hypot(this.x, this.y);
  }
}

function work() {
  let total = fib(20);
  const points = Array.from({length: 5000}, (_, i) => new Point(i % 77, (i * 7919) % 1001));
  points.sort((a, b) => a.distance() - b.distance());
  const text = JSON.stringify(points);
  total += JSON.parse(text).length + (text.match(/"x":(\d+)/g) || []).length;
  total += crypto.createHash('sha256').update(text).digest()[0];
  const map = new Map();
  for (let i = 0; i < 5000; i++) map.set('key' + i, i);
  return total + [...map.values()].map((x) => x * 2).filter((x) => x % 3).reduce((x, y) => x + y, 0);
}

(async () => {
  for (;;) {
    work();
    await new Promise(setImmediate);
  }
})();

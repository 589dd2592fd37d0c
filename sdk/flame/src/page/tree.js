'use strict';
// The profile, and the tree that is shown of it.
const PROCESS = 0, THREAD = 1, KERNEL = 3, REMARK = 4;
const profile = JSON.parse(document.getElementById('profile').textContent);

// Names may hold anything. What is not to be seen, or turns the direction of writing, is shown as a mark.
const seen = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '\ufffd');
const names = profile.names.map(seen);
const modules = profile.modules.map(seen);

// The tree in the order of a walk from the root, each parent before its children, siblings by name. `after` is the
// node after a node's last descendant, `start` how much lies to the left of it. `rows` are the nodes of each depth,
// from left to right. Node 0 is the root, which has no name (-1). `everywhere` is what a name weighs in the whole
// tree, its recursion counted once.
function grow(levels) {
  const source = profile.nodes, left = new Uint8Array(names.length);
  for (let name = 0; name < names.length; name++) {
    const kind = profile.kinds[name];
    left[name] = (kind === PROCESS && levels < 1) || (kind === THREAD && levels < 2) ? 1 : 0;
  }
  // Nodes of which one level is left out may become one.
  const parent = [-1], name = [-1], own = [0], path = [0], known = new Map();
  for (let at = 0, depth = 0; at < source.length; at += 3) {
    depth -= source[at];
    let node = path[depth];
    const frame = source[at + 1];
    if (!left[frame]) {
      const key = node * names.length + frame;
      let child = known.get(key);
      if (child === undefined) {
        child = parent.length;
        known.set(key, child);
        parent.push(node);
        name.push(frame);
        own.push(0);
      }
      node = child;
    }
    own[node] += source[at + 2];
    path[++depth] = node;
  }
  known.clear();

  // Children in the order of names: nodes by name, from the last one on, each put before those of its parent.
  const count = parent.length, first = new Int32Array(count).fill(-1), next = new Int32Array(count).fill(-1);
  const byName = Int32Array.from({ length: count - 1 }, (_, index) => index + 1).sort((a, b) => name[b] - name[a]);
  for (const node of byName) {
    next[node] = first[parent[node]];
    first[parent[node]] = node;
  }

  const tree = {
    count, parent: new Int32Array(count), name: new Int32Array(count), depth: new Int32Array(count),
    after: new Int32Array(count), own: new Float64Array(count), total: new Float64Array(count),
    start: new Float64Array(count), rows: [], everywhere: new Float64Array(names.length),
  };
  const place = new Int32Array(count), stack = [0];
  for (let at = 0; stack.length > 0; at++) {
    const node = stack.pop(), up = node === 0 ? -1 : place[parent[node]];
    place[node] = at;
    tree.parent[at] = up;
    tree.name[at] = name[node];
    tree.own[at] = tree.total[at] = own[node];
    tree.depth[at] = up < 0 ? 0 : tree.depth[up] + 1;
    const children = [];
    for (let child = first[node]; child >= 0; child = next[child]) children.push(child);
    while (children.length > 0) stack.push(children.pop());
  }
  for (let at = count - 1; at > 0; at--) tree.total[tree.parent[at]] += tree.total[at];
  // Where the next child of each node begins: its own share lies to the right of its children.
  const free = new Float64Array(count), open = new Int32Array(names.length), line = [];
  const rows = [];
  for (let at = 0; at < count; at++) {
    while (line.length > tree.depth[at]) {
      const over = line.pop();
      tree.after[over] = at;
      if (over > 0) open[tree.name[over]]--;
    }
    const up = tree.parent[at];
    if (up >= 0) {
      tree.start[at] = free[up];
      free[up] += tree.total[at];
      if (open[tree.name[at]]++ === 0) tree.everywhere[tree.name[at]] += tree.total[at];
    }
    free[at] = tree.start[at];
    line.push(at);
    (rows[tree.depth[at]] ??= []).push(at);
  }
  for (const over of line) tree.after[over] = count;
  tree.rows = rows.map((row) => Int32Array.from(row));
  return tree;
}

// The place in a row of the first node that ends to the right of `value`.
function firstBeyond(tree, row, value) {
  let low = 0, high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1, node = row[middle];
    if (tree.start[node] + tree.total[node] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

// What a search finds: which names; how much all nodes of them weigh, one under another counted once; and for each
// row how many of its nodes match before each place, so that nodes too narrow to be drawn are not overlooked.
function find(tree, wanted) {
  const matches = new Uint8Array(names.length);
  let found = 0;
  for (let name = 0; name < names.length; name++) {
    if (wanted(names[name])) matches[name] = ++found && 1;
  }
  let weight = 0;
  for (let at = 1; at < tree.count;) {
    const match = matches[tree.name[at]];
    if (match) weight += tree.total[at];
    at = match ? tree.after[at] : at + 1;
  }
  const before = tree.rows.map((row) => {
    const sums = new Int32Array(row.length + 1);
    for (let index = 0; index < row.length; index++) {
      sums[index + 1] = sums[index] + (row[index] > 0 && matches[tree.name[row[index]]] ? 1 : 0);
    }
    return sums;
  });
  return { matches, found, weight, before };
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const TIMES = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']];
const BYTES = [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'bytes']];

function scaled(value, units) {
  const [each, unit] = units.find(([each]) => value >= each) ?? units[units.length - 1];
  return `${value / each >= 100 ? whole.format(value / each) : fine.format(value / each)} ${unit}`;
}

// A value as people read it: with the CPU time that samples stand for.
function weight(value) {
  if (profile.unit === 'nanoseconds') return scaled(value, TIMES);
  if (profile.unit === 'bytes') return scaled(value, BYTES);
  const samples = `${whole.format(value)} ${value === 1 ? seen(profile.unit).replace(/s$/, '') : seen(profile.unit)}`;
  return profile.period_ns ? `${samples} (${scaled(value * profile.period_ns, TIMES)})` : samples;
}

function share(part, all) {
  const percent = all > 0 ? (100 * part) / all : 0;
  return `${percent === 0 || percent === 100 ? percent : percent < 0.01 ? Number(percent.toPrecision(2)) : percent.toFixed(2)} %`;
}

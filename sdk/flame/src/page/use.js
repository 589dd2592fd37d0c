// What a person does: pointer, keys, search, and what is said of it.
const [search, matched, levels, wholeButton] = ['search', 'matched', 'levels', 'whole'].map((id) => document.getElementById(id));

const KINDS = ['process', 'thread', 'program', 'kernel', ''];

// Lines about a node, the name first.
function about(node) {
  const { tree, from, to } = shown, all = tree.total[0], lines = [label(node)];
  if (node > 0) {
    const name = tree.name[node], module = modules[profile.of[name]];
    lines.push([KINDS[profile.kinds[name]], module].filter((text) => text !== '').join(', '));
  }
  lines.push(`${weight(tree.total[node])}, ${share(tree.total[node], all)} of all`);
  if (to - from < all && tree.start[node] >= from) lines[lines.length - 1] += `, ${share(tree.total[node], to - from)} of what is shown`;
  if (tree.own[node] > 0) lines.push(`itself: ${weight(tree.own[node])}, ${share(tree.own[node], all)} of all`);
  if (node > 0 && tree.everywhere[tree.name[node]] > tree.total[node]) {
    const sum = tree.everywhere[tree.name[node]];
    lines.push(`everywhere: ${weight(sum)}, ${share(sum, all)} of all`);
  }
  return lines.filter((text) => text !== '');
}

function showTip(node, x, y) {
  tip.hidden = node < 0;
  if (node < 0) return;
  tip.replaceChildren(...about(node).map((text, index) => {
    const line = document.createElement(index === 0 ? 'b' : 'span');
    line.textContent = text;
    return line;
  }));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
}

function select(node) {
  const { tree } = shown;
  shown.selected = node;
  status_.textContent = node < 0 ? '' : about(node).join(' · ');
  if (node >= 0) {
    const y = tree.depth[node] * ROW;
    if (y < view.scrollTop) view.scrollTop = y;
    if (y + ROW > view.scrollTop + view.clientHeight) view.scrollTop = y + ROW - view.clientHeight;
  }
  redraw();
}

// Shows a part of the width, never less than a thousandth of a sample, never beyond the ends.
function show(from, to) {
  const all = shown.tree.total[0] || 1, span = Math.min(Math.max(to - from, Math.min(1e-3, all)), all);
  shown.from = Math.min(Math.max(from, 0), all - span);
  shown.to = shown.from + span;
  wholeButton.disabled = span >= all;
  redraw();
}

function zoom(node) {
  show(shown.tree.start[node], shown.tree.start[node] + shown.tree.total[node]);
  select(node);
}

function zoomBy(factor, at) {
  const middle = shown.from + (shown.to - shown.from) * at;
  show(middle - (middle - shown.from) * factor, middle + (shown.to - middle) * factor);
}

function wantedBy(text) {
  const expression = /^\/(.+)\/$/.exec(text);
  if (expression !== null) {
    const pattern = new RegExp(expression[1], 'iu');
    return (name) => pattern.test(name);
  }
  const low = text.toLowerCase();
  return (name) => name.toLowerCase().includes(low);
}

function searchNow() {
  const text = search.value.trim();
  shown.search = null;
  matched.textContent = '';
  if (text !== '') {
    try {
      shown.search = find(shown.tree, wantedBy(text));
      const { found, weight: sum } = shown.search;
      matched.textContent = found === 0 ? 'no match' : `${share(sum, shown.tree.total[0])} of all, ${weight(sum)}`;
    } catch {
      matched.textContent = 'not a regular expression';
    }
  }
  redraw();
}

// The next match in the tree's order, or the one before; shown so that it can be seen.
function goToMatch(step) {
  if (shown.search === null || shown.search.found === 0) return;
  const { tree, search: { matches } } = shown;
  for (let tried = 0, node = Math.max(shown.selected, 0); tried < tree.count; tried++) {
    node = (node + step + tree.count) % tree.count;
    if (node === 0 || !matches[tree.name[node]]) continue;
    let frame = node;
    // So far out that it is wide enough for its name.
    while (tree.parent[frame] > 0 && tree.total[tree.parent[frame]] < 8 * tree.total[node]) frame = tree.parent[frame];
    if (tree.start[node] < shown.from || tree.start[node] + tree.total[node] > shown.to) zoom(frame);
    select(node);
    return;
  }
}

// The node that an arrow key leads to.
function towards(key) {
  const { tree, from, to, selected } = shown;
  if (selected < 0) return 0;
  if (key === 'ArrowUp') return Math.max(tree.parent[selected], 0);
  if (key === 'ArrowDown') {
    // The heaviest child.
    let best = selected;
    for (let child = selected + 1; child < tree.after[selected]; child = tree.after[child]) {
      if (best === selected || tree.total[child] > tree.total[best]) best = child;
    }
    return best;
  }
  const row = tree.rows[tree.depth[selected]], index = row.indexOf(selected) + (key === 'ArrowLeft' ? -1 : 1);
  const node = row[index];
  return node === undefined || tree.start[node] + tree.total[node] <= from || tree.start[node] >= to ? selected : node;
}

function toWhole() {
  show(0, shown.tree.total[0]);
}

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key === 'f') {
    search.focus();
    search.select();
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) {
    if (event.key === 'Enter') goToMatch(event.shiftKey ? -1 : 1);
    else if (event.key === 'Escape') {
      search.value = '';
      searchNow();
      view.focus();
    }
    return;
  }
  if (event.target === levels) return;
  const keys = {
    '/': () => search.focus(), n: () => goToMatch(1), N: () => goToMatch(-1),
    '+': () => zoomBy(0.5, 0.5), '-': () => zoomBy(2, 0.5), Escape: toWhole, 0: toWhole,
    Home: () => select(0),
  };
  if (event.target === view) {
    keys.Enter = () => shown.selected >= 0 && zoom(shown.selected);
    keys.Backspace = () => shown.selected > 0 && zoom(shown.tree.parent[shown.selected]);
    for (const key of ['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight']) keys[key] = () => select(towards(key));
  }
  if (!Object.hasOwn(keys, event.key)) return;
  keys[event.key]();
  event.preventDefault();
}

// A press that moves pans, one that does not zooms to what is under it.
let press = null;
function onMove(event) {
  if (press !== null && (press.moved || Math.abs(event.clientX - press.x) + Math.abs(event.clientY - press.y) > 4)) {
    press.moved = true;
    const by = ((event.clientX - press.x) / tall.clientWidth) * (press.to - press.from);
    show(press.from - by, press.to - by);
    view.scrollTop = press.top - (event.clientY - press.y);
    return;
  }
  const node = nodeAt(event.offsetX, event.offsetY);
  showTip(node, event.clientX, event.clientY);
  if (node !== shown.hovered) {
    shown.hovered = node;
    redraw();
  }
}

canvas.addEventListener('pointermove', onMove);
canvas.addEventListener('pointerdown', (event) => {
  if (event.button !== 0) return;
  press = { x: event.clientX, y: event.clientY, from: shown.from, to: shown.to, top: view.scrollTop, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointerup', (event) => {
  const clicked = press !== null && !press.moved;
  press = null;
  if (!clicked) return;
  const node = nodeAt(event.offsetX, event.offsetY);
  if (node >= 0) zoom(node);
});
canvas.addEventListener('pointercancel', () => { press = null; });
canvas.addEventListener('pointerleave', () => {
  shown.hovered = -1;
  showTip(-1);
  redraw();
});
view.addEventListener('wheel', (event) => {
  const along = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.ctrlKey || event.metaKey) zoomBy(Math.exp(event.deltaY / 300), event.offsetX / tall.clientWidth);
  else if (Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
    const by = (along / tall.clientWidth) * (shown.to - shown.from);
    show(shown.from + by, shown.to + by);
  } else return;
  event.preventDefault();
}, { passive: false });
view.addEventListener('scroll', redraw, { passive: true });
document.addEventListener('keydown', onKey);
search.addEventListener('input', searchNow);
wholeButton.addEventListener('click', toWhole);
levels.addEventListener('change', () => plant());
new ResizeObserver(redraw).observe(view);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  readTheme();
  redraw();
});

function plant() {
  shown.tree = grow(Number(levels.value));
  shown.selected = shown.hovered = -1;
  status_.textContent = '';
  show(0, shown.tree.total[0]);
  searchNow();
}

// What is known of the profile, and what is missing from it.
function introduce() {
  const all = shown.tree.total[0], facts = [];
  const title = seen(profile.title);
  document.title = title;
  document.getElementById('title').textContent = title;
  if (profile.start_ns !== null) {
    const start = new Date(profile.start_ns / 1e6);
    if (!Number.isNaN(start.getTime())) facts.push(start.toISOString().replace('T', ' ').replace(/\.\d+Z/, ' UTC'));
  }
  if (profile.duration_ns !== null) facts.push(scaled(profile.duration_ns, TIMES));
  facts.push(all === 0 ? 'no samples' : weight(all));
  if (all > 0 && profile.unit === 'nanoseconds' && profile.samples) facts.push(`${whole.format(profile.samples)} samples`);
  if (profile.period_ns) facts.push(`${fine.format(1e9 / profile.period_ns)} Hz`);
  if (profile.excluded > 0) facts.push(`${whole.format(profile.excluded)} samples left out by the filter`);
  facts.push(...profile.notes.map(([key, value]) => `${seen(key)} ${seen(value)}`));
  document.getElementById('facts').textContent = facts.join(' · ');

  const parts = profile.losses.map(([reason, count]) => [whole.format(count), seen(reason)]);
  const lost = profile.losses.reduce((sum, [, count]) => sum + count, 0);
  let cut = 0;
  names.forEach((name, index) => {
    if (profile.kinds[index] !== REMARK) return;
    const here = shown.tree.everywhere[index];
    parts.push([profile.unit === 'samples' ? whole.format(here) : weight(here), name]);
    if (name.startsWith('[incomplete')) cut += shown.tree.everywhere[index];
  });
  const missing = document.getElementById('missing'), [summary, table] = missing.children;
  const said = [];
  if (lost > 0) said.push(`${whole.format(lost)} samples lost`);
  if (cut > 0) said.push(`${share(cut, all)} of stacks incomplete`);
  summary.textContent = said.length > 0 ? said.join(', ') : 'nothing is known to be missing';
  summary.className = lost > 0 || cut * 20 > all ? 'bad' : '';
  for (const [count, reason] of parts) {
    const row = table.insertRow();
    row.insertCell().textContent = count;
    row.insertCell().textContent = reason;
  }
  // Levels that the profile does not have are no choice.
  const has = (kind) => profile.kinds.includes(kind);
  if (!has(THREAD)) levels.options[1].remove();
  levels.hidden = !has(PROCESS) && !has(THREAD);
}

readTheme();
plant();
introduce();

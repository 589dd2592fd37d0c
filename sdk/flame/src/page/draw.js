// Drawing: only what is on the screen, and of frames narrower than a pixel one a pixel.
const ROW = 19;
const [view, tall, canvas, tip, status_] = ['view', 'tall', 'graph', 'tip', 'status'].map((id) => document.getElementById(id));
const context = canvas.getContext('2d', { alpha: false });

// What is shown: a tree, the part from `from` to `to` of it, what was searched for, and which nodes are chosen.
const shown = { tree: null, from: 0, to: 1, search: null, selected: -1, hovered: -1 };
let theme = {}, colours = [];

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  theme = { page: of('--page'), text: of('--frame'), edge: of('--edge'), match: of('--match'), onMatch: of('--match-text'), focus: of('--focus') };
  const light = parseFloat(of('--user'));
  // The same name has the same colour in every file; kernel, program and the rest are told apart by hue.
  colours = names.map((name, index) => {
    let hash = 0;
    for (let at = 0; at < name.length; at++) hash = (Math.imul(hash, 31) + name.charCodeAt(at)) | 0;
    const vary = (hash >>> 0) % 1000 / 1000;
    switch (profile.kinds[index]) {
      case PROCESS: case THREAD: return `hsl(230 8% ${light + 6 * vary}%)`;
      case KERNEL: return `hsl(${195 + 25 * vary} 60% ${light + 5 * vary}%)`;
      case REMARK: return `hsl(0 65% ${light}%)`;
      default: return `hsl(${16 + 36 * vary} 80% ${light + 6 * vary}%)`;
    }
  });
}

let queued = false;
function redraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    draw();
  });
}

function draw() {
  const { tree } = shown, ratio = window.devicePixelRatio || 1;
  // The canvas may not hold open the room that it fills.
  tall.style.height = `${tree.rows.length * ROW}px`;
  const width = tall.clientWidth, height = view.clientHeight;
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = theme.page;
  context.fillRect(0, 0, width, height);
  context.font = '12px ui-monospace, monospace';
  context.textBaseline = 'middle';
  const letter = context.measureText('M').width, scale = width / (shown.to - shown.from);
  const top = view.scrollTop, last = Math.min(tree.rows.length, Math.ceil((top + height) / ROW));
  for (let depth = Math.floor(top / ROW); depth < last; depth++) {
    drawRow(depth, depth * ROW - top, width, scale, letter);
  }
}

function drawRow(depth, y, width, scale, letter) {
  const { tree, from, search } = shown, row = tree.rows[depth];
  for (let index = firstBeyond(tree, row, from); index < row.length;) {
    const node = row[index], x = (tree.start[node] - from) * scale;
    if (x >= width) return;
    const end = x + tree.total[node] * scale;
    if (end - x >= 1) {
      drawFrame(node, Math.max(x, 0), Math.min(end, width), y, letter);
      index++;
      continue;
    }
    const pixel = Math.max(Math.floor(x), 0);
    const next = Math.max(firstBeyond(tree, row, from + (pixel + 1) / scale), index + 1);
    const hit = search !== null && search.before[depth][next] > search.before[depth][index];
    context.globalAlpha = search !== null && !hit ? 0.3 : 0.75;
    context.fillStyle = hit ? theme.match : colours[tree.name[node]];
    context.fillRect(pixel, y, 1, ROW - 1);
    context.globalAlpha = 1;
    index = next;
  }
}

const label = (node) => (node === 0 ? 'all' : names[shown.tree.name[node]]);

function drawFrame(node, x, end, y, letter) {
  const { tree, from, to, search } = shown, width = end - x;
  const hit = search !== null && node > 0 && search.matches[tree.name[node]];
  const outside = tree.start[node] < from || tree.start[node] + tree.total[node] > to;
  context.globalAlpha = search !== null && !hit ? 0.35 : outside ? 0.55 : 1;
  context.fillStyle = hit ? theme.match : node === 0 ? 'hsl(230 8% 55%)' : colours[tree.name[node]];
  context.fillRect(x, y, width > 3 ? width - 1 : width, ROW - 1);
  context.globalAlpha = 1;
  if (node === shown.selected || node === shown.hovered) {
    context.lineWidth = node === shown.selected ? 2 : 1;
    context.strokeStyle = node === shown.selected ? theme.focus : theme.text;
    context.strokeRect(x + 1, y + 1, Math.max(width - 3, 1), ROW - 3);
  }
  const room = Math.floor((width - 8) / letter);
  if (room < 3) return;
  let text = label(node);
  // What tells long names apart is at both ends.
  if (text.length > room) text = `${text.slice(0, room >> 1)}…${text.slice(text.length - (room - 1 >> 1))}`;
  context.fillStyle = hit ? theme.onMatch : theme.text;
  // Wide letters end where the frame does.
  context.fillText(text, x + 4, y + ROW / 2, width - 8);
}

// The node at a place of the canvas; -1 for none.
function nodeAt(x, y) {
  const { tree, from, to } = shown, row = tree.rows[Math.floor((y + view.scrollTop) / ROW)];
  if (row === undefined) return -1;
  const value = from + (x / tall.clientWidth) * (to - from), node = row[firstBeyond(tree, row, value)];
  return node !== undefined && tree.start[node] <= value ? node : -1;
}

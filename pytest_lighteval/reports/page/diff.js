// Two texts word by word: the shortest edit (Myers 1986, "An O(ND) difference algorithm"), with a limit on its work.
const MOST_EDITS = 600;

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];

// Pairs [kind, text]: "same", "gone" (only in the first text), "come" (only in the second one).
function wordDiff(before, after) {
  const [a, b] = [words(before), words(after)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const middle = edits(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const parts = [];
  const add = (kind, text) => {
    if (!text) return;
    if (parts.length && parts[parts.length - 1][0] === kind) parts[parts.length - 1][1] += text;
    else parts.push([kind, text]);
  };
  add("same", a.slice(0, start).join(""));
  for (const [kind, text] of middle) add(kind, text);
  add("same", a.slice(a.length - end).join(""));
  return parts;
}

function edits(a, b) {
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const offset = most + 1;
  let reach = new Int32Array(2 * most + 3);
  const history = [];
  for (let distance = 0; distance <= most; distance++) {
    history.push(reach.slice());
    for (let diagonal = -distance; diagonal <= distance; diagonal += 2) {
      const down = diagonal === -distance || (diagonal !== distance && reach[offset + diagonal - 1] < reach[offset + diagonal + 1]);
      let x = down ? reach[offset + diagonal + 1] : reach[offset + diagonal - 1] + 1;
      while (x < a.length && x - diagonal < b.length && a[x] === b[x - diagonal]) x++;
      reach[offset + diagonal] = x;
      if (x >= a.length && x - diagonal >= b.length) return traced(a, b, history, offset, distance);
    }
  }
  // texts that have almost nothing in common: no alignment would help a reader
  return [
    ["gone", a.join("")],
    ["come", b.join("")],
  ];
}

function traced(a, b, history, offset, distance) {
  const parts = [];
  let [x, y] = [a.length, b.length];
  for (let step = distance; step > 0; step--) {
    const reach = history[step];
    const diagonal = x - y;
    const down = diagonal === -step || (diagonal !== step && reach[offset + diagonal - 1] < reach[offset + diagonal + 1]);
    const from = down ? diagonal + 1 : diagonal - 1;
    const [fromX, fromY] = [reach[offset + from], reach[offset + from] - from];
    while (x > fromX && y > fromY && x > 0 && y > 0 && a[x - 1] === b[y - 1]) {
      parts.push(["same", a[--x]]);
      y--;
    }
    if (down) parts.push(["come", b[--y]]);
    else parts.push(["gone", a[--x]]);
  }
  while (x > 0) parts.push(["same", a[--x]]);
  return parts.reverse();
}

// Both texts side by side, each with what the other one lacks.
function diffed(before, after) {
  const parts = wordDiff(before, after);
  const side = (kind, name) =>
    parts.filter(([what]) => what === "same" || what === kind).map(([what, text]) => (what === kind ? el(name, {}, text) : text));
  return [side("gone", "del"), side("come", "ins")];
}

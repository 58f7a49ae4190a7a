// A list of any length: only the rows that are seen exist. Arrow keys move, Enter opens.
function virtualList({ label, height, count, row, open }) {
  const rows = el("div", { class: "rows" });
  const spacer = el("div", { class: "spacer" }, rows);
  const node = el("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": label }, spacer);
  let total = 0;
  let current = -1;
  let first = -1;
  let last = -1;
  // a list that is not in the page yet cannot scroll
  let awaited = -1;

  function draw(force) {
    const from = Math.max(0, Math.floor(node.scrollTop / height) - 6);
    const to = Math.min(total, Math.ceil((node.scrollTop + (node.clientHeight || 600)) / height) + 6);
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    const drawn = [];
    for (let place = from; place < to; place++) {
      const one = row(place);
      filled(
        one,
        {
          role: "option",
          id: `row-${place}`,
          "aria-selected": String(place === current),
          "aria-setsize": total,
          "aria-posinset": place + 1,
        },
        [],
      );
      one.classList.add("row");
      one.addEventListener("click", () => choose(place, true));
      drawn.push(one);
    }
    rows.style.setProperty("transform", `translateY(${from * height}px)`);
    rows.replaceChildren(...drawn);
    if (!total) rows.append(el("p", { class: "nothing" }, "No document fits these filters."));
  }

  function choose(place, isOpened) {
    if (!total) return;
    current = Math.max(0, Math.min(total - 1, place));
    node.setAttribute("aria-activedescendant", `row-${current}`);
    const top = current * height;
    if (top < node.scrollTop) node.scrollTop = top;
    else if (top + height > node.scrollTop + node.clientHeight) node.scrollTop = top + height - node.clientHeight;
    draw(true);
    if (isOpened) open(current);
  }

  node.addEventListener("scroll", () => draw(false), { passive: true });
  node.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(node.clientHeight / height) - 1);
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -total, End: total }[event.key];
    if (step !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) choose(current + step, true);
    else if (event.key === "Enter") choose(Math.max(current, 0), true);
    else return;
    event.preventDefault();
  });
  const bring = (place) => (node.scrollTop = Math.max(0, (place - 3) * height));
  new ResizeObserver(() => {
    if (awaited >= 0 && node.clientHeight) {
      bring(awaited);
      awaited = -1;
    }
    draw(true);
  }).observe(node);

  return {
    node,
    get current() {
      return current;
    },
    show(newTotal, selected) {
      total = newTotal;
      current = selected === undefined ? -1 : selected;
      spacer.style.setProperty("height", `${Math.max(total * height, 40)}px`);
      bring(current);
      awaited = current;
      draw(true);
    },
    open(place) {
      choose(place, true);
    },
    move(step) {
      choose(current + step, true);
    },
    redraw: () => draw(true),
  };
}

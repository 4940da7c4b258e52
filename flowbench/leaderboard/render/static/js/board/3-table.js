// --- the table: sorting, filtering, columns
const bodies = [...table.tBodies];
const groupOf = new Map(bodies.flatMap((body) => [...body.rows].map((row) => [row, body])));
const paperOrder = [...rows.values()];
const flat = document.createElement("tbody");
const sortButtons = new Map(all(".sort", table).map((button) => [button.dataset.column, button]));
const indexOf = (key) => sortButtons.get(key).closest("th").cellIndex;
const numbers = { published: "p", reproduced: "r", difference: "d" };
const by = () => state.by || table.dataset.by;

const keyOf = (row, index) => {
  if (index === 0) return one(".name", row).textContent;
  const text = row.cells[index].dataset[numbers[by()]];
  if (text === undefined) return null;
  return Number.isNaN(Number(text)) ? text : Number(text);
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number"
  ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
// Missing values last both ways; equal ones keep the paper's order.
const ordered = (list, index, descending) => list
  .map((row) => [keyOf(row, index), row])
  .sort(([a], [b]) => (a === null || b === null
    ? (a === null) - (b === null) : (descending ? compare(b, a) : compare(a, b))))
  .map(([, row]) => row);

const rankOf = (row, index) => {
  const cell = row.cells[index];
  const text = cell.dataset[numbers[by()]];
  if (text === undefined) return "";
  return cell.dataset[`${numbers[by()]}k`] ?? "–";
};
const showRanks = (index) => {
  for (const row of paperOrder) {
    const rank = index > 0 ? rankOf(row, index) : "";
    if (rank) row.cells[0].dataset.rank = rank; else delete row.cells[0].dataset.rank;
  }
};
// Out of their groups, names carry the shape of theirs.
const markOf = (body) => {
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  for (const [name, value] of [["class", "mark"], ["viewBox", "0 0 10 10"], ["aria-hidden", "true"]]) {
    mark.setAttribute(name, value);
  }
  use.setAttribute("href", `#shape-${bodies.indexOf(body)}`);
  mark.append(use);
  return mark;
};
const showMarks = (on) => {
  for (const row of paperOrder) {
    const name = one(".name", row);
    const there = name.nextElementSibling?.matches(".mark");
    if (on && !there) name.after(markOf(groupOf.get(row)));
    if (!on && there) name.nextElementSibling.remove();
  }
};
const place = (list, dissolve) => {
  if (dissolve) {
    for (const body of bodies) body.remove();
    flat.replaceChildren(...list);
    table.append(flat);
    return;
  }
  flat.remove();
  for (const body of bodies) {
    body.append(...list.filter((row) => groupOf.get(row) === body));
    table.append(body);
  }
};
const applySort = () => {
  const sorted = state.sort !== "";
  const button = sorted ? sortButtons.get(state.sort) : null;
  const index = sorted ? indexOf(state.sort) : -1;
  const descending = sorted && (button.dataset.better === "higher") !== (state.dir === "reverse");
  const grouped = bodies.length > 1;
  const dissolve = sorted && grouped && state.groups !== "keep";
  place(sorted ? ordered(paperOrder, index, descending) : paperOrder, dissolve);
  showMarks(dissolve);
  showRanks(index);
  table.classList.toggle("sorted", sorted && index > 0);
  for (const [key, other] of sortButtons) {
    const header = other.closest("th");
    if (key !== state.sort) header.removeAttribute("aria-sort");
    else header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }
};
const sortBy = (key) => {
  const again = state.sort === key;
  const next = !again ? { sort: key, dir: "" }
    : state.dir === "" ? { dir: "reverse" } : { sort: "", dir: "" };
  change(next);
  applySort();
  const name = one("b", sortButtons.get(key))?.textContent ?? "method";
  say(state.sort === "" ? "Order of the paper restored"
    : `Sorted by ${name}, ${state.dir ? "worse" : "better"} values first`);
};
for (const [key, button] of sortButtons) button.addEventListener("click", () => sortBy(key));

const matches = (row) => (!state.q || one(".method", row).textContent.toLowerCase()
  .includes(state.q.trim().toLowerCase()))
  && (!state.group || bodies.indexOf(groupOf.get(row)) === Number(state.group))
  && (!state.status || row.dataset.status.split(" ").includes(state.status));
const counter = one(".count");
const applyFilters = () => {
  const shown = paperOrder.filter((row) => { row.hidden = !matches(row); return !row.hidden; });
  for (const body of bodies) {
    const own = paperOrder.filter((row) => groupOf.get(row) === body);
    const visible = own.filter((row) => !row.hidden).length;
    body.hidden = visible === 0;
    const tally = one(".tally", body);
    if (!tally) continue;
    tally.dataset.full ??= tally.textContent;
    tally.textContent = visible === own.length
      ? tally.dataset.full : `${visible} of ${own.length} ${counter.dataset.noun} shown`;
  }
  counter.textContent = `${shown.length} of ${paperOrder.length} ${counter.dataset.noun}`;
  one(".empty").hidden = shown.length > 0;
  return shown.length;
};
const applyColumns = () => {
  const hidden = state.columns.split(",").filter(Boolean).map(indexOf);
  const lines = [...all("thead tr:last-child", table), ...paperOrder];
  for (const line of lines) {
    [...line.cells].forEach((cell, index) => { cell.hidden = hidden.includes(index); });
  }
  const span = valueColumns.length - hidden.length;
  for (const header of all(".group th", table)) header.colSpan = span + 1;
  for (const header of all(".unit th", table)) header.colSpan = span;
  for (const part of parts) {
    table.classList.toggle(`hide-${part}`, state.parts.split(",").includes(part));
  }
};
// Only a table that is too wide even for all of the window scrolls in a box of its own.
const applyWidth = () => {
  const box = table.parentElement;
  const wide = table.offsetWidth > box.clientWidth + 1;
  box.classList.toggle("scroll", wide);
  box.classList.toggle("fits", !wide);
  for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "Table"]]) {
    if (wide) box.setAttribute(name, value); else box.removeAttribute(name);
  }
  one(".sideways").hidden = !wide;
  applyEdge();
};
const applyEdge = () => {
  const box = table.parentElement;
  const more = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
  // Marks may stand out of a table that fits: there is nothing to scroll to.
  box.classList.toggle("more-right", more && box.classList.contains("scroll"));
};
table.parentElement.addEventListener("scroll", applyEdge, { passive: true });
addEventListener("resize", applyWidth);

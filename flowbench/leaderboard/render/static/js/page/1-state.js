// --- state: the fragment holds only what differs from the default, and unknown values are ignored
const table = document.getElementById("board");
const announcer = document.getElementById("said");
const say = (text) => { if (announcer) announcer.textContent = text; };
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

const columns = all("[data-column]", table ?? document.createElement("table"))
  .map((button) => button.dataset.column);
const valueColumns = columns.filter((name) => name !== "name");
const rows = new Map(all("tbody tr[id]", table ?? document.createElement("table"))
  .map((row) => [row.id, row]));
const parts = ["published", "interval", "difference", "budget", "likelihood"];
const ways = all("input[name=by]").map((input) => input.value);
const options = (name) => all(`select[name=${name}] option`).map((option) => option.value);
const someOf = (known) => (text) => text.split(",").filter((name) => known.includes(name)).join(",");
const oneOf = (known) => (text) => (known.includes(text) ? text : "");

const readers = {
  theme: oneOf(["light", "dark"]),
  q: (text) => text.slice(0, 200),
  group: oneOf(options("group").filter(Boolean)),
  status: oneOf(options("status").filter(Boolean)),
  by: oneOf(ways.slice(1)),
  sort: oneOf(columns),
  dir: oneOf(["reverse"]),
  groups: oneOf(["keep"]),
  columns: someOf(valueColumns),
  parts: someOf(parts),
  row: oneOf([...rows.keys()]),
};
const readState = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(
    Object.entries(readers).map(([name, read]) => [name, read(given.get(name) ?? "")]));
};
let state = readState();
const fragment = () => {
  const set = Object.entries(state).filter(([, value]) => value !== "");
  return new URLSearchParams(set).toString().replaceAll("%2C", ",");
};
const address = () => {
  const text = fragment();
  return location.pathname + location.search + (text ? `#${text}` : "");
};
const remember = ({ push = false } = {}) => {
  if (push) history.pushState({ opened: true }, "", address());
  else history.replaceState(history.state, "", address());
};
const change = (part, how) => { state = { ...state, ...part }; remember(how); };

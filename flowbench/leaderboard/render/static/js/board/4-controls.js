// --- controls: each shows the state and changes it
const controls = one(".controls");
const field = (name) => one(`[name=${name}]`, controls);
const boxes = (name) => all(`input[name=${name}]`, controls);
const filtersSet = () => ["q", "group", "status"].some((name) => state[name] !== "");
const setNames = ["q", "group", "status", "by", "sort", "dir", "groups", "columns", "parts"];

const showControls = () => {
  field("q").value = state.q;
  for (const name of ["group", "status"]) if (field(name)) field(name).value = state[name];
  for (const input of boxes("by")) input.checked = input.value === by();
  for (const name of ["columns", "parts"]) {
    const hidden = state[name].split(",");
    for (const input of boxes(name)) input.checked = !hidden.includes(input.value);
  }
  const left = boxes("columns").filter((input) => input.checked);
  for (const input of boxes("columns")) input.disabled = left.length === 1 && input.checked;
  if (field("groups")) field("groups").checked = state.groups === "keep";
  one(".reset", controls).hidden = setNames.every((name) => state[name] === "");
};
const applyAll = () => {
  applySort();
  applyFilters();
  applyColumns();
  showControls();
  applyWidth();
};
const set = (part) => {
  change(part);
  applyAll();
};
const setFilter = (part) => {
  set(part);
  say(counter.textContent);
};
const clear = (names) => {
  setFilter(Object.fromEntries(names.map((name) => [name, ""])));
};

field("q").addEventListener("input", (event) => setFilter({ q: event.target.value }));
for (const name of ["group", "status"]) {
  field(name)?.addEventListener("change", (event) => setFilter({ [name]: event.target.value }));
}
for (const input of boxes("by")) {
  input.addEventListener("change", () => {
    const first = valueColumns.find((key) => !state.columns.split(",").includes(key));
    set({ by: input.value === ways[0] ? "" : input.value, sort: state.sort || first });
    say(`Ranked by ${input.value} values`);
  });
}
for (const name of ["columns", "parts"]) {
  for (const input of boxes(name)) {
    input.addEventListener("change", () => {
      const hidden = boxes(name).filter((other) => !other.checked).map((other) => other.value);
      const sort = hidden.includes(state.sort) ? { sort: "", dir: "" } : {};
      set({ [name]: hidden.join(","), ...sort });
    });
  }
}
field("groups")?.addEventListener("change", (event) => {
  set({ groups: event.target.checked ? "keep" : "" });
});
one(".reset", controls).addEventListener("click", () => { clear(setNames); field("q").focus(); });
one(".clear").addEventListener("click", () => {
  clear(["q", "group", "status"]);
  field("q").focus();
});
const more = one(".more", controls);
more.addEventListener("click", () => {
  more.setAttribute("aria-expanded", String(controls.classList.toggle("unfolded")));
});
const menu = one(".menu", controls);
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  event.stopPropagation();
  menu.open = false;
  one("summary", menu).focus();
});
document.addEventListener("click", (event) => {
  if (menu.open && !menu.contains(event.target)) menu.open = false;
});
if (filtersSet()) controls.classList.add("unfolded");

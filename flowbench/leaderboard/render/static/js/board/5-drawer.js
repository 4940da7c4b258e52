// --- details: a drawer beside the table, modal on phones
const drawer = one(".drawer");
const content = one(".content", drawer);
const phone = matchMedia("(max-width: 599px)");
let shown = "";

for (const name of all("tbody .name", table)) {
  if (!document.getElementById(`details-${name.closest("tr").id}`)) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "name";
  button.setAttribute("aria-haspopup", "dialog");
  button.append(...name.childNodes);
  name.replaceWith(button);
}
// The open row stands out in the plots, and has its name there if it had none.
const nameMark = (use, name) => {
  const figure = use.closest(".figure");
  const named = [name, name.split(":")[0]];
  if (all("text", figure).some((text) => named.includes(text.textContent))) return;
  const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
  const right = Number(use.getAttribute("x")) > figure.viewBox.baseVal.width / 2;
  label.setAttribute("x", Number(use.getAttribute("x")) + (right ? -8 : 8));
  label.setAttribute("y", Number(use.getAttribute("y")) + 4);
  label.setAttribute("text-anchor", right ? "end" : "start");
  label.setAttribute("class", "fill-ink of-open-row");
  label.textContent = name;
  figure.append(label);
};
const mark = (key, on) => {
  rows.get(key)?.classList.toggle("selected", on);
  for (const label of all(".of-open-row")) label.remove();
  for (const use of all(`.figure [data-row="${CSS.escape(key)}"]`)) {
    use.classList.toggle("shown", on);
    if (on) nameMark(use, one(".name", rows.get(key)).textContent);
  }
};
const visibleKeys = () => all("tbody tr[id]", table)
  .filter((row) => !row.hidden && document.getElementById(`details-${row.id}`))
  .map((row) => row.id);
const showSteps = () => {
  const keys = visibleKeys();
  for (const button of all("[data-step]", drawer)) {
    button.disabled = keys[keys.indexOf(shown) + Number(button.dataset.step)] === undefined;
  }
};
const showRow = (key) => {
  const details = document.getElementById(`details-${key}`);
  if (!details) return;
  if (shown) mark(shown, false);
  shown = key;
  mark(key, true);
  content.replaceChildren(details.content.cloneNode(true));
  if (!drawer.open) { if (phone.matches) drawer.showModal(); else drawer.show(); }
  drawer.scrollTop = 0;
  const heading = one("h2", content);
  drawer.setAttribute("aria-label", `Details of ${heading.textContent}`);
  heading.focus({ preventScroll: true });
  showSteps();
};
const hideRow = () => {
  if (!shown) return;
  const key = shown;
  mark(key, false);
  shown = "";
  if (drawer.open) drawer.close();
  content.replaceChildren();
  one(".name", rows.get(key)).focus({ preventScroll: true });
};
const openRow = (key) => {
  const push = !shown;
  showRow(key);
  change({ row: key }, { push });
};
// Back closes what opening pushed; a drawer that came with the address has nothing to go back to.
const closeRow = () => {
  if (history.state?.opened) { history.back(); return; }
  hideRow();
  change({ row: "" });
};
table.addEventListener("click", (event) => {
  const button = event.target.closest("button.name");
  if (button) openRow(button.closest("tr").id);
});
drawer.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("close")) closeRow();
  if (button.dataset.step) {
    const keys = visibleKeys();
    const next = keys[keys.indexOf(shown) + Number(button.dataset.step)];
    if (next) { openRow(next); rows.get(next).scrollIntoView({ block: "nearest" }); }
    if (next && !button.disabled) button.focus();
  }
  if (button.classList.contains("copy")) {
    const source = one("pre", button.parentElement);
    copy(source.textContent, button, source);
  }
});
drawer.addEventListener("cancel", (event) => { event.preventDefault(); closeRow(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawer.open && !event.defaultPrevented) {
    event.preventDefault();
    closeRow();
  }
});


"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const said = document.getElementById("said");
  const say = (text) => { if (said) said.textContent = text; };

  // --- theme: auto, light, dark ---
  const themes = ["auto", "light", "dark"];
  const themeButton = document.querySelector(".theme");
  const remember = (theme) => { try { localStorage.setItem("flowbench-theme", theme); } catch { /* private */ } };
  const remembered = () => { try { return localStorage.getItem("flowbench-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    themeButton.textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(remembered()) ? remembered() : "auto";
  setTheme(theme);
  themeButton.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    setTheme(theme);
    remember(theme);
  });

  const table = document.getElementById("board");
  const drawer = document.querySelector(".drawer");
  if (!table || !drawer) return;

  // --- sorting: better first, reversed, as rendered; missing values last both ways ---
  const bodies = [...table.tBodies];
  const original = new Map(bodies.map((body) => [body, [...body.rows]]));
  let sorted = { column: -1, reversed: false };
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (column === 0) return cell.querySelector(".open").textContent;
    return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en") : a - b);
  const order = (rows, column, descending) => {
    const keyed = rows.map((row) => [keyOf(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? compare(b, a) : compare(a, b);
    });
    return keyed.map(([, row]) => row);
  };
  const show = (button, column, descending) => {
    for (const body of bodies) {
      const rows = original.get(body);
      const fixed = rows.filter((row) => row.classList.contains("group"));
      const free = rows.filter((row) => !row.classList.contains("group"));
      body.append(...fixed, ...(column < 0 ? free : order(free, column, descending)));
    }
    for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
    if (column >= 0) {
      button.closest("th").setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
    const name = button.querySelector("b")?.textContent ?? "method";
    say(column < 0 ? "Order restored" : `Sorted by ${name}, ${descending ? "descending" : "ascending"}`);
  };
  for (const button of table.querySelectorAll(".sort")) {
    button.addEventListener("click", () => {
      const column = Number(button.dataset.column);
      const third = sorted.column === column && sorted.reversed;
      const reversed = sorted.column === column && !sorted.reversed;
      sorted = third ? { column: -1, reversed: false } : { column, reversed };
      show(button, sorted.column, (button.dataset.better === "higher") !== sorted.reversed);
    });
  }

  // --- details: a drawer beside the table, modal on phones ---
  const content = drawer.querySelector(".content");
  const phone = matchMedia("(max-width: 599px)");
  let openRow = null;
  const mark = (key, on) => document.getElementById(key)?.classList.toggle("selected", on);
  const openDetails = (key) => {
    const template = document.getElementById(`details-${key}`);
    if (!template) return;
    if (openRow) mark(openRow, false);
    openRow = key;
    mark(key, true);
    content.replaceChildren(template.content.cloneNode(true));
    if (!drawer.open) { if (phone.matches) drawer.showModal(); else drawer.show(); }
    drawer.scrollTop = 0;
    const heading = content.querySelector("h2");
    drawer.setAttribute("aria-label", `Details of ${heading.textContent}`);
    heading.focus({ preventScroll: true });
  };
  drawer.addEventListener("close", () => {
    if (!openRow) return;
    mark(openRow, false);
    document.querySelector(`#${openRow} .open`)?.focus();
    openRow = null;
    content.replaceChildren();
  });
  table.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) openDetails(button.dataset.row);
  });
  drawer.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("close")) drawer.close();
    if (button.dataset.step) {
      const keys = [...table.querySelectorAll("tbody tr[id]")].map((row) => row.id);
      const next = keys.indexOf(openRow) + Number(button.dataset.step);
      if (keys[next]) { openDetails(keys[next]); button.focus(); }
    }
    if (button.classList.contains("copy")) {
      const text = button.parentElement.querySelector("pre");
      try {
        await navigator.clipboard.writeText(text.textContent);
        say("Copied");
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
      }
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && drawer.open) { event.preventDefault(); drawer.close(); }
  });
})();

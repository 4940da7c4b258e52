"use strict";
// Before anything is painted: scripts run, and which theme the reader chose.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  let theme = new URLSearchParams(location.hash.slice(1)).get("theme");
  try { theme ??= localStorage.getItem("flowbench-theme"); } catch { /* no storage here */ }
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
})();

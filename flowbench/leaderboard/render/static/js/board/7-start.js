// --- start, and again whenever the address changes
const show = () => {
  applyAll();
  if (state.row) showRow(state.row); else hideRow();
};
addEventListener("popstate", () => {
  state = readState();
  if (state.theme) setTheme(state.theme);
  show();
});
show();

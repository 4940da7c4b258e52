// --- theme: auto, light, dark; and the link to what is shown
const root = document.documentElement;
const themes = ["", "light", "dark"];
const themeButton = one(".theme");
const showTheme = () => {
  const theme = root.dataset.theme ?? "";
  themeButton.textContent = `Theme: ${theme || "auto"}`;
};
const setTheme = (theme) => {
  if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  showTheme();
};
showTheme();
themeButton.addEventListener("click", () => {
  const theme = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
  setTheme(theme);
  change({ theme });
  try {
    if (theme) localStorage.setItem("flowbench-theme", theme);
    else localStorage.removeItem("flowbench-theme");
  } catch { /* no storage here */ }
});

const copy = async (text, button, source) => {
  const label = button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!source) { say("The address bar holds the link"); return; }
    getSelection().selectAllChildren(source);
    if (!document.execCommand("copy")) { say("Selected: copy it with the keyboard"); return; }
  }
  button.textContent = "Copied";
  say("Copied");
  setTimeout(() => { button.textContent = label; }, 1500);
};
one(".copy-link").addEventListener("click", (event) => copy(location.href, event.target));

// Footnote and skip links move to their place without writing over the fragment.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link) return;
  const place = document.getElementById(link.hash.slice(1));
  if (!place) return;
  event.preventDefault();
  for (const other of all(".jumped")) other.classList.remove("jumped");
  place.classList.add("jumped");
  if (!place.matches("a, button, input")) place.tabIndex = -1;
  place.focus();
  place.scrollIntoView({ block: "center" });
});

// --- figures as files: in light colours, whatever the page shows, with their fonts named
const SVG = "http://www.w3.org/2000/svg";
const SCALE = 3;
const tokens = ["ink", "muted", "line", "rule", "accent", "background"];
const lightColours = () => {
  const probe = document.createElement("div");
  probe.hidden = true;
  probe.style.colorScheme = "light";
  document.body.append(probe);
  const colours = tokens.map((token) => {
    probe.style.color = `var(--${token})`;
    return [token, getComputedStyle(probe).color];
  });
  probe.remove();
  return Object.fromEntries(colours);
};
const alone = (figure) => {
  const colours = lightColours();
  const copyOf = figure.cloneNode(true);
  const margin = 8;
  const [, , width, height] = figure.getAttribute("viewBox").split(" ").map(Number);
  copyOf.setAttribute("viewBox",
    `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  copyOf.setAttribute("width", width + 2 * margin);
  copyOf.setAttribute("height", height + 2 * margin);
  for (const element of [copyOf, ...copyOf.querySelectorAll("*")]) {
    for (const token of tokens) {
      for (const kind of ["stroke", "fill"]) {
        if (element.matches(`.${kind}-${token}`)) element.setAttribute(kind, colours[token]);
      }
    }
    if (element.tagName === "text") {
      element.setAttribute("font-family", "Helvetica, Arial, 'Liberation Sans', sans-serif");
      element.setAttribute("font-size", "11");
      element.setAttribute("paint-order", "stroke");
      element.setAttribute("stroke", colours.background);
      element.setAttribute("stroke-width", "3");
    }
    element.removeAttribute("class");
  }
  const page = document.createElementNS(SVG, "rect");
  const size = { x: -margin, y: -margin, width: width + 2 * margin, height: height + 2 * margin };
  for (const [name, value] of Object.entries({ ...size, fill: colours.background })) {
    page.setAttribute(name, value);
  }
  copyOf.querySelector("title").after(page);
  return new XMLSerializer().serializeToString(copyOf);
};
const asPng = async (text) => {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = SCALE * image.width;
  canvas.height = SCALE * image.height;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
};
const download = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
for (const button of all("[data-save]")) {
  button.addEventListener("click", async () => {
    const text = alone(one(".figure", button.closest("section")));
    const kind = button.dataset.save;
    const blob = kind === "png" ? await asPng(text) : new Blob([text], { type: "image/svg+xml" });
    download(blob, `${button.dataset.name}.${kind}`);
    say(`Saved as ${button.dataset.name}.${kind}`);
  });
}

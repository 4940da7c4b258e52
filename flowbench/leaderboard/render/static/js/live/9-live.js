// --- of a page that is served: what has changed is shown where the page says, else by a new page
{
  const region = one("[data-live]");
  let known = "";
  const chosen = () => new Set(all("input[name=job]:checked").map((box) => box.value));
  const compare = one(".compare");
  const offer = () => {
    if (!compare) return;
    const jobs = [...chosen()];
    compare.hidden = jobs.length < 1;
    compare.href = `/compare?${jobs.map((job) => `job=${encodeURIComponent(job)}`).join("&")}`;
    compare.textContent = jobs.length === 1 ? "Board of 1 job" : `Board of ${jobs.length} jobs`;
  };
  document.addEventListener("change", offer);
  const showAnew = async () => {
    if (!region) { location.reload(); return; }
    const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const kept = chosen();
    region.replaceChildren(...page.querySelector("[data-live]").childNodes);
    for (const box of all("input[name=job]")) box.checked = kept.has(box.value);
    offer();
  };
  const look = async () => {
    try {
      const answer = await fetch(`/stamp${region ? "?live" : ""}`, { cache: "no-store" });
      const now = await answer.text();
      if (known && now !== known) await showAnew();
      known = now;
    } catch { say("The server of this page has ended"); }
  };
  look();
  setInterval(look, 2000);
  offer();
}

"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = data.findings;
  const size = 50; // rows of one page
  const printed = 2000; // rows at most on paper
  const $ = (id) => document.getElementById(id);
  const filters = ["q", "level", "rule", "namespace", "repair"];
  const number = (n) => n.toLocaleString("en");
  let shown = all, page = 0, sort = "", down = false, text = null;

  const element = (name, className, content) => {
    const e = document.createElement(name);
    if (className) e.className = className;
    if (content !== undefined) e.textContent = content;
    return e;
  };
  const anchor = (href, content) => {
    const a = element("a", "", content);
    a.href = href;
    a.rel = "noreferrer";
    return a;
  };

  // What a search looks at; made when somebody searches first.
  const words = (i) => {
    text ??= all.map((f) => [f.kind, f.namespace, f.name, f.file + ":" + f.line, f.where, f.message, f.rule].join(" ").toLowerCase());
    return text[i];
  };

  const row = (f) => {
    const tr = element("tr");
    tr.append(element("td"), element("td"), element("td"), element("td"));
    const [level, object, finding, place] = tr.children;
    level.append(element("span", "level " + f.level, f.level));
    object.append(element("span", "kind", f.kind), element("span", "", f.namespace ? f.namespace + "/" + f.name : f.name));
    finding.append(element("p", "message", f.message));
    const meta = element("p", "meta");
    meta.append(element("code", "", f.where), " · ", anchor(data.pages + f.rule + ".md", f.rule));
    if (f.fixable) meta.append(element("span", "chip fix", "sixgate fix"));
    if (f.repair) meta.append(element("span", "chip ok", f.repair));
    finding.append(meta);
    if (f.source) {
      const pre = element("pre");
      pre.tabIndex = 0;
      pre.append(f.source + "\n", element("b", "", f.caret));
      finding.append(pre);
    }
    const where = f.file + ":" + f.line + ":" + f.column;
    const link = element("span", "place");
    link.append(f.link ? anchor(f.link, where) : where);
    place.append(link);
    return tr;
  };

  const draw = (from, to) => {
    const body = $("rows").tBodies[0];
    body.replaceChildren(...shown.slice(from, to).map((i) => row(all[i])));
    $("rows").hidden = shown.length === 0;
    const pages = Math.max(1, Math.ceil(shown.length / size));
    $("pager").hidden = pages === 1;
    $("page").textContent = "Page " + number(page + 1) + " of " + number(pages);
    $("first").disabled = $("previous").disabled = page === 0;
    $("last").disabled = $("next").disabled = page === pages - 1;
    const range = shown.length > to - from ? number(from + 1) + "–" + number(Math.min(to, shown.length)) + " of " : "";
    $("status").textContent = shown.length === all.length
      ? range + number(all.length) + (all.length === 1 ? " finding" : " findings")
      : range + number(shown.length) + " of " + number(all.length) + " findings match";
    if (all.length === 0) $("status").textContent = "Nothing found.";
  };
  const drawPage = () => draw(page * size, (page + 1) * size);

  const keys = {
    level: (f) => (f.level === "deny" ? 0 : 1),
    object: (f) => f.kind + " " + f.namespace + "/" + f.name,
    rule: (f) => f.rule + " " + f.message,
  };

  const apply = () => {
    const v = Object.fromEntries(filters.map((name) => [name, $(name).value]));
    const wanted = v.q.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    all.forEach((f, i) => {
      if (v.level && f.level !== v.level) return;
      if (v.rule && f.rule !== v.rule) return;
      if (v.namespace && (v.namespace === data.clusterWide ? f.namespace !== "" : f.namespace !== v.namespace)) return;
      if (v.repair === "fix" && !f.fixable) return;
      if (v.repair === "webhook" && !f.repair) return;
      if (v.repair === "person" && f.fixable) return;
      if (wanted.length && !wanted.every((w) => words(i).includes(w))) return;
      shown.push(i);
    });
    if (keys[sort]) {
      const key = all.map(keys[sort]);
      shown.sort((a, b) => (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : a - b));
    }
    if (down) shown.reverse();
    page = 0;
    const state = new URLSearchParams(filters.filter((name) => v[name]).map((name) => [name, v[name]])).toString();
    try { history.replaceState(null, "", state ? "#?" + state : "#"); } catch { /* not allowed everywhere, and not needed */ }
    drawPage();
  };

  const turn = (to) => {
    page = to;
    drawPage();
    $("findings").scrollIntoView();
  };
  $("first").onclick = () => turn(0);
  $("previous").onclick = () => turn(page - 1);
  $("next").onclick = () => turn(page + 1);
  $("last").onclick = () => turn(Math.ceil(shown.length / size) - 1);

  let timer;
  $("q").oninput = () => { clearTimeout(timer); timer = setTimeout(apply, 120); };
  filters.slice(1).forEach((name) => { $(name).onchange = apply; });
  $("filters").onsubmit = (e) => { e.preventDefault(); apply(); };
  $("filters").onreset = () => setTimeout(apply);

  document.querySelectorAll("[data-rule], [data-namespace]").forEach((button) => {
    button.onclick = () => {
      const name = "rule" in button.dataset ? "rule" : "namespace";
      $(name).value = button.dataset[name];
      apply();
      $("findings").scrollIntoView();
      $(name).focus({ preventScroll: true });
    };
  });
  document.querySelectorAll("[data-sort]").forEach((button) => {
    button.onclick = () => {
      down = sort === button.dataset.sort && !down;
      sort = button.dataset.sort;
      document.querySelectorAll("#rows thead th").forEach((th) => th.removeAttribute("aria-sort"));
      button.parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
      apply();
    };
  });
  const more = $("more");
  if (more) more.onclick = () => {
    const open = document.body.classList.toggle("all");
    more.setAttribute("aria-expanded", open);
    more.hidden = open;
  };

  // Paper has no pages to turn.
  window.addEventListener("beforeprint", () => {
    draw(0, printed);
    if (shown.length > printed) $("status").textContent = "The first " + number(printed) + " of " + number(shown.length) + " findings";
  });
  window.addEventListener("afterprint", drawPage);

  if (location.hash.startsWith("#?")) {
    for (const [name, value] of new URLSearchParams(location.hash.slice(2))) if (filters.includes(name)) $(name).value = value;
  }
  apply();
})();

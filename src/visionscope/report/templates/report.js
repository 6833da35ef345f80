"use strict";
(() => {
  const root = document.documentElement;
  const shown = JSON.parse(document.getElementById("shown").textContent);
  // The numbers of figures and rows; null until they are unpacked.
  let page = null;
  // Its buttons would cover the curves on a phone; dragging zooms, a double click goes back.
  const config = { displayModeBar: false, responsive: false, scrollZoom: false };
  const numeric = new Set(["x", "y", "z", "customdata", "text"]);
  const plots = [...document.querySelectorAll(".plot")];
  const folds = [...document.querySelectorAll("details.fold")];
  // On paper nothing unfolds; a table of many rows is beside the page.
  const printed = [...document.querySelectorAll("details.fold, details.more, details.measured, details.table:not(.long)")];
  let queue = [];
  let busy = false;

  // Named colours ("@@ink") get the theme's value; arrays of numbers are left alone.
  function dressed(value) {
    if (typeof value === "string" && value.startsWith("@@")) return page.palette[root.dataset.theme][value.slice(2)] ?? value;
    if (Array.isArray(value)) return value.map(dressed);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, numeric.has(key) && Array.isArray(part) ? part : dressed(part)]));
    return value;
  }

  function draw(plot) {
    const spec = page.panels[plot.dataset.panel];
    if (!plot.clientWidth) return;
    if (spec.turned) plot.style.height = Math.round(plot.clientWidth * 0.85) + "px";
    else if (spec.aspect) plot.style.height = Math.round((plot.clientWidth - 20) * spec.aspect) + "px";
    const layout = dressed(spec.layout);
    layout.width = plot.clientWidth;
    layout.height = plot.clientHeight;
    // On a touch screen a drag must scroll the page.
    layout.dragmode = spec.turned ? "turntable" : matchMedia("(pointer: coarse)").matches ? false : "zoom";
    const data = dressed(spec.data).map((trace) => ({ ...trace, visible: trace.meta < 0 || shown[trace.meta] }));
    Plotly.react(plot, data, layout, config);
    if (spec.turned) turnTogether(plot);
    else if (spec.aspect) {
      // The labels' room is known only now; what is left shall have the map's shape.
      const room = plot._fullLayout._size;
      const height = Math.max(200, Math.round(layout.height + room.w * spec.aspect - room.h));
      plot.style.height = height + "px";
      Plotly.relayout(plot, { height });
    }
    plot.dataset.drawn = "true";
    if (spec.points?.some(Boolean)) listen(plot, spec);
    mark(plot);
  }

  // The point of a network that the reader looks at: { model, name }; a click keeps it.
  let pointed = null;
  let kept = null;

  function listen(plot, spec) {
    if (plot.dataset.listens) return;
    plot.dataset.listens = "true";
    plot.on("plotly_hover", ({ points: [at] }) => {
      const names = spec.points[at.curveNumber] ?? [];
      point({ model: spec.data[at.curveNumber].meta, name: names.length === 1 ? names[0] : names[at.pointNumber] });
    });
    plot.on("plotly_unhover", () => point(null));
  }

  function point(at) {
    pointed = at?.name ? at : kept;
    let said = "";
    for (const button of document.querySelectorAll(".spot")) {
      const own = Number(button.dataset.model) === pointed?.model && button.dataset.point === pointed.name;
      button.classList.toggle("pointed", own);
      if (own) said = `${button.dataset.point}: ${button.dataset.said}`;
    }
    document.getElementById("pointed").textContent = said;
    for (const plot of document.querySelectorAll(".plot[data-drawn]")) mark(plot);
  }

  // Plotly keeps the trace of a curve, and the place of a mark, with the elements that it draws.
  function mark(plot) {
    const spec = page.panels[plot.dataset.panel];
    if (!spec.points?.some(Boolean)) return;
    const own = (index) => spec.data[index].meta === pointed?.model && Boolean(spec.points[index]?.includes(pointed.name));
    const curves = spec.points.some((names, index) => names?.length === 1 && spec.data[index].x.length > 1 && own(index));
    for (const trace of plot.querySelectorAll(".scatterlayer .trace")) {
      const index = trace.__data__[0].trace.index;
      const names = spec.points[index];
      trace.classList.toggle("pointed", curves && own(index));
      trace.classList.toggle("aside", curves && !own(index));
      for (const dot of trace.querySelectorAll("path.point"))
        dot.classList.toggle("pointed", !curves && own(index) && names[dot.__data__.i] === pointed.name);
    }
  }

  // A figure may show what is done to a branch: the point after its sum stands for it.
  function nameBranches() {
    const named = new Map();
    for (const { dataset } of document.querySelectorAll(".spot")) named.set(`${dataset.model} ${dataset.branch}`, dataset.point);
    for (const { points, data } of page.panels)
      points?.forEach((names, index) => {
        if (names) points[index] = names.map((name) => named.get(`${data[index].meta} ${name}`) ?? name);
      });
  }

  function keep(button) {
    const again = button && button.getAttribute("aria-pressed") === "true";
    for (const other of document.querySelectorAll(".spot")) other.setAttribute("aria-pressed", String(other === button && !again));
    kept = button && !again ? pointOf(button) : null;
    point(kept);
  }

  const pointOf = (button) => ({ model: Number(button.dataset.model), name: button.dataset.point });

  // One stop of the Tab key for each chain; arrow keys move along it.
  for (const chain of document.querySelectorAll(".stages")) {
    const buttons = [...chain.querySelectorAll(".spot")];
    if (buttons.length) buttons[0].tabIndex = 0;
    const over = (event) => event.target.closest(".spot") && point(pointOf(event.target.closest(".spot")));
    chain.addEventListener("pointerover", over);
    chain.addEventListener("focusin", over);
    for (const name of ["pointerout", "focusout"]) chain.addEventListener(name, () => point(null));
    chain.addEventListener("keydown", (event) => {
      const place = buttons.indexOf(document.activeElement);
      const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (place < 0 || next === undefined || !buttons[next]) return;
      event.preventDefault();
      buttons[place].tabIndex = -1;
      buttons[next].tabIndex = 0;
      buttons[next].focus();
    });
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && kept && keep(null));

  // One direction of view for all surfaces of a group: they are there to be compared.
  function turnTogether(plot) {
    if (plot.dataset.turns) return;
    plot.dataset.turns = "true";
    plot.on("plotly_relayout", (change) => {
      const camera = change["scene.camera"];
      const same = JSON.stringify(camera);
      for (const other of camera ? plot.closest(".panels").querySelectorAll(".plot[data-drawn]") : [])
        if (JSON.stringify(other.layout.scene.camera) !== same) Plotly.relayout(other, { "scene.camera": camera });
    });
  }

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function groupsTurned() {
    return [...document.querySelectorAll('[data-view-button="3-D"][aria-pressed="true"]')].map((button) => button.closest(".group"));
  }

  function show(group, name) {
    const turning = group.querySelector(".turning");
    if (turning) {
      const missing = name === "3-D" && !hasWebGL();
      group.querySelector(".flat").hidden = !missing;
      if (missing) name = "contour";
      turning.hidden = name !== "3-D";
    }
    for (const button of group.querySelectorAll("[data-view-button]")) button.setAttribute("aria-pressed", String(button.dataset.viewButton === name));
    for (const view of group.querySelectorAll("[data-view]")) {
      view.hidden = view.dataset.view !== name;
      if (view.hidden && view.dataset.view === "3-D")
        for (const plot of view.querySelectorAll(".plot[data-drawn]")) {
          Plotly.purge(plot);
          delete plot.dataset.drawn;
          delete plot.dataset.turns;
        }
    }
  }

  function next() {
    const plot = queue.shift();
    if (!plot) {
      busy = false;
      root.dataset.drawn = "true";
      return;
    }
    draw(plot);
    setTimeout(next, 0);
  }

  const isSeen = (plot) => plot.offsetParent !== null && !plot.closest("details:not([open])");

  function drawThese(chosen) {
    if (!page) return;
    root.dataset.drawn = "false";
    queue = [...new Set([...queue, ...chosen.filter(isSeen)])];
    if (!busy) {
      busy = true;
      setTimeout(next, 0);
    }
  }

  function drawAll() {
    queue = [];
    drawThese(plots);
  }

  function choose() {
    for (const chip of document.querySelectorAll("[data-chip]")) chip.setAttribute("aria-pressed", String(shown[chip.dataset.chip]));
    for (const part of document.querySelectorAll("[data-models]"))
      part.hidden = part.dataset.models.split(" ").some((model) => model && !shown[model]);
    for (const view of document.querySelectorAll(".panels")) {
      const panels = [...view.querySelectorAll(".panel")];
      view.querySelector(".empty").hidden = panels.some((panel) => !panel.hidden);
    }
    drawAll();
  }

  function dress(theme) {
    root.dataset.theme = theme;
    document.getElementById("theme-name").textContent = theme === "dark" ? "light" : "dark";
    drawAll();
  }

  // Long lists are kept once; {"$": place} stands for them.
  function whole(value, lists) {
    if (Array.isArray(value)) return value.map((part) => whole(part, lists));
    if (!value || typeof value !== "object") return value;
    if ("$" in value) return lists[value.$];
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, whole(part, lists)]));
  }

  function shownValue(value) {
    if (value === null) return "–";
    return typeof value === "number" ? String(Number(value.toPrecision(5))).replace("-", "−") : String(value);
  }

  // `columns`: header, meaning, whether it holds numbers; `cells`: column by column.
  function tableOf({ columns, cells, models, faint }) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const [name, meaning, numbers] of columns) {
      const th = document.createElement("th");
      th.textContent = name;
      if (meaning) th.title = meaning;
      if (numbers) th.className = "n";
      head.append(th);
    }
    const body = table.createTBody();
    cells[0]?.forEach((_, place) => {
      const row = body.insertRow();
      if (faint?.[place]) row.className = "out";
      if (models && models[place] >= 0) {
        row.dataset.models = models[place];
        row.hidden = !shown[models[place]];
      }
      columns.forEach(([, , numbers], index) => {
        const td = row.insertCell();
        if (numbers) td.className = "n";
        td.textContent = shownValue(cells[index][place]);
      });
    });
    return table;
  }

  function fill(details) {
    const box = details.querySelector(".scroll");
    if (!page || box.childElementCount) return;
    if (details.dataset.table) {
      box.append(tableOf(page.tables[details.dataset.table]));
      return;
    }
    const { columns, cells } = page.rows[details.id];
    const told = columns.map((name, index) => [name.replaceAll("_", " "), "", typeof cells[index]?.[0] === "number"]);
    box.append(tableOf({ columns: told, cells }));
  }

  function openTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let part = target.parentElement; part; part = part.parentElement) if (part.matches("details")) part.open = true;
    const own = target.querySelector(":scope > details.fold");
    if (own) own.open = true;
    if (target.matches("details.rows")) {
      target.open = true;
      fill(target);
    }
    target.scrollIntoView();
  }

  // Without the right to the clipboard the text is selected, so that the keyboard can copy it.
  async function copy(button) {
    const text = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("copy" in button.dataset) copy(button);
    if (button.matches(".spot")) keep(button);
    if (button.id === "theme") dress(root.dataset.theme === "dark" ? "light" : "dark");
    if (button.dataset.chip) shown[button.dataset.chip] = !shown[button.dataset.chip];
    if (button.dataset.all) shown.fill(button.dataset.all === "true");
    if (button.dataset.chip || button.dataset.all) choose();
    if (button.dataset.fold) for (const one of folds) one.open = button.dataset.fold === "open";
    if (button.dataset.viewButton) {
      const group = button.closest(".group");
      show(group, button.dataset.viewButton);
      // Browsers keep 16 three-dimensional figures at a time, and drop the oldest.
      const panels = (one) => one.querySelectorAll('[data-view="3-D"] .panel:not([hidden])').length;
      const all = groupsTurned();
      if (all.reduce((sum, one) => sum + panels(one), 0) > 12) for (const other of all) if (other !== group) show(other, "contour");
      drawAll();
    }
  });
  for (const one of folds) one.addEventListener("toggle", () => one.open && drawThese([...one.querySelectorAll(".plot")]));
  for (const details of document.querySelectorAll("details.table, details.rows")) details.addEventListener("toggle", () => details.open && fill(details));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => dress(event.matches ? "dark" : "light"));
  addEventListener("hashchange", openTarget);

  let width = innerWidth;
  let timer = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 120);
  });

  // Paper is white and narrow: draw for it, and go back afterwards.
  let before = null;
  let turned = [];
  let folded = [];
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    document.body.classList.add("printing");
    folded = printed.filter((one) => !one.open);
    for (const one of folded) one.open = true;
    for (const one of printed) if (one.matches(".table")) fill(one);
    turned = groupsTurned();
    for (const group of turned) show(group, "contour");
    for (const plot of page ? plots : []) if (plot.offsetParent !== null) draw(plot);
  });
  addEventListener("afterprint", () => {
    document.body.classList.remove("printing");
    for (const one of folded) one.open = false;
    for (const group of turned) show(group, "3-D");
    dress(before);
  });

  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function failed(reason) {
    const notice = document.getElementById("unpacked");
    notice.textContent = `${reason} The figures are also in the folder figures/ beside this page, and all numbers in tables/.`;
    notice.hidden = false;
    root.dataset.drawn = "true";
  }

  async function unpack() {
    if (typeof DecompressionStream === "undefined") {
      failed("This browser is too old to unpack the figures: Chrome 80, Firefox 113, Safari 16.4 or later can.");
      return;
    }
    const [library, numbers] = await Promise.all(["plotly", "page-data"].map(unpacked));
    const script = document.createElement("script");
    script.textContent = library;
    document.head.append(script);
    const { lists, ...values } = JSON.parse(numbers);
    page = whole(values, lists);
    nameBranches();
    for (const details of document.querySelectorAll("details.table[open], details.rows[open]")) fill(details);
    drawAll();
    openTarget();
  }

  dress(root.dataset.theme);
  choose();
  openTarget();
  unpack().catch((error) => failed(`The figures could not be unpacked: ${error.message}.`));
})();

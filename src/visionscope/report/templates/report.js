"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const root = document.documentElement;
  const shown = [...page.shown];
  // Its buttons would cover the curves on a phone; dragging zooms, a double click goes back.
  const config = { displayModeBar: false, responsive: false };
  const numeric = new Set(["x", "y", "z", "customdata", "text"]);
  const plots = [...document.querySelectorAll(".plot")];
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
    if (spec.heat) plot.style.height = plot.clientWidth - 20 + "px";
    const layout = dressed(spec.layout);
    layout.width = plot.clientWidth;
    layout.height = plot.clientHeight;
    // On a touch screen a drag must scroll the page.
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    const data = dressed(spec.data).map((trace) => ({ ...trace, visible: trace.meta < 0 || shown[trace.meta] }));
    Plotly.react(plot, data, layout, config);
    if (spec.heat) {
      // The labels' room is known only now; what is left shall be a square.
      const room = plot._fullLayout._size;
      const height = Math.max(200, Math.round(layout.height + room.w - room.h));
      plot.style.height = height + "px";
      Plotly.relayout(plot, { height });
    }
    plot.dataset.drawn = "true";
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

  function drawAll() {
    root.dataset.drawn = "false";
    queue = plots.filter((plot) => plot.offsetParent !== null);
    if (!busy) {
      busy = true;
      setTimeout(next, 0);
    }
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

  function cell(value) {
    const td = document.createElement("td");
    if (typeof value === "number") td.className = "n";
    td.textContent = value === null ? "–" : typeof value === "number" ? String(Number(value.toPrecision(5))).replace("-", "−") : String(value);
    return td;
  }

  function fill(details) {
    const box = details.querySelector(".scroll");
    if (box.childElementCount) return;
    const { columns, rows } = page.rows[details.id];
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    columns.forEach((name, index) => {
      const th = document.createElement("th");
      th.textContent = name.replaceAll("_", " ");
      if (rows.length && typeof rows[0][index] === "number") th.className = "n";
      head.append(th);
    });
    const body = table.createTBody();
    for (const row of rows) body.insertRow().append(...row.map(cell));
    box.append(table);
  }

  function openTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.matches("details.rows")) {
      target.open = true;
      fill(target);
      target.scrollIntoView();
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "theme") dress(root.dataset.theme === "dark" ? "light" : "dark");
    if (button.dataset.chip) shown[button.dataset.chip] = !shown[button.dataset.chip];
    if (button.dataset.all) shown.fill(button.dataset.all === "true");
    if (button.dataset.chip || button.dataset.all) choose();
    if (button.dataset.viewButton) {
      const group = button.closest(".group");
      for (const other of group.querySelectorAll("[data-view-button]")) other.setAttribute("aria-pressed", String(other === button));
      for (const view of group.querySelectorAll("[data-view]")) view.hidden = view.dataset.view !== button.dataset.viewButton;
      drawAll();
    }
  });
  for (const details of document.querySelectorAll("details.rows")) details.addEventListener("toggle", () => details.open && fill(details));
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
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    document.body.classList.add("printing");
    for (const plot of plots) if (plot.offsetParent !== null) draw(plot);
  });
  addEventListener("afterprint", () => {
    document.body.classList.remove("printing");
    dress(before);
  });

  dress(root.dataset.theme);
  choose();
  openTarget();
})();

"use strict";
(function () {
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  for (const [name, spec] of Object.entries(data("specs"))) {
    vegaEmbed("#" + CSS.escape(name), spec, { mode: "vega-lite", actions: false, renderer: "svg", logLevel: 1 });
  }

  /* The table of trials is drawn from its data, a page at a time: thousands of rows stay light. */
  const trials = data("trial-data");
  const page = 200;
  const table = document.getElementById("trial-table");
  const body = table.tBodies[0];
  const texts = trials.rows.map((row) => row.map((value, c) => shown(value, c)));
  const words = trials.rows.map((row, r) =>
    row.map((value, c) => trials.columns[c] + " " + texts[r][c]).join("\n").toLowerCase());
  let order = trials.rows.map((_, r) => r);
  let drawn = 0;

  function shown(value, column) {
    if (value === null) return "";
    if (typeof value !== "number") return String(value);
    const digits = trials.digits[trials.columns[column]];
    if (digits !== undefined) return value.toFixed(digits);
    return String(Number(value.toPrecision(4)));
  }

  function element(name, text, parent, className) {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (className) made.className = className;
    if (parent) parent.append(made);
    return made;
  }

  /* Of the metric f1:LABEL the label keeps its own signs. */
  function heading(name) {
    const [before, ...label] = name.split(":");
    return [before.replaceAll("_", " "), ...label].join(":");
  }

  function draw(more) {
    if (!more) { body.replaceChildren(); drawn = 0; }
    for (const r of order.slice(drawn, drawn + page)) {
      const row = element("tr", null, body, "trial");
      row.dataset.row = r;
      trials.rows[r].forEach((value, c) => {
        element("td", texts[r][c], row, typeof value === "number" ? "num" : "");
      });
    }
    drawn = Math.min(order.length, drawn + page);
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  }

  const head = element("tr", null, table.tHead);
  trials.columns.forEach((name, c) => {
    const cell = element("th", null, head, trials.rows.some((row) => typeof row[c] === "number") ? "num" : "");
    cell.setAttribute("aria-sort", "none");
    const button = element("button", heading(name), cell);
    button.type = "button";
    button.addEventListener("click", () => {
      const ascending = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of head.cells) other.setAttribute("aria-sort", "none");
      cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (r) => trials.rows[r][c];
      order.sort((a, b) => {
        const empty = (value(a) === null) - (value(b) === null);
        return empty || (ascending ? 1 : -1) * compare(value(a), value(b));
      });
      draw(false);
    });
  });

  function configuration(r) {
    const row = document.createElement("tr");
    row.className = "config";
    const cell = element("td", null, row);
    cell.colSpan = trials.columns.length;
    const own = trials.own[r];
    for (const [path, value] of Object.entries({ ...trials.base, ...own })) {
      element("code", path + "=" + JSON.stringify(value), cell, path in own ? "own" : "");
      cell.append(" ");
    }
    return row;
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.trial");
    if (!row) return;
    const next = row.nextElementSibling;
    if (next && next.classList.contains("config")) next.remove();
    else row.after(configuration(Number(row.dataset.row)));
  });

  const count = document.getElementById("shown");
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
    /* What ends in a digit ends there: "seed 1" is not seed 10, "alpha 0.1" not 0.15. */
    const patterns = wanted.map((word) =>
      new RegExp(word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") + (/\d$/.test(word) ? "(?![\\d.])" : "")));
    const fits = (r) => patterns.every((pattern) => pattern.test(words[r]));
    const sorted = head.querySelector("[aria-sort=ascending], [aria-sort=descending]");
    order = trials.rows.map((_, r) => r).filter(fits);
    count.textContent = order.length + " of " + trials.rows.length + " trials";
    if (sorted) {
      const way = sorted.getAttribute("aria-sort");
      sorted.setAttribute("aria-sort", way === "ascending" ? "descending" : "ascending");
      sorted.querySelector("button").click();
    } else draw(false);
  });

  const frame = table.parentElement;
  frame.addEventListener("scroll", () => {
    if (frame.scrollTop + frame.clientHeight > frame.scrollHeight - 300 && drawn < order.length) draw(true);
  });
  window.addEventListener("beforeprint", () => { while (drawn < Math.min(order.length, 1000)) draw(true); });
  draw(false);
})();

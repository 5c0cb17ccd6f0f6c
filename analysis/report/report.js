"use strict";
(function () {
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  for (const [name, spec] of Object.entries(data("specs"))) {
    const options = { mode: "vega-lite", actions: false, renderer: "svg", logLevel: 1 };
    vegaEmbed("#" + CSS.escape(name), spec, options).then(({ view }) => view.addResizeListener(() => setTimeout(paint)));
  }

  /* What is about one router is selected together: marks know the datum they stand for, rows their point. */
  const picked = document.getElementById("picked");
  const pointOf = (element) => {
    const row = element.closest("tr[data-point]");
    if (row) return row.dataset.point;
    const item = element.closest(".chart") && element.__data__;
    return item && item.datum && item.datum.point;
  };

  function pick(point) {
    picked.dataset.point = !point || point === picked.dataset.point ? "" : point;
    paint();
  }

  function paint() {
    const point = picked.dataset.point || "";
    picked.hidden = !point;
    picked.textContent = "router " + point + " is selected; Esc lets it go";
    document.body.classList.toggle("picking", Boolean(point));
    for (const row of document.querySelectorAll("tr[data-point]")) {
      row.classList.toggle("picked", row.dataset.point === point);
      row.setAttribute("aria-selected", row.dataset.point === point);
    }
    for (const mark of document.querySelectorAll(".chart [role=graphics-symbol]")) {
      const own = pointOf(mark);
      mark.classList.toggle("picked", Boolean(point) && own === point);
      mark.classList.toggle("unpicked", Boolean(point && own) && own !== point);
    }
  }

  /* A page that lies on a disk may not be let to the clipboard: then a selection is copied. */
  async function copy(button) {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      const area = element("textarea", text, button.parentElement);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button, a, input, summary");
    if (button && button.classList.contains("copy")) copy(button);
    if (button) return;
    const point = pointOf(event.target);
    if (point) pick(point);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") pick("");
    if ((event.key === "Enter" || event.key === " ") && event.target.matches("tr[tabindex]")) {
      event.preventDefault();
      event.target.click();
    }
  });

  /* The table of trials is drawn from its data, a page at a time: thousands of rows stay light. */
  const trials = data("trial-data");
  const page = 200;
  const table = document.getElementById("trial-table");
  const body = table.tBodies[0];
  const texts = trials.rows.map((row) => row.map((value, c) => shown(value, c)));
  const words = trials.rows.map((row, r) =>
    row.map((value, c) => trials.columns[c] + " " + texts[r][c]).join("\n").toLowerCase());
  const [pointColumn, keyColumn] = ["point", "key"].map((name) => trials.columns.indexOf(name));
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
      row.dataset.point = trials.rows[r][pointColumn];
      row.tabIndex = 0;
      trials.rows[r].forEach((value, c) => {
        const cell = element("td", texts[r][c], row, typeof value === "number" ? "num" : "");
        if (c === keyColumn) {
          const button = element("button", "Copy", cell, "copy");
          button.type = "button";
          button.dataset.copy = value;
        }
      });
    }
    paint();
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
    if (!row || event.target.closest("button")) return;
    const next = row.nextElementSibling;
    if (next && next.classList.contains("config")) next.remove();
    else row.after(configuration(Number(row.dataset.row)));
  });

  /* Of several words each may have its trials, and no trial all of them. */
  function why(wanted, patterns) {
    const counts = patterns.map((pattern) => words.filter((text) => pattern.test(text)).length);
    const missing = wanted.filter((_, place) => !counts[place]);
    if (missing.length) return "no trial has " + missing.map((word) => "\u201c" + word + "\u201d").join(" or ") +
      "; write a column and a value (" + trials.columns.slice(0, 3).map(heading).join(", ") + ", \u2026), with commas between several";
    return "no trial has all of them: " + wanted.map((word, place) => "\u201c" + word + "\u201d has " + counts[place]).join(", ");
  }

  const count = document.getElementById("shown");
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
    /* What ends in a digit ends there: "seed 1" is not seed 10, "alpha 0.1" not 0.15. */
    const patterns = wanted.map((word) =>
      new RegExp(word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") + (/\d$/.test(word) ? "(?![\\d.])" : "")));
    const fits = (r) => patterns.every((pattern) => pattern.test(words[r]));
    const sorted = head.querySelector("[aria-sort=ascending], [aria-sort=descending]");
    order = trials.rows.map((_, r) => r).filter(fits);
    count.textContent = order.length ? order.length + " of " + trials.rows.length + " trials" : why(wanted, patterns);
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
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    while (drawn < Math.min(order.length, 1000)) draw(true);
  });
  draw(false);
})();

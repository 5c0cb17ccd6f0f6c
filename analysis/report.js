"use strict";
(function () {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  for (const [name, spec] of Object.entries(specs)) {
    vegaEmbed("#" + name, spec, { mode: "vega-lite", actions: false, renderer: "svg", logLevel: 1 });
  }

  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }

  function sort(table, column, ascending) {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const rows = Array.from(body.rows);
    const sign = ascending ? 1 : -1;
    rows.sort((a, b) => {
      const empty = (value(a) === "") - (value(b) === "");
      return empty || sign * compare(value(a), value(b));
    });
    body.append(...rows);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const first = table.tBodies[0].rows[0];
      if (first && first.cells[column].classList.contains("num")) head.classList.add("num");
      head.querySelector("button").addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending);
      });
    });
  }
})();

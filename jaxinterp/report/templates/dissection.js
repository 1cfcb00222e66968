"use strict";
// Filters and sorts the table of units; without it all of them stay visible.
(() => {
  const find = (id) => document.getElementById(id);
  const tools = find("tools");
  if (!tools) return;

  const body = find("rows");
  const heads = [...body.parentElement.tHead.rows[0].cells];
  const place = (name) => heads.findIndex((head) => head.textContent === name);
  const [layerAt, categoryAt] = [place("layer"), place("category")];
  const rows = [...body.rows].map((element, order) => {
    const cells = [...element.cells].map((cell) => cell.textContent);
    return { element, order, cells, text: cells.join(" ").toLowerCase() };
  });

  const apply = () => {
    const words = find("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const layer = find("layer").value;
    const category = find("category")?.value ?? "";
    const only = find("detectors")?.checked ?? false;
    let shown = 0;
    for (const row of rows) {
      const show =
        words.every((word) => row.text.includes(word)) &&
        (!layer || row.cells[layerAt] === layer) &&
        (!category || row.cells[categoryAt] === category) &&
        (!only || row.element.classList.contains("detector"));
      row.element.hidden = !show;
      if (show) shown += 1;
    }
    find("count").textContent =
      shown === rows.length ? `${shown} units` : `${shown} of ${rows.length} units`;
  };

  const sort = (column, sign) => {
    const numeric = heads[column].classList.contains("num");
    const key = (row) => (numeric ? parseFloat(row.cells[column]) : row.cells[column]);
    const empty = (value) => value === "" || Number.isNaN(value);
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y) || a.order - b.order; // last either way
      const step = numeric ? x - y : x.localeCompare(y, "en", { numeric: true });
      return sign * step || a.order - b.order;
    });
    body.append(...rows.map((row) => row.element));
  };

  const original = () => {
    rows.sort((a, b) => a.order - b.order);
    body.append(...rows.map((row) => row.element));
    for (const head of heads) head.removeAttribute("aria-sort");
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      // The high numbers are looked for first, and the first letters of the alphabet.
      const numeric = head.classList.contains("num");
      const next = was
        ? { ascending: "descending", descending: "ascending" }[was]
        : numeric && column !== place("unit") ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", next);
      sort(column, next === "ascending" ? 1 : -1);
    });
  });

  let timer = 0;
  find("text").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  for (const id of ["layer", "category", "detectors"]) find(id)?.addEventListener("change", apply);
  find("reset").addEventListener("click", () => {
    for (const id of ["text", "layer", "category"]) if (find(id)) find(id).value = "";
    if (find("detectors")) find("detectors").checked = false;
    original();
    apply();
  });
  tools.hidden = false;
  apply(); // a browser may have kept the fields from before a reload
})();

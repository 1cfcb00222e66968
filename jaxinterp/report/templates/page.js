"use strict";
// Filters and sorts what the page already shows; without it everything stays visible.
(() => {
  const find = (id) => document.getElementById(id);
  const tools = find("tools");
  if (!tools) return;

  const sections = [...document.querySelectorAll("section.layer")].map((element) => ({
    element,
    layer: element.dataset.layer,
    cards: [...element.querySelectorAll("article")].map((card, place) => ({
      element: card,
      place,
      kernel: Number(card.dataset.kernel),
      jobs: [...card.querySelectorAll("details.job")].map((job) => ({
        element: job,
        image: job.dataset.image,
        status: job.dataset.status,
        scores: job.dataset.scores.trim().split(" ").map(Number), // "-" becomes NaN
      })),
    })),
  }));
  const total = document.querySelectorAll("details.job").length;

  // "3, 10-20" as a test of a kernel's number; null where the text says nothing.
  const parse = (text) => {
    const ranges = [];
    for (const part of text.split(/[\s,;]+/)) {
      const match = /^(\d+)(?:(?:-|\u2013|\.\.)(\d+))?$/.exec(part);
      if (match) ranges.push([Number(match[1]), Number(match[2] ?? match[1])]);
    }
    if (!ranges.length) return text.trim() ? () => false : null;
    return (kernel) => ranges.some(([first, last]) => first <= kernel && kernel <= last);
  };

  const mean = (card, metric) => {
    let sum = 0;
    let count = 0;
    for (const job of card.jobs) {
      const score = job.scores[metric];
      if (!job.element.hidden && Number.isFinite(score)) {
        sum += score;
        count += 1;
      }
    }
    return count ? sum / count : NaN;
  };

  const sort = (section, metric, sign) => {
    const keys = new Map(
      section.cards.map((card) => [card, metric === "" ? card.place : mean(card, Number(metric))]),
    );
    const sorted = [...section.cards].sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) {
        return Number.isNaN(x) - Number.isNaN(y) || a.place - b.place; // no score: last either way
      }
      return sign * (x - y) || a.place - b.place;
    });
    section.element.append(...sorted.map((card) => card.element));
  };

  const apply = () => {
    const [layer, image, status] = ["layer", "image", "status"].map((id) => find(id).value);
    const wanted = parse(find("kernel").value);
    const sign = find("order").getAttribute("aria-pressed") === "true" ? -1 : 1;
    let shown = 0;
    for (const section of sections) {
      let any = false;
      for (const card of section.cards) {
        const fits = (!layer || layer === section.layer) && (!wanted || wanted(card.kernel));
        let visible = false;
        for (const job of card.jobs) {
          const show = fits && (!image || image === job.image) && (!status || status === job.status);
          job.element.hidden = !show;
          if (show) shown += 1;
          visible ||= show;
        }
        card.element.hidden = !visible;
        any ||= visible;
      }
      section.element.hidden = !any;
      if (any) sort(section, find("sort").value, sign);
    }
    find("count").textContent =
      shown === total ? `${total} jobs` : `${shown} of ${total} jobs`;
  };

  const turn = (descending) => {
    find("order").setAttribute("aria-pressed", String(descending));
    find("order").textContent = descending ? "descending" : "ascending";
  };

  for (const id of ["layer", "image", "status", "sort"]) find(id).addEventListener("change", apply);
  let timer = 0;
  find("kernel").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  find("order").addEventListener("click", () => {
    turn(find("order").getAttribute("aria-pressed") !== "true");
    apply();
  });
  find("reset").addEventListener("click", () => {
    for (const id of ["layer", "kernel", "image", "status", "sort"]) find(id).value = "";
    turn(false);
    apply();
  });
  tools.hidden = false;
  apply(); // a browser may have kept the fields from before a reload
})();

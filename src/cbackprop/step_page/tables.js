// The formula with its numbers, and the tables.

function showFormula({ lines, factors, note }) {
  const section = element("formula");
  section.replaceChildren();
  const block = make("div", { class: "lines" }, section);
  lines.forEach((line, i) => {
    const last = i === lines.length - 1 && lines.length > 1 && phaseNow().kind !== "example";
    math(line, make("p", last ? { class: "result", id: "result" } : {}, block));
  });
  if (factors && factors.length > 0) {
    const list = make("ul", { class: "factors" }, section);
    for (const [what, value, meaning] of factors) {
      const item = make("li", {}, list);
      math(`${what} = ${N(value)}`, make("span", { class: "factor" }, item));
      prose(meaning, make("span", { class: "faint" }, item));
    }
  }
  if (note) prose(note, make("p", { class: "note" }, section));
}

function showTables(tables) {
  const section = element("values");
  const scrolled = section.querySelector(".scroll")?.scrollTop ?? 0;
  section.replaceChildren();
  for (const { caption, head, under, rows } of tables) {
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region" }, section);
    const table = make("table", {}, scroll);
    const title = prose(caption, make("caption", {}, table));
    scroll.setAttribute("aria-label", title.textContent);
    const thead = make("thead", {}, table);
    const headRow = make("tr", {}, thead);
    for (const cell of head) math(cell, make("th", { scope: "col" }, headRow));
    if (under) {
      const second = make("tr", { class: "under" }, thead);
      for (const cell of under) math(cell, make("td", {}, second));
    }
    const body = make("tbody", {}, table);
    for (const { cells, chosen, choose } of rows) {
      const tr = make("tr", chosen ? { class: "chosen" } : {}, body);
      if (choose) choosable(tr, choose);
      cells.forEach((cell, i) => {
        const text = typeof cell === "string" ? cell : cell.text;
        const td = math(text, make(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}, tr));
        if (typeof cell !== "string") {
          if (cell.chosen) td.className = "chosen";
          choosable(td, cell.choose);
        }
      });
    }
  }
  const first = section.querySelector(".scroll");
  if (first) first.scrollTop = scrolled;
}

function choosable(part, choose) {
  part.classList.add("choosable");
  part.addEventListener("click", choose);
}

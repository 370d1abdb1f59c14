"use strict";
const said = document.getElementById("said");

// Numbers before words, and what is absent last, whichever way a table is sorted.
function compare(a, b, sign) {
  if (a === b) return 0;
  if (a === "" || a === "-") return 1;
  if (b === "" || b === "-") return -1;
  const [x, y] = [Number(a), Number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return sign * a.localeCompare(b, "en", { numeric: true });
  return sign * (x - y);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const name = head.textContent;
    if (!name) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      rows.sort((a, b) => compare(a.cells[column].dataset.key, b.cells[column].dataset.key, down ? -1 : 1));
      body.append(...rows);
      said.textContent = `sorted by ${name}, ${down ? "descending" : "ascending"}`;
    });
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "copied";
    } catch {
      // Where a page from disk may not write to the clipboard, the text is left selected.
      getSelection().selectAllChildren(source);
      said.textContent = "selected; press Ctrl+C to copy";
    }
    const label = button.textContent;
    button.textContent = said.textContent;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

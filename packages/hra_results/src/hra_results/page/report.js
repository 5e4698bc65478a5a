"use strict";
// Sorting of tables. A row with an empty first cell belongs to the row above it (ours, then the paper's).
function key(row, column) {
  const text = row.cells[column].textContent.trim().replace("−", "-");
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}
function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true});
  return typeof a === "number" ? -1 : 1;
}
function sort(table, column) {
  const head = table.tHead.rows[0].cells[column], body = table.tBodies[0], groups = [];
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const row of body.rows) {
    if (!groups.length || row.cells[0].textContent.trim()) groups.push([]);
    groups.at(-1).push(row);
  }
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  groups.sort((a, b) => {
    const [x, y] = [key(a[0], column), key(b[0], column)];
    if (typeof x !== typeof y) return compare(x, y); // cells without a number stay at the end
    return descending ? compare(y, x) : compare(x, y);
  });
  body.append(...groups.flat());
}
for (const table of document.querySelectorAll("main table")) {
  if (!table.tHead || table.tBodies[0].rows.length < 2 || table.closest(".examples")) continue;
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if (!cell.textContent.trim()) return;
    const button = document.createElement("button");
    button.append(...cell.childNodes);
    button.addEventListener("click", () => sort(table, column));
    cell.append(button);
  });
}
// On a narrow screen, rows are cards: a cell needs the name of its column.
for (const table of document.querySelectorAll("table")) {
  const heads = table.tHead ? [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim()) : [];
  if (heads.length < 4) continue;
  table.classList.add("stacked");
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, column) => cell.dataset.label = heads[column]);
}
for (const sheet of document.querySelectorAll(".sheet")) {
  sheet.querySelector("img").addEventListener("click", () => sheet.classList.toggle("large"));
}
// A link to a run opens its details.
function open() {
  try {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // no encoded text, so no run
  }
}
addEventListener("hashchange", open);
open();

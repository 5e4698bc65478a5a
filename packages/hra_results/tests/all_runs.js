"use strict";
// Run by test_all_runs.py at the end of a report, with FILTERS and POINTS: what the page shows for a link and after clicks.
const section = document.getElementById("all-runs"), controls = section.querySelector("form").elements, found = {};
const texts = (selector) => [...section.querySelectorAll(selector)].map((one) => one.textContent);
const shot = (name) => found[name] = {
  heads: texts("thead th"), rows: [...section.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent)),
  sorted: [...section.querySelectorAll("th[aria-sort]")].map((one) => [one.textContent, one.getAttribute("aria-sort")]),
  problems: texts("#all-runs-problems")[0], caption: texts(".caption")[0], frontier: texts(".frontier li"), points: texts("circle title"),
  steps: section.querySelector(".steps")?.getAttribute("d"), labels: texts("svg > text"), state: [...new URLSearchParams(location.hash.split("?")[1])],
  filters: [...section.querySelectorAll(".choices select")].map((one) => one.name), values: Object.fromEntries([...controls].filter((one) => one.name).map((one) => [one.name, one.value])),
};
const set = (name, value) => { controls[name].value = value; controls[name].dispatchEvent(new Event("change", {bubbles: true})); };
const press = (head) => [...section.querySelectorAll("th button")].find((one) => one.textContent.startsWith(head)).click();
shot("linked");
controls.reset.click();
shot("reset");
const style = document.createElement("style");
style.textContent = ".stacked thead { display: table-header-group !important; }";
document.head.append(style); // as in a wide window
[...section.querySelectorAll("th button")].find((one) => one.textContent.startsWith("adapter_parameters")).focus();
press("adapter_parameters"); press("adapter_parameters");
found.focus = document.activeElement.closest("th")?.dataset.column ?? "";
style.remove();
shot("descending");
controls.reset.click(); set("dataset", "mrpc"); set("is.status", "ok"); shot("only ok");
controls.reset.click();
for (const name of ["variant", "method"]) {
  const box = [...section.querySelectorAll(".columns input")].find((one) => one.value === name);
  box.checked = true; box.dispatchEvent(new Event("change", {bubbles: true}));
}
shot("two more columns");
found.filters = FILTERS.map((filter) => {
  set("filter", filter); shot("filtered");
  return found.filtered;
});
found.frontiers = POINTS.map(([points, better]) => allRuns.frontier(points, better).map(({id}) => id));
found.title = document.title;
found.injected = section.querySelectorAll("img").length + document.querySelectorAll("script:not([type])").length;
found.sideways = [document.body, ...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerHTML.slice(0, 200)).join();
document.body.dataset.found = JSON.stringify(found);

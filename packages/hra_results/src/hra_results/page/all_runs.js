// The table and plot of all runs. Its state is in the URL's fragment: #all-runs?task=glue&filter=…
const allRuns = {
  // Filters

  /** Split a filter into tokens: texts in quotes, names in backticks, operators and words. */
  tokens(text) {
    const token = /\s*(?:"([^"]*)"|'([^']*)'|`([^`]*)`|(==|!=|<=|>=|<|>|[()[\],])|([^\s()[\],<>=!"'`]+)|(\S))/y;
    const found = [];
    for (text = text.trim(); token.lastIndex < text.length;) {
      const [, double, single, name, sign, word, other] = token.exec(text);
      if (other) throw new Error(`expected a column, an operator or a value, found ${other}`);
      const quoted = double ?? single;
      if (quoted !== undefined) found.push({kind: "text", value: quoted});
      else if (name !== undefined) found.push({kind: "name", value: name});
      else found.push({kind: "word", value: sign ?? word});
    }
    return found;
  },
  /** Return a function of a row, true, false or null (unknown). columns: name -> function of a row. */
  filter(text, columns) {
    const tokens = allRuns.tokens(text);
    let at = 0;
    const peek = (...words) => tokens[at]?.kind === "word" && words.includes(tokens[at].value);
    const take = (word) => peek(word) && Boolean(++at);
    const fail = (expected) => {
      throw new Error(`expected ${expected}, found ${tokens[at] ? tokens[at].value || "an empty text" : "the end of the filter"}`);
    };
    const value = () => {
      const one = tokens[at], number = one && Number(one.value);
      if (one?.kind === "text" || peek("true", "false")) return tokens[at++].value;
      if (one?.kind !== "word" || Number.isNaN(number)) fail("a number, or a text in quotes");
      at++;
      return number;
    };
    const list = () => {
      const end = take("(") ? ")" : take("[") ? "]" : fail("a list such as (1, 2)");
      const values = [value()];
      while (take(",")) values.push(value());
      if (!take(end)) fail(`a comma or ${end}`);
      return values;
    };
    const comparison = () => {
      const name = tokens[at]?.kind !== "text" && columns.get(tokens[at]?.value);
      if (!name) fail("a column");
      at++;
      const negated = take("not");
      if (negated && !peek("in", "contains")) fail("in or contains");
      if (!peek("==", "!=", "<", "<=", ">", ">=", "in", "contains")) fail("an operator such as == or >=");
      const sign = tokens[at++].value, wanted = sign === "in" ? list() : value();
      const holds = (row) => allRuns.holds(name(row), sign, wanted);
      return negated ? (row) => allRuns.negated(holds(row)) : holds;
    };
    const term = () => {
      if (take("not")) {
        const inner = term();
        return (row) => allRuns.negated(inner(row));
      }
      if (!take("(")) return comparison();
      const inner = either();
      if (!take(")")) fail("and, or or )");
      return inner;
    };
    const both = () => {
      const parts = [term()];
      while (take("and")) parts.push(term());
      return (row) => parts.map((part) => part(row)).reduce((a, b) => a === false || b === false ? false : a && b);
    };
    const either = () => {
      const parts = [both()];
      while (take("or")) parts.push(both());
      return (row) => parts.map((part) => part(row)).reduce((a, b) => a === true || b === true ? true : a === null || b === null ? null : false);
    };
    if (!tokens.length) return () => true;
    const found = either();
    if (at < tokens.length) fail("and, or or the end of the filter");
    return found;
  },
  negated: (value) => value === null ? null : !value,
  /** Compare a cell with a value: as numbers if the value is one, else as texts. */
  holds(cell, sign, wanted) {
    if (cell === null) return null;
    const fold = (one) => String(one).toLowerCase();
    if (sign === "in") return wanted.some((one) => allRuns.holds(cell, "==", one));
    if (sign === "contains") return fold(cell).includes(fold(wanted));
    const [a, b] = typeof wanted === "number" ? [cell === "" ? NaN : Number(cell), wanted] : [fold(cell), fold(wanted)];
    return {"==": a === b, "!=": a !== b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign];
  },

  // Order, frontier, axes

  /** Sort rows by their cells: numbers, then texts, then unknown values, also in descending order. */
  sorted(rows, cell, descending) {
    const rank = (one) => one === null ? 2 : typeof one === "string" ? 1 : 0;
    return [...rows].sort((i, j) => {
      const [a, b] = [cell(i), cell(j)];
      if (rank(a) !== rank(b) || a === null) return rank(a) - rank(b);
      return (descending ? -1 : 1) * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true}));
    });
  },
  /** Return the points that no other point beats, starting with the best x; of equal points, the first (report/frontier.py). */
  frontier(points, [wantedX, wantedY]) {
    const sign = {lower: 1, higher: -1};
    if (!sign[wantedX] || !sign[wantedY]) return [];
    const cost = (point) => [sign[wantedX] * point.x, sign[wantedY] * point.y];
    let best = Infinity;
    return [...points].sort((a, b) => cost(a)[0] - cost(b)[0] || cost(a)[1] - cost(b)[1]).filter((point) => {
      const beats = cost(point)[1] < best;
      if (beats) best = cost(point)[1];
      return beats;
    });
  },
  /** Return an axis of these values: `place` (value -> 0 to 1) and `ticks`. logarithmic: the ratio above which a cost's is. */
  axis(values, cost, logarithmic) {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const log = cost && low > 0 && high > logarithmic * low;
    if (log) {
      [low, high] = [Math.log10(low), Math.log10(high)];
      [low, high] = [low - .08 * (high - low), high + .08 * (high - low)];
      const decades = Array.from({length: Math.ceil(high) - Math.floor(low) + 1}, (_, i) => Math.floor(low) + i);
      const every = (digits) => decades.flatMap((power) => digits.map((digit) => digit * 10 ** power)).filter((one) => Math.log10(one) >= low && Math.log10(one) <= high);
      const ticks = [[1], [1, 3], [1, 2, 5]].map(every).find((found) => found.length > 2) ?? every([1, 2, 3, 5, 7]);
      return {log, ticks, place: (value) => (Math.log10(Math.max(value, 1e-300)) - low) / (high - low)};
    }
    if (cost && low >= 0) [low, high] = [0, 1.1 * high || 1];
    else {
      const margin = .1 * (high - low) || .1 * Math.abs(high) || 1;
      [low, high] = [low - margin, high + margin];
    }
    const size = 10 ** Math.floor(Math.log10((high - low) / 4));
    const step = size * [1, 2, 5, 10].find((one) => one * size >= (high - low) / 6);
    const first = Math.ceil(low / step - 1e-9);
    const ticks = Array.from({length: Math.floor(high / step + 1e-9) - first + 1}, (_, i) => Number(((first + i) * step).toPrecision(12)));
    return {log, ticks, place: (value) => (value - low) / (high - low)};
  },
  /** Format a tick: 1500000 -> 1.5 M. */
  short(value) {
    const [factor, unit] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]].find(([one]) => Math.abs(value) >= one) ?? [1, ""];
    return String(Number((value / factor).toPrecision(4))) + unit;
  },
  /** Return a function that formats the numbers of a column with equal decimals; an unknown value is –. */
  formatter(numbers) {
    const largest = numbers.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    const digits = numbers.every(Number.isInteger) ? 0 : Math.max(0, 4 - Math.max(0, Math.floor(Math.log10(largest))));
    return (value) => {
      if (value === null) return "–";
      if (typeof value === "string") return value;
      if (value && Math.abs(value) < 10 ** (1 - digits)) return String(Number(value.toPrecision(4)));
      return value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
    };
  },
  csv(table) {
    const cell = (one) => one === null ? "" : /[",\r\n]/.test(one) ? `"${String(one).replaceAll('"', '""')}"` : String(one);
    return table.map((row) => row.map(cell).join(",") + "\n").join("");
  },

  // Data

  /** Return a view's columns by name, with `value`, `std` and `count` as functions of a row. */
  columns(view, selection) {
    return new Map(view.columns.map((column) => {
      const {of, at} = column.cells[selection] ?? column.cells[""] ?? {of: [null], at: []};
      const cell = (row) => at === null ? of[row] : of.length === 1 ? of[0] : of[at[row]];
      const part = (index) => (row) => Array.isArray(cell(row)) ? cell(row)[index] : null;
      const value = (row) => Array.isArray(cell(row)) ? cell(row)[0] : cell(row);
      return [column.name, {better: "", ...column, value, std: part(1), count: part(2)}];
    }));
  },
};
(() => {
  const section = document.getElementById("all-runs");
  if (!section) return;
  const tasks = JSON.parse(section.querySelector("script").textContent);
  const form = section.querySelector("form"), controls = form.elements, within = (selector) => section.querySelector(selector);
  const columnBoxes = within(".columns"), choices = within(".choices"), link = "all-runs?", EVERY = "every dataset";
  let state = new URLSearchParams(), problems = [], saved = () => "";

  /** Create an element; texts are never parsed as HTML. */
  function make(name, attributes = {}, ...children) {
    const svg = ["svg", "circle", "path", "line", "text", "g", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  /** Return a part of the state, or the default with a message if it is not one of the allowed values. */
  function chosen(name, allowed, otherwise) {
    const value = state.get(name);
    if (value === null || allowed.includes(value)) return value ?? otherwise;
    problems.push(`The address of this page has ${name}=${value}: expected one of ${allowed.join(", ")}.`);
    return otherwise;
  }
  function fill(select, options, value) {
    select.replaceChildren(...options.map(([key, title]) => make("option", {value: key}, title)));
    select.value = value;
    const label = select.closest("[data-of]");
    if (label) label.hidden = options.length < 2;
  }
  const equal = (a, b) => a.length === b.length && a.every((one, index) => one === b[index]);
  const several = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

  /** Return everything that is shown, from the data and the state. */
  function current() {
    problems = [];
    const names = tasks.map((one) => one.name);
    const task = tasks[names.indexOf(chosen("task", names, names[0]))];
    const dataset = chosen("dataset", [...task.datasets, EVERY], task.datasets[0]);
    const selection = chosen("selection", task.selections.map(([name]) => name), task.selection);
    const repeated = task.views.mean.rows < task.views.seed.rows;
    const mode = chosen("rows", ["mean", "seed"], repeated ? "mean" : "seed"), view = task.views[mode];
    const columns = allRuns.columns(view, selection), seeds = columns.get("seeds")?.value;
    if (seeds) for (const column of columns.values()) if (column.kind) column.seeds = seeds;
    const cell = (name, row) => columns.get(name)?.value(row) ?? null;
    const inDataset = [...Array(view.rows).keys()].filter((row) => dataset === EVERY || cell("dataset", row) === dataset);
    const known = [...columns.values()].filter((column) => inDataset.some((row) => column.value(row) !== null));
    const numeric = known.filter((column) => inDataset.some((row) => typeof column.value(row) === "number"));
    const usual = known.filter((column) => column.shown || column.name === "dataset" && dataset === EVERY).map((column) => column.name);
    const listed = state.getAll("column").filter((name) => {
      if (!columns.has(name)) problems.push(`The address of this page has column=${name}, which these runs do not have.`);
      return columns.has(name);
    });
    const shown = (listed.length ? listed : usual).map((name) => columns.get(name));
    let rows = inDataset;
    const named = (key) => columns.has(key.slice(3)) || !problems.push(`The address of this page has ${key}, a column that these runs do not have.`);
    const picked = [...state.entries()].filter(([key]) => key.startsWith("is.") && named(key));
    for (const [key, value] of picked) rows = rows.filter((row) => String(cell(key.slice(3), row)) === value);
    try {
      const passes = allRuns.filter(state.get("filter") ?? "", new Map([...columns].map(([name, column]) => [name, column.value])));
      rows = rows.filter((row) => passes(row) === true);
    } catch (error) {
      problems.push(`Filter: ${error.message}. No rows are shown until it is corrected.`);
      rows = [];
    }
    const sort = chosen("sort", ["", ...columns.keys()], ""), descending = state.get("descending") === "1";
    if (sort) rows = allRuns.sorted(rows, columns.get(sort).value, descending);
    const axes = numeric.map((column) => column.name);
    const main = new Map(task.main).get(dataset), score = axes.find((name) => columns.get(name).kind === "score");
    const axis = (name, usualAxis) => {
      const column = columns.get(chosen(name, axes, [usualAxis, score, axes[0]].find((one) => axes.includes(one))));
      return column && {...column, better: chosen(`${name}-better`, ["lower", "higher", ""], column.better)};
    };
    return {task, dataset, selection, mode, repeated, view, columns, cell, known, numeric, usual, shown, picked, rows, inDataset,
      sort, descending, x: axis("x", "trainable_parameters"), y: axis("y", main)};
  }

  /** Return the points of the plot, the frontier, and how many rows are not plotted, by reason. */
  function points({task, view, rows, cell, mode, repeated, dataset, x, y}) {
    const plotted = [], without = new Map(), colours = new Map(task.colours);
    for (const row of x && y ? rows : []) {
      const status = cell("status", row), [a, b] = [x.value(row), y.value(row)];
      const reason = !view.ok[row] ? status : !view.trained[row] ? "not trained"
        : typeof a === "number" && typeof b === "number" ? null : "without a value";
      if (reason) without.set(reason, (without.get(reason) ?? 0) + 1);
      else plotted.push({row, x: a, y: b, name: cell("label", row) + (mode === "seed" ? `, seed ${cell("seed", row)}` : "")
        + (dataset === EVERY ? `, ${cell("dataset", row)}` : ""), colour: colours.get(cell("method", row)) ?? "#555555"});
    }
    const datasets = new Set(plotted.map(({row}) => cell("dataset", row)));
    const frontier = datasets.size > 1 ? [] : allRuns.frontier(plotted, [x?.better, y?.better]);
    const notes = [];
    if (datasets.size > 1) notes.push("Several datasets have no common frontier: choose one.");
    else if (plotted.length && !(x.better && y.better)) notes.push("No frontier: the config specifies no better direction for an axis. Choose one.");
    const devices = new Set(plotted.map(({row}) => cell("device", row)));
    if (devices.size > 1 && (x.on_device || y.on_device)) notes.push(`Times and memory on different devices do not compare: ${[...devices].join("; ")}.`);
    const partial = plotted.filter(({row}) => cell("status", row) !== "ok");
    if (partial.length) notes.push(`Some seeds have no result: ${partial.map(({row, name}) => `${name} (${cell("status", row)})`).join("; ")}.`);
    if (mode === "seed" && repeated && frontier.length) notes.push("A frontier of single seeds favours lucky ones.");
    const left = [...without].map(([reason, count]) => `${count} ${reason}`).join(", ");
    if (left) notes.push(`Not plotted: ${left}.`);
    return {plotted, frontier, notes};
  }

  function renderPlot(now, {plotted, frontier, notes}) {
    const plot = within(".plotted"), {x, y} = now, arrows = {lower: ["←", "↓"], higher: ["→", "↑"]};
    const caption = [];
    plot.replaceChildren();
    if (plotted.length) {
      const width = Math.max(280, Math.min(plot.clientWidth || 640, 800)), height = Math.round(Math.max(260, Math.min(.6 * width, 420)));
      const [left, right, top, bottom] = [62, 16, 30, 46];
      const [across, up] = [[x, "x"], [y, "y"]].map(([axis, key]) => {
        const cost = axis.kind === "cost", bar = (row) => cost ? 0 : axis.std(row) ?? 0;
        return allRuns.axis(plotted.flatMap((point) => [point[key] - bar(point.row), point[key] + bar(point.row)]), cost, now.task.logarithmic);
      });
      const toX = (value) => left + across.place(value) * (width - left - right), toY = (value) => height - bottom - up.place(value) * (height - top - bottom);
      const clip = (value, low, high) => Math.min(high, Math.max(low, value)).toFixed(1);
      const svg = make("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img"});
      const label = (axis, scaled, index) => axis.name + (axis.better ? `, ${arrows[axis.better][index]} better` : "") + (scaled.log ? ", logarithmic" : "");
      svg.setAttribute("aria-label", `${y.name} against ${x.name} of ${several(plotted.length, "run")}; the table has the values`);
      svg.append(make("text", {x: 8, y: 16}, label(y, up, 1)), make("text", {x: width - right, y: height - 8, "text-anchor": "end"}, label(x, across, 0)));
      for (const tick of across.ticks) svg.append(make("line", {class: "grid", x1: toX(tick), x2: toX(tick), y1: top, y2: height - bottom}),
        make("text", {x: toX(tick), y: height - bottom + 16, "text-anchor": "middle"}, allRuns.short(tick)));
      for (const tick of up.ticks) svg.append(make("line", {class: "grid", x1: left, x2: width - right, y1: toY(tick), y2: toY(tick)}),
        make("text", {x: left - 6, y: toY(tick) + 4, "text-anchor": "end"}, allRuns.short(tick)));
      const steps = frontier.map((point, index) => index ? `H${toX(point.x).toFixed(1)}V${toY(point.y).toFixed(1)}` : `M${toX(point.x).toFixed(1)},${toY(point.y).toFixed(1)}`);
      svg.append(make("path", {class: "steps", d: steps.join("") || "M0,0"}));
      for (const point of plotted) {
        const [cx, cy] = [toX(point.x), toY(point.y)], [dx, dy] = [x.std(point.row), y.std(point.row)];
        const place = frontier.indexOf(point);
        if (dx) svg.append(make("line", {stroke: point.colour, y1: cy, y2: cy, x1: clip(toX(point.x - dx), left, width - right), x2: clip(toX(point.x + dx), left, width - right)}));
        if (dy) svg.append(make("line", {stroke: point.colour, x1: cx, x2: cx, y1: clip(toY(point.y - dy), top, height - bottom), y2: clip(toY(point.y + dy), top, height - bottom)}));
        svg.append(make("circle", {cx: cx.toFixed(1), cy: cy.toFixed(1), r: 5, fill: point.colour, class: place < 0 ? "beaten" : "best"},
          make("title", {}, `${point.name}: ${x.name} ${written(x, point.row)}, ${y.name} ${written(y, point.row)}`)));
        if (place >= 0) svg.append(make("text", {class: "place", x: cx + 8, y: cy - 7}, String(place + 1)));
      }
      plot.append(svg);
      caption.push(`${several(plotted.length, "run")}, ${frontier.length} on the Pareto frontier: no other run beats them in both values.`);
    } else caption.push(now.numeric.length ? "No run to plot." : "No column of these runs has numbers to plot.");
    if (now.mode === "mean" && plotted.length) caption.push("Points are means over seeds, bars one standard deviation.");
    within(".caption").textContent = [...caption, ...notes].join(" ");
    within(".frontier").replaceChildren(...frontier.map(({row, name}) => make("li", {}, `${name}: ${x.name} ${written(x, row)}, ${y.name} ${written(y, row)}`)));
    const used = new Map(plotted.map(({row, colour}) => [now.cell("method", row), colour]));
    within(".legend").replaceChildren(...[...used].map(([method, colour]) => {
      const dot = make("span", {class: "dot", "aria-hidden": "true"});
      dot.style.background = colour;
      return make("li", {}, dot, method);
    }));
  }

  /** Write a cell: a mean with its deviation, and the number of seeds if it is not that of the row. */
  function written(column, row, text = allRuns.formatter([column.value(row)].filter((one) => typeof one === "number"))) {
    const [value, std, count, seeds] = [column.value(row), column.std(row), column.count(row), column.seeds?.(row)];
    return text(value) + (std === null || column.kind === "cost" && !std ? "" : ` ± ${text(std)}`) + (seeds > count && count !== null ? ` (${several(count, "seed")})` : "");
  }

  function renderTable(now, frontier) {
    const {rows, shown, cell, task, mode} = now, best = new Set(frontier.map(({row}) => row)), scroll = within(".scroll");
    const focused = document.activeElement?.closest?.("#all-runs th")?.dataset.column;
    const texts = new Map(shown.map((column) => [column, allRuns.formatter(rows.map(column.value).filter((one) => typeof one === "number"))]));
    const isNumber = (column) => now.numeric.some(({name}) => name === column.name);
    const heads = shown.map((column) => {
      const sorted = now.sort === column.name ? now.descending ? "descending" : "ascending" : null;
      const arrow = {lower: " ↓", higher: " ↑"}[column.better] ?? "";
      const button = make("button", {type: "button", title: column.meaning}, column.name + arrow);
      button.addEventListener("click", () => change({sort: column.name, descending: sorted === "ascending" ? "1" : null}));
      return make("th", {class: isNumber(column) ? "number" : null, "aria-sort": sorted, "data-column": column.name}, button);
    });
    const body = rows.map((row) => make("tr", {}, ...shown.map((column, index) => {
      const td = make("td", {class: isNumber(column) ? "number" : null, "data-label": column.name}), text = written(column, row, texts.get(column));
      const anchor = [task.name, ...["dataset", "method", "variant", "seed"].map((name) => cell(name, row))].join("-");
      const linked = column.name === "label" && mode === "seed" && document.getElementById(anchor);
      td.append(linked ? make("a", {href: `#${encodeURIComponent(anchor)}`}, text) : text);
      if (text.length > 40) td.classList.add("text");
      if (column.name === "status") td.classList.add(text === "ok" ? "finished" : "failed");
      if (!index && best.has(row)) td.append(make("span", {class: "best", title: "on the Pareto frontier"}, " ★"));
      return td;
    })));
    scroll.replaceChildren(make("table", {class: "stacked"}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)));
    if (focused !== undefined) [...scroll.querySelectorAll("th")].find((head) => head.dataset.column === focused)?.querySelector("button").focus();
    within(".count").textContent = `${rows.length} of ${several(now.inDataset.length, "row")}${best.size ? "; ★: on the Pareto frontier" : ""}. `
      + (mode === "mean" ? "± is the sample standard deviation over seeds." : "Standard errors are columns named stderr.");
    saved = () => allRuns.csv([
      shown.flatMap((column) => column.kind && mode === "mean" ? [column.name, `${column.name}_std`, `${column.name}_n`] : [column.name]),
      ...rows.map((row) => shown.flatMap((column) => column.kind && mode === "mean" ? [column.value(row), column.std(row), column.count(row)] : [column.value(row)])),
    ]);
  }

  function renderControls(now) {
    const same = (names) => names.map((name) => [name, name]);
    fill(controls.task, tasks.map(({name, title}) => [name, title]), now.task.name);
    fill(controls.dataset, same(now.task.datasets.length > 1 ? [...now.task.datasets, EVERY] : now.task.datasets), now.dataset);
    fill(controls.selection, now.task.selections, now.selection);
    fill(controls.rows, now.repeated ? [["mean", "method variant: mean over seeds"], ["seed", "run: every seed"]] : [[now.mode, now.mode]], now.mode);
    fill(controls.sort, [["", "order of the config"], ...same([...new Set([...now.shown.map(({name}) => name), ...(now.sort ? [now.sort] : [])])])], now.sort);
    controls.descending.checked = now.descending;
    controls.filter.value = state.get("filter") ?? "";
    for (const name of ["x", "y"]) {
      fill(controls[name], same(now.numeric.map((column) => column.name)), now[name]?.name);
      fill(controls[`${name}-better`], [["lower", "lower"], ["higher", "higher"], ["", "not stated"]], now[name]?.better);
    }
    const offered = now.known.map(({name}) => name), boxes = [...columnBoxes.querySelectorAll("input")];
    if (!equal(boxes.map((box) => box.value), offered)) {
      columnBoxes.replaceChildren(columnBoxes.querySelector("legend"), ...now.known.map(({name, meaning}) =>
        make("label", {title: meaning}, make("input", {type: "checkbox", value: name}), ` ${name}`)));
    }
    for (const box of columnBoxes.querySelectorAll("input")) box.checked = now.shown.some(({name}) => name === box.value);
    const picked = new Map(now.picked.map(([key, value]) => [key.slice(3), value]));
    const filters = [...now.columns.values()].filter(({name}) => !["dataset", "error"].includes(name) && (picked.has(name) || ["method", "status"].includes(name) || now.shown.some((one) => one.name === name)))
      .map(({name, value}) => [name, [...new Set([...now.inDataset.map(value).filter((one) => typeof one === "string"), ...(picked.has(name) ? [picked.get(name)] : [])])]])
      .filter(([name, values]) => picked.has(name) || values.length > 1 && values.length <= 40);
    const selects = [...choices.querySelectorAll("select")];
    if (!equal(selects.map((select) => select.name), filters.map(([name]) => `is.${name}`))) {
      choices.replaceChildren(...filters.map(([name]) => make("label", {}, `${name} `, make("select", {name: `is.${name}`}))));
    }
    [...choices.querySelectorAll("select")].forEach((select, index) => {
      const [name, values] = filters[index];
      fill(select, [["", "any"], ...same(values)], picked.get(name) ?? "");
    });
    within("#all-runs-problems").textContent = problems.join(" ");
  }

  function render() {
    const now = current(), found = points(now);
    renderControls(now);
    renderPlot(now, found);
    renderTable(now, found.frontier);
  }
  /** Change the state: null or an empty value removes a part. */
  function change(parts) {
    for (const [name, value] of Object.entries(parts)) {
      state.delete(name);
      for (const one of [value ?? []].flat()) if (one !== "" || name.endsWith("-better")) state.append(name, one);
    }
    history.replaceState(null, "", `#${[...state].length ? link + state : "all-runs"}`);
    render();
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({target}) => {
    if (target.closest(".columns")) {
      const now = current(), order = [...now.columns.keys()], names = now.shown.map(({name}) => name).filter((name) => name !== target.value);
      if (target.checked) names.push(target.value);
      names.sort((a, b) => order.indexOf(a) - order.indexOf(b));
      return change({column: equal(names, now.usual) ? [] : names.length ? names : [order[0]]});
    }
    if (target.name === "task") state = new URLSearchParams(); // columns and datasets are other ones
    if (["x", "y"].includes(target.name)) state.delete(`${target.name}-better`);
    if (target.name) change({[target.name]: target.type === "checkbox" ? (target.checked ? "1" : null) : target.value});
  });
  controls.reset.addEventListener("click", () => {
    state = new URLSearchParams(state.has("task") ? {task: state.get("task")} : {});
    change({});
  });
  controls.csv.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([saved()], {type: "text/csv"}));
    make("a", {href: url, download: "runs.csv"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });
  addEventListener("resize", () => {
    const now = current();
    renderPlot(now, points(now));
  });
  function follow() {
    const hash = location.hash.slice(1);
    if (!hash.startsWith(link)) return false;
    state = new URLSearchParams(hash.slice(link.length));
    render();
    section.scrollIntoView({behavior: "instant"});
    return true;
  }
  addEventListener("hashchange", follow);
  if (!follow()) render();
})();

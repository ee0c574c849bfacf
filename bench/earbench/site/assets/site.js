// Sorts and filters the tables of a page, and draws its charts. Without it the tables are all there, whole.
"use strict";

const page = document.currentScript;
const read = (id) => JSON.parse(document.getElementById(id).textContent);

// ---- tables ----------------------------------------------------------------------------------------------------------

const ROWS = 25; // of a table at a time

async function sortTables() {
  const { default: DataTable } = await window.tables;
  DataTable.ext.errMode = "throw";
  Object.assign(DataTable.ext.type.order, {
    "number-pre": (text) => (text === "" ? null : Number(text)),
    "number-asc": missingLast((one, other) => one - other),
    "number-desc": missingLast((one, other) => other - one),
  });
  for (const table of document.querySelectorAll("table.sortable")) sortable(DataTable, table);
  document.documentElement.dataset.tables = "ready";
}

function missingLast(compare) {
  return (one, other) => (one === null || other === null ? (one === null) - (other === null) : compare(one, other));
}

function sortable(DataTable, table) {
  const heads = [...table.tHead.rows[0].cells];
  const many = table.tBodies[0].rows.length > ROWS;
  const about = { id: table.id, caption: table.caption.id };
  const made = new DataTable(table, {
    autoWidth: false,
    order: [],
    pageLength: ROWS,
    paging: many,
    lengthMenu: [ROWS, 100, { label: "all", value: -1 }],
    layout: {
      topStart: null,
      topEnd: null,
      bottomStart: many ? ["info", "pageLength"] : null,
      bottomEnd: many ? "paging" : null,
    },
    columns: heads.map((head) => ({
      type: head.dataset.kind === "number" ? "number" : "string",
      orderSequence: head.dataset.better === "higher" ? ["desc", "asc", ""] : ["asc", "desc", ""],
    })),
    language: { zeroRecords: "nothing fits these filters", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", infoEmpty: "none", lengthMenu: "rows _MENU_" },
  });
  scrollable(table, about);
  // A note in a head is a link, and does not sort.
  for (const link of table.tHead.querySelectorAll("a"))
    for (const event of ["click", "keypress", "keydown"]) link.addEventListener(event, (one) => one.stopPropagation());
  const form = document.querySelector(`form[data-for="${about.id}"]`) || (many && finder(table));
  if (form) filtered(made, form);
}

// What scrolls sideways is the table alone, and the keyboard can do it.
function scrollable(table, about) {
  const outer = table.closest(".scroll");
  const inner = table.closest(".dt-layout-table");
  outer.classList.add("ready");
  for (const name of ["role", "tabindex", "aria-labelledby"]) outer.removeAttribute(name);
  inner.setAttribute("role", "region");
  inner.setAttribute("aria-labelledby", about.caption);
  inner.tabIndex = 0;
  cued(outer, inner);
}

// Says at the edge that there is more of a table.
function cued(outer, inner) {
  const look = () => outer.classList.toggle("more", inner.scrollLeft + inner.clientWidth < inner.scrollWidth - 2);
  inner.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(inner);
  look();
}

function finder(table) {
  const form = document.createElement("form");
  form.className = "filters";
  form.hidden = true;
  form.innerHTML = '<label>Search <input type="search" name="search" autocomplete="off"></label>';
  table.closest(".scroll").before(form);
  return form;
}

function filtered(made, form) {
  const chosen = () => [...form.querySelectorAll("select")].filter((select) => select.value);
  made.search.fixed("facts", (text, data, index) => {
    const row = made.row(index).node();
    return chosen().every((select) => row.dataset[select.name] === select.value);
  });
  made.on("draw", () => choose(made, form.dataset.for));
  const apply = () => made.search(form.elements.search.value).draw();
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

// Charts show the rows that the filters of their table leave.
function choose(made, name) {
  const rows = made.rows({ search: "applied" }).indexes().toArray().sort((a, b) => a - b);
  if (`${rows}` === `${chosen.get(name) ?? made.rows().indexes().toArray().sort((a, b) => a - b)}`) return;
  chosen.set(name, rows);
  for (const figure of document.querySelectorAll(`figure[data-table="${name}"][data-drawn]`)) redraw.get(figure)();
}

// ---- charts ----------------------------------------------------------------------------------------------------------

const CHARTS = { intervals, pareto, layers };
const CONFIG = { displayModeBar: false, responsive: true };
const [chosen, redraw] = [new Map(), new Map()]; // rows of tables by id; how to draw a figure anew
let library;

// The library, which is large, is loaded when the first chart comes into view.
function plotly() {
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = page.dataset.charts;
    script.onload = () => done(window.Plotly);
    script.onerror = failed;
    document.head.append(script);
  });
  return library;
}

function watchCharts() {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      seen.unobserve(entry.target);
      open(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const figure of document.querySelectorAll("figure[data-chart]")) seen.observe(figure);
}

function open(figure) {
  const draw = async () => {
    const { data, layout } = CHARTS[figure.dataset.chart](figure);
    const plot = figure.querySelector(".plot");
    await (await plotly()).react(plot, data, layout, CONFIG);
    if (!figure.dataset.drawn) plot.on("plotly_click", follow);
    figure.dataset.drawn = "yes";
  };
  redraw.set(figure, draw);
  const form = figure.querySelector(".choices");
  if (form) {
    form.hidden = form.querySelectorAll("option").length <= form.querySelectorAll("select").length;
    form.addEventListener("input", draw);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

function follow(event) {
  const link = event.points[0].customdata;
  if (link) location.href = page.src.replace(/assets\/site\.js.*/, link);
}

// All scores of a column with their intervals, best on top.
function intervals(figure) {
  const { encoders, scores } = read("points");
  const score = scores[choice(figure, "score")];
  const sign = score.better === "higher" ? 1 : -1;
  const shown = kept(figure, known(encoders, score.values)).sort((one, other) => sign * (one.value - other.value));
  const trace = {
    ...marks(shown, score),
    x: shown.map((one) => one.value),
    y: shown.map((one, place) => place),
    error_x: bars(shown),
  };
  return {
    data: [trace],
    layout: layout({
      height: 90 + 24 * shown.length,
      xaxis: { title: { text: titled(score) }, side: "bottom" },
      yaxis: { tickvals: shown.map((one, place) => place), ticktext: shown.map((one) => short(one.name)), range: [-0.7, shown.length - 0.3], showgrid: false, automargin: true },
    }),
  };
}

// Scores over costs, and the front of those that nobody beats in one without losing in the other.
function pareto(figure) {
  const { encoders, scores, costs } = read("points");
  const [score, cost] = [scores[choice(figure, "score")], costs[choice(figure, "cost")]];
  const all = kept(figure, known(encoders, score.values));
  const shown = all.filter((one) => cost.values[one.index] !== null).map((one) => ({ ...one, cost: cost.values[one.index] }));
  const axis = costAxis(shown.map((one) => one.cost));
  const x = (one) => axis.place(one.cost);
  const best = front(shown, score.better === "higher");
  const rest = shown.filter((one) => !best.includes(one));
  const line = { x: best.map(x), y: best.map((one) => one.value), mode: "lines", line: { shape: "hv", width: 1, color: colour("accent") }, hoverinfo: "skip" };
  const trace = (points, more) => ({ ...marks(points, score), x: points.map(x), y: points.map((one) => one.value), error_y: bars(points), ...more });
  const range = scoreRange(shown, score.better);
  const size = { height: 420, margin: { l: 55, r: 20, t: 20, b: 50 } };
  const plot = { width: figure.clientWidth - size.margin.l - size.margin.r, height: size.height - size.margin.t - size.margin.b };
  const at = (one) => [axis.share(x(one)) * plot.width, (1 - (one.value - range[0]) / (range[1] - range[0])) * plot.height];
  const named = shown.length <= NAMED ? [...best, ...rest] : best;
  figure.querySelector(".front").textContent = told(all, best, cost);
  return {
    data: [line, trace(rest, { opacity: 0.6 }), trace(best)],
    layout: layout({
      ...size,
      annotations: labels(named, shown, at, plot).map(({ one, ax, ay }) => ({
        x: Math.log10(x(one)), y: one.value, ax, ay, text: short(one.name), arrowhead: 0, arrowwidth: 0.6, standoff: 4,
        arrowcolor: colour(Math.hypot(ax, ay) > 40 ? "soft" : "paper"), opacity: 1, bgcolor: "rgba(0,0,0,0)",
        font: { size: 11, color: colour(best.includes(one) ? "ink" : "soft") },
      })),
      xaxis: { type: "log", title: { text: cost.title }, tickangle: 0, ...axis.ticks },
      yaxis: { title: { text: titled(score) }, range },
    }),
  };
}

const NAMED = 15; // points at most that all have their names beside them; of more, those on the front

// The points that nobody beats in one of cost and value without losing in the other, the cheapest first. Equal points
// are on it together.
function front(points, higher) {
  const gain = (one) => (higher ? one.value : -one.value);
  const found = [];
  for (const one of [...points].sort((a, b) => a.cost - b.cost || gain(b) - gain(a))) {
    const last = found.at(-1);
    if (!last || gain(one) > gain(last) || (one.cost === last.cost && one.value === last.value)) found.push(one);
  }
  return found;
}

// In words what the plot shows and what it cannot.
function told(all, best, cost) {
  const odd = all.filter((one) => cost.odd.includes(one.index)).length;
  const unknown = all.filter((one) => cost.values[one.index] === null).length - odd;
  return [
    `On the front, cheapest first: ${best.map((one) => one.name).join(", ") || "nobody"}.`,
    odd ? `Left out, since their ${cost.title} cannot be true: ${odd}.` : "",
    unknown ? `Left out, since their ${cost.title} is not known: ${unknown}.` : "",
  ].filter(Boolean).join(" ");
}

// Limits of the axis of scores, the better end above.
function scoreRange(points, better) {
  const [low, high] = [Math.min(...points.map((one) => one.low)), Math.max(...points.map((one) => one.high))];
  const room = points.length ? 0.08 * (high - low) || 0.1 * Math.abs(high) || 1 : 1;
  const range = points.length ? [low - room, high + room] : [0, 1];
  return better === "higher" ? range : range.reverse();
}

const AROUND = [16, 28, 40, 54, 70].flatMap((far) => [[1, -0.5], [-1, -0.5], [1, 0.5], [-1, 0.5], [0, -1], [0, 1]].map(([x, y]) => [x * far, y * far]));

// Where the middle of each name goes, from its point in pixels: the nearest place that no point and no name before takes.
function labels(points, all, at, plot) {
  const taken = all.map((one) => at(one)).map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
  return points.map((one) => {
    const [half, [x, y]] = [3.3 * Math.min(one.name.length, 28) + 2, at(one)];
    const tried = AROUND.map(([right, down]) => {
      const ax = right + Math.sign(right) * half;
      const box = [x + ax - half, y + down - 7, x + ax + half, y + down + 7];
      const outside = Math.max(0, -box[0]) + Math.max(0, box[2] - plot.width - 15) + Math.max(0, -box[1]) + Math.max(0, box[3] - plot.height);
      return { one, ax, ay: down, box, cost: 100 * outside + taken.reduce((sum, other) => sum + overlap(box, other), 0) };
    });
    const chosen = tried.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(chosen.box);
    return chosen;
  });
}

function overlap(one, other) {
  const wide = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const high = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  return wide > 0 && high > 0 ? wide * high : 0;
}

// A map of tasks by layers.
function layers(figure) {
  const { rows, shades, texts, cells } = read("maps")[figure.dataset.map];
  const map = {
    type: "heatmap", z: shades, hovertext: texts.map((row) => row.map(plain)), text: cells, texttemplate: "%{text}", textfont: { size: 11 }, y: rows.map(short), zmin: 0, zmax: 1, xgap: 1, ygap: 1,
    colorscale: [[0, colour("low")], [1, colour("high")]], showscale: false, hoverongaps: false,
    hovertemplate: "%{y}, layer %{x}: %{hovertext}<extra></extra>",
  };
  return {
    data: [map],
    layout: layout({
      height: 70 + 30 * rows.length,
      margin: { l: 50, r: 20, t: 50, b: 10 },
      xaxis: { side: "top", title: { text: "layer" }, ticks: "", dtick: shades[0].length > 16 ? 4 : 1, tick0: 0, showgrid: false, zeroline: false },
      yaxis: { autorange: "reversed", ticks: "", showgrid: false, automargin: true },
    }),
  };
}

function choice(figure, name) {
  const select = figure.querySelector(`select[name=${name}]`);
  return select ? Number(select.value) : 0;
}

function kept(figure, points) {
  const rows = chosen.get(figure.dataset.table);
  return rows ? points.filter((one) => rows.includes(one.index)) : points;
}

function known(encoders, values) {
  return encoders
    .map((one, index) => ({ ...one, index, triple: values[index] }))
    .filter((one) => one.triple)
    .map((one) => ({ ...one, value: one.triple[0], low: one.triple[1] ?? one.triple[0], high: one.triple[2] ?? one.triple[0] }));
}

function marks(points, score) {
  return {
    type: "scatter", mode: "markers", customdata: points.map((one) => one.link),
    marker: { size: 8, color: points.map((one) => colour(one.twin ? "paper" : "accent")), line: { color: colour("accent"), width: 1.5 } },
    hovertext: points.map((one) => `${plain(one.name)}: ${number(one.value)} [${number(one.low)}, ${number(one.high)}] ${plain(score.unit)}`),
    hoverinfo: "text",
  };
}

function bars(points) {
  return { type: "data", symmetric: false, array: points.map((one) => one.high - one.value), arrayminus: points.map((one) => one.value - one.low), color: colour("soft"), thickness: 1, width: 3 };
}

// What costs nothing stands at the left of the others, since a logarithmic axis has no zero.
function costAxis(values) {
  const paid = values.filter((value) => value > 0).map(Math.log10);
  const [least, most] = paid.length ? [Math.min(...paid), Math.max(...paid)] : [0, 0];
  const zero = paid.length < values.length;
  const free = Math.floor(least) - 0.5;
  const [left, right] = [(zero ? free : least) - 0.1 * (most - least) - 0.1, most + 0.15 * (most - least) + 0.1];
  const spread = most - least;
  const steps = spread < 1 ? [1, 2, 5] : spread < 2 ? [1, 3] : [1];
  const every = Math.ceil(spread / 6) || 1;
  const decades = Array.from({ length: Math.ceil((Math.ceil(most) - Math.floor(least)) / every) + 1 }, (_, step) => Math.floor(least) + step * every);
  const ticks = decades.flatMap((power) => steps.map((step) => step * 10 ** power));
  return {
    place: (value) => (value > 0 ? value : 10 ** free),
    share: (place) => (Math.log10(place) - left) / (right - left),
    ticks: { tickvals: zero ? [10 ** free, ...ticks] : ticks, ticktext: zero ? ["0", ...ticks.map(amount)] : ticks.map(amount), range: [left, right] },
  };
}

function amount(value) {
  const [size, unit] = [[1e9, " B"], [1e6, " M"], [1e3, " k"]].find(([size]) => value >= size) ?? [1, ""];
  return `${number(value / size)}${unit}`;
}

function layout(more) {
  const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, fixedrange: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false, hovermode: "closest",
    margin: { l: 50, r: 20, t: 20, b: 50 },
    font: { family: getComputedStyle(document.body).getPropertyValue("--sans"), size: 12, color: colour("soft") },
    hoverlabel: { bgcolor: colour("wash"), bordercolor: colour("line"), font: { color: colour("ink") } },
    ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const number = (value) => String(Number(value.toPrecision(4)));
const titled = (score) => plain(score.title + (score.unit ? `, ${score.unit}` : ""));
// Plotly reads some HTML in what it is given.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (name) => plain(name.length > 28 ? `${name.slice(0, 27)}…` : name);

sortTables();
for (const wide of document.querySelectorAll(".wide")) cued(wide.parentElement, wide);
watchCharts();

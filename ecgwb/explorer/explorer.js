// The explorer's picture. `model` holds what the kernel decided (shown) and what stays (constants, records); what is
// drawn is one `scene`, made of one record only. Zoom, calipers, lists and hovering are the browser's own.

const RDBU = [
  "#053061",
  "#2166ac",
  "#4393c3",
  "#92c5de",
  "#d1e5f0",
  "#f7f7f7",
  "#fddbc7",
  "#f4a582",
  "#d6604d",
  "#b2182b",
  "#67001f",
].map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
const PX_PER_MM = 96 / 25.4,
  SWEEPS = [0, 25, 50, 100, 200],
  GAINS = [0, 5, 10, 20, 40]; // 0: fitted
const DERIVED = { III: [-1, 1], aVR: [-0.5, -0.5], aVL: [1, -0.5], aVF: [-0.5, 1] }; // of I and II
const ORDER = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
const TOOLS = [
  ["look", "Look", "v"],
  ["calipers", "Calipers", "c"],
  ["edit", "Edit", "e"],
  ["landmarks", "Landmarks", "l"],
];
const KEYS = [
  ["← →", "previous, next record"],
  ["/", "search the list"],
  ["w", "list with all columns"],
  ["1 2 3 4", "beat, 12 leads, rhythm, maps compared"],
  ["d  D", "next, previous lead"],
  ["t", "next target"],
  ["v c e l", "look, calipers, edit the wave, move landmarks"],
  ["[ ]", "choose a handle, landmark or end of the calipers"],
  ["← → ↑ ↓", "move what is chosen (Shift: further)"],
  ["Esc", "let go of it"],
  ["Enter", "keep the moved landmark"],
  ["u  Shift+u", "undo, redo (also Ctrl+Z, Ctrl+Y)"],
  ["+ − 0", "zoom in, out, all"],
  ["Shift+← →", "pan"],
  ["g  s", "gain, sweep"],
  ["b", "the cohort's common beat"],
  ["o", "lay this record under the next ones"],
  ["r", "review: doubtful records first"],
  ["m", "mark as good, and next"],
  ["n", "write a note"],
  ["x", "export figure and code"],
  ["?", "this sheet"],
];

const ROW = 24; // px of a line of the list
const SKILL_ROW = 20; // px of the line that says what is known of the network's skill
const ALL = { a: 0, b: 1, v: 1, dv: 0 }; // zoom: from where to where of the width, how much of the height, moved by µV
const COLOURS = ["ink", "record", "cohort", "other", "hand", "before", "axis", "frame", "zero", "warn", "paper", "map"];
const SEARCH_HELP =
  "No record fits this search; change it. Words begin an id, sex, diagnosis or rhythm; numbers go as age>60, " +
  "qt<=440, error>20, doubt>=30.";

const f32 = (v) => (v ? new Float32Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)) : null);
const known = (v) => v != null && isFinite(v);
const num = (v, digits = 0) => (known(v) ? v.toFixed(digits).replace("-", "−") : "");
const percent = (logOdds) => `${num(100 / (1 + Math.exp(-logOdds)))} %`;
const value = (v, unit) => (known(v) && unit === "log-odds" ? percent(v) : num(v));
const short = (v) => num(v, Math.abs(v) >= 10 || v === 0 ? 0 : Math.abs(v) >= 1 ? 1 : 2);
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const words = (landmark) => landmark.replace("_peak", "").replace("_", " ");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, v] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), v);
    else if (name.startsWith("aria-")) node.setAttribute(name, String(v));
    else if (v !== false && v != null) node.setAttribute(name, v === true ? "" : v);
  }
  node.append(...children.filter((c) => c != null));
  return node;
}

function button(text, label, onclick, more = {}) {
  return make("button", { type: "button", title: label, "aria-label": label, onclick, ...more }, text);
}

function select(label, options, onchange, more = {}) {
  const choices = options.map(([v, text, selected]) => make("option", { value: v, selected: !!selected }, text));
  return make(
    "select",
    { "aria-label": label, title: label, onchange: (e) => onchange(e.target.value), ...more },
    ...choices,
  );
}

// Of the map's limit, -1 to 1.
function colour(share) {
  const at = clamp((share + 1) * 5, 0, 10);
  const k = Math.min(9, Math.floor(at));
  return RDBU[k].map((c, j) => Math.round(c + (at - k) * (RDBU[k + 1][j] - c)));
}

// The least and the largest of what is known.
function range(arrays) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays)
    for (const v of values)
      if (isFinite(v)) {
        if (v < low) low = v;
        if (v > high) high = v;
      }
  return [low, high];
}

// A step of 1, 2 or 5 times a power of ten, at least so large.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((k) => k * power >= least);
}

function write(g, text, x, y, { align = "left", base = "middle", font = "11px", style }) {
  g.font = `${font} system-ui, sans-serif`;
  g.textAlign = align;
  g.textBaseline = base;
  g.fillStyle = style;
  g.fillText(text, x, y);
}

function stroke(g, style, width, points, dash = []) {
  g.strokeStyle = style;
  g.lineWidth = width;
  g.setLineDash(dash);
  g.beginPath();
  for (const [x1, y1, x2, y2] of points) {
    g.moveTo(x1, y1);
    g.lineTo(x2, y2);
  }
  g.stroke();
  g.setLineDash([]);
}

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.C = model.get("constants");
    this.el = el;
    this.beats = new Map(); // row: Float32Array
    this.asked = new Set(); // rows
    this.due = new Set(); // before the next frame
    Object.assign(this, { number: 0, flying: 0, queue: [], sent: null, wanted: null, scene: null, draft: null });
    Object.assign(this, { tool: "look", chosen: "", drag: null, hover: null, calipers: null });
    Object.assign(this, { sweep: 0, gain: 0, zoom: null, common: false, pinned: null });
    Object.assign(this, { tab: "numbers", reviewing: false, sorting: ["", 1], isWide: false });
    Object.assign(this, { frames: [], took: {} }); // ms, for whoever measures
    this.readRecords();
    this.build();
    this.answered();
    this.listen();
    this.fetchBeats();
  }

  // ---------------------------------------------------------------- what the kernel says, and is asked

  readRecords() {
    const r = this.model.get("records");
    this.ids = r.ids;
    this.texts = r.texts;
    this.row = new Map(r.ids.map((id, k) => [id, k]));
    this.numbers = Object.fromEntries(Object.entries(r.numbers).map(([k, v]) => [k, f32(v)]));
    this.marks = f32(r.marks);
    this.doubts = f32(r.doubt);
    this.manuals = f32(r.manual);
    this.words = r.ids.map((id, k) => " " + [id, ...Object.values(r.texts).map((t) => t[k])].join(" ").toLowerCase());
  }

  answered() {
    const s = this.model.get("shown");
    if (s.number != null && s.number === this.flying) {
      this.took.answer = performance.now() - this.sentAt;
      this.flying = 0;
      if (this.queue.length) this.send(this.queue.shift());
    }
    if (this.flying && this.wanted && this.wanted !== s.record) return; // of the record before: not shown any more
    const old = this.scene;
    this.scene = this.sceneOf(s);
    const same = old && old.record === s.record && old.target === s.view.target;
    if (!s.map && s.waiting && same) this.scene.stale = old.map || old.stale;
    if (!old || old.view.view !== s.view.view) this.zoom = null;
    this.wanted = null;
    if (this.draft && !this.drag) this.draft = null;
    this.show();
  }

  sceneOf(s) {
    const beat = f32(s.beat),
      curve = (m) => m && { ...m, values: f32(m.values) };
    const c =
      s.cohort && !s.cohort.trouble
        ? { ...s.cohort, mean: f32(s.cohort.mean), low: f32(s.cohort.low), high: f32(s.cohort.high) }
        : s.cohort;
    return {
      ...s,
      target: s.view.target,
      beat,
      before: f32(s.before),
      common: f32(s.common),
      map: curve(s.map),
      cohort: c,
      maps: s.maps && s.maps.map((m) => ({ ...m, map: curve(m.map) })),
      rhythm: s.rhythm && { ...s.rhythm, values: f32(s.rhythm.values), cycles: f32(s.rhythm.cycles) },
    };
  }

  // The next record at once: its beat, landmarks and numbers are here; maps and edits follow with the kernel's answer.
  sceneAhead(record) {
    const k = this.row.get(record),
      beat = this.beats.get(k),
      s = this.scene,
      n = this.C.landmarks.length;
    if (!beat || s.view.view === "rhythm" || s.view.view === "maps") return null;
    const part = (values) => Array.from(values.subarray(k * n, k * n + n), (v) => (isFinite(v) ? v : null));
    const rows = s.numbers.map((r) => {
      const measured = this.at(r.target, k),
        predicted = this.at(`predicted_${r.target}`, k);
      return { ...r, measured, measured_after: measured, predicted, predicted_after: predicted };
    });
    const about = [
      [this.at("age", k)].map((v) => (v == null ? "" : `${num(v)} years`))[0],
      ...["sex", "rhythm", "diagnosis"].map((t) => this.texts[t][k]),
    ];
    return {
      ...s,
      record,
      beat,
      before: null,
      marks: part(this.marks),
      marks_before: part(this.marks),
      doubt: part(this.doubts),
      manual: part(this.manuals).map(Boolean),
      numbers: rows,
      about: about.filter(Boolean),
      message: "",
      map: null,
      stale: null,
      cohort: null,
      maps: null,
      rhythm: null,
      waiting: s.waiting || !!s.map || !!s.stale || !!s.maps,
      ahead: true,
      edits: [],
      review: { ...s.review, verdict: s.review.done[record] || "", note: "" },
      view: { ...s.view, record, blanked: "none", stretched: [], scaled: [], moved: null },
    };
  }

  at(name, k) {
    const v = this.numbers[name] && this.numbers[name][k];
    return v == null || !isFinite(v) ? null : v;
  }

  // One request is under way at a time; of views that are asked for meanwhile in a row, the last one only is sent.
  ask(what, given = {}) {
    const message = { do: what, with: given };
    const last = this.queue.at(-1);
    if (!this.flying) this.send(message);
    else if (last && last.do === "see" && what === "see") Object.assign(last.with, given);
    else this.queue.push(message);
  }

  send(message) {
    this.number += 1;
    this.flying = this.number;
    this.sent = message;
    this.sentAt = performance.now();
    this.model.send({ ...message, number: this.number });
  }

  // The view as it will be when all that was asked for is answered.
  viewToBe() {
    const asked = [...(this.flying ? [this.sent] : []), ...this.queue].filter((m) => m.do === "see");
    return Object.assign({}, this.scene.view, ...asked.map((m) => m.with));
  }

  see(given, group) {
    this.ask("see", group ? { ...given, group } : given);
  }

  listen() {
    this.on = [
      ["change:shown", () => this.answered()],
      [
        "change:records",
        () => {
          this.readRecords();
          this.list();
        },
      ],
      ["change:computing", () => this.status()],
      ["msg:custom", (m, buffers) => this.told(m, buffers)],
    ];
    for (const [name, f] of this.on) this.model.on(name, f);
    this.resized = new ResizeObserver(() => this.fit());
    for (const box of [this.el, this.stage]) this.resized.observe(box); // the stage may be hidden
  }

  fit() {
    const width = this.el.clientWidth;
    this.el.classList.toggle("narrow", width < 1000);
    this.el.classList.toggle("tiny", width < 720);
    this.size();
    if (width !== this.listedAt) {
      this.listedAt = width;
      this.list();
    }
  }

  stop() {
    for (const [name, f] of this.on) this.model.off(name, f);
    this.resized.disconnect();
  }

  told(message, buffers) {
    if (message.code) {
      const said = this.model.get("shown").message;
      this.dialog("Export", make("p", {}, `${said} These lines make it:`), make("pre", {}, message.code));
      return;
    }
    if (!message.beats) return;
    const size = this.C.leads.length * this.C.time.n,
      b = buffers[0];
    const all = new Int16Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength));
    message.beats.forEach((k, j) =>
      this.beats.set(
        k,
        Float32Array.from(all.subarray(j * size, j * size + size), (v) => (v === -32768 ? NaN : v)),
      ),
    );
    this.fetchBeats();
  }

  fetchBeats() {
    // neighbours first; of a small cohort then all
    const here = this.found.indexOf(this.scene.record),
      near = [];
    for (let d = -3; d <= 12; d++)
      near.push(this.row.get(this.found[(here + d + this.found.length) % (this.found.length || 1)]));
    const rest = this.C.n <= 2000 ? [...Array(this.C.n).keys()] : [];
    const missing = [...near, ...rest].filter((k) => k != null && !this.asked.has(k));
    const rows = [...new Set(missing)].slice(0, this.asked.size ? 60 : 16);
    if (!rows.length) return;
    rows.forEach((k) => this.asked.add(k));
    this.model.send({ do: "beats", with: { rows } });
  }

  go(record) {
    if (!record || record === (this.wanted || this.scene.record)) return;
    const began = performance.now();
    const ahead = this.sceneAhead(record);
    this.calipers = null;
    this.draft = null;
    this.chosen = "";
    this.wanted = record;
    this.see({ record });
    if (ahead) {
      this.scene = ahead;
      this.show();
      this.goneAt = began;
    }
    this.fetchBeats();
  }

  step(by) {
    if (!this.found.length) return;
    const here = this.found.indexOf(this.wanted || this.scene.record);
    this.go(this.found[(here + by + this.found.length) % this.found.length]);
  }

  // ---------------------------------------------------------------- the page

  build() {
    this.found = this.ids;
    this.base = make("canvas");
    this.over = make("canvas", { class: "over", tabindex: 0, role: "img", "aria-label": "the ECG; ? lists the keys" });
    this.stage = make("div", { class: "stage" }, this.base, this.over);
    this.readout = make("div", { class: "readout", "aria-live": "off" });
    this.said = make("div", { class: "said", role: "status", "aria-live": "polite" });
    this.sheet = make("dialog", { class: "sheet" });
    const middle = make("section", { class: "middle" }, ...this.bars(), this.stage, this.readout, this.said);
    this.el.append(make("div", { class: "rows3" }, this.buildList(), middle, this.buildSide()), this.sheet);
    this.el.addEventListener("keydown", (e) => this.key(e));
    const pointer = {
      pointerdown: "down",
      pointermove: "move",
      pointerup: "up",
      pointercancel: "up",
      pointerleave: "leave",
    };
    for (const [event, f] of Object.entries({ ...pointer, wheel: "wheel", dblclick: "all" }))
      this.over.addEventListener(event, (e) => this[f](e), { passive: false });
  }

  bars() {
    const C = this.C;
    const group = (label, cls, ...buttons) =>
      make("div", { class: `group ${cls}`, role: "group", "aria-label": label }, ...buttons);
    const press = (text, label, f, more) => button(text, label, f, more);
    this.head = make("div", { class: "who", "aria-live": "polite" });
    this.viewButtons = C.views.map((v, k) =>
      press(v[0].toUpperCase() + v.slice(1), `${v} (${k + 1})`, () => this.see({ view: v }), { "data-view": v }),
    );
    this.targetBox = select("target (t)", C.targets, (v) => this.see({ target: v }));
    this.leadBox = select(
      "lead (d)",
      C.leads.map((l) => [l, l]),
      (v) => this.see({ lead: v }),
    );
    this.toolButtons = TOOLS.map(([t, n, key]) => press(n, `${n} (${key})`, () => this.take(t), { "data-tool": t }));
    this.undoButton = press("↶", "undo (u)", () => this.ask("undo"));
    this.redoButton = press("↷", "redo (Shift+u)", () => this.ask("redo"));
    this.scaleButtons = [
      press("", "sweep, true to size on a screen of 96 dots an inch (s)", () => this.scale("sweep"), {
        class: "sweep",
      }),
      press("", "gain, true to size on a screen of 96 dots an inch (g)", () => this.scale("gain"), { class: "gain" }),
    ];
    const zoom = [
      press("−", "zoom out (−)", () => this.zoomBy(1.25)),
      press("+", "zoom in (+)", () => this.zoomBy(0.8)),
      press("all", "show all (0)", () => this.all()),
    ];
    this.commonButton = press("cohort", "the cohort's common beat (b)", () => this.toggle("common"));
    this.pinButton = press("overlay", "lay this record under the next ones (o)", () => this.pin());
    const last = [
      press("export", "export figure and code (x)", () => this.ask("export")),
      press("?", "all keys (?)", () => this.help()),
    ];
    return [
      make("div", { class: "bar" }, this.head, group("view", "", ...this.viewButtons)),
      make(
        "div",
        { class: "bar tools" },
        group("what is shown", "", this.targetBox, this.leadBox),
        group("tool", "", ...this.toolButtons),
        group("undo", "", this.undoButton, this.redoButton),
      ),
      make(
        "div",
        { class: "bar tools last" },
        group("scale", "", ...this.scaleButtons, ...zoom),
        group("under the record", "", this.commonButton, this.pinButton),
        group("more", "", ...last),
      ),
    ];
  }

  buildList() {
    this.search = make("input", {
      type: "search",
      placeholder: "search: male age>60",
      title: "words begin an id, sex, diagnosis or rhythm; numbers: age>60 qt<=440 error>20 doubt>=30 (/)",
      "aria-label": "search records",
      oninput: () => this.list(),
    });
    this.heads = make("div", { class: "heads", role: "row" });
    this.rows = make("div", { class: "rows", role: "rowgroup", onscroll: () => this.listRows() });
    this.count = make("div", { class: "count", role: "status" });
    return make(
      "section",
      { class: "list", "aria-label": "records" },
      this.search,
      make("div", { class: "table", role: "table", "aria-label": "records" }, this.heads, this.rows),
      make(
        "div",
        { class: "walk" },
        button("‹", "previous record (←)", () => this.step(-1)),
        this.count,
        button("›", "next record (→)", () => this.step(1)),
        (this.wideButton = button("⇔", "all columns (w)", () => this.wide())),
      ),
    );
  }

  buildSide() {
    const names = { numbers: "Numbers", edit: "What if", map: "Map", review: "Review" };
    this.panel = make("div", { class: "body" });
    this.tabs = Object.entries(names).map(([id, n]) =>
      button(n, n, () => this.openTab(id), { role: "tab", "data-tab": id }),
    );
    const tabs = make("div", { class: "tabs", role: "tablist" }, ...this.tabs);
    return make("section", { class: "side", "aria-label": "numbers and edits" }, tabs, this.panel);
  }

  show() {
    const s = this.scene;
    this.head.replaceChildren(make("b", {}, `Record ${s.record}`), s.about.join(" · "));
    this.head.title = s.about.join("; ");
    this.targetBox.value = s.view.target;
    this.leadBox.value = s.view.lead;
    for (const b of this.viewButtons) b.setAttribute("aria-pressed", b.dataset.view === s.view.view);
    for (const b of this.toolButtons) b.setAttribute("aria-pressed", b.dataset.tool === this.tool);
    this.undoButton.disabled = !s.undo;
    this.redoButton.disabled = !s.redo;
    this.commonButton.setAttribute("aria-pressed", this.common);
    this.pinButton.setAttribute("aria-pressed", !!this.pinned);
    this.pinButton.textContent = this.pinned ? `overlay ${this.pinned.record}` : "overlay";
    this.list();
    this.side();
    this.status();
    this.paint();
  }

  status() {
    const s = this.scene;
    const parts = [];
    const say = (kind, text, ...more) => text && parts.push(make("div", { class: kind }, text, ...more));
    for (const note of s.notes) say("note", `⚠ ${note}`);
    say(s.refused ? "message" : "done", s.message);
    if (!this.found.length) say("message", SEARCH_HELP);
    if (s.trouble) say("message", `no map: ${s.trouble}`);
    if (s.cohort && s.cohort.trouble) say("message", s.cohort.trouble);
    const caution = s.ahead ? null : s.numbers.find((r) => r.target === s.view.target);
    if (caution && caution.caution) say("note", `⚠ ${caution.caution}`);
    if (s.view.moved) {
      const [landmark, ms] = s.view.moved;
      const keep = make("button", { type: "button", onclick: () => this.ask("keep") }, "keep (Enter)");
      say("edited", `${words(landmark)} moved to ${num(ms)} ms, not kept yet `, keep);
    }
    if (s.view.view === "maps") say("why", this.C.why);
    if (s.edits.length) say("edited", `edited: ${s.edits.join(", ")}`);
    if (!s.message) say("busy", this.model.get("computing"));
    this.said.replaceChildren(...parts);
  }

  dialog(title, ...content) {
    const close = () => {
      this.sheet.close();
      this.over.focus();
    };
    this.sheet.replaceChildren(
      make("h3", {}, title),
      ...content,
      make("button", { type: "button", onclick: close }, "close"),
    );
    if (!this.sheet.open) this.sheet.showModal();
  }

  help() {
    const row = ([keys, what]) => make("tr", {}, make("td", {}, make("kbd", {}, keys)), make("td", {}, what));
    this.dialog("Keys", make("table", {}, ...KEYS.map(row)));
  }

  // ---------------------------------------------------------------- the list

  // Key, head, and what the head says when the mouse rests on it.
  columns() {
    const t = this.scene.view.target;
    const [, name, unit] = this.C.targets.find((x) => x[0] === t);
    const of = `${name}${unit && unit !== "log-odds" ? ` (${unit})` : ""}`;
    const all = [
      ["record", "record", "record"],
      ["age", "age", "age (years)"],
      ["sex", "sex", "sex"],
      ["diagnosis", "diagnosis", "diagnosis"],
      [t, "meas.", `measured ${of}`],
      [`predicted_${t}`, "pred.", `predicted ${of}`],
      [`error_${t}`, "error", `error of the predicted ${of}`],
      ["doubt", "doubt", "doubt (ms) of the least sure landmark"],
      ["hr", "HR", "heart rate (bpm)"],
      ["pr", "PR", "PR (ms)"],
      ["qrs", "QRS", "QRS (ms)"],
      ["qt", "QT", "QT (ms)"],
      ["qtc", "QTc", "QTc by Fridericia (ms)"],
    ];
    const few = ["record", "age", "sex", `error_${t}`, "doubt"];
    this.unit = unit;
    return this.isWide ? all : all.filter(([c]) => few.includes(c));
  }

  find() {
    const typed = this.search.value.toLowerCase().replace(/\s*(<=|>=|<|>|=)\s*/g, "$1");
    let rows = [...this.ids.keys()];
    for (const word of typed.split(/\s+/).filter(Boolean)) rows = rows.filter(this.fits(word));
    const [by, way] = this.sorting;
    if (by) {
      const values = this.numbers[by] || this.texts[by];
      const there = (k) => (typeof values[k] === "string" ? values[k] !== "" : isFinite(values[k]));
      const order = (a, b) => (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0);
      rows.sort((a, b) => there(b) - there(a) || (there(a) && way * order(a, b)) || a - b);
    }
    return rows.map((k) => this.ids[k]);
  }

  // Whether a row fits a word of the search, such as "male" or "qt>440".
  fits(word) {
    const [, what, sign, number] = /^(\w+)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)$/.exec(word) || [];
    const t = this.scene.view.target;
    const name = { error: `error_${t}`, predicted: `predicted_${t}`, measured: t }[what] || what;
    const values = what && this.numbers[name];
    if (!values) return (k) => this.words[k].includes(" " + word);
    const x = Number(number);
    const compare = {
      "<": (v) => v < x,
      ">": (v) => v > x,
      "<=": (v) => v <= x,
      ">=": (v) => v >= x,
      "=": (v) => v === x,
    };
    return (k) => compare[sign](values[k]);
  }

  list() {
    if (!this.scene) return;
    this.found = this.find();
    this.heads.replaceChildren(...this.columns().map((column) => this.columnHead(...column)));
    const here = this.found.indexOf(this.scene.record);
    this.count.textContent = this.found.length ? `${here < 0 ? "–" : here + 1} of ${this.found.length}` : "none";
    if (here !== this.listedHere) this.scrollTo(here);
    this.listedHere = here;
    this.listRows();
    this.status();
  }

  columnHead(column, name, title) {
    const [by, way] = this.sorting;
    const mine = by === column;
    const sort = () => {
      const first = /^error|doubt/.test(column) ? -1 : 1;
      this.sorting = column === "record" ? ["", 1] : mine ? [column, -way] : [column, first];
      this.listedHere = null;
      this.list();
    };
    return make(
      "button",
      {
        type: "button",
        role: "columnheader",
        class: `c-${column.split("_")[0]}`,
        title: `sort by ${title}`,
        "data-column": column,
        "aria-sort": mine ? (way > 0 ? "ascending" : "descending") : "none",
        onclick: sort,
      },
      name + (mine ? (way > 0 ? "↑" : "↓") : ""),
    );
  }

  scrollTo(row) {
    const top = row * ROW;
    const box = this.rows;
    if (row >= 0 && (top < box.scrollTop || top > box.scrollTop + box.clientHeight - 2 * ROW))
      box.scrollTop = Math.max(0, top - box.clientHeight / 2);
  }

  listRows() {
    const columns = this.columns();
    const from = Math.max(0, Math.floor(this.rows.scrollTop / ROW) - 3); // the rows in sight only
    const to = Math.min(this.found.length, from + Math.ceil((this.rows.clientHeight || 400) / ROW) + 6);
    const lines = this.found.slice(from, to).map((id, k) => this.listRow(id, from + k, columns));
    this.rows.replaceChildren(make("div", { class: "all", style: `height:${this.found.length * ROW}px` }, ...lines));
  }

  listRow(id, k, columns) {
    const open = () => {
      this.go(id);
      this.backToPicture();
    };
    const cell = ([c]) => {
      const text = this.cell(id, c);
      return make(
        "span",
        { class: `c-${c.split("_")[0]}`, role: "cell", title: c === "diagnosis" ? text : null },
        text,
      );
    };
    const selected = { "aria-selected": id === this.scene.record, "data-record": id };
    return make(
      "div",
      { class: "line", role: "row", style: `top:${k * ROW}px`, onclick: open, ...selected },
      ...columns.map(cell),
    );
  }

  cell(id, column) {
    const i = this.row.get(id);
    if (column === "record") return (this.scene.review.done[id] ? "✓ " : "") + id;
    if (column === "sex") return this.texts.sex[i].slice(0, 1).toUpperCase();
    if (this.texts[column]) return this.texts[column][i];
    const v = this.numbers[column] ? this.numbers[column][i] : NaN;
    return column.startsWith("predicted_") ? value(v, this.unit) : num(v);
  }

  // Where there is little room, the list with all columns hides the picture, and choosing a record brings it back.
  hidesPicture() {
    return this.isWide && this.el.classList.contains("tiny");
  }

  wide() {
    this.isWide = !this.isWide;
    this.el.classList.toggle("wide", this.isWide);
    this.wideButton.setAttribute("aria-pressed", this.isWide);
    this.list();
    (this.hidesPicture() ? this.search : this.over).focus({ preventScroll: true });
  }

  backToPicture() {
    if (this.hidesPicture()) this.wide();
    this.over.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- the side: numbers, what if, map, review

  openTab(tab) {
    this.tab = tab;
    this.side();
  }

  side() {
    for (const b of this.tabs) b.setAttribute("aria-selected", b.dataset.tab === this.tab);
    const busy = this.panel.contains(document.activeElement); // a slider or a note keeps the focus
    if (!busy || this.panelOf !== this.tab || !["edit", "review"].includes(this.tab)) {
      this.panelOf = this.tab;
      const build = { numbers: "numbersTab", edit: "editTab", map: "mapTab", review: "reviewTab" }[this.tab];
      this.panel.replaceChildren(...this[build]());
    }
    this.renew();
  }

  isChanged() {
    return this.scene.edits.length > 0 || !!this.scene.view.moved;
  }

  numbersTable() {
    const changed = this.isChanged();
    const cell = (r, what) => {
      const [before, after] = [value(r[what], r.unit), value(r[`${what}_after`], r.unit)];
      const differs = changed && before !== after;
      const text = differs ? `${before || "–"} → ${after || "–"}` : before;
      const doubted = r.caution && text && (what === "predicted" || r.target === "qtc") ? ` ⚠` : "";
      return make("td", { class: differs ? "changed" : "", title: doubted ? r.caution : null }, text + doubted);
    };
    const row = (r) => {
      const unit = make("small", {}, r.unit && r.unit !== "log-odds" ? ` ${r.unit}` : "");
      const isTarget = r.target === this.scene.view.target;
      return make(
        "tr",
        { class: isTarget ? "target" : "", "data-target": r.target },
        make("th", { scope: "row" }, r.name, unit),
        cell(r, "measured"),
        cell(r, "predicted"),
      );
    };
    const heads = ["", "measured", "predicted"].map((h) => make("th", { scope: "col" }, h));
    return [make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...this.scene.numbers.map(row))];
  }

  numbersTab() {
    const hint = this.isChanged()
      ? "before → after the edit"
      : "Drag a wave (Edit) or a landmark (Landmarks) to see what changes.";
    return [make("table", { class: "numbers" }, ...this.numbersTable()), make("p", { class: "hint" }, hint)];
  }

  editTab() {
    const C = this.C;
    const slider = (kind, what, [low, high], step, unit) => {
      const share = kind === "scaled" ? 100 : 1;
      const input = make("input", {
        type: "range",
        min: low,
        max: high,
        step,
        "data-edit": what,
        "aria-label": `${what} (${unit})`,
        oninput: (e) => this.edit(kind, what, Number(e.target.value) / share, `slider ${what}`),
      });
      return make("label", { class: "slider" }, make("span", {}, what), input, make("output", { "data-of": what }));
    };
    const waves = ["none", ...C.waves].map((w) => [w, w]);
    const blank = select("blank a wave", waves, (v) => this.see({ blanked: v }), { "data-edit": "blank" });
    const none = () => this.see({ stretched: [], scaled: [], blanked: "none" });
    return [
      ...Object.entries(C.stretched).map(([w, ends]) => slider("stretched", w, ends, 2, "ms")),
      ...Object.entries(C.scaled).map(([w, ends]) => slider("scaled", w, ends, 5, "%")),
      make("label", { class: "slider" }, make("span", {}, "blank"), blank),
      make("button", { type: "button", onclick: none }, "as recorded"),
      make("table", { class: "numbers small" }),
    ];
  }

  mapTab() {
    const C = this.C;
    const view = this.scene.view;
    const choice = (label, options, now, f, off = false) => {
      const box = select(
        label,
        options.map((o) => [o, o, o === now]),
        f,
        { "data-map": label, disabled: off },
      );
      return make("label", { class: "slider" }, make("span", {}, label), box);
    };
    const reads = C.of_a_layer.includes(view.variant);
    return [
      choice("map by", C.ways, view.variant, (v) => this.see({ variant: v })),
      choice("layer", C.layers, view.layer || C.layer, (v) => this.see({ layer: v }), !reads),
      make("p", { class: "hint" }, reads ? "" : `A map by ${view.variant} reads no layer.`),
      make("button", { type: "button", onclick: () => this.see({ view: "maps" }) }, "compare three maps (4)"),
      make("p", { class: "hint" }, C.why),
    ];
  }

  reviewTab() {
    const verdict = (v) => make("button", { type: "button", "data-verdict": v, onclick: () => this.giveVerdict(v) }, v);
    const note = make("textarea", { rows: 4, "aria-label": "note", placeholder: "note (n)" });
    note.addEventListener("blur", (e) => {
      const review = this.scene.review;
      const marks = e.relatedTarget && e.relatedTarget.dataset.verdict != null;
      if (!marks && note.value !== review.note) this.ask("mark", { verdict: review.verdict, note: note.value });
    });
    const text = this.reviewing ? "leave the queue (r)" : "queue: doubtful records first (r)";
    return [
      make("button", { type: "button", onclick: () => this.review() }, text),
      make("p", { class: "hint", "data-progress": "" }),
      note,
      make("div", { class: "group" }, ...this.C.verdicts.map(verdict)),
      make("button", { type: "button", "data-verdict": "", onclick: () => this.giveVerdict("") }, "take the mark away"),
      make(
        "p",
        { class: "hint" },
        "A mark or a note is written to a CSV at once, and u undoes it. A mark goes on to the next record.",
      ),
    ];
  }

  // What the side's controls are set to.
  renew() {
    const s = this.scene;
    for (const input of this.panel.querySelectorAll("input[data-edit]")) this.renewSlider(input);
    const blank = this.panel.querySelector("select[data-edit]");
    if (blank) blank.value = s.view.blanked;
    const small = this.panel.querySelector("table.small");
    if (small) small.replaceChildren(...this.numbersTable());
    const text = this.panel.querySelector("textarea");
    if (text && document.activeElement !== text) text.value = s.review.note;
    for (const b of this.panel.querySelectorAll("[data-verdict]"))
      b.setAttribute("aria-pressed", !!s.review.verdict && b.dataset.verdict === s.review.verdict);
    const progress = this.panel.querySelector("[data-progress]");
    if (progress) progress.textContent = this.progress();
  }

  renewSlider(input) {
    const what = input.dataset.edit;
    const isTime = what in this.C.stretched;
    const [, amount] = this.viewToBe()[isTime ? "stretched" : "scaled"].find(([w]) => w === what) || [];
    const held = this.flying && document.activeElement === input;
    if (!held) input.value = amount == null ? (isTime ? 0 : 100) : Math.round(isTime ? amount : 100 * amount);
    const now = Number(input.value);
    const out = this.panel.querySelector(`output[data-of="${what}"]`);
    out.textContent = isTime ? `${now > 0 ? "+" : ""}${num(now)} ms` : `${now} %`;
  }

  progress() {
    const done = Object.keys(this.scene.review.done).length;
    const doubts = this.scene.doubt.map((d, k) => [known(d) ? d : -1, this.C.landmarks[k]]);
    const [ms, landmark] = doubts.reduce((a, b) => (b[0] > a[0] ? b : a));
    const least = ms < 0 ? "" : ` Least sure here: ${words(landmark)}, ±${num(ms)} ms.`;
    return `${done} of ${this.C.n} records marked.${least}`;
  }

  giveVerdict(verdict) {
    const typed = this.panel.querySelector("textarea");
    this.ask("mark", { verdict, note: typed ? typed.value : this.scene.review.note });
    if (verdict) this.nextInQueue();
  }

  review() {
    this.reviewing = !this.reviewing;
    this.sorting = this.reviewing ? ["doubt", -1] : ["", 1];
    this.panelOf = null;
    this.list();
    this.openTab("review");
    if (this.reviewing) this.go(this.found.find((id) => !this.scene.review.done[id]));
  }

  nextInQueue() {
    const here = this.found.indexOf(this.scene.record);
    const others = [...this.found.slice(here + 1), ...this.found.slice(0, Math.max(0, here))];
    this.go(others.find((id) => !this.scene.review.done[id]));
  }

  edit(kind, what, amount, group) {
    const others = this.viewToBe()[kind].filter(([w]) => w !== what);
    const none = kind === "stretched" ? 0 : 1;
    this.see({ [kind]: amount === none ? others : [...others, [what, amount]] }, group);
    this.renew();
  }

  // ---------------------------------------------------------------- geometry

  size() {
    const w = this.stage.clientWidth,
      h = this.stage.clientHeight,
      r = window.devicePixelRatio || 1;
    for (const c of [this.base, this.over]) {
      c.width = Math.round(w * r);
      c.height = Math.round(h * r);
      c.style.width = `${w}px`;
      c.style.height = `${h}px`;
    }
    this.W = w;
    this.H = h;
    this.R = r;
    this.paint();
  }

  leads() {
    return this.C.leads.includes("I") && this.C.leads.includes("II")
      ? ORDER.filter((l) => this.C.leads.includes(l) || l in DERIVED)
      : this.C.leads;
  }

  lead(beat, name, n) {
    const k = this.C.leads.indexOf(name);
    if (k >= 0) return beat.subarray(k * n, k * n + n);
    const [a, b] = DERIVED[name],
      one = this.lead(beat, "I", n),
      two = this.lead(beat, "II", n);
    return Float32Array.from(one, (v, i) => a * v + b * two[i]);
  }

  // Where each trace and curve lies (px), of what, and how ms and µV become px there.
  panels() {
    const view = this.scene.view.view;
    const [x, w, bottom] = [46, this.W - 58, this.H - 22];
    const strip = view === "rhythm" ? 22 : view === "maps" ? 30 : 46; // the map's colours, and landmarks' names
    const top = strip + (this.skill() ? SKILL_ROW : 0);
    const place = { x, w, top, h: bottom - top };
    const panels =
      view === "12 leads"
        ? this.panelsOfLeads(place)
        : view === "rhythm" && this.scene.rhythm
          ? this.panelsOfRhythm(place)
          : this.panelsOfBeat(place, view === "maps");
    for (const p of panels) this.setScales(p);
    return panels;
  }

  beatPanel(lead, x, y, w, h, small) {
    const { start, step, n } = this.C.time;
    const ends = { t0: start, t1: start + step * (n - 1), start, step, n };
    return { kind: "trace", lead, x, y, w, h, small, beat: this.scene.beat, ...ends };
  }

  panelsOfLeads({ x, w, top, h }) {
    const leads = this.leads();
    const rows = Math.ceil(leads.length / 2);
    const [each, half] = [h / rows, (w - 34) / 2];
    return leads.map((lead, k) => {
      const right = k >= rows;
      return this.beatPanel(lead, x + right * (half + 34), top + (k % rows) * each, half, each - 3, true);
    });
  }

  panelsOfRhythm({ x, w, top, h }) {
    const { values, n, step } = this.scene.rhythm;
    const leads = [...new Set([this.scene.view.lead, "II", "V1"])].filter((l) => this.C.leads.includes(l));
    const each = h / leads.length;
    const common = { kind: "trace", rhythm: true, small: true, beat: values, n, start: 0, step, t0: 0, t1: step * n };
    return leads.map((lead, k) => ({ ...common, lead, x, y: top + k * each, w, h: each - 4 }));
  }

  // A line of text stands above each curve.
  panelsOfBeat({ x, w, top, h }, compared) {
    const [under, share] = compared ? [3, 0.36] : [1, 0.66];
    const [each, text] = [(h * (1 - share)) / under, 18];
    const trace = this.beatPanel(this.scene.view.lead, x, top, w, h * share - 2, false);
    const curve = (k) => {
      const place = { y: top + h * share + k * each + text, h: each - text - 2 };
      return { ...trace, ...place, kind: "curve", which: compared ? k : -1 };
    };
    return [trace, ...[...Array(under).keys()].map(curve)];
  }

  setScales(p) {
    let [t0, t1] = this.span(p);
    if (this.zoom) [t0, t1] = [t0 + this.zoom.a * (t1 - t0), t0 + this.zoom.b * (t1 - t0)];
    p.t = (x) => t0 + ((x - p.x) / p.w) * (t1 - t0);
    p.px = (t) => p.x + ((t - t0) / (t1 - t0)) * p.w;
    p.view = [t0, t1];
    if (p.kind !== "trace") return;
    p.values = this.lead(p.beat, p.lead, p.n);
    let [low, high] = range([p.values]);
    if (low > high) [low, high] = [-500, 500];
    let span = Math.max(400, (high - low) * 1.25);
    let middle = (low + high) / 2;
    if (this.gain) span = (p.h / PX_PER_MM / this.gain) * 1000;
    if (this.zoom) [span, middle] = [span * this.zoom.v, middle + this.zoom.dv];
    p.uv = (y) => middle + (0.5 - (y - p.y) / p.h) * span;
    p.py = (u) => p.y + (0.5 - (u - middle) / span) * p.h;
    p.span = span;
  }

  // From when to when (ms) a panel shows unless it is zoomed: all, or what the sweep leaves room for.
  span(p) {
    if (!this.sweep) return [p.t0, p.t1];
    const length = (p.w / PX_PER_MM / this.sweep) * 1000;
    if (p.rhythm) return [0, length];
    if (length < p.t1 - p.t0) return [-150 - 0.1 * length, -150 + 0.9 * length]; // QRS to the left, T in sight
    const middle = (p.t0 + p.t1) / 2;
    return [middle - length / 2, middle + length / 2];
  }

  // ---------------------------------------------------------------- painting

  // Once before the next frame, however often it is asked for.
  soon(what) {
    if (this.due.has(what)) return;
    this.due.add(what);
    requestAnimationFrame(() => {
      this.due.delete(what);
      this[what]();
    });
  }

  paint() {
    this.soon("draw");
  }

  timed(f) {
    const began = performance.now();
    f();
    this.frames.push(performance.now() - began);
    if (this.frames.length > 200) this.frames.shift();
  }

  // A colour of the style sheet.
  ink(name) {
    if (!this.inks) {
      const style = getComputedStyle(this.el);
      this.inks = Object.fromEntries(COLOURS.map((c) => [c, style.getPropertyValue(`--${c}`).trim()]));
    }
    return this.inks[name];
  }

  draw() {
    if (!this.W || !this.scene) return;
    this.timed(() => {
      const g = this.base.getContext("2d");
      g.setTransform(this.R, 0, 0, this.R, 0, 0);
      g.fillStyle = this.ink("paper");
      g.fillRect(0, 0, this.W, this.H);
      this.P = this.panels();
      for (const p of this.P) p.kind === "trace" ? this.drawTrace(g, p) : this.drawCurve(g, p);
      this.drawAxis(g);
      this.drawNames(g);
      this.drawColourBar(g);
      this.drawSkill(g);
      this.drawn = { record: this.scene.record, revision: this.scene.revision };
    });
    this.drawOver();
    this.sayScales();
    if (this.goneAt) this.took.next = performance.now() - this.goneAt;
    this.goneAt = 0;
  }

  sayScales() {
    const p = this.P[0];
    const speed = (p.w / PX_PER_MM / (p.view[1] - p.view[0])) * 1000;
    const gain = (p.h / PX_PER_MM / p.span) * 1000;
    this.scaleButtons[0].textContent = `${num(speed)} mm/s${this.sweep && !this.zoom ? "" : " fit"}`;
    this.scaleButtons[1].textContent = `${num(gain)} mm/mV${this.gain && !this.zoom ? "" : " fit"}`;
    this.scaleButtons[0].setAttribute("aria-pressed", !!this.sweep && !this.zoom);
    this.scaleButtons[1].setAttribute("aria-pressed", !!this.gain && !this.zoom);
  }

  // The map whose colours lie behind the traces: none where maps are compared.
  mapBehind() {
    return this.scene.view.view === "maps" ? null : this.scene.map || this.scene.stale;
  }

  grid(g, p, pale) {
    const [t0, t1] = p.view;
    const lines = (ms, uv, style) => {
      const points = [];
      if ((ms / (t1 - t0)) * p.w >= 4)
        for (let t = Math.ceil(t0 / ms) * ms; t <= t1; t += ms) {
          const x = Math.round(p.px(t)) + 0.5;
          points.push([x, p.y, x, p.y + p.h]);
        }
      if ((uv / p.span) * p.h >= 4)
        for (let u = Math.ceil(p.uv(p.y + p.h) / uv) * uv; u <= p.uv(p.y); u += uv) {
          const y = Math.round(p.py(u)) + 0.5;
          points.push([p.x, y, p.x + p.w, y]);
        }
      stroke(g, style, 1, points);
    };
    lines(40, 100, pale ? "rgba(90,80,80,.10)" : "#fbe9e5"); // small squares of ECG paper
    lines(200, 500, pale ? "rgba(90,80,80,.26)" : "#f0c4bb");
  }

  inside(g, p, f) {
    g.save();
    g.beginPath();
    g.rect(p.x, p.y, p.w, p.h);
    g.clip();
    f();
    g.restore();
  }

  // A map's colours behind a trace; one of the beat is folded onto every cycle of a recording.
  paintMap(g, p, map, alpha) {
    const k = map.leads ? map.leads.indexOf(p.lead) : 0;
    if (k < 0) return;
    const values = map.values.subarray(k * map.time.n, (k + 1) * map.time.n);
    const parts = p.rhythm && this.scene.folded ? this.cycles() : [{ at: 0, from: -Infinity, to: Infinity }];
    for (const part of parts) this.paintPart(g, p, map, values, part, alpha);
  }

  // When (ms) each beat of the recording has its R, and from when to when around it the beat lasts.
  cycles() {
    const marks = this.scene.rhythm.cycles;
    const n = this.C.landmarks.length;
    const of = (j, name) => marks[j * n + this.C.landmarks.indexOf(name)];
    const known = [...Array(marks.length / n).keys()].filter((j) => isFinite(of(j, "R")));
    return known.map((j) => {
      const r = of(j, "R");
      const [on, off] = [of(j, "P_on") - r, of(j, "T_off") - r];
      return { at: r, from: isFinite(on) ? on : -250, to: isFinite(off) ? off : 450 };
    });
  }

  paintPart(g, p, map, values, { at, from, to }, alpha) {
    const { start, step, n } = map.time;
    const first = Math.max(0, Math.ceil((Math.max(from, p.view[0] - at) - start) / step) - 1);
    const last = Math.min(n - 1, Math.floor((Math.min(to, p.view[1] - at) - start) / step) + 1);
    for (let i = first; i <= last; i++) {
      if (!isFinite(values[i])) continue;
      const x = p.px(at + start + (i - 0.5) * step);
      const [red, green, blue] = colour(values[i] / (map.limit || 1));
      g.fillStyle = `rgba(${red},${green},${blue},${alpha})`;
      g.fillRect(x, p.y, p.px(at + start + (i + 0.5) * step) - x + 0.6, p.h);
    }
  }

  line(g, p, values, { start, step }, style, width, dash = [], py = p.py) {
    Object.assign(g, { strokeStyle: style, lineWidth: width, lineJoin: "round" });
    g.setLineDash(dash);
    g.beginPath();
    const from = Math.max(0, Math.floor((p.view[0] - start) / step) - 1);
    const to = Math.min(values.length, Math.ceil((p.view[1] - start) / step) + 2);
    let pen = false; // lifted where samples are missing
    for (let i = from; i < to; i++) {
      const there = isFinite(values[i]);
      if (there) g[pen ? "lineTo" : "moveTo"](p.px(start + i * step), py(values[i]));
      pen = there;
    }
    g.stroke();
    g.setLineDash([]);
  }

  drawTrace(g, p) {
    const map = this.mapBehind();
    this.inside(g, p, () => {
      if (map) this.paintMap(g, p, map, this.scene.map ? this.ink("map") : 0.25);
      this.grid(g, p, !!map);
      p.rhythm ? this.drawTicks(g, p) : this.drawMarks(g, p);
      for (const [, beat, style, dash] of p.rhythm ? [] : this.others()) {
        const values = this.lead(beat, p.lead, p.n);
        this.line(g, p, values, p, "rgba(255,255,255,.8)", 4); // seen on every colour of the map
        this.line(g, p, values, p, style, 1.6, dash);
      }
      this.line(g, p, p.values, p, this.ink("ink"), p.small ? 1.2 : 1.7);
    });
    this.frame(g, p);
    g.font = "600 12px system-ui, sans-serif";
    g.fillStyle = "rgba(255,255,255,.8)";
    g.fillRect(p.x + 3, p.y + 3, g.measureText(p.lead).width + 6, 16);
    write(g, p.lead, p.x + 6, p.y + 11, { font: "600 12px", style: this.ink("ink") });
    if (p.small) return;
    this.drawMicrovolts(g, p);
    const others = this.others().map(([name, , style, dash]) => [name, style, dash]);
    if (others.length) this.legend(g, p, [[`record ${this.scene.record}`, this.ink("ink"), []], ...others]);
  }

  // Beats drawn under the record's: what they are, their values, colour and dashes.
  others() {
    const s = this.scene;
    const others = [];
    if (this.common && s.common) others.push(["cohort's common beat", s.common, this.ink("cohort"), [6, 3]]);
    if (this.pinned && this.pinned.record !== s.record)
      others.push([`record ${this.pinned.record}`, this.pinned.beat, this.ink("other"), [2, 2]]);
    if (s.before) others.push(["before the edit", s.before, this.ink("before"), [4, 3]]);
    return others;
  }

  frame(g, p) {
    g.strokeStyle = this.ink("frame");
    g.lineWidth = 1;
    g.strokeRect(p.x + 0.5, p.y + 0.5, p.w - 1, p.h - 1);
  }

  drawMicrovolts(g, p) {
    const step = niceStep((26 * p.span) / p.h);
    for (let u = Math.ceil(p.uv(p.y + p.h - 6) / step) * step; u <= p.uv(p.y + 6); u += step)
      write(g, num(u), p.x - 5, p.py(u), { align: "right", style: this.ink("axis") });
    g.save();
    g.translate(8, p.y + p.h / 2);
    g.rotate(-Math.PI / 2);
    write(g, "µV", 0, 0, { align: "center", style: this.ink("axis") });
    g.restore();
  }

  legend(g, p, items) {
    g.font = "11px system-ui, sans-serif";
    const w = Math.max(...items.map(([text]) => g.measureText(text).width)) + 36;
    const x = p.x + p.w - w - 6;
    g.fillStyle = "rgba(255,255,255,.88)";
    g.fillRect(x, p.y + 5, w, items.length * 15 + 5);
    items.forEach(([text, style, dash], k) => {
      const y = p.y + 15 + k * 15;
      stroke(g, style, 2, [[x + 5, y, x + 25, y]], dash);
      write(g, text, x + 30, y, { style: this.ink("ink") });
    });
  }

  // Above the picture: what the colours mean.
  drawColourBar(g) {
    const map = this.mapBehind();
    if (!map) return;
    const name = this.C.targets.find(([t]) => t === this.scene.view.target)[1];
    const y = 10 + (this.skill() ? SKILL_ROW : 0);
    const texts = [`lowers ${name}`, `raises ${name}, up to ${short(map.limit)} ${map.unit}`];
    g.font = "11px system-ui, sans-serif";
    const [left, right] = texts.map((text) => g.measureText(text).width);
    const x = this.P[0].x + left + 6;
    const w = Math.round(clamp(this.W - x - right - 10, 20, 90));
    write(g, texts[0], this.P[0].x, y, { style: this.ink("ink") });
    write(g, texts[1], x + w + 6, y, { style: this.ink("ink") });
    for (let i = 0; i < w; i++) {
      g.fillStyle = `rgba(${colour((2 * i) / w - 1)},${this.ink("map")})`;
      g.fillRect(x + i, y - 5, 1, 10);
    }
  }

  // What is said of the network's skill on the picture of a map, and whether it was measured and not shown.
  skill() {
    const s = this.scene;
    const isMap = s.map || s.stale || (s.maps && s.maps.some((m) => m.map));
    if (!s.skill || !isMap) return null;
    const [summary, numbers] = s.skill.split(": ");
    return { text: numbers ? `${summary}: this map may mean nothing` : summary, warns: !!numbers };
  }

  drawSkill(g) {
    const skill = this.skill();
    if (!skill) return;
    const x = this.P[0].x;
    const style = this.ink(skill.warns ? "warn" : "axis");
    write(g, skill.text, x + (skill.warns ? 7 : 0), 12, { font: skill.warns ? "600 12px" : "11px", style });
    g.strokeStyle = style;
    g.lineWidth = 1.5;
    if (skill.warns) g.strokeRect(x + 1, 3, g.measureText(skill.text).width + 12, 17);
  }

  // Landmarks of every beat of a recording: R above, the others below.
  drawTicks(g, p) {
    const names = this.C.landmarks;
    const marks = this.scene.rhythm.cycles;
    const ticks = { strong: [], weak: [] };
    for (let i = 0; i < marks.length; i++) {
      if (!isFinite(marks[i])) continue;
      const x = Math.round(p.px(marks[i])) + 0.5;
      const name = names[i % names.length];
      const [from, to] = name === "R" ? [p.y, p.y + 10] : [p.y + p.h - 14, p.y + p.h];
      ticks[/peak|^R$/.test(name) ? "strong" : "weak"].push([x, from, x, to]);
    }
    stroke(g, "rgba(22,24,29,.75)", 1, ticks.strong);
    stroke(g, "rgba(22,24,29,.5)", 1, ticks.weak);
  }

  // Where a landmark is drawn (ms), whether it is moved or was put in by hand; null where the beat has none.
  markOf(k) {
    const s = this.scene;
    const name = this.C.landmarks[k];
    const moved = !!s.view.moved && s.view.moved[0] === name;
    const at = this.draft && this.draft.landmark === name ? this.draft.ms : s.marks[k];
    return at == null ? null : { name, at, moved, hand: moved || !!s.manual[k] };
  }

  drawMarks(g, p) {
    const s = this.scene;
    const picked = this.tool === "landmarks" ? this.chosen : "";
    this.C.landmarks.forEach((name, k) => {
      const mark = this.markOf(k);
      if (!mark) return;
      const upright = (t, style, width, dash) => stroke(g, style, width, [[p.px(t), p.y, p.px(t), p.y + p.h]], dash);
      if (!mark.moved && known(s.doubt[k]) && name !== "R") this.drawDoubt(g, p, mark.at, s.doubt[k]);
      if (mark.moved && s.marks_before[k] != null) upright(s.marks_before[k], this.ink("before"), 1, [2, 3]);
      const chosen = picked === `landmark ${name}`;
      g.globalAlpha = mark.hand || chosen ? 1 : 0.55;
      upright(mark.at, this.ink(mark.hand ? "hand" : "ink"), chosen ? 2.5 : 1, mark.hand ? [5, 3] : []);
      g.globalAlpha = 1;
    });
  }

  // Once and twice the doubt, as grey bands.
  drawDoubt(g, p, at, doubt) {
    g.fillStyle = "rgba(22,24,29,.09)";
    for (const times of [2, 1]) {
      const [from, to] = [p.px(at - times * doubt), p.px(at + times * doubt)];
      g.fillRect(from, p.y, to - from, p.h);
    }
  }

  // Above the first panel of each column, in two rows; where there is no room, peaks go without.
  drawNames(g) {
    const tops = this.P.filter((p) => p.kind === "trace" && p.y === this.P[0].y && !p.rhythm);
    const marks = this.C.landmarks.map((_, k) => this.markOf(k)).filter(Boolean);
    const isPeak = (mark) => /peak|^R$/.test(mark.name);
    const inOrder = [...marks.filter((m) => !isPeak(m)), ...marks.filter(isPeak)];
    for (const p of tops) {
      const rows = [[], []];
      for (const mark of inOrder) {
        const x = p.px(mark.at);
        if (x < p.x || x > p.x + p.w) continue;
        g.font = `${mark.hand ? "600 " : ""}10px system-ui, sans-serif`;
        const half = g.measureText(words(mark.name)).width / 2 + 2;
        const row = rows.findIndex((taken) => taken.every(([from, to]) => x + half < from || x - half > to));
        if (row < 0) continue;
        rows[row].push([x - half, x + half]);
        const font = mark.hand ? "600 10px" : "10px";
        const style = this.ink(mark.hand ? "hand" : "ink");
        write(g, words(mark.name), x, p.y - 2 - 11 * row, { align: "center", base: "bottom", font, style });
      }
    }
  }

  // The map of a panel of curves: the view's, or one of those compared.
  mapOf(p) {
    const s = this.scene;
    if (p.which >= 0) return (s.maps && s.maps[p.which]) || { name: "", map: null, trouble: "" };
    const map = s.map || s.stale;
    const way = s.view.variant;
    const name = !map ? "" : map.label !== "map" ? `${way} ${map.label}` : way === "edit map" ? way : `${way} map`;
    return { name, map, trouble: s.trouble };
  }

  drawCurve(g, p) {
    const s = this.scene;
    const { name, map, trouble } = this.mapOf(p);
    g.fillStyle = this.ink("paper");
    g.fillRect(p.x, p.y, p.w, p.h);
    this.frame(g, p);
    if (!map) {
      const why = trouble ? `no map: ${trouble}`.slice(0, 140) : s.waiting ? "the map is being computed …" : "no map";
      write(g, why, p.x + p.w / 2, p.y + p.h / 2, { align: "center", style: this.ink("axis") });
      return;
    }
    const { n, start, step } = map.time;
    const k = map.leads ? Math.max(0, map.leads.indexOf(s.view.lead)) : 0;
    const values = map.values.subarray(k * n, k * n + n);
    const cohort = p.which < 0 && s.cohort && s.cohort.mean ? s.cohort : null;
    const [low, high] = range(cohort ? [values, cohort.low, cohort.high, [0]] : [values, [0]]);
    const span = (high - low) * 1.3 || 1;
    const py = (v) => p.y + p.h - ((v - low + 0.06 * span) / span) * p.h;
    Object.assign(p, { value: (t) => values[Math.round((t - start) / step)], unit: map.unit, name });
    this.inside(g, p, () => {
      this.drawMarks(g, p);
      stroke(g, this.ink("zero"), 1, [[p.x, Math.round(py(0)) + 0.5, p.x + p.w, Math.round(py(0)) + 0.5]]);
      if (cohort) this.drawCohort(g, p, cohort, py);
      g.globalAlpha = s.map || p.which >= 0 ? 1 : 0.35;
      this.line(g, p, values, map.time, this.ink("record"), 1.7, [], py);
      g.globalAlpha = 1;
    });
    const tick = niceStep((span * 16) / p.h);
    for (let v = Math.ceil((low - 0.06 * span) / tick) * tick; v <= low + 0.94 * span - (3 * span) / p.h; v += tick)
      write(g, short(v), p.x - 5, py(v), { align: "right", style: this.ink("axis") });
    this.curveTitle(g, p, cohort);
  }

  // Above the panel: what the curves are, in as many words as there is room for.
  curveTitle(g, p, cohort) {
    const y = p.y - 9;
    const record = `record ${this.scene.record}`;
    const curves = p.which >= 0 ? [] : [[record, this.ink("record")]];
    if (cohort) curves.push([`${cohort.people} people`, this.ink("cohort")]);
    let x = p.x + p.w;
    for (const [text, style] of curves.reverse()) {
      write(g, text, x, y, { align: "right", style: this.ink("ink") });
      x -= g.measureText(text).width + 4;
      stroke(g, style, 2, [[x - 20, y, x, y]]);
      x -= 32;
    }
    g.font = "600 11px system-ui, sans-serif";
    const room = (text) => p.x + g.measureText(text).width < x;
    const title = [`${p.name} (${p.unit})`, `map (${p.unit})`].find(room) || "map";
    write(g, title, p.x, y, { font: "600 11px", style: this.ink("ink") });
  }

  drawCohort(g, p, cohort, py) {
    const { start, step } = cohort.time;
    const inside = [...cohort.low.keys()].filter((i) => isFinite(cohort.low[i]));
    const point = (values) => (i) => g.lineTo(p.px(start + i * step), py(values[i]));
    g.fillStyle = "rgba(0,114,178,.22)";
    g.beginPath();
    inside.forEach(point(cohort.high));
    inside.reverse().forEach(point(cohort.low));
    g.fill();
    this.line(g, p, cohort.mean, cohort.time, this.ink("cohort"), 1.4, [], py);
  }

  drawAxis(g) {
    const style = this.ink("axis");
    for (const p of this.P.filter((q) => q.y + q.h > this.H - 34)) {
      const [t0, t1] = p.view;
      const step = [10, 20, 50, 100, 200, 500, 1000].find((d) => (d / (t1 - t0)) * p.w > 44) || 2000;
      const y = p.y + p.h + 4;
      for (let t = Math.ceil(t0 / step) * step; p.px(t) <= p.x + p.w - 12; t += step) {
        const text = p.rhythm ? num(t / 1000, step < 100 ? 2 : step < 1000 ? 1 : 0) : num(t);
        write(g, text, p.px(t), y, { align: "center", base: "top", style });
      }
      write(g, p.rhythm ? "s" : "ms", p.x + p.w + 4, y, { align: "right", base: "top", style });
    }
  }

  // The layer above: cross-hair, handles, calipers. It alone is drawn anew while hovering.
  drawOver() {
    if (!this.P) return;
    this.timed(() => {
      const g = this.over.getContext("2d");
      g.setTransform(this.R, 0, 0, this.R, 0, 0);
      g.clearRect(0, 0, this.W, this.H);
      this.drawHandles(g);
      if (this.calipers) this.drawCalipers(g);
      const p = this.hover && this.panelAt(this.hover.x, this.hover.y);
      if (p) this.drawHover(g, p, p.t(this.hover.x));
    });
  }

  drawHover(g, p, t) {
    const upright = (q) => [Math.round(q.px(t)) + 0.5, q.y, Math.round(q.px(t)) + 0.5, q.y + q.h];
    const inSight = this.P.filter((q) => q.px(t) >= q.x && q.px(t) <= q.x + q.w);
    stroke(g, "rgba(22,24,29,.6)", 1, inSight.map(upright));
    g.fillStyle = this.ink("record");
    for (const q of inSight.filter((q) => q.kind === "trace")) {
      const v = this.valueAt(q, t);
      if (v == null || q.py(v) < q.y || q.py(v) > q.y + q.h) continue;
      g.beginPath();
      g.arc(q.px(t), q.py(v), 3, 0, 7);
      g.fill();
    }
    this.say(p, t);
  }

  valueAt(p, t) {
    const v = p.values[Math.round((t - p.start) / p.step)];
    return known(v) ? v : null;
  }

  // The time, every lead's voltage and the map under the mouse, in words.
  say(p, t) {
    const { rhythm, values } =
      this.scene.rhythm && p.rhythm ? { rhythm: true, values: p.beat } : { values: this.scene.beat };
    const { start, step, n } = rhythm ? p : this.C.time;
    const at = Math.round((t - start) / step);
    const cells = this.leads().map((l) => `${l} ${num(this.lead(values, l, n)[at]) || "–"}`);
    const curves = this.P.filter((q) => q.value && known(q.value(t)));
    const maps = curves.map((q) => `${q.which < 0 ? "map" : q.name} ${short(q.value(t))} ${q.unit}`);
    this.readout.replaceChildren(
      make("b", {}, `${num(start + at * step)} ms`),
      ...cells.map((c) => make("span", {}, c)),
      make("em", {}, "µV"),
      ...maps.map((m) => make("em", {}, m)),
    );
  }

  panelAt(x, y) {
    return (this.P || []).find((p) => x >= p.x && x <= p.x + p.w && y >= p.y && y <= p.y + p.h);
  }

  // ---------------------------------------------------------------- handles, calipers

  handles() {
    const p = this.P && this.P[0];
    if (!p || p.rhythm) return [];
    if (this.tool === "landmarks") return this.landmarkHandles();
    return this.tool === "edit" ? this.editHandles() : [];
  }

  placeOf(name) {
    return this.scene.marks[this.C.landmarks.indexOf(name)];
  }

  landmarkHandles() {
    return this.C.movable.map((name) => {
      const at = this.markOf(this.C.landmarks.indexOf(name));
      const ms = at ? at.at : this.scene.place[name];
      return { key: `landmark ${name}`, name, ms, absent: !at, kind: "landmark", tip: `${words(name)} ${num(ms)} ms` };
    });
  }

  // Tops of waves make them higher, their ends make intervals longer.
  editHandles() {
    const top = (landmark, name) => ({ landmark, name, kind: "scaled", tip: `${name} height` });
    const end = (landmark, name, sign) => ({ landmark, name, sign, kind: "stretched", tip: `${name} length` });
    const all = [end("P_on", "PR", -1), top("R", "R"), end("J", "QRS", 1), top("T_peak", "T"), end("T_off", "QT", 1)];
    return all
      .filter((h) => h.name in this.C[h.kind] && this.placeOf(h.landmark) != null)
      .map((h) => ({ ...h, key: `${h.kind} ${h.name}`, ms: this.placeOf(h.landmark) }));
  }

  handle() {
    return this.handles().find((h) => h.key === this.chosen) || null;
  }

  handleAt(h) {
    const p = this.P[0];
    const y = h.kind === "landmark" ? p.y + p.h - 12 : p.py(this.valueAt(p, h.ms) || 0);
    return { x: p.px(h.ms), y: clamp(y, p.y + 8, p.y + p.h - 8) };
  }

  drawHandles(g) {
    for (const h of this.handles()) {
      const on = h.key === this.chosen;
      if (h.absent && !on) continue;
      const { x, y } = this.handleAt(h);
      const near = this.hover && Math.hypot(this.hover.x - x, this.hover.y - y) < 12;
      const style = this.ink("record");
      g.fillStyle = on ? style : this.ink("paper");
      g.beginPath();
      g.arc(x, y, 6.5, 0, 7);
      g.fill();
      g.strokeStyle = style;
      g.lineWidth = 2;
      g.stroke();
      const [dx, dy] = h.kind === "scaled" ? [0, 3.5] : [3.5, 0];
      stroke(g, on ? this.ink("paper") : style, 1.5, [[x - dx, y - dy, x + dx, y + dy]]);
      if (on || near) this.tip(g, h.tip, x, y);
    }
  }

  tip(g, text, x, y) {
    g.font = "600 11px system-ui, sans-serif";
    const w = g.measureText(text).width + 10;
    const left = x + 10 + w > this.W ? x - 10 - w : x + 10;
    g.fillStyle = "rgba(22,24,29,.88)";
    g.fillRect(left, y - 9, w, 18);
    write(g, text, left + 5, y, { font: "600 11px", style: this.ink("paper") });
  }

  drawCalipers(g) {
    const c = this.calipers;
    const p = this.P[Math.min(c.panel, this.P.length - 1)];
    if (p.kind !== "trace") return;
    const [left, right] = [p.px(c.t1), p.px(c.t2)].sort((a, b) => a - b);
    const [top, bottom] = [p.py(c.u1), p.py(c.u2)].sort((a, b) => a - b);
    const style = this.ink("cohort");
    this.inside(g, p, () => {
      g.fillStyle = "rgba(0,114,178,.10)";
      g.fillRect(left, p.y, right - left, p.h);
      stroke(g, style, 1.5, [
        [left, p.y, left, p.y + p.h],
        [right, p.y, right, p.y + p.h],
      ]);
      const level = (y) => [left - 12, y, right + 12, y];
      stroke(g, style, 1.5, [level(top), level(bottom)], [4, 3]);
      if (this.chosen === "1" || this.chosen === "2") {
        const x = p.px(c[`t${this.chosen}`]);
        stroke(g, style, 4, [[x, p.y, x, p.y + 14]]);
      }
    });
    this.caliperLabel(g, p, right, top);
  }

  caliperLabel(g, p, right, top) {
    const text = this.caliperText();
    g.font = "600 12px system-ui, sans-serif";
    const w = g.measureText(text).width;
    const x = clamp(right + 8, p.x, p.x + p.w - w - 14);
    const y = clamp(top - 14, p.y + 12, p.y + p.h - 12);
    g.fillStyle = "rgba(0,60,100,.94)";
    g.fillRect(x, y - 11, w + 12, 22);
    write(g, text, x + 6, y, { font: "600 12px", style: this.ink("paper") });
  }

  caliperText() {
    const { t1, t2, u1, u2 } = this.calipers;
    const ms = Math.abs(t2 - t1);
    return `${num(ms)} ms · ${num(u2 - u1)} µV · ${ms >= 1 ? num(60000 / ms) : "–"} bpm`;
  }

  take(tool) {
    this.tool = tool;
    this.chosen = "";
    this.calipers = null;
    if (tool === "calipers" && this.P) {
      const p = this.P[0];
      const at = (share) => Math.round(p.view[0] + share * (p.view[1] - p.view[0]));
      this.calipers = { panel: 0, t1: at(0.4), t2: at(0.6), u1: 0, u2: Math.round(p.uv(p.y + 0.3 * p.h)) };
      this.chosen = "2";
    }
    if (tool === "edit") this.tab = "edit";
    if (tool === "landmarks") this.tab = "numbers";
    this.show();
    this.over.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- pointer

  at(name, k) {
    const v = this.numbers[name] && this.numbers[name][k];
    return known(v) ? v : null;
  }

  where(e) {
    const r = this.over.getBoundingClientRect();
    return { x: e.clientX - r.left, y: e.clientY - r.top };
  }

  down(e) {
    if (e.button) return;
    const h = this.where(e);
    const p = this.panelAt(h.x, h.y);
    if (!p) return;
    this.over.focus({ preventScroll: true });
    this.over.setPointerCapture(e.pointerId);
    const handle = this.handleNear(h);
    if (handle) {
      this.chosen = handle.key;
      this.drag = this.dragOf(handle, h);
    } else if (this.tool === "calipers" && p.kind === "trace") {
      const [t, u] = [p.t(h.x), p.uv(h.y)];
      this.calipers = { panel: this.P.indexOf(p), t1: t, t2: t, u1: u, u2: u };
      this.chosen = "2";
      this.drag = { calipers: p };
    } else {
      this.chosen = "";
      this.drag = { pan: h, zoom: this.zoom || ALL, panel: p };
    }
    this.paint();
  }

  // The handle that a press takes: a landmark's whole line, or what is within 14 px of an edit's circle.
  handleNear(h) {
    const far = (handle) => {
      const { x, y } = this.handleAt(handle);
      if (handle.kind !== "landmark") return Math.hypot(x - h.x, y - h.y) / 14;
      return handle.absent ? Infinity : Math.abs(x - h.x) / 9;
    };
    const near = this.handles().map((handle) => [far(handle), handle]);
    const [distance, handle] = near.reduce((a, b) => (b[0] < a[0] ? b : a), [1, null]);
    return distance < 1 ? handle : null;
  }

  dragOf(handle, from) {
    const p = this.P[0];
    const height = this.valueAt(p, handle.ms) || 1;
    return {
      handle,
      from,
      amount: this.amount(handle),
      height: Math.abs(height) < 20 ? 20 * Math.sign(height) : height, // µV; of a flat wave some
      group: `drag ${++this.number}`,
      uv: p.span / p.h,
      ms: (p.view[1] - p.view[0]) / p.w,
    };
  }

  // How far an edit goes by now: ms, a factor, or where a landmark is.
  amount(h) {
    if (h.kind === "landmark") return h.ms;
    const found = this.viewToBe()[h.kind].find(([w]) => w === h.name);
    return found ? found[1] : h.kind === "stretched" ? 0 : 1;
  }

  move(e) {
    const h = (this.hover = this.where(e));
    const drag = this.drag;
    if (!drag) this.hoverSoon();
    else if (drag.calipers) {
      const p = drag.calipers;
      this.calipers.t2 = p.t(h.x);
      this.calipers.u2 = p.uv(clamp(h.y, p.y, p.y + p.h));
      this.drawOver();
    } else if (drag.pan) this.pan(drag, h);
    else this.moveHandle(drag, h);
  }

  hoverSoon() {
    this.soon("drawOver");
  }

  pan({ pan, zoom, panel }, h) {
    const dx = ((h.x - pan.x) / panel.w) * (zoom.b - zoom.a);
    const dy = panel.kind === "trace" ? ((h.y - pan.y) / panel.h) * panel.span : 0;
    this.zoom = { ...zoom, a: zoom.a - dx, b: zoom.b - dx, dv: zoom.dv + dy };
    this.paint();
  }

  moveHandle(drag, h) {
    const [dx, dy] = [(h.x - drag.from.x) * drag.ms, (drag.from.y - h.y) * drag.uv];
    const { handle, amount, group } = drag;
    const scaled = handle.kind === "scaled";
    this.setHandle(handle, scaled ? amount * (1 + dy / drag.height) : amount + dx * (handle.sign || 1), group);
  }

  setHandle(h, amount, group) {
    if (h.kind === "landmark") {
      const ms = Math.round(amount / 2) * 2;
      this.draft = { landmark: h.name, ms };
      this.see({ moved: [h.name, ms] }, group);
      this.paint();
      return;
    }
    const [low, high] = this.C[h.kind][h.name];
    if (h.kind === "stretched") this.edit(h.kind, h.name, clamp(Math.round(amount / 2) * 2, low, high), group);
    else this.edit(h.kind, h.name, clamp(Math.round(amount * 20) * 5, low, high) / 100, group);
  }

  up() {
    this.drag = null;
    if (!this.flying) this.draft = null;
    this.paint();
  }

  leave() {
    this.hover = null;
    if (this.drag) return;
    this.readout.replaceChildren();
    this.drawOver();
  }

  wheel(e) {
    if (!this.el.contains(document.activeElement)) return; // the page scrolls
    e.preventDefault();
    const h = this.where(e);
    const p = this.panelAt(h.x, h.y) || this.P[0];
    const turned = e.deltaY || e.deltaX; // Shift turns the wheel sideways
    this.zoomBy(turned > 0 ? 1.15 : 1 / 1.15, clamp((h.x - p.x) / p.w, 0, 1), e.altKey || e.shiftKey);
  }

  zoomBy(factor, at = 0.5, vertical = false) {
    const z = this.zoom || ALL;
    const width = clamp((z.b - z.a) * factor, 0.02, 1.5);
    const centre = z.a + at * (z.b - z.a);
    this.zoom = vertical
      ? { ...z, v: clamp(z.v * factor, 0.05, 5) }
      : { ...z, a: centre - at * width, b: centre + (1 - at) * width };
    this.paint();
  }

  all() {
    this.zoom = null;
    this.paint();
  }

  scale(what) {
    const steps = what === "sweep" ? SWEEPS : GAINS;
    this[what] = steps[(steps.indexOf(this[what]) + 1) % steps.length];
    this.all();
  }

  toggle(what) {
    this[what] = !this[what];
    this.show();
  }

  pin() {
    this.pinned = this.pinned ? null : { record: this.scene.record, beat: this.scene.beat };
    this.show();
  }

  // ---------------------------------------------------------------- keys

  key(e) {
    e.stopPropagation(); // JupyterLab's own keys
    const letters = /^(TEXTAREA|SELECT)$/.test(e.target.tagName) || e.target === this.search;
    const slides = e.target.type === "range" && /^(Arrow|Page|Home|End)/.test(e.key);
    if (e.key === "Escape") this.letGo(e.target !== this.over && !this.sheet.open);
    else if (e.target === this.search && e.key === "Enter") this.openFirst();
    else if (letters || slides || this.sheet.open) return;
    else if (/^(Enter| )$/.test(e.key) && e.target.tagName === "BUTTON") return;
    else if (this.press(e)) e.preventDefault();
  }

  letGo(focus) {
    this.chosen = "";
    if (focus) this.backToPicture();
    this.paint();
  }

  openFirst() {
    this.go(this.found[0]);
    this.backToPicture();
  }

  // Do what a key stands for; whether it stands for anything.
  press(e) {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
    const view = this.C.views[Number(e.key) - 1];
    const letter = this.keys()[e.key];
    if (e.ctrlKey || e.metaKey) {
      if (!/^[zy]$/i.test(e.key)) return false;
      this.ask(e.key.toLowerCase() === "y" || e.shiftKey ? "redo" : "undo");
    } else if (arrow) this.arrow(arrow, e.shiftKey);
    else if (view) this.see({ view });
    else if (letter) letter();
    else return false;
    return true;
  }

  keys() {
    const turn = (all, now, by) => all[(all.indexOf(now) + by + all.length) % all.length];
    const lead = (by) => this.see({ lead: turn(this.C.leads, this.viewToBe().lead, by) });
    const targets = this.C.targets.map(([t]) => t);
    return {
      "/": () => this.search.focus(),
      w: () => this.wide(),
      d: () => lead(1),
      D: () => lead(-1),
      t: () => this.see({ target: turn(targets, this.viewToBe().target, 1) }),
      v: () => this.take("look"),
      c: () => this.take("calipers"),
      e: () => this.take("edit"),
      l: () => this.take("landmarks"),
      "[": () => this.choose(-1),
      "]": () => this.choose(1),
      Enter: () => this.ask("keep"),
      u: () => this.ask("undo"),
      U: () => this.ask("redo"),
      "+": () => this.zoomBy(0.8),
      "=": () => this.zoomBy(0.8),
      "-": () => this.zoomBy(1.25),
      0: () => this.all(),
      g: () => this.scale("gain"),
      s: () => this.scale("sweep"),
      b: () => this.toggle("common"),
      o: () => this.pin(),
      r: () => this.review(),
      m: () => this.giveVerdict(this.C.verdicts[0]),
      n: () => this.writeNote(),
      x: () => this.ask("export"),
      "?": () => this.help(),
    };
  }

  writeNote() {
    this.openTab("review");
    this.panel.querySelector("textarea").focus();
  }

  choose(by) {
    const keys = this.tool === "calipers" ? ["1", "2"] : this.handles().map((h) => h.key);
    const now = keys.indexOf(this.chosen);
    const next = now < 0 ? (by > 0 ? 0 : keys.length - 1) : (now + by + keys.length) % keys.length;
    this.chosen = keys[next] || "";
    this.paint();
  }

  arrow([dx, dy], far) {
    const handle = this.handle();
    if (this.tool === "calipers" && this.calipers && this.chosen) {
      this.calipers[`t${this.chosen}`] += dx * (far ? 20 : 2);
      this.calipers[`u${this.chosen}`] += dy * (far ? 100 : 10);
      this.drawOver();
    } else if (handle) {
      const step = handle.kind === "scaled" ? (far ? 0.2 : 0.05) : (far ? 20 : 2) * (handle.sign || 1);
      this.setHandle(handle, this.amount(handle) + (dx + dy) * step, `key ${handle.key}`);
    } else if (far && dx) {
      const z = this.zoom || ALL;
      const by = (z.b - z.a) * 0.15 * dx;
      this.zoom = { ...z, a: z.a + by, b: z.b + by };
      this.paint();
    } else this.step(dx || -dy);
  }
}

function render({ model, el }) {
  el.classList.add("ecgwb");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.setAttribute("data-jp-suppress-context-menu", "true");
  const explorer = new Explorer(model, el);
  el.explorer = explorer; // for tests and the curious
  return () => explorer.stop();
}

export default { render };

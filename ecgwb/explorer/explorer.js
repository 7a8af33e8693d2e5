// The explorer's picture. `model` holds what the kernel decided (shown) and what stays (constants, records); what is
// drawn is one `scene`, made of one record only. Zoom, calipers, lists and hovering are the browser's own.

const INK = "#16181d",
  GREY = "#8a8f98",
  RECORD = "#c44e00",
  COHORT = "#0072b2",
  OTHER = "#007a5a",
  HAND = "#882255";
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

const f32 = (v) => (v ? new Float32Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)) : null);
const num = (v, digits = 0) => (v == null || !isFinite(v) ? "" : v.toFixed(digits).replace("-", "−"));
const value = (v, unit) =>
  v == null || !isFinite(v) ? "" : unit === "log-odds" ? `${num(100 / (1 + Math.exp(-v)))} %` : num(v);
const short = (v) => num(v, Math.abs(v) >= 10 ? 0 : Math.abs(v) >= 1 ? 1 : 2);
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, v] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), v);
    else if (v !== false && v != null) node.setAttribute(name, v === true ? "" : v);
  }
  node.append(...children.filter((c) => c != null));
  return node;
}

function colour(share) {
  // of the map's limit, -1 to 1
  const at = clamp((share + 1) * 5, 0, 10),
    k = Math.min(9, Math.floor(at));
  return RDBU[k].map((c, j) => Math.round(c + (at - k) * (RDBU[k + 1][j] - c)));
}

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.C = model.get("constants");
    this.el = el;
    this.beats = new Map();
    this.asked = new Set();
    this.number = 0;
    this.waiting = null;
    this.flying = 0;
    this.tool = "look";
    this.chosen = 0;
    this.sweep = 0;
    this.gain = 0;
    this.zoom = null;
    this.common = false;
    this.pinned = null;
    this.calipers = null;
    this.hover = null;
    this.drag = null;
    this.tab = "numbers";
    this.reviewing = false;
    this.sorting = ["", 1];
    this.frames = [];
    this.took = {};
    this.draft = null;
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
      if (this.waiting) {
        const w = this.waiting;
        this.waiting = null;
        this.send(w);
      }
    }
    if (this.flying && this.wanted && this.wanted !== s.record) return; // of the record before: not shown any more
    const old = this.scene;
    this.scene = this.sceneOf(s);
    if (!s.map && s.waiting && old && old.record === s.record && old.target === s.view.target)
      this.scene.stale = old.map || old.stale;
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
      waiting: s.notes.length === 0 || s.waiting,
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

  // One request is under way at a time; of views that are asked for meanwhile, the last one only is sent.
  ask(what, given = {}) {
    const message = { do: what, with: given };
    if (this.flying) {
      if (this.waiting && this.waiting.do === "see" && what === "see")
        Object.assign(message.with, { ...this.waiting.with, ...given });
      else if (this.waiting) {
        (this.queue ||= []).push(message);
        return;
      }
      this.waiting = message;
    } else this.send(message);
  }

  send(message) {
    this.number += 1;
    this.flying = this.number;
    this.sentAt = performance.now();
    this.model.send({ ...message, number: this.number });
    if (this.queue && this.queue.length) this.waiting ||= this.queue.shift();
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
    this.resized = new ResizeObserver(() => {
      const w = this.el.clientWidth;
      this.el.classList.toggle("narrow", w < 1000);
      this.el.classList.toggle("tiny", w < 720);
      this.size();
      if (w !== this.listedAt) {
        this.listedAt = w;
        this.list();
      }
    });
    this.resized.observe(this.stage);
  }

  stop() {
    for (const [name, f] of this.on) this.model.off(name, f);
    this.resized.disconnect();
  }

  told(message, buffers) {
    if (message.code) {
      this.dialog("Export", make("p", {}, this.scene.message), make("pre", {}, message.code));
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
    const began = performance.now(),
      ahead = this.sceneAhead(record);
    this.calipers = null;
    this.draft = null;
    this.wanted = record;
    this.see({ record });
    if (ahead) {
      this.scene = ahead;
      this.show();
      this.took.next = performance.now() - began;
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
    const C = this.C,
      button = (text, label, f, extra = {}) =>
        make("button", { type: "button", title: label, "aria-label": label, onclick: f, ...extra }, text);
    const select = (label, options, f) =>
      make(
        "select",
        { "aria-label": label, title: label, onchange: (e) => f(e.target.value) },
        ...options.map(([v, t]) => make("option", { value: v }, t)),
      );
    this.head = make("div", { class: "who", "aria-live": "polite" });
    this.targetBox = select(
      "target",
      C.targets.map(([t, n]) => [t, n]),
      (v) => this.see({ target: v }),
    );
    this.leadBox = select(
      "lead",
      C.leads.map((l) => [l, l]),
      (v) => this.see({ lead: v }),
    );
    this.viewButtons = C.views.map((v, k) =>
      button(
        { beat: "Beat", "12 leads": "12 leads", rhythm: "Rhythm", maps: "Maps" }[v],
        `${v} (${k + 1})`,
        () => this.see({ view: v }),
        { "data-view": v },
      ),
    );
    this.toolButtons = TOOLS.map(([t, n, key]) => button(n, `${n} (${key})`, () => this.take(t), { "data-tool": t }));
    this.undoButton = button("↶", "undo (u)", () => this.ask("undo"));
    this.redoButton = button("↷", "redo (Shift+u)", () => this.ask("redo"));
    this.scaleButtons = [
      button("", "sweep (s)", () => this.scale("sweep")),
      button("", "gain (g)", () => this.scale("gain")),
    ];
    this.search = make("input", {
      type: "search",
      placeholder: "search: male age>60 error>20",
      "aria-label": "search records",
      oninput: () => this.list(),
    });
    this.heads = make("div", { class: "heads", role: "row" });
    this.rows = make("div", { class: "rows", role: "rowgroup", onscroll: () => this.listRows() });
    this.count = make("div", { class: "count", role: "status" });
    this.base = make("canvas");
    this.over = make("canvas", {
      class: "over",
      tabindex: 0,
      role: "img",
      "aria-label": "the ECG",
      "aria-keyshortcuts": "ArrowLeft ArrowRight",
    });
    this.stage = make("div", { class: "stage" }, this.base, this.over);
    this.readout = make("div", { class: "readout", "aria-live": "off" });
    this.said = make("div", { class: "said", role: "status", "aria-live": "polite" });
    this.panel = make("div", { class: "body" });
    this.tabs = [
      ["numbers", "Numbers"],
      ["edit", "What if"],
      ["map", "Map"],
      ["review", "Review"],
    ].map(([id, n]) =>
      button(
        n,
        n,
        () => {
          this.tab = id;
          this.side();
        },
        { role: "tab", "data-tab": id },
      ),
    );
    const bar = make(
      "div",
      { class: "bar" },
      this.head,
      make("div", { class: "group", role: "group", "aria-label": "view" }, ...this.viewButtons),
    );
    const tools = make(
      "div",
      { class: "bar tools" },
      make("div", { class: "group" }, this.targetBox, this.leadBox),
      make("div", { class: "group", role: "group", "aria-label": "tool" }, ...this.toolButtons),
      make(
        "div",
        { class: "group" },
        ...this.scaleButtons,
        button("−", "zoom out (−)", () => this.zoomBy(1.25)),
        button("+", "zoom in (+)", () => this.zoomBy(0.8)),
        button("0", "show all (0)", () => {
          this.zoom = null;
          this.paint();
        }),
      ),
      make("div", { class: "group" }, this.undoButton, this.redoButton),
      make(
        "div",
        { class: "group" },
        (this.commonButton = button("cohort", "the cohort's common beat (b)", () => this.toggle("common"))),
        (this.pinButton = button("overlay", "lay this record under the next ones (o)", () => this.pin())),
      ),
      make(
        "div",
        { class: "group" },
        button("export", "export figure and code (x)", () => this.ask("export")),
        button("?", "keys (?)", () => this.help()),
      ),
    );
    const left = make(
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
        button("⇔", "all columns (w)", () => this.wide()),
      ),
    );
    const right = make(
      "section",
      { class: "side", "aria-label": "numbers and edits" },
      make("div", { class: "tabs", role: "tablist" }, ...this.tabs),
      this.panel,
    );
    this.sheet = make("dialog", { class: "sheet" });
    this.el.append(
      make(
        "div",
        { class: "rows3" },
        left,
        make("section", { class: "middle" }, bar, tools, this.stage, this.readout, this.said),
        right,
      ),
      this.sheet,
    );
    this.el.addEventListener("keydown", (e) => this.key(e));
    for (const [name, f] of [
      ["pointerdown", "down"],
      ["pointermove", "move"],
      ["pointerup", "up"],
      ["pointercancel", "up"],
      ["pointerleave", "leave"],
      ["wheel", "wheel"],
    ])
      this.over.addEventListener(name, (e) => this[f](e), { passive: false });
    this.over.addEventListener("dblclick", () => {
      this.zoom = null;
      this.paint();
    });
    this.found = this.ids;
    this.scene = null;
  }

  show() {
    const s = this.scene,
      C = this.C;
    this.head.replaceChildren(
      make("b", {}, `Record ${s.record}`),
      make("span", { title: s.about.join("; ") }, s.about.join(" · ")),
    );
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
    const s = this.scene,
      computing = this.model.get("computing"),
      parts = [];
    for (const n of s.notes) parts.push(make("div", { class: "note" }, "⚠ " + n));
    if (s.message) parts.push(make("div", { class: "message" }, s.message));
    if (!this.found.length)
      parts.push(
        make(
          "div",
          { class: "message" },
          "No record fits this search; change it. Words begin an id, sex, diagnosis or rhythm; numbers go as age>60, qt<=440, error>20, doubt>=30.",
        ),
      );
    if (s.trouble) parts.push(make("div", { class: "message" }, "no map: " + s.trouble));
    if (s.cohort && s.cohort.trouble) parts.push(make("div", { class: "message" }, s.cohort.trouble));
    if (s.view.moved)
      parts.push(
        make(
          "div",
          {},
          `${s.view.moved[0]} moved to ${num(s.view.moved[1])} ms, not kept yet `,
          make("button", { type: "button", onclick: () => this.ask("keep") }, "keep (Enter)"),
        ),
      );
    if (s.view.view === "maps") parts.push(make("div", { class: "why" }, this.C.why));
    if (s.edits.length) parts.push(make("div", { class: "edited" }, "edited: " + s.edits.join(", ")));
    if (computing && !s.message) parts.push(make("div", { class: "busy" }, computing));
    this.said.replaceChildren(...parts);
  }

  dialog(title, ...content) {
    this.sheet.replaceChildren(
      make("h3", {}, title),
      ...content,
      make(
        "button",
        {
          type: "button",
          onclick: () => {
            this.sheet.close();
            this.over.focus();
          },
        },
        "close",
      ),
    );
    if (!this.sheet.open) this.sheet.showModal();
  }

  help() {
    this.dialog(
      "Keys",
      make(
        "table",
        {},
        ...KEYS.map(([k, what]) => make("tr", {}, make("td", {}, make("kbd", {}, k)), make("td", {}, what))),
      ),
    );
  }

  // ---------------------------------------------------------------- the list

  columns() {
    const t = this.scene.view.target,
      unit = this.C.targets.find((x) => x[0] === t)[2];
    const all = [
      ["record", "record"],
      ["age", "age"],
      ["sex", "sex"],
      ["diagnosis", "diagnosis"],
      [t, "measured"],
      [`predicted_${t}`, "predicted"],
      [`error_${t}`, "error"],
      ["doubt", "doubt"],
      ["hr", "HR"],
      ["pr", "PR"],
      ["qrs", "QRS"],
      ["qt", "QT"],
      ["qtc", "QTc"],
    ];
    const narrow = this.el.classList.contains("tiny")
      ? ["record", `error_${t}`]
      : ["record", "age", "sex", `error_${t}`, "doubt"];
    return { columns: this.isWide ? all : all.filter(([c]) => narrow.includes(c)), unit };
  }

  find() {
    const t = this.scene.view.target,
      name = (w) => (w === "error" || w === "predicted" ? `${w}_${t}` : w === "measured" ? t : w);
    const words = this.search.value
      .toLowerCase()
      .replace(/\s*(<=|>=|<|>|=)\s*/g, "$1")
      .split(/\s+/)
      .filter(Boolean);
    let rows = [...this.ids.keys()];
    for (const w of words) {
      const m = /^(\w+)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)$/.exec(w),
        values = m && this.numbers[name(m[1])];
      if (values) {
        const x = +m[3],
          fits = {
            "<": (v) => v < x,
            ">": (v) => v > x,
            "<=": (v) => v <= x,
            ">=": (v) => v >= x,
            "=": (v) => v === x,
          }[m[2]];
        rows = rows.filter((k) => fits(values[k]));
      } else rows = rows.filter((k) => this.words[k].includes(" " + w));
    }
    const [by, way] = this.sorting;
    if (by) {
      const values = this.numbers[by] || this.texts[by];
      const known = (k) => (typeof values[k] === "string" ? values[k] !== "" : isFinite(values[k]));
      rows.sort(
        (a, b) =>
          known(b) - known(a) ||
          (known(a) && way * (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0)) ||
          a - b,
      );
    }
    return rows.map((k) => this.ids[k]);
  }

  list() {
    if (!this.scene) return;
    this.found = this.find();
    const { columns, unit } = this.columns();
    this.heads.replaceChildren(
      ...columns.map(([c, n]) =>
        make(
          "button",
          {
            type: "button",
            role: "columnheader",
            class: `c-${n}`,
            title: `sort by ${n}`,
            "aria-sort": this.sorting[0] === c ? (this.sorting[1] > 0 ? "ascending" : "descending") : "none",
            onclick: () => {
              const first = /^error|doubt/.test(c) ? -1 : 1;
              this.sorting = c === "record" ? ["", 1] : this.sorting[0] !== c ? [c, first] : [c, -this.sorting[1]];
              this.list();
            },
          },
          n + (this.sorting[0] === c ? (this.sorting[1] > 0 ? " ↑" : " ↓") : ""),
        ),
      ),
    );
    this.unit = unit;
    const here = this.found.indexOf(this.scene.record);
    this.count.textContent = this.found.length ? `${here < 0 ? "–" : here + 1} of ${this.found.length}` : "none";
    if (here >= 0) {
      const top = here * 24,
        box = this.rows;
      if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - 48)
        box.scrollTop = Math.max(0, top - box.clientHeight / 2);
    }
    this.listRows();
    this.status();
  }

  listRows() {
    // the rows in sight only
    const { columns } = this.columns(),
      from = Math.max(0, Math.floor(this.rows.scrollTop / 24) - 3),
      to = Math.min(this.found.length, from + Math.ceil((this.rows.clientHeight || 400) / 24) + 6);
    const line = (id, k) => {
      const i = this.row.get(id),
        done = this.scene.review.done[id];
      const cell = ([c, n]) =>
        make(
          "span",
          { class: `c-${n}`, role: "cell" },
          c === "record"
            ? (done ? "✓ " : "") + id
            : c === "sex" && !this.isWide
              ? this.texts.sex[i].slice(0, 1).toUpperCase()
              : this.texts[c]
                ? this.texts[c][i]
                : c.startsWith("predicted_")
                  ? value(this.numbers[c][i], this.unit)
                  : num(this.numbers[c] ? this.numbers[c][i] : NaN),
        );
      return make(
        "div",
        {
          class: "line",
          role: "row",
          style: `top:${k * 24}px`,
          "aria-selected": id === this.scene.record,
          "data-record": id,
          onclick: () => {
            this.go(id);
            this.over.focus({ preventScroll: true });
          },
        },
        ...columns.map(cell),
      );
    };
    this.rows.replaceChildren(
      make(
        "div",
        { class: "all", style: `height:${this.found.length * 24}px` },
        ...this.found.slice(from, to).map((id, k) => line(id, from + k)),
      ),
    );
  }

  wide() {
    this.isWide = !this.isWide;
    this.el.classList.toggle("wide", this.isWide);
    this.list();
  }

  // ---------------------------------------------------------------- the side: numbers, what if, map, review

  side() {
    for (const b of this.tabs) b.setAttribute("aria-selected", b.dataset.tab === this.tab);
    const active = document.activeElement,
      inside = this.panel.contains(active);
    if (inside && this.panelOf === this.tab && ["edit", "review"].includes(this.tab)) {
      this.renew();
      return;
    }
    this.panelOf = this.tab;
    this.panel.replaceChildren(
      ...{
        numbers: () => this.numbersTab(),
        edit: () => this.editTab(),
        map: () => this.mapTab(),
        review: () => this.reviewTab(),
      }[this.tab](),
    );
    this.renew();
  }

  numbersTab() {
    const s = this.scene,
      changed = s.edits.length || s.view.moved;
    const pair = (r, what) => {
      const a = value(r[what], r.unit),
        b = value(r[what + "_after"], r.unit);
      return make(
        "td",
        { class: changed && a !== b ? "changed" : "" },
        changed && a !== b ? `${a || "–"} → ${b || "–"}` : a,
      );
    };
    const rows = s.numbers.map((r) =>
      make(
        "tr",
        { class: r.target === s.view.target ? "target" : "", "data-target": r.target },
        make("th", { scope: "row" }, r.name, make("small", {}, r.unit && r.unit !== "log-odds" ? ` ${r.unit}` : "")),
        pair(r, "measured"),
        pair(r, "predicted"),
      ),
    );
    return [
      make(
        "table",
        { class: "numbers" },
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("th", {}, ""),
            make("th", { scope: "col" }, "measured"),
            make("th", { scope: "col" }, "predicted"),
          ),
        ),
        make("tbody", {}, ...rows),
      ),
      make(
        "p",
        { class: "hint" },
        changed ? "before → after the edit" : "Drag a wave (Edit) or a landmark to see what changes.",
      ),
    ];
  }

  editTab() {
    const C = this.C,
      slider = (kind, what, [low, high], step, none, unit) => {
        const input = make("input", {
          type: "range",
          min: low,
          max: high,
          step,
          "data-edit": what,
          "aria-label": `${what} ${unit}`,
          oninput: (e) =>
            this.edit(kind, what, kind === "stretched" ? +e.target.value : +e.target.value / 100, `slider ${what}`),
        });
        return make(
          "label",
          { class: "slider" },
          make("span", {}, what),
          input,
          make("output", { "data-of": what, "data-none": none, "data-unit": unit }),
        );
      };
    return [
      ...Object.entries(C.stretched).map(([w, ends]) => slider("stretched", w, ends, 2, 0, "ms")),
      ...Object.entries(C.scaled).map(([w, ends]) => slider("scaled", w, ends, 5, 100, "%")),
      make(
        "label",
        { class: "slider" },
        make("span", {}, "blank"),
        make(
          "select",
          { "data-edit": "blank", onchange: (e) => this.see({ blanked: e.target.value }) },
          ...["none", ...C.waves].map((w) => make("option", {}, w)),
        ),
      ),
      make(
        "button",
        { type: "button", onclick: () => this.see({ stretched: [], scaled: [], blanked: "none" }) },
        "as recorded",
      ),
      make("table", { class: "numbers small" }),
    ];
  }

  mapTab() {
    const C = this.C,
      s = this.scene,
      select = (label, options, now, f) =>
        make(
          "label",
          { class: "slider" },
          make("span", {}, label),
          make(
            "select",
            { "data-map": label, onchange: (e) => f(e.target.value) },
            ...options.map((o) => make("option", { value: o, selected: o === now }, o)),
          ),
        );
    return [
      select("map by", C.ways, s.view.variant, (v) => this.see({ variant: v })),
      select("layer", C.layers, s.view.layer || C.layer, (v) => this.see({ layer: v })),
      make("p", { class: "hint" }, C.why),
      make("button", { type: "button", onclick: () => this.see({ view: "maps" }) }, "compare the three (4)"),
    ];
  }

  reviewTab() {
    const C = this.C,
      note = make("textarea", { rows: 4, "aria-label": "note", placeholder: "note (n)" });
    const mark = (v) => {
      this.ask("mark", { verdict: v, note: this.panel.querySelector("textarea").value });
      if (v) this.nextInQueue();
    };
    return [
      make(
        "button",
        { type: "button", onclick: () => this.review() },
        this.reviewing ? "leave the queue (r)" : "queue: doubtful first (r)",
      ),
      make("p", { class: "hint", "data-progress": "" }),
      note,
      make(
        "div",
        { class: "group" },
        ...C.verdicts.map((v) => make("button", { type: "button", "data-verdict": v, onclick: () => mark(v) }, v)),
      ),
      make("button", { type: "button", onclick: () => mark("") }, "take the mark away"),
    ];
  }

  renew() {
    // what the side's controls are set to
    const s = this.scene,
      v = s.view,
      of = (kind, what) => (v[kind].find(([w]) => w === what) || [])[1];
    for (const input of this.panel.querySelectorAll("input[data-edit]")) {
      const what = input.dataset.edit,
        ms = of("stretched", what),
        factor = of("scaled", what),
        now = ms != null ? ms : factor != null ? Math.round(100 * factor) : what in this.C.stretched ? 0 : 100;
      if (this.draft == null || this.draft.what !== what) input.value = now;
      const out = this.panel.querySelector(`output[data-of="${what}"]`);
      out.textContent =
        what in this.C.stretched ? `${input.value > 0 ? "+" : ""}${num(+input.value)} ms` : `${input.value} %`;
    }
    const blank = this.panel.querySelector("select[data-edit]");
    if (blank) blank.value = v.blanked;
    const small = this.panel.querySelector("table.small");
    if (small) small.replaceChildren(...this.numbersTab()[0].childNodes);
    const text = this.panel.querySelector("textarea");
    if (text && document.activeElement !== text) text.value = s.review.note;
    for (const b of this.panel.querySelectorAll("[data-verdict]"))
      b.setAttribute("aria-pressed", b.dataset.verdict === s.review.verdict);
    const progress = this.panel.querySelector("[data-progress]"),
      done = Object.keys(s.review.done).length;
    if (progress)
      progress.textContent = `${done} of ${this.C.n} records marked. Notes are kept in a CSV as soon as you mark.`;
  }

  review() {
    this.reviewing = !this.reviewing;
    this.sorting = this.reviewing ? ["doubt", -1] : ["", 1];
    this.tab = "review";
    this.list();
    this.panelOf = null;
    this.side();
    if (this.reviewing && this.found.length) {
      const first = this.found.find((id) => !this.scene.review.done[id]);
      this.go(first);
    }
  }

  nextInQueue() {
    const here = this.found.indexOf(this.scene.record),
      n = this.found.length,
      done = this.scene.review.done;
    for (let d = 1; d < n; d++) {
      const id = this.found[(here + d) % n];
      if (!done[id]) {
        this.go(id);
        return;
      }
    }
  }

  edit(kind, what, amount, group) {
    const view = { ...this.scene.view, ...(this.waiting ? this.waiting.with : {}) },
      none = kind === "stretched" ? 0 : 1;
    const others = view[kind].filter(([w]) => w !== what);
    this.draft = { what };
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

  panels() {
    const s = this.scene,
      view = s.view.view,
      x = 46,
      w = this.W - 58,
      time = this.C.time,
      end = time.start + time.step * (time.n - 1),
      out = [];
    const trace = (lead, x, y, w, h, more = {}) =>
      out.push({
        kind: "trace",
        lead,
        x,
        y,
        w,
        h,
        t0: time.start,
        t1: end,
        beat: s.beat,
        n: time.n,
        start: time.start,
        step: time.step,
        ...more,
      });
    const bottom = this.H - 22;
    if (view === "12 leads") {
      const leads = this.leads(),
        rows = Math.ceil(leads.length / 2),
        h = (bottom - 20) / rows,
        half = (w - 34) / 2;
      leads.forEach((l, k) =>
        trace(l, x + (k >= rows) * (half + 34), 20 + (k % rows) * h, half, h - 3, { small: true }),
      );
    } else if (view === "rhythm" && s.rhythm) {
      const leads = [...new Set([s.view.lead, "II", "V1"].filter((l) => this.C.leads.includes(l)))],
        h = (bottom - 20) / leads.length,
        r = s.rhythm;
      leads.forEach((l, k) =>
        trace(l, x, 20 + k * h, w, h - 4, {
          t0: 0,
          t1: r.step * r.n,
          beat: r.values,
          n: r.n,
          start: 0,
          step: r.step,
          small: true,
          rhythm: true,
        }),
      );
    } else {
      const under = view === "maps" ? 3 : 1,
        share = view === "maps" ? 0.4 : 0.68,
        h = (bottom - 20) * share,
        each = (bottom - 20 - h) / under;
      trace(s.view.lead, x, 20, w, h - 6);
      for (let k = 0; k < under; k++)
        out.push({
          kind: "curve",
          which: view === "maps" ? k : -1,
          x,
          y: 20 + h + k * each,
          w,
          h: each - 6,
          t0: time.start,
          t1: end,
        });
    }
    for (const p of out) this.scales(p);
    return out;
  }

  scales(p) {
    // ms and µV to pixels, by zoom, sweep and gain
    let t0 = p.t0,
      t1 = p.t1;
    if (this.sweep) {
      t1 = t0 + (p.w / PX_PER_MM / this.sweep) * 1000;
      if (t1 > p.t1 && !p.rhythm) {
        const c = (p.t0 + p.t1) / 2,
          half = (t1 - t0) / 2;
        t0 = c - half;
        t1 = c + half;
      } else if (!p.rhythm) {
        t0 = -150 - 0.1 * (t1 - t0);
        t1 = t0 + (p.w / PX_PER_MM / this.sweep) * 1000;
      }
    }
    if (this.zoom) {
      const span = t1 - t0;
      [t0, t1] = [t0 + this.zoom.a * span, t0 + this.zoom.b * span];
    }
    p.t = (x) => t0 + ((x - p.x) / p.w) * (t1 - t0);
    p.px = (t) => p.x + ((t - t0) / (t1 - t0)) * p.w;
    p.view = [t0, t1];
    if (p.kind !== "trace") return;
    const v = this.lead(p.beat, p.lead, p.n);
    p.values = v;
    let low = Infinity,
      high = -Infinity;
    for (let i = 0; i < v.length; i++)
      if (isFinite(v[i])) {
        if (v[i] < low) low = v[i];
        if (v[i] > high) high = v[i];
      }
    if (p.small && !this.gain)
      for (const o of [this.common && this.scene.common])
        if (o) {
          /* the record's own range is shown */
        }
    if (!isFinite(low)) {
      low = -500;
      high = 500;
    }
    let span = Math.max(400, (high - low) * 1.25),
      mid = (low + high) / 2 + span * (p.small ? 0 : -0.02);
    if (this.gain) span = (p.h / PX_PER_MM / this.gain) * 1000;
    if (this.zoom && this.zoom.v) {
      span *= this.zoom.v;
      mid += this.zoom.dv || 0;
    }
    p.uv = (y) => mid + (0.5 - (y - p.y) / p.h) * span;
    p.py = (u) => p.y + (0.5 - (u - mid) / span) * p.h;
    p.span = span;
  }

  // ---------------------------------------------------------------- painting

  paint() {
    if (!this.due) {
      this.due = true;
      requestAnimationFrame(() => {
        this.due = false;
        this.draw();
      });
    }
  }

  timed(f) {
    const began = performance.now();
    f();
    this.frames.push(performance.now() - began);
    if (this.frames.length > 200) this.frames.shift();
  }

  draw() {
    if (!this.W || !this.scene) return;
    this.timed(() => {
      const g = this.base.getContext("2d");
      g.setTransform(this.R, 0, 0, this.R, 0, 0);
      g.fillStyle = "#fff";
      g.fillRect(0, 0, this.W, this.H);
      g.font = "11px system-ui, sans-serif";
      this.drawn = { record: this.scene.record, revision: this.scene.revision };
      this.P = this.panels();
      for (const p of this.P) p.kind === "trace" ? this.drawTrace(g, p) : this.drawCurve(g, p);
      this.drawAxis(g);
      this.drawNames(g);
    });
    this.drawOver();
    const p = this.P[0],
      mms = (p.w / PX_PER_MM / (p.view[1] - p.view[0])) * 1000,
      mmv = (p.h / PX_PER_MM / p.span) * 1000;
    this.scaleButtons[0].textContent = `${num(mms)} mm/s${this.sweep && !this.zoom ? "" : " fit"}`;
    this.scaleButtons[1].textContent = `${num(mmv)} mm/mV${this.gain && !this.zoom ? "" : " fit"}`;
  }

  grid(g, p, pale) {
    const [t0, t1] = p.view,
      lines = (step, colour) => {
        const dx = (step.ms / (t1 - t0)) * p.w,
          dy = (step.uv / p.span) * p.h;
        g.strokeStyle = colour;
        g.lineWidth = 1;
        g.beginPath();
        if (dx >= 4)
          for (let t = Math.ceil(t0 / step.ms) * step.ms; t <= t1; t += step.ms) {
            const x = Math.round(p.px(t)) + 0.5;
            g.moveTo(x, p.y);
            g.lineTo(x, p.y + p.h);
          }
        if (dy >= 4)
          for (let u = Math.ceil(p.uv(p.y + p.h) / step.uv) * step.uv; u <= p.uv(p.y); u += step.uv) {
            const y = Math.round(p.py(u)) + 0.5;
            g.moveTo(p.x, y);
            g.lineTo(p.x + p.w, y);
          }
        g.stroke();
      };
    lines({ ms: 40, uv: 100 }, pale ? "rgba(90,80,80,.10)" : "#fbe9e5");
    lines({ ms: 200, uv: 500 }, pale ? "rgba(90,80,80,.26)" : "#f0c4bb");
  }

  inside(g, p, f) {
    g.save();
    g.beginPath();
    g.rect(p.x, p.y, p.w, p.h);
    g.clip();
    f();
    g.restore();
  }

  paintMap(g, p, map, alpha) {
    // colours behind a trace; folded: on every cycle
    const n = map.time.n,
      k = map.leads ? map.leads.indexOf(p.lead) : 0;
    if (k < 0) return;
    const put = (at) => {
      for (let i = 0; i < n; i++) {
        const v = map.values[k * n + i];
        if (!isFinite(v)) continue;
        const x = p.px(at + map.time.start + (i - 0.5) * map.time.step),
          w = p.px(at + map.time.start + (i + 0.5) * map.time.step) - x;
        if (x + w < p.x || x > p.x + p.w) continue;
        const [r, gr, b] = colour(map.limit ? v / map.limit : 0);
        g.fillStyle = `rgba(${r},${gr},${b},${alpha})`;
        g.fillRect(x, p.y, w + 0.6, p.h);
      }
    };
    if (!p.rhythm || !this.scene.folded) {
      put(0);
      return;
    }
    const c = this.scene.rhythm.cycles,
      L = this.C.landmarks.length,
      R = this.C.landmarks.indexOf("R"),
      off = this.C.landmarks.indexOf("T_off"),
      on = this.C.landmarks.indexOf("P_on");
    const whole = map;
    for (let j = 0; j * L < c.length; j++) {
      const r = c[j * L + R];
      if (!isFinite(r)) continue;
      const a = isFinite(c[j * L + on]) ? c[j * L + on] - r : -250,
        b = isFinite(c[j * L + off]) ? c[j * L + off] - r : 450,
        s = map.time; // its own part only
      const i0 = Math.max(0, Math.round((a - s.start) / s.step)),
        i1 = Math.min(s.n, Math.round((b - s.start) / s.step));
      this.paintPart(g, p, whole, k, r, i0, i1, alpha);
    }
  }

  paintPart(g, p, map, k, at, i0, i1, alpha) {
    for (let i = i0; i < i1; i++) {
      const [r, gr, b] = colour(map.values[k * map.time.n + i] / (map.limit || 1)),
        x = p.px(at + map.time.start + (i - 0.5) * map.time.step);
      g.fillStyle = `rgba(${r},${gr},${b},${alpha})`;
      g.fillRect(x, p.y, p.px(at + map.time.start + (i + 0.5) * map.time.step) - x + 0.6, p.h);
    }
  }

  line(g, p, values, start, step, style, width, dash = [], py = p.py) {
    g.strokeStyle = style;
    g.lineWidth = width;
    g.setLineDash(dash);
    g.lineJoin = "round";
    g.beginPath();
    const from = Math.max(0, Math.floor((p.view[0] - start) / step) - 1),
      to = Math.min(values.length, Math.ceil((p.view[1] - start) / step) + 2);
    let pen = false;
    for (let i = from; i < to; i++) {
      const v = values[i];
      if (!isFinite(v)) {
        pen = false;
        continue;
      }
      const x = p.px(start + i * step),
        y = py(v);
      pen ? g.lineTo(x, y) : g.moveTo(x, y);
      pen = true;
    }
    g.stroke();
    g.setLineDash([]);
  }

  drawTrace(g, p) {
    const s = this.scene,
      map = s.map || s.stale,
      T = this.C.time;
    this.inside(g, p, () => {
      if (map && s.view.view !== "maps") this.paintMap(g, p, map, s.map ? 0.8 : 0.25);
      this.grid(g, p, !!map && s.view.view !== "maps");
      this.drawMarks(g, p);
      if (!p.rhythm) {
        const beat = (b, c, w, d) => this.line(g, p, this.lead(b, p.lead, T.n), T.start, T.step, c, w, d);
        if (this.common && s.common) beat(s.common, COHORT, 1.6, [6, 3]);
        if (this.pinned) beat(this.pinned.beat, OTHER, 1.6, [2, 2]);
        if (s.before) beat(s.before, GREY, 1.3, [4, 3]);
      }
      this.line(g, p, p.values, p.start, p.step, INK, p.small ? 1.2 : 1.7);
    });
    g.strokeStyle = "#cfc8c6";
    g.lineWidth = 1;
    g.strokeRect(p.x + 0.5, p.y + 0.5, p.w - 1, p.h - 1);
    g.fillStyle = INK;
    g.font = "600 12px system-ui, sans-serif";
    g.textAlign = "left";
    g.textBaseline = "top";
    g.fillText(p.lead, p.x + 6, p.y + 5);
    g.font = "11px system-ui, sans-serif";
    if (p.small) return;
    g.fillStyle = "#555";
    g.textAlign = "right";
    g.textBaseline = "middle";
    const step = p.span > 2200 ? 1000 : p.span > 900 ? 500 : 100;
    for (let u = Math.ceil(p.uv(p.y + p.h) / step) * step; u <= p.uv(p.y + 8); u += step)
      g.fillText(num(u), p.x - 5, p.py(u));
    g.save();
    g.translate(10, p.y + p.h / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillText("µV", 0, 0);
    g.restore();
    const items = [[`record ${s.record}`, INK, []]];
    if (s.before) items.push(["before the edit", GREY, [4, 3]]);
    if (this.common && s.common) items.push(["cohort's common beat", COHORT, [6, 3]]);
    if (this.pinned) items.push([`record ${this.pinned.record}`, OTHER, [2, 2]]);
    if (items.length > 1) this.legend(g, p, items);
    if (p.w > 420 && map && s.view.view !== "maps") this.colourBar(g, p, map);
  }

  legend(g, p, items) {
    g.textAlign = "left";
    g.textBaseline = "middle";
    const w = Math.max(...items.map(([t]) => g.measureText(t).width)) + 34,
      h = items.length * 15 + 5,
      x = p.x + p.w - w - 6;
    g.fillStyle = "rgba(255,255,255,.86)";
    g.fillRect(x, p.y + 5, w, h);
    items.forEach(([text, c, dash], k) => {
      const y = p.y + 15 + k * 15;
      g.strokeStyle = c;
      g.lineWidth = 2;
      g.setLineDash(dash);
      g.beginPath();
      g.moveTo(x + 5, y);
      g.lineTo(x + 25, y);
      g.stroke();
      g.setLineDash([]);
      g.fillStyle = "#333";
      g.fillText(text, x + 30, y);
    });
  }

  colourBar(g, p, map) {
    const w = 90,
      x = p.x + 30,
      y = p.y + 8;
    g.fillStyle = "rgba(255,255,255,.86)";
    g.fillRect(x - 4, y - 3, w + 78, 16);
    for (let i = 0; i < w; i++) {
      g.fillStyle = `rgb(${colour((2 * i) / w - 1)})`;
      g.fillRect(x + i, y, 1, 9);
    }
    g.fillStyle = "#333";
    g.textAlign = "left";
    g.textBaseline = "middle";
    g.fillText(`±${short(map.limit)} ${map.unit}`, x + w + 5, y + 5);
  }

  drawMarks(g, p) {
    const s = this.scene,
      L = this.C.landmarks;
    if (p.rhythm) {
      const c = s.rhythm.cycles;
      g.lineWidth = 1;
      for (let i = 0; i < c.length; i++) {
        if (!isFinite(c[i])) continue;
        const x = Math.round(p.px(c[i])) + 0.5,
          name = L[i % L.length];
        g.strokeStyle = /peak|^R$/.test(name) ? "rgba(22,24,29,.5)" : "rgba(22,24,29,.22)";
        g.beginPath();
        g.moveTo(x, p.y + (name === "R" ? 0 : p.h - 14));
        g.lineTo(x, p.y + (name === "R" ? 10 : p.h));
        g.stroke();
      }
      return;
    }
    L.forEach((name, k) => {
      const moved = s.view.moved && s.view.moved[0] === name,
        at = this.draft && this.draft.landmark === name ? this.draft.ms : s.marks[k];
      if (at == null) return;
      const hand = s.manual[k] || moved,
        d = moved ? null : s.doubt[k],
        c = hand ? HAND : INK,
        x = p.px(at),
        picked = this.tool === "landmarks" && this.handle() && this.handle().name === name;
      if (d != null && name !== "R")
        for (const times of [2, 1]) {
          g.fillStyle = "rgba(22,24,29,.09)";
          g.fillRect(p.px(at - times * d), p.y, p.px(at + times * d) - p.px(at - times * d), p.h);
        }
      if (moved && s.marks_before[k] != null) {
        g.strokeStyle = GREY;
        g.lineWidth = 1;
        g.setLineDash([2, 3]);
        g.beginPath();
        g.moveTo(p.px(s.marks_before[k]), p.y);
        g.lineTo(p.px(s.marks_before[k]), p.y + p.h);
        g.stroke();
        g.setLineDash([]);
      }
      g.strokeStyle = c;
      g.globalAlpha = hand || picked ? 1 : 0.45;
      g.lineWidth = picked ? 2.5 : 1;
      g.setLineDash(hand ? [5, 3] : []);
      g.beginPath();
      g.moveTo(x, p.y);
      g.lineTo(x, p.y + p.h);
      g.stroke();
      g.setLineDash([]);
      g.globalAlpha = 1;
    });
  }

  drawNames(g) {
    // above the first panel of each column
    const s = this.scene,
      tops = this.P.filter((p) => p.kind === "trace" && p.y === 20 && !p.rhythm);
    g.textBaseline = "bottom";
    g.textAlign = "center";
    for (const p of tops) {
      let last = -99,
        row = 0;
      this.C.landmarks.forEach((name, k) => {
        const at = this.draft && this.draft.landmark === name ? this.draft.ms : s.marks[k];
        if (at == null) return;
        const hand = s.manual[k] || (s.view.moved && s.view.moved[0] === name);
        g.font = `${hand ? "600 " : ""}10px system-ui, sans-serif`;
        const text = name.replace("_peak", "").replace("_", " "),
          x = p.px(at),
          w = g.measureText(text).width / 2;
        if (x < p.x || x > p.x + p.w) return;
        row = x - w < last + 4 ? 1 - row : 0;
        last = x + w;
        g.fillStyle = hand ? HAND : "#333";
        g.fillText(text, x, row ? 11 : 20);
      });
    }
    g.font = "11px system-ui, sans-serif";
  }

  drawCurve(g, p) {
    const s = this.scene,
      one = p.which >= 0 ? (s.maps ? s.maps[p.which] : null) : { name: "", map: s.map || s.stale, trouble: s.trouble },
      map = one && one.map;
    g.fillStyle = "#fcfcfc";
    g.fillRect(p.x, p.y, p.w, p.h);
    g.strokeStyle = "#cfc8c6";
    g.lineWidth = 1;
    g.strokeRect(p.x + 0.5, p.y + 0.5, p.w - 1, p.h - 1);
    g.fillStyle = "#444";
    g.textAlign = "left";
    g.textBaseline = "top";
    if (!map) {
      g.textAlign = "center";
      g.textBaseline = "middle";
      g.fillText(
        s.notes.length && !s.waiting && !(one && one.trouble)
          ? "no map"
          : one && one.trouble
            ? `no map: ${one.trouble}`.slice(0, 140)
            : s.waiting
              ? "the map is being computed …"
              : "",
        p.x + p.w / 2,
        p.y + p.h / 2,
      );
      return;
    }
    const n = map.time.n,
      k = map.leads ? Math.max(0, map.leads.indexOf(s.view.lead)) : 0,
      values = map.values.subarray(k * n, k * n + n),
      c = p.which < 0 && s.cohort && s.cohort.mean ? s.cohort : null;
    let limit = 0;
    for (const a of c ? [values, c.low, c.high] : [values])
      for (const v of a) if (isFinite(v)) limit = Math.max(limit, Math.abs(v));
    limit = limit * 1.12 || 1;
    const py = (v) => p.y + p.h / 2 - (v / limit) * (p.h / 2);
    p.value = (t) => values[Math.round((t - map.time.start) / map.time.step)];
    p.unit = map.unit;
    this.inside(g, p, () => {
      this.drawMarks(g, { ...p, rhythm: false });
      g.strokeStyle = "#b9b9b9";
      g.beginPath();
      g.moveTo(p.x, Math.round(py(0)) + 0.5);
      g.lineTo(p.x + p.w, Math.round(py(0)) + 0.5);
      g.stroke();
      if (c) {
        g.fillStyle = "rgba(0,114,178,.22)";
        g.beginPath();
        const t = c.time,
          xs = [];
        for (let i = 0; i < t.n; i++) if (isFinite(c.low[i])) xs.push(i);
        xs.forEach((i, j) => (j ? g.lineTo : g.moveTo).call(g, p.px(t.start + i * t.step), py(c.high[i])));
        xs.reverse().forEach((i) => g.lineTo(p.px(t.start + i * t.step), py(c.low[i])));
        g.fill();
        this.line(g, p, c.mean, t.start, t.step, COHORT, 1.4, [], py);
      }
      g.globalAlpha = s.map || p.which >= 0 ? 1 : 0.35;
      this.line(g, p, values, map.time.start, map.time.step, RECORD, 1.7, [], py);
      g.globalAlpha = 1;
    });
    g.fillStyle = "#555";
    g.textAlign = "right";
    g.textBaseline = "middle";
    g.fillText(short(limit * 0.9), p.x - 5, py(limit * 0.9));
    g.fillText("0", p.x - 5, py(0));
    g.fillText(short(-limit * 0.9), p.x - 5, py(-limit * 0.9));
    g.textAlign = "left";
    g.textBaseline = "top";
    g.fillStyle = "#222";
    g.font = "600 11px system-ui, sans-serif";
    g.fillText(one.name || map.label, p.x + 6, p.y + 5);
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = "#555";
    g.fillText(map.unit, p.x + 6, p.y + 19);
    if (p.which < 0 && p.w > 420)
      this.legend(g, p, [
        [`record ${s.record}`, RECORD, []],
        ...(c ? [[`${c.people} people, on this beat`, COHORT, []]] : []),
      ]);
  }

  drawAxis(g) {
    const bottoms = this.P.filter((p) => p.y + p.h > this.H - 34);
    g.fillStyle = "#555";
    g.textAlign = "center";
    g.textBaseline = "top";
    for (const p of bottoms) {
      const [t0, t1] = p.view,
        step = [10, 20, 50, 100, 200, 500, 1000].find((d) => (d / (t1 - t0)) * p.w > 44) || 2000;
      for (let t = Math.ceil(t0 / step) * step; t <= t1; t += step)
        g.fillText(p.rhythm ? num(t / 1000, step < 1000 ? 1 : 0) : num(t), p.px(t), p.y + p.h + 4);
      g.textAlign = "right";
      g.fillText(p.rhythm ? "s" : "ms", p.x + p.w + 12, p.y + p.h + 4);
      g.textAlign = "center";
    }
  }

  // The layer above: cross-hair, handles, calipers. It alone is drawn anew while hovering.
  drawOver() {
    this.timed(() => {
      const g = this.over.getContext("2d");
      g.setTransform(this.R, 0, 0, this.R, 0, 0);
      g.clearRect(0, 0, this.W, this.H);
      g.font = "11px system-ui, sans-serif";
      if (this.tool === "edit" || this.tool === "landmarks") this.drawHandles(g);
      if (this.calipers) this.drawCalipers(g);
      const h = this.hover,
        p = h && this.panelAt(h.x, h.y);
      if (p) {
        const t = p.t(h.x);
        g.strokeStyle = "rgba(22,24,29,.55)";
        g.lineWidth = 1;
        g.beginPath();
        for (const q of this.P) {
          const x = Math.round(q.px(t)) + 0.5;
          if (x >= q.x && x <= q.x + q.w) {
            g.moveTo(x, q.y);
            g.lineTo(x, q.y + q.h);
          }
        }
        g.stroke();
        for (const q of this.P)
          if (q.kind === "trace") {
            const v = this.valueAt(q, t);
            if (v != null) {
              g.fillStyle = RECORD;
              g.beginPath();
              g.arc(q.px(t), q.py(v), 3, 0, 7);
              g.fill();
            }
          }
        this.say(p, t);
      }
    });
  }

  valueAt(p, t) {
    const i = Math.round((t - p.start) / p.step),
      v = p.values[i];
    return v != null && isFinite(v) ? v : null;
  }

  say(p, t) {
    const r = p.rhythm,
      T = this.C.time,
      i = r ? Math.round(t / p.step) : Math.round((t - T.start) / T.step),
      n = r ? p.n : T.n,
      beat = r ? p.beat : this.scene.beat;
    const cells = this.leads().map((l) => {
      const v = this.lead(beat, l, n)[i];
      return `${l} ${v == null || !isFinite(v) ? "–" : num(v)}`;
    });
    const curve = this.P.find((q) => q.kind === "curve" && q.value),
      at = curve && curve.value(t);
    this.readout.replaceChildren(
      make("b", {}, `${num(t)} ms`),
      ...cells.map((c) => make("span", {}, c)),
      make("em", {}, at != null && isFinite(at) ? `map ${short(at)} ${curve.unit}` : "µV"),
    );
  }

  panelAt(x, y) {
    return (this.P || []).find((p) => x >= p.x && x <= p.x + p.w && y >= p.y && y <= p.y + p.h);
  }

  // ---------------------------------------------------------------- handles, calipers

  handles() {
    const s = this.scene,
      p = this.P && this.P[0];
    if (!p || p.rhythm) return [];
    const at = (name) => s.marks[this.C.landmarks.indexOf(name)];
    if (this.tool === "landmarks")
      return this.C.movable.map((name) => ({
        name,
        ms: at(name) != null ? at(name) : s.place[name],
        absent: at(name) == null,
        kind: "landmark",
      }));
    if (this.tool !== "edit") return [];
    const top = (name, what) =>
      at(name) == null || !(what in this.C.scaled)
        ? []
        : [{ name: what, kind: "scaled", ms: at(name), dir: "v", tip: `${what} height` }];
    const side = (name, what, sign) =>
      at(name) == null ? [] : [{ name: what, kind: "stretched", ms: at(name), dir: "h", sign, tip: `${what} length` }];
    return [
      ...side("P_on", "PR", -1),
      ...top("R", "R"),
      ...side("J", "QRS", 1),
      ...top("T_peak", "T"),
      ...side("T_off", "QT", 1),
    ];
  }

  handle() {
    const all = this.handles();
    return this.chosen ? all[(this.chosen - 1 + all.length) % all.length] : null;
  }

  handleAt(h) {
    const p = this.P[0],
      v = this.valueAt(p, h.ms);
    return { x: p.px(h.ms), y: h.kind === "landmark" ? p.y + p.h - 12 : p.py(v == null ? 0 : v) };
  }

  drawHandles(g) {
    const picked = this.handle();
    for (const h of this.handles()) {
      const { x, y } = this.handleAt(h),
        on = picked && picked.name === h.name && picked.kind === h.kind;
      if (h.absent && !on) continue;
      g.fillStyle = on ? RECORD : "#fff";
      g.strokeStyle = RECORD;
      g.lineWidth = 2;
      g.beginPath();
      g.arc(x, y, 6.5, 0, 7);
      g.fill();
      g.stroke();
      g.strokeStyle = on ? "#fff" : RECORD;
      g.lineWidth = 1.5;
      g.beginPath();
      if (h.dir === "v") {
        g.moveTo(x, y - 3.5);
        g.lineTo(x, y + 3.5);
      } else {
        g.moveTo(x - 3.5, y);
        g.lineTo(x + 3.5, y);
      }
      g.stroke();
      if (on || (this.hover && Math.hypot(this.hover.x - x, this.hover.y - y) < 12)) {
        const text = h.kind === "landmark" ? h.name : h.tip;
        g.font = "600 11px system-ui, sans-serif";
        const w = g.measureText(text).width;
        g.fillStyle = "rgba(22,24,29,.85)";
        g.fillRect(x + 10, y - 9, w + 10, 18);
        g.fillStyle = "#fff";
        g.textAlign = "left";
        g.textBaseline = "middle";
        g.fillText(text, x + 15, y);
      }
    }
  }

  drawCalipers(g) {
    const c = this.calipers,
      p = this.P[Math.min(c.panel, this.P.length - 1)];
    if (p.kind !== "trace") return;
    const [x1, x2, y1, y2] = [p.px(c.t1), p.px(c.t2), p.py(c.u1), p.py(c.u2)];
    g.fillStyle = "rgba(0,114,178,.10)";
    g.fillRect(Math.min(x1, x2), p.y, Math.abs(x2 - x1), p.h);
    g.strokeStyle = COHORT;
    g.lineWidth = 1.5;
    g.beginPath();
    for (const x of [x1, x2]) {
      g.moveTo(x, p.y);
      g.lineTo(x, p.y + p.h);
    }
    g.stroke();
    g.setLineDash([4, 3]);
    g.beginPath();
    for (const y of [y1, y2]) {
      g.moveTo(Math.min(x1, x2) - 12, y);
      g.lineTo(Math.max(x1, x2) + 12, y);
    }
    g.stroke();
    g.setLineDash([]);
    const text = this.caliperText(),
      w = ((g.font = "600 12px system-ui, sans-serif"), g.measureText(text).width),
      x = clamp(Math.max(x1, x2) + 8, p.x, p.x + p.w - w - 14),
      y = clamp(Math.min(y1, y2) - 14, p.y + 12, p.y + p.h - 12);
    g.fillStyle = "rgba(0,60,100,.92)";
    g.fillRect(x, y - 11, w + 12, 22);
    g.fillStyle = "#fff";
    g.textAlign = "left";
    g.textBaseline = "middle";
    g.fillText(text, x + 6, y);
  }

  caliperText() {
    const c = this.calipers,
      ms = Math.abs(c.t2 - c.t1);
    return `${num(ms)} ms · ${num(c.u2 - c.u1)} µV · ${ms >= 1 ? num(60000 / ms) : "–"} bpm`;
  }

  take(tool) {
    this.tool = tool;
    this.chosen = 0;
    if (tool !== "calipers") this.calipers = null;
    else if (!this.calipers && this.P && this.P[0]) {
      const p = this.P[0],
        [a, b] = p.view;
      this.calipers = {
        panel: 0,
        t1: Math.round(a + 0.4 * (b - a)),
        t2: Math.round(a + 0.6 * (b - a)),
        u1: 0,
        u2: Math.round(p.uv(p.y + 0.3 * p.h)),
      };
      this.chosen = 2;
    }
    if (tool === "edit") {
      this.tab = "edit";
    }
    this.show();
    this.over.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- pointer

  at(name, k) {
    const v = this.numbers[name] && this.numbers[name][k];
    return v == null || !isFinite(v) ? null : v;
  }

  where(e) {
    const r = this.over.getBoundingClientRect();
    return { x: e.clientX - r.left, y: e.clientY - r.top };
  }

  down(e) {
    if (e.button) return;
    const h = this.where(e),
      p = this.panelAt(h.x, h.y);
    if (!p) return;
    this.over.focus({ preventScroll: true });
    this.over.setPointerCapture(e.pointerId);
    const all = this.handles();
    let near = -1,
      best = this.tool === "landmarks" ? 9 : 14;
    all.forEach((x, k) => {
      const a = this.handleAt(x),
        d = this.tool === "landmarks" ? (x.absent ? 99 : Math.abs(a.x - h.x)) : Math.hypot(a.x - h.x, a.y - h.y);
      if (d < best) {
        best = d;
        near = k;
      }
    });
    if (near >= 0) {
      this.chosen = near + 1;
      const x = all[near];
      this.drag = {
        handle: x,
        from: h,
        amount: this.amount(x),
        v0: this.valueAt(this.P[0], x.ms) || 0,
        group: `drag ${++this.number}`,
        scale: this.P[0].span / this.P[0].h,
        ms: (this.P[0].view[1] - this.P[0].view[0]) / this.P[0].w,
      };
    } else if (this.tool === "calipers" && p.kind === "trace") {
      const t = p.t(h.x),
        u = p.uv(h.y);
      this.calipers = { panel: this.P.indexOf(p), t1: t, t2: t, u1: u, u2: u };
      this.chosen = 2;
      this.drag = { calipers: p };
    } else this.drag = { pan: h, zoom: this.zoom || { a: 0, b: 1, v: 1, dv: 0 }, p };
    this.drawOver();
  }

  amount(h) {
    const v = this.scene.view;
    if (h.kind === "landmark") return h.ms;
    const found = v[h.kind].find(([w]) => w === h.name);
    return found ? found[1] : h.kind === "stretched" ? 0 : 1;
  }

  move(e) {
    const h = (this.hover = this.where(e)),
      d = this.drag;
    if (!d) {
      if (!this.hovering) {
        this.hovering = true;
        requestAnimationFrame(() => {
          this.hovering = false;
          this.drawOver();
        });
      }
      return;
    }
    if (d.calipers) {
      this.calipers.t2 = d.calipers.t(h.x);
      this.calipers.u2 = d.calipers.uv(h.y);
      this.drawOver();
      return;
    }
    if (d.pan) {
      const span = d.zoom.b - d.zoom.a,
        dx = ((h.x - d.pan.x) / d.p.w) * span;
      this.zoom = {
        ...d.zoom,
        a: d.zoom.a - dx,
        b: d.zoom.b - dx,
        dv: (d.zoom.dv || 0) + (d.p.kind === "trace" ? ((h.y - d.pan.y) / d.p.h) * d.p.span : 0),
        v: d.zoom.v || 1,
      };
      this.paint();
      return;
    }
    const dx = (h.x - d.from.x) * d.ms,
      dy = -(h.y - d.from.y) * d.scale;
    this.setHandle(
      d.handle,
      d.handle.kind === "scaled"
        ? d.amount * (1 + dy / (Math.abs(d.v0) < 20 ? 20 * Math.sign(d.v0 || 1) : d.v0))
        : d.amount + dx * (d.handle.sign || 1),
      d.group,
    );
  }

  setHandle(h, amount, group) {
    if (h.kind === "landmark") {
      const ms = Math.round(amount / 2) * 2;
      this.draft = { landmark: h.name, ms };
      this.see({ moved: [h.name, ms] }, group);
      this.paint();
      return;
    }
    const ends = this.C[h.kind][h.name];
    if (h.kind === "scaled")
      this.edit("scaled", h.name, clamp(Math.round(amount * 20) / 20, ends[0] / 100, ends[1] / 100), group);
    else this.edit("stretched", h.name, clamp(Math.round(amount / 2) * 2, ...ends), group);
  }

  up() {
    this.drag = null;
    if (!this.flying) {
      this.draft = null;
      this.renew();
    }
    this.paint();
  }

  leave() {
    this.hover = null;
    if (!this.drag) {
      this.readout.replaceChildren();
      this.drawOver();
    }
  }

  wheel(e) {
    if (document.activeElement !== this.over && !this.el.contains(document.activeElement)) return; // the page scrolls
    e.preventDefault();
    const h = this.where(e),
      p = this.panelAt(h.x, h.y) || this.P[0];
    this.zoomBy(e.deltaY > 0 ? 1.15 : 1 / 1.15, (h.x - p.x) / p.w, e.altKey || e.shiftKey);
  }

  zoomBy(factor, at = 0.5, vertical = false) {
    const z = this.zoom || { a: 0, b: 1, v: 1, dv: 0 };
    if (vertical) this.zoom = { ...z, v: clamp((z.v || 1) * factor, 0.05, 5) };
    else {
      const c = z.a + at * (z.b - z.a),
        w = clamp((z.b - z.a) * factor, 0.02, 1.5);
      this.zoom = { ...z, a: c - at * w, b: c + (1 - at) * w };
    }
    this.paint();
  }

  scale(what) {
    const all = what === "sweep" ? SWEEPS : GAINS;
    this[what] = all[(all.indexOf(this[what]) + 1) % all.length];
    this.zoom = null;
    this.paint();
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
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName),
      k = e.key;
    e.stopPropagation();
    if (k === "Escape") {
      this.chosen = 0;
      if (typing) this.over.focus({ preventScroll: true });
      this.drawOver();
      this.paint();
      return;
    }
    if (typing || this.sheet.open) {
      if (e.target === this.search && k === "Enter") {
        this.go(this.found[0]);
        this.over.focus({ preventScroll: true });
      }
      return;
    }
    if (/^(Enter| )$/.test(k) && e.target.tagName === "BUTTON") return;
    const undo = (e.ctrlKey || e.metaKey) && /^[zy]$/i.test(k);
    if ((e.ctrlKey || e.metaKey) && !undo) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[k],
      leads = this.C.leads,
      targets = this.C.targets.map((t) => t[0]),
      v = this.scene.view;
    const turn = (all, now, by) => all[(all.indexOf(now) + by + all.length) % all.length];
    const keys = {
      "/": () => this.search.focus(),
      w: () => this.wide(),
      d: () => this.see({ lead: turn(leads, v.lead, 1) }),
      D: () => this.see({ lead: turn(leads, v.lead, -1) }),
      t: () => this.see({ target: turn(targets, v.target, 1) }),
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
      0: () => {
        this.zoom = null;
        this.paint();
      },
      g: () => this.scale("gain"),
      s: () => this.scale("sweep"),
      b: () => this.toggle("common"),
      o: () => this.pin(),
      r: () => this.review(),
      m: () => {
        this.ask("mark", { verdict: this.C.verdicts[0], note: this.scene.review.note });
        this.nextInQueue();
      },
      n: () => {
        this.tab = "review";
        this.side();
        this.panel.querySelector("textarea").focus();
      },
      x: () => this.ask("export"),
      "?": () => this.help(),
    };
    this.C.views.forEach((name, j) => {
      keys[j + 1] = () => this.see({ view: name });
    });
    let done = true;
    if (undo) this.ask(k.toLowerCase() === "y" || e.shiftKey ? "redo" : "undo");
    else if (arrow) this.arrow(arrow, e.shiftKey);
    else if (keys[k]) keys[k]();
    else done = false;
    if (done) e.preventDefault();
  }

  choose(by) {
    const n = this.tool === "calipers" ? 2 : this.handles().length;
    if (n) {
      this.chosen = ((this.chosen - 1 + by + (this.chosen ? 0 : by > 0 ? 0 : 1) + n) % n) + 1;
      this.paint();
    }
  }

  arrow([dx, dy], far) {
    const h = this.handle(),
      c = this.calipers;
    if (this.tool === "calipers" && c && this.chosen) {
      const end = this.chosen === 1 ? "1" : "2";
      c["t" + end] += dx * (far ? 20 : 2);
      c["u" + end] += dy * (far ? 100 : 10);
      this.drawOver();
      return;
    }
    if (h) {
      const now = this.draft && this.draft.landmark === h.name ? this.draft.ms : this.amount(h),
        by = h.kind === "scaled" ? (dx + dy) * (far ? 0.2 : 0.05) : (dx + dy) * (far ? 20 : 2) * (h.sign || 1);
      this.setHandle(h, now + by, `key ${h.name}`);
      return;
    }
    if (far && dx) {
      const z = this.zoom || { a: 0, b: 1, v: 1, dv: 0 },
        w = (z.b - z.a) * 0.15 * dx;
      this.zoom = { ...z, a: z.a + w, b: z.b + w };
      this.paint();
      return;
    }
    this.step(dx || -dy);
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

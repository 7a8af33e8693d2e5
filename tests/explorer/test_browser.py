"""The explorer in JupyterLab, in a real browser: Debian's chromium, a JupyterLab started here on loopback.

Skipped where chromium or Playwright is missing, unless ECGWB_BROWSER=required. Screenshots go to the folder that
ECGWB_SCREENSHOTS names, to be looked at, and times, which no test judges, to the file that ECGWB_TIMES names.
"""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import ecgwb as wb

CHROMIUM = shutil.which("chromium")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NOTEBOOK = next(NOTEBOOKS.glob("0?_explore.ipynb")).name
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"laptop": (1400, 900), "projector": (1024, 768)}
PICTURE = ".ecgwb canvas.over"
PX_PER_MM = 96 / 25.4
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(prompt => prompt.innerText)"
ERROR = "[data-mime-type='application/vnd.jupyter.error']"

try:
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    sync_playwright = None
if (CHROMIUM is None or sync_playwright is None) and os.environ.get("ECGWB_BROWSER") != "required":
    pytest.skip("needs chromium and playwright (the extra 'browser')", allow_module_level=True)

TIMES = """`make bench-browser`, ms, on {} cores. In JupyterLab and chromium, from a key to the kernel's answer with its
numbers, or to the picture of a record whose beat was sent ahead.

| what | window | times | least | median | most | asked |
|---|---|---:|---:|---:|---:|---:|
"""


@pytest.fixture(scope="module")
def cohort():
    return wb.open_cohort("ludb", rhythm=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder):
    """JupyterLab's address; it serves a copy, so that the repository's notebooks stay as they are."""
    shutil.copy(NOTEBOOKS / NOTEBOOK, folder)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    settings = {
        "ServerApp.token": "", "ServerApp.password": "", "ServerApp.root_dir": str(folder), "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1", "ServerApp.open_browser": False, "ServerApp.allow_root": True,
        "LabApp.expose_app_in_browser": True,
    }  # fmt: skip
    # Settings of its own: opening's question about news is answered, and cells out of sight stay on the page.
    own = folder / "settings"
    for extension, name, setting in (
        ("apputils-extension", "notification", {"fetchNews": "false", "checkForUpdates": False}),
        ("notebook-extension", "tracker", {"windowingMode": "none"}),
    ):
        file = own / "@jupyterlab" / extension / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(setting))
    places = {"JUPYTERLAB_SETTINGS_DIR": str(own), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in settings.items())]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | places)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.time() + 90
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2).read()
                break
            except OSError:
                assert server.poll() is None, (folder / "lab.log").read_text()
                assert time.time() < until, (folder / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(lab):
    """The notebook, run to its end, in an open browser."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=dict(zip(("width", "height"), SIZES["laptop"], strict=True)))
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.goto(f"{lab}/lab/tree/{NOTEBOOK}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        run_all(page)
        page.wait_for_timeout(2000)
        answer_dialogs(page)
        page.locator(PICTURE).scroll_into_view_if_needed()
        yield page
        browser.close()


def run_all(page):
    """Run every cell to its end. A command given before the kernel is connected is lost, or runs the last cell only."""
    kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    connected = f"{kernel}?.connectionStatus == 'connected' && {kernel}.status == 'idle'"
    page.wait_for_function(connected, timeout=180_000)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    ran = f"{PROMPTS}.every(prompt => /[0-9]/.test(prompt))"
    page.wait_for_function(f"{ran} || document.querySelector({ERROR!r})", timeout=300_000)  # minutes on a busy machine
    assert page.evaluate(ran), page.inner_text(".jp-Notebook")


def answer_dialogs(page):
    """A command given before the kernel is connected may make JupyterLab ask which kernel to take."""
    accept = page.locator(".jp-Dialog button.jp-mod-accept")
    while accept.count():
        accept.first.click()
        page.wait_for_timeout(500)


def said(page, what):
    """Read something of the explorer in the page."""
    return page.evaluate(f"(x => {what})(document.querySelector('.ecgwb').explorer)")


def settled(page):
    """Wait until the kernel has answered everything, and the picture is of the answer."""
    page.wait_for_function(
        "(x => !x.flying && !x.queue.length && !x.scene.waiting && !x.scene.ahead"
        " && !x.due.has('draw') && x.drawn.revision === x.scene.revision)"
        "(document.querySelector('.ecgwb').explorer)"
    )
    assert said(page, "x.drawn.record") == said(page, "x.model.get('shown').record")


def press(page, *keys):
    page.locator(PICTURE).focus()
    for key in keys:
        page.keyboard.press(key)
    settled(page)


def ink(page):
    """How many dark pixels the picture has."""
    return said(
        page,
        "(d => { let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] + d[i + 1] + d[i + 2] < 150; return n; })"
        "(x.base.getContext('2d').getImageData(0, 0, x.base.width, x.base.height).data)",
    )


@pytest.fixture(params=SIZES)
def sized(page, request):
    """The page at each of the sizes, settled; afterwards at the first again, everything let go of."""
    resize(page, request.param)
    settled(page)
    yield page
    press(page, "Escape", "v", "1", "0")
    resize(page, "laptop")


def resize(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    page.locator(".ecgwb").scroll_into_view_if_needed()
    page.wait_for_function(
        "(x => x.W === x.stage.clientWidth && x.H === x.stage.clientHeight && !x.due.has('draw'))"
        "(document.querySelector('.ecgwb').explorer)"
    )


def drag(page, start, end):
    """Press, move in steps, and let go; places in px of the picture."""
    box = page.locator(PICTURE).bounding_box()
    page.mouse.move(box["x"] + start[0], box["y"] + start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0], box["y"] + end[1], steps=5)
    page.mouse.up()


def pixels_of(page, name):
    """How many pixels of the picture have a colour of the style sheet."""
    return said(
        page,
        "(([r, g, b], d) => { let n = 0; for (let i = 0; i < d.length; i += 4)"
        " n += Math.abs(d[i] - r) + Math.abs(d[i + 1] - g) + Math.abs(d[i + 2] - b) < 40; return n; })"
        f"([1, 3, 5].map(k => parseInt(x.ink({name!r}).slice(k, k + 2), 16)),"
        " x.base.getContext('2d').getImageData(0, 0, x.base.width, x.base.height).data)",
    )


def shots(page, name):
    folder = os.environ.get("ECGWB_SCREENSHOTS")
    for size, (width, height) in SIZES.items() if folder else ():
        page.set_viewport_size({"width": width, "height": height})
        page.locator(".ecgwb").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{name}-{size}.png")


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_is_whole_at_every_size(page, size):
    resize(page, size)
    settled(page)
    box = page.locator(".ecgwb").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= SIZES[size][1]
    assert said(page, "x.base.width") == round(said(page, "x.W * window.devicePixelRatio"))
    assert ink(page) > 500
    selected = page.locator(".ecgwb .line[aria-selected=true] .c-record")
    assert selected.all_text_contents() == [said(page, "x.scene.record")]
    words = page.evaluate(
        "[...document.querySelectorAll('.ecgwb .bar button')].map(b => b.scrollWidth - b.clientWidth)"
    )
    assert max(words) <= 0  # every button has room for its words
    rows = {round(b.bounding_box()["y"]) for b in page.locator(".ecgwb .tools button").all()}
    assert len(rows) == 2
    shots(page, "explorer")


def test_arrow_keys_show_the_next_record(page):
    settled(page)
    page.wait_for_function("document.querySelector('.ecgwb').explorer.beats.size > 20")
    first = said(page, "x.scene.record")
    said(page, "x.go(x.found[1])")
    assert said(page, "[x.scene.record, x.scene.ahead]") == [said(page, "x.ids[1]"), True]  # before the kernel answers
    settled(page)
    press(page, *["ArrowRight"] * 4)
    assert said(page, "x.ids.indexOf(x.scene.record)") == 5
    press(page, *["ArrowLeft"] * 5)
    assert said(page, "x.scene.record") == first


def test_hovering_says_the_voltages_of_the_data(sized, cohort):
    one = cohort.sel(record=said(sized, "x.scene.record"))
    box = sized.locator(PICTURE).bounding_box()
    for ms in (-120, 0, 302):
        x, y = said(sized, f"[x.P[0].px({ms}), x.P[0].y + 40]")
        sized.mouse.move(box["x"] + x, box["y"] + y)
        sized.wait_for_timeout(150)
        head, *cells = sized.locator(".ecgwb .readout > *").all_inner_texts()
        at = float(head.replace("−", "-").removesuffix(" ms"))
        assert abs(at - ms) <= said(sized, "2 + 0.5 * (x.P[0].t(1) - x.P[0].t(0))")  # a pixel, and a sample
        shown = {lead: float(uv.replace("−", "-")) for lead, uv in (c.split() for c in cells[:12])}
        beat = one["beat"].sel(time=at)
        expected = {str(lead): float(beat.sel(lead=lead)) for lead in one["lead"].values}
        expected |= {"III": expected["II"] - expected["I"], "aVR": -(expected["I"] + expected["II"]) / 2}
        assert {lead: shown[lead] for lead in expected} == pytest.approx(expected, abs=0.51)
    shots(sized, "hover")


def test_the_wheel_zooms_where_the_mouse_is_and_dragging_pans(sized):
    box = sized.locator(PICTURE).bounding_box()
    sized.locator(PICTURE).focus()
    x, y = said(sized, "[x.P[0].px(300), x.P[0].y + 60]")
    before = said(sized, "x.P[0].view")
    sized.mouse.move(box["x"] + x, box["y"] + y)
    for _ in range(6):
        sized.mouse.wheel(0, -100)
    sized.wait_for_function("document.querySelector('.ecgwb').explorer.zoom?.b < 0.95")
    sized.wait_for_timeout(300)
    view = said(sized, "x.P[0].view")
    assert view[1] - view[0] < 0.5 * (before[1] - before[0])
    assert said(sized, "x.P[0].px(300)") == pytest.approx(x, abs=1.5)  # what is under the mouse stays there
    drag(sized, (x, y), (x - 60, y))
    sized.wait_for_timeout(200)
    assert said(sized, "x.P[0].px(300)") == pytest.approx(x - 60, abs=1.5)
    shots(sized, "zoomed")
    press(sized, "0")
    assert said(sized, "x.P[0].view") == before


def test_sweep_and_gain_are_true_to_size(sized):
    press(sized, "s", "g", "g")
    assert sized.locator(".ecgwb .sweep").inner_text() == "25 mm/s"
    assert sized.locator(".ecgwb .gain").inner_text() == "10 mm/mV"
    assert said(sized, "x.P[0].px(200) - x.P[0].px(0)") == pytest.approx(5 * PX_PER_MM)
    assert said(sized, "x.P[0].py(0) - x.P[0].py(1000)") == pytest.approx(10 * PX_PER_MM)
    shots(sized, "true")
    press(sized, "s", "s", "s", "s", "g", "g", "g")
    assert sized.locator(".ecgwb .sweep").inner_text().endswith("fit")


def test_another_record_and_the_cohorts_beat_lie_under_the_record(sized):
    pinned = said(sized, "x.scene.record")
    without = pixels_of(sized, "other"), pixels_of(sized, "cohort")
    press(sized, "o", "ArrowRight", "b")
    assert said(sized, "x.pinned.record") == pinned != said(sized, "x.scene.record")
    assert said(sized, "x.others().map(o => o[0])") == ["cohort's common beat", f"record {pinned}"]
    assert pixels_of(sized, "other") > without[0] + 20
    assert pixels_of(sized, "cohort") > without[1] + 20
    shots(sized, "overlay")
    press(sized, "o", "b", "ArrowLeft")
    assert said(sized, "x.others()") == []


def test_the_wave_is_dragged_and_one_undo_takes_it_back(sized):
    press(sized, "e")
    at = said(sized, "x.handleAt(x.handles().find(h => h.name === 'T'))")
    before = said(sized, "x.scene.undo")
    drag(sized, (at["x"], at["y"]), (at["x"], at["y"] - 15))
    settled(sized)
    (edit,) = said(sized, "x.scene.edits")
    assert edit.startswith("T 1")
    assert said(sized, "x.scene.undo") == before + 1
    assert sized.locator(".ecgwb output[data-of=T]").inner_text() == edit.removeprefix("T ")
    row = sized.locator(".ecgwb table.small tr[data-target=t_v5]")
    assert " → " in row.inner_text()
    shots(sized, "edited")
    press(sized, "u")
    assert said(sized, "x.scene.edits") == []


def test_sliders_edit_and_their_undo_needs_no_mouse(page, cohort):
    page.locator(".ecgwb [data-tab=edit]").click()
    page.locator(".ecgwb input[data-edit=QT]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    settled(page)
    assert said(page, "x.scene.edits") == ["QT +20 ms"]
    one = wb.edits.stretch(cohort.sel(record=[said(page, "x.scene.record")]), "QT", 20)
    shown = said(page, "x.scene.numbers.find(r => r.target === 'qt')")
    model = wb.load_model("compact-measures")
    assert shown["predicted_after"] == pytest.approx(float(wb.predict(model, one)["qt"][0]), abs=0.1)
    page.keyboard.press("u")  # the slider still has the focus
    settled(page)
    assert said(page, "x.scene.edits") == []
    assert page.locator(".ecgwb output[data-of=QT]").inner_text() == "0 ms"


def test_each_step_of_a_slider_is_predicted_anew(sized):
    sized.locator(".ecgwb [data-tab=edit]").click()
    sized.locator(".ecgwb input[data-edit=QT]").focus()
    answers, predicted = [], []
    for _ in range(15):
        sized.keyboard.press("ArrowRight")
        settled(sized)
        answers.append(said(sized, "x.took.answer"))
        predicted.append(said(sized, "x.scene.numbers.find(r => r.target === 'qt').predicted_after"))
    assert len(set(predicted)) == len(predicted)
    press(sized, "u")
    assert said(sized, "x.scene.edits") == []
    records = []
    for _ in range(15):
        press(sized, "ArrowRight")
        records.append(said(sized, "x.took.next"))
    press(sized, *["ArrowLeft"] * 15)
    keep_times(sized, {"an edit's prediction": answers, "the next record": records})


def keep_times(page, taken):
    """Rows of the table of `make bench-browser`."""
    if file := os.environ.get("ECGWB_TIMES"):
        size = "{width} x {height}".format(**page.viewport_size)
        with open(file, "a", encoding="utf-8") as table:
            if not table.tell():
                table.write(TIMES.format(os.cpu_count()))
            for what, ms in taken.items():
                middle, most = np.median(ms), max(ms)
                table.write(f"| {what} | {size} | {len(ms)} | {min(ms):.1f} | {middle:.1f} | {most:.1f} | 100 |\n")


def test_a_landmark_is_dragged(sized):
    press(sized, "l")
    at = said(sized, "x.handleAt(x.handles().find(h => h.name === 'T_off'))")
    before, ms = said(sized, "[x.scene.place.T_off, x.P[0].t(1) - x.P[0].t(0)]")
    drag(sized, (at["x"], at["y"]), (at["x"] + 30, at["y"]))
    settled(sized)
    name, moved = said(sized, "x.scene.view.moved")
    assert name == "T_off"
    assert moved == pytest.approx(before + 30 * ms, abs=2.01)
    assert "not kept yet" in sized.inner_text(".ecgwb .said")
    qt = said(sized, "x.scene.numbers.find(r => r.target === 'qt')")
    assert qt["measured_after"] - qt["measured"] == pytest.approx(moved - before, abs=0.01)
    assert pixels_of(sized, "hand") > 50
    shots(sized, "landmark")
    press(sized, "u")
    assert said(sized, "x.scene.view.moved") is None


def test_a_landmark_is_moved_by_keys_kept_and_taken_back(page):
    press(page, "l", "[", "ArrowRight", "ArrowRight")
    name, ms = said(page, "x.scene.view.moved")
    assert (name, ms) == ("T_off", round(said(page, "x.scene.place.T_off") / 2) * 2 + 4)
    press(page, "Enter")
    assert "T_off of record" in page.inner_text(".ecgwb .said")
    assert said(page, "x.scene.manual.at(-1)")
    press(page, "u", "u", "u")
    assert not said(page, "x.scene.manual.at(-1)")
    assert said(page, "x.scene.view.moved") is None
    press(page, "Escape", "v")


def test_every_view_is_drawn(page):
    for key, view, panels in (("2", "12 leads", 12), ("3", "rhythm", 3), ("4", "maps", 4), ("1", "beat", 2)):
        press(page, key)
        assert said(page, "x.scene.view.view") == view
        assert said(page, "x.P.length") == panels
        assert ink(page) > 500
        assert ("an edit map says" in page.inner_text(".ecgwb .said")) == (view == "maps")  # why they differ
        shots(page, view.replace(" ", ""))


def test_the_list_is_searched_and_an_empty_search_leaves_the_picture(page):
    before = said(page, "x.scene.record")
    field = page.get_by_label("search records")
    field.fill("male age>60")
    table = said(page, "x.found.map(id => [x.texts.sex[x.row.get(id)], x.numbers.age[x.row.get(id)]])")
    assert table
    assert all(sex == "male" and age > 60 for sex, age in table)
    field.fill("nobody")
    assert "No record fits this search" in page.inner_text(".ecgwb .said")
    assert said(page, "x.drawn.record") == before
    field.fill("")
    assert "No record fits" not in page.inner_text(".ecgwb .said")


def test_an_edit_that_a_record_cannot_take_is_refused_and_its_message_goes_with_it(page):
    field = page.get_by_label("search records")
    field.fill("fibrillation")
    page.keyboard.press("Enter")
    settled(page)
    page.locator(".ecgwb [data-tab=edit]").click()
    page.locator(".ecgwb select[data-edit]").select_option("P")
    page.wait_for_selector(".ecgwb .message:has-text('no such wave')")
    settled(page)
    assert said(page, "x.scene.edits") == []
    shots(page, "refused")
    press(page, "ArrowRight")
    assert page.locator(".ecgwb .message").count() == 0
    field.fill("")


def test_the_list_is_sorted_and_shows_all_columns(sized, cohort):
    sized.get_by_label("all columns (w)").click()
    heads = sized.locator(".ecgwb .heads button").all_inner_texts()
    assert heads[:5] == ["record", "age", "sex", "diagnosis", "meas."]
    assert heads[-5:] == ["HR", "PR", "QRS", "QT", "QTc"]
    sized.locator(".ecgwb .heads [data-column=qt]").last.click()
    qt = said(sized, "x.found.map(id => x.numbers.qt[x.row.get(id)])")
    np.testing.assert_allclose(np.array(qt, float), np.sort(cohort["qt"].values), rtol=1e-6)
    first = sized.locator(".ecgwb .line").first.inner_text().split()
    assert first[0] == said(sized, "x.found[0]")
    shots(sized, "wide")
    sized.locator(".ecgwb .heads [data-column=record]").click()
    assert said(sized, "x.found[0]") == said(sized, "x.ids[0]")
    sized.get_by_label("all columns (w)").click()


def test_doubtful_records_are_reviewed_and_notes_are_kept_in_a_csv(page, folder, cohort):
    here = said(page, "x.scene.record")
    press(page, "r")
    doubt = cohort["doubt"].max("landmark")
    first = said(page, "x.scene.record")
    assert first == str(cohort["record"].values[int(np.argmax(doubt.values))])
    page.keyboard.press("n")
    page.keyboard.type('T ends late, "U"?')
    page.locator(".ecgwb [data-verdict=doubtful]").click()
    settled(page)
    second = said(page, "x.scene.record")
    assert second == said(page, "x.found[1]")
    press(page, "m")
    file = folder / "explorer.review.csv"
    with file.open(newline="") as f:
        rows = [(row["record"], row["verdict"], row["note"]) for row in csv.DictReader(f)]
    assert rows == [(first, "doubtful", 'T ends late, "U"?'), (second, "good", "")]
    assert "2 of 200 records marked" in page.inner_text(".ecgwb [data-progress]")
    assert page.locator(f".ecgwb [data-record='{first}'] .c-record").inner_text() == f"✓ {first}"
    shots(page, "review")
    press(page, "u", "u", "r")
    assert len(file.read_text().splitlines()) == 1
    said(page, f"x.go({here!r})")
    settled(page)


def test_a_note_is_kept_when_one_goes_on_without_a_verdict(page, folder):
    record = said(page, "x.scene.record")
    press(page, "n")
    page.locator(".ecgwb textarea").focus()
    page.keyboard.type("look again")
    page.keyboard.press("Escape")
    settled(page)
    assert f"{record},,look again," in (folder / "explorer.review.csv").read_text()
    press(page, "u")


def test_export_keeps_the_figure_and_shows_the_lines_that_make_it(page, folder):
    press(page, "x")
    page.wait_for_selector(".ecgwb dialog[open] pre")
    record = said(page, "x.scene.record")
    assert f"View(record='{record}', target='{said(page, 'x.scene.view.target')}')" in page.inner_text(".ecgwb pre")
    assert [file.name for file in folder.glob("*.pdf")] == [
        f"explorer-{record}-{said(page, 'x.scene.view.target')}-beat.pdf"
    ]
    page.keyboard.press("Escape")
    assert page.locator(".ecgwb dialog[open]").count() == 0


def test_another_way_to_the_map_is_chosen(page):
    page.locator(".ecgwb [data-tab=map]").click()
    page.locator(".ecgwb [data-map='map by']").select_option("edit map")
    settled(page)
    assert said(page, "[x.scene.map.unit, x.P[1].name]") == ["ms per 10 ms", "edit map"]
    assert page.locator(".ecgwb [data-map=layer]").is_disabled()
    assert "cohort's map is being computed" in page.inner_text(".ecgwb .said")
    page.wait_for_function("document.querySelector('.ecgwb').explorer.scene.cohort?.people === 50")
    page.locator(".ecgwb [data-map='map by']").select_option("gradcam")
    settled(page)


def test_calipers_measure_and_the_sheet_lists_keys(sized):
    press(sized, "c", "ArrowRight")
    words = said(sized, "x.caliperText()")
    assert " ms · " in words
    assert words.endswith(" bpm")
    start, end = said(sized, "[[x.P[0].px(0), x.P[0].py(0)], [x.P[0].px(400), x.P[0].py(500)]]")
    drag(sized, start, end)
    ms, uv, bpm = (float(w.split()[0]) for w in said(sized, "x.caliperText()").split(" · "))
    pixel = said(sized, "x.P[0].t(1) - x.P[0].t(0)")
    assert (ms, bpm) == (pytest.approx(400, abs=pixel), pytest.approx(150, abs=1))
    assert uv == pytest.approx(500, abs=said(sized, "x.P[0].uv(0) - x.P[0].uv(1)"))
    shots(sized, "calipers")
    press(sized, "v", "?")
    assert sized.locator(".ecgwb dialog[open] kbd").count() > 15
    shots(sized, "keys")
    sized.locator(".ecgwb dialog button").click()


def test_the_static_picture_for_exported_pages_is_hidden_where_widgets_live(page):
    assert page.locator(".ecgwb-static").count() == 1
    assert not page.locator(".ecgwb-static").is_visible()


def test_the_figures_of_later_cells_are_shown(page):
    assert page.locator(".jp-OutputArea-output.jp-RenderedImage img").count() == 2


def test_nothing_went_wrong_on_the_way(page):
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.locator(ERROR).count() == 0
    assert page.errors == []

"""The explorer in JupyterLab, in a real browser: Debian's chromium, a JupyterLab started here on loopback.

Skipped where chromium or Playwright is missing, unless ECGWB_BROWSER=required. Screenshots go to the folder that
ECGWB_SCREENSHOTS names, to be looked at.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NOTEBOOK = next(NOTEBOOKS.glob("0?_explore.ipynb")).name
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"laptop": (1400, 900), "projector": (1024, 768)}
PICTURE = ".ecgwb canvas.over"
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(prompt => prompt.innerText)"
ERROR = "[data-mime-type='application/vnd.jupyter.error']"

try:
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    sync_playwright = None
if (CHROMIUM is None or sync_playwright is None) and os.environ.get("ECGWB_BROWSER") != "required":
    pytest.skip("needs chromium and playwright (the extra 'browser')", allow_module_level=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address; it serves a copy, so that the repository's notebooks stay as they are."""
    folder = tmp_path_factory.mktemp("lab")
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
        "(x => !x.flying && !x.waiting && !x.scene.waiting && !x.scene.ahead && x.drawn.revision === x.scene.revision)"
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


def shots(page, name):
    folder = os.environ.get("ECGWB_SCREENSHOTS")
    for size, (width, height) in SIZES.items() if folder else ():
        page.set_viewport_size({"width": width, "height": height})
        page.locator(".ecgwb").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{name}-{size}.png")


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_is_whole_at_every_size(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    page.locator(".ecgwb").scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    settled(page)
    box = page.locator(".ecgwb").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= SIZES[size][1]
    assert said(page, "x.base.width") == round(said(page, "x.W * window.devicePixelRatio"))
    assert ink(page) > 500
    shots(page, "explorer")


def test_arrow_keys_show_the_next_record_at_once(page):
    settled(page)
    page.wait_for_function("document.querySelector('.ecgwb').explorer.beats.size > 20")
    first, took = said(page, "x.scene.record"), []
    for _ in range(5):
        press(page, "ArrowRight")
        took.append(said(page, "x.took.next"))
    assert said(page, "x.ids.indexOf(x.scene.record)") == 5
    print(f"next record: {sorted(took)[2]:.0f} ms to the scene")
    assert min(took) < 100
    press(page, *["ArrowLeft"] * 5)
    assert said(page, "x.scene.record") == first


def test_hovering_says_the_voltages_in_less_than_a_frame(page):
    box = page.locator(PICTURE).bounding_box()
    said(page, "x.frames.length = 0")
    for k in range(20):
        page.mouse.move(box["x"] + 120 + 8 * k, box["y"] + 150)
    page.wait_for_timeout(200)
    words = page.inner_text(".ecgwb .readout")
    assert " ms" in words
    assert "V6" in words
    frames = said(page, "x.frames")
    print(f"hover: {sorted(frames)[len(frames) // 2]:.1f} ms a frame")
    assert sorted(frames)[len(frames) // 2] < 16


def test_the_wave_is_dragged_and_one_undo_takes_it_back(page):
    press(page, "e")
    box = page.locator(PICTURE).bounding_box()
    at = said(page, "x.handleAt(x.handles().find(h => h.name === 'T'))")
    before = said(page, "x.scene.undo")
    page.mouse.move(box["x"] + at["x"], box["y"] + at["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + at["x"], box["y"] + at["y"] - 15, steps=5)
    page.mouse.up()
    settled(page)
    (edit,) = said(page, "x.scene.edits")
    assert edit.startswith("T 1")
    assert said(page, "x.scene.undo") == before + 1
    print(f"edit: {said(page, 'x.took.answer'):.0f} ms to the answer")
    shots(page, "edited")
    press(page, "u")
    assert said(page, "x.scene.edits") == []


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
    for key, view in (("2", "12 leads"), ("3", "rhythm"), ("4", "maps"), ("1", "beat")):
        press(page, key)
        assert said(page, "x.scene.view.view") == view
        assert ink(page) > 500
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


def test_calipers_measure_and_the_sheet_lists_keys(page):
    press(page, "c", "ArrowRight")
    words = said(page, "x.caliperText()")
    assert " ms · " in words
    assert words.endswith(" bpm")
    press(page, "v", "?")
    assert page.locator(".ecgwb dialog[open] kbd").count() > 15
    shots(page, "keys")
    page.locator(".ecgwb dialog button").click()


def test_the_static_picture_for_exported_pages_is_hidden_where_widgets_live(page):
    assert page.locator(".ecgwb-static").count() == 1
    assert not page.locator(".ecgwb-static").is_visible()


def test_the_figures_of_later_cells_are_shown(page):
    assert page.locator(".jp-OutputArea-output.jp-RenderedImage img").count() == 2


def test_nothing_went_wrong_on_the_way(page):
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.locator(ERROR).count() == 0
    assert page.errors == []

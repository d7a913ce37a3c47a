"""The pictures of the README's gallery, taken anew from real runs: `python scripts/gallery.py RUN --compare RUN2`.

Drives `mmrns explore` (and `mmrns report`, where there is one) in Debian's or anybody's Chromium, draws an explanation
with `mmrns explain`, and prints how long the explorer took to answer. Needs the extra `explore` and playwright.
"""

import argparse
import io
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrns.cli import build_parser
from mmrns.cli import main as mmrns
from mmrns.errors import UserError
from mmrns.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "checkpoints" / "demo"
LARGEST, LARGEST_OF_ALL = 300_000, 2_000_000
# What is asked in the pictures: of PictoKG.
ANSWERS = "?entity=sub:animal-mammal&relation=in_subgroup&asks=head&unlisted=1"
COMPARED = "?entity=country:ITA&relation=borders&asks=tail"
TRIPLE = ["--head", "country:ITA", "--relation", "borders", "--tail", "country:FRA"]
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "run", type=Path, nargs="?", default=RUNS / "pictokg-rotate-mmrns-0", help="an MMRNS run on PictoKG"
    )
    parser.add_argument("--compare", type=Path, default=RUNS / "pictokg-rotate-uniform-0", help="a run beside it")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "gallery", help="folder of the pictures")
    arguments = parser.parse_args()
    try:
        with chromium() as browser:
            explored(browser, arguments.run, arguments.compare, arguments.output)
            reported(browser, arguments.run, arguments.output)
        explained(arguments.run, arguments.output)
        weigh(arguments.output)
    except UserError as error:
        sys.exit(f"gallery: {error}")


@contextmanager
def chromium() -> Iterator[Any]:
    """An installed Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if executable is None:
        raise UserError(f"no browser: install one of {', '.join(_CHROMIUM)}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=_FLAGS)
        yield browser
        browser.close()


@contextmanager
def explorer(run: Path, compare: Path) -> Iterator[tuple[Any, str]]:
    """The explorer of both runs, and the address of its page."""
    from mmrns.explorer.server import application, bind, server_of
    from mmrns.explorer.session import Explorer

    opened = Explorer(run, compare)
    opened.prepare().join()
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    server = server_of(application(opened, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield opened, f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)


def explored(browser: Any, run: Path, compare: Path, output: Path) -> None:
    """The explorer: answers while a name is typed, an explanation, the comparison, the map, and a phone."""
    with explorer(run, compare) as (opened, address):
        times(opened)
        page = visit(browser, address + ANSWERS, 1280, 860)
        page.fill("#search input", "monkey")
        page.wait_for_selector("#search li")
        page.wait_for_timeout(400)
        keep(page.screenshot(), output / "explorer-answers.png")
        page.keyboard.press("Escape")
        page.locator("#answers .card").first.click()
        page.wait_for_selector("#why .heat img")
        page.wait_for_timeout(600)
        keep(page.screenshot(full_page=True), output / "explorer-why.png")
        page.get_by_role("tab", name="Map").click()
        page.wait_for_selector("#map canvas[data-points]")
        page.wait_for_timeout(1200)
        keep(page.screenshot(), output / "explorer-map.png")
        page = visit(browser, address + COMPARED, 1280, 760)
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_timeout(600)
        keep(page.screenshot(), output / "explorer-compare.png")
        page = visit(browser, address + COMPARED, 390, 844, dark=True)
        keep(page.screenshot(), output / "explorer-phone.png")


def visit(browser: Any, address: str, width: int, height: int, dark: bool = False) -> Any:
    """A page of the explorer that shows its answers."""
    scheme = "dark" if dark else "light"
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(address)
    page.wait_for_selector("#answers .card")
    page.wait_for_timeout(800)
    return page


def times(opened: Any) -> None:
    """Processor time of questions and explanations over questions of test, which other programs do not lengthen."""
    from mmrns.explorer.results import Question

    spent: dict[str, list[float]] = {"answers": [], "explanation": []}
    for head, relation, tail in opened.dataset.test[:100].tolist():
        for question, answer in ((Question("tail", head, relation), tail), (Question("head", tail, relation), head)):
            started = time.process_time()
            opened.runs[0].ask(question)
            answered = time.process_time()
            opened.explain(question, answer)
            spent["answers"].append(answered - started)
            spent["explanation"].append(time.process_time() - answered)
    for name, seconds in spent.items():
        median, p95 = (1000 * value for value in np.quantile(seconds, (0.5, 0.95)))
        print(f"{name}: median {median:.0f} ms of processor time, 95 % below {p95:.0f} ms, n {len(seconds)}")


def reported(browser: Any, run: Path, output: Path) -> None:
    """The top of report.html on a desktop and on a phone."""
    commands = next(action for action in build_parser()._actions if action.dest == "command").choices or {}
    if "report" not in commands:
        print("mmrns report: not there; its pictures are left out")
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        if mmrns(["report", str(run), "--output", str(file)]):
            raise UserError(f"mmrns report {run}: failed")
        for name, width, height in (("report.png", 1280, 900), ("report-phone.png", 390, 844)):
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.goto(file.as_uri())
            page.wait_for_timeout(800)
            keep(page.screenshot(), output / name)


def explained(run: Path, output: Path) -> None:
    """`mmrns explain --png`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "explain.png"
        with redirect_stdout(io.StringIO()):
            status = mmrns(["explain", str(run), *TRIPLE, "--side", "tail", "--png", str(file)])
        if status:
            raise UserError(f"mmrns explain {run}: failed")
        keep(file.read_bytes(), output / "explain.png")


def keep(png: bytes, path: Path) -> None:
    """Write a picture with a palette of 256 colours, which takes a third of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    small = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        small.save(temporary, "PNG", optimize=True)


def weigh(output: Path) -> None:
    """Print the sizes; a gallery that is too heavy for a repository fails."""
    sizes = {path.name: path.stat().st_size for path in sorted(output.glob("*.png"))}
    for name, size in sizes.items():
        print(f"{name}: {size / 1000:.0f} KB")
    heavy = [name for name, size in sizes.items() if size > LARGEST]
    if heavy or sum(sizes.values()) > LARGEST_OF_ALL:
        raise UserError(f"{output}: too heavy ({', '.join(heavy) or 'in all'}); take smaller pictures")


if __name__ == "__main__":
    main()

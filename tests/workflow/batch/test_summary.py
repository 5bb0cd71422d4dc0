"""The summary: failures first with their reasons, nothing that a name could break, nothing half written."""

from __future__ import annotations

import base64
import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.cli.run_table import _table
from sciSR.errors import UsageError
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.summary import in_time, table, write_summary
from sciSR.workflow.batch.summary_page import MOST_ROWS, page
from sciSR.workflow.pipelines.results import RunResult
from sciSR.workflow.pipelines.work import ItemResult, OutputFile

ERROR = {"kind": "UnreadableError", "message": "b.fits: truncated", "exit_code": 3, "step": "01-read"}
STEPS = ({"id": "02-upscale", "step": "upscale", "branch": "", "seconds": 1.5, "messages": [], "record": {}},)


def result(key: str, status: str = "done", **fields: object) -> ItemResult:
    outputs = () if status == "failed" else (OutputFile(f"{key}.fits", "0" * 64, 2000),)
    error = ERROR if status == "failed" else None
    given = {"outputs": outputs, "steps": STEPS, "error": error, "seconds": 1.5, "peak_bytes": 3 * 10**8}
    return ItemResult(key, status, **{**given, **fields})  # type: ignore[arg-type]


def run_of(output: Path, *results: ItemResult, total: int | None = None) -> RunResult:
    return RunResult("night", output, output, results, 12.5, total=len(results) if total is None else total)


class Page(HTMLParser):
    """What a browser would see: elements, links, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text: str) -> None:
        self.texts.append(text)

    @property
    def links(self) -> list[str]:
        return [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]


def test_failures_come_first_with_reason_and_log(tmp_path: Path) -> None:
    log = tmp_path / ".scisr" / "logs" / "b.log"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback")
    run = run_of(tmp_path, result("a"), result("b", "failed", attempts=2), result("c", "skipped"))
    document, html = write_summary(tmp_path, run)
    told = json.loads(document.read_text())
    assert [each["key"] for each in told["results"]] == ["b", "a", "c"]
    wanted = {"total": 3, "done": 1, "skipped": 1, "failed": 1, "exit_code": 4, "interrupted": False}
    assert {name: told[name] for name in wanted} == wanted
    assert (told["output_bytes"], told["peak_bytes"]) == (4000, 3 * 10**8)
    text = html.read_text()
    assert text.index("b.fits: truncated") < text.index("a.fits")
    assert Page(text).links == ["./.scisr/logs/b.log", "./a.fits", "./c.fits"]
    assert "1 of 3 items failed." in text
    assert "Research use only, not for diagnosis" in text
    assert [row["item"] for row in table(run)] == ["b", "a", "c"]
    assert table(run)[0]["said"] == "b.fits: truncated"


def test_on_a_terminal_it_is_a_table_with_failures_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    _table(run_of(tmp_path, result("a[b]"), result("b", "failed"), result("c", "skipped")))
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["item", "state", "outputs", "size", "time", "memory", "said"]
    assert [row[:2] for row in rows] == [["c", "already"], ["a[b]", "done"], ["b", "failed"]]
    assert rows[-1][-2:] == ["b.fits:", "truncated"]


def test_an_interrupted_run_says_so_and_a_good_one_too(tmp_path: Path) -> None:
    assert "interrupted: 3 are left for scisr run --resume" in page(
        tmp_path, run_of(tmp_path, result("a"), total=4)
    )
    assert "All 1 are done." in page(tmp_path, run_of(tmp_path, result("a")))


@given(st.text(st.characters(blacklist_categories=()), min_size=1, max_size=40), st.text(max_size=40))
def test_no_name_or_message_leaves_its_place(name: str, message: str) -> None:
    """Whatever names and messages hold, the page has the elements that it has with plain ones."""
    hostile = "<script>alert(1)</script>\"onload='x"

    def made(name: str, message: str) -> Page:
        good = result("k", outputs=(OutputFile(name, "0" * 64, 1),), warnings=(message,))
        bad = result(name, "failed", error={**ERROR, "message": message, "step": message})
        return Page(page(Path("/nowhere"), run_of(Path("/nowhere"), bad, good)))

    plain = made("name", "message")
    found = made(name + hostile, message + hostile)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in found.tags] == [
        sorted(attributes) for _, attributes in plain.tags
    ]
    [link] = found.links
    assert link.startswith("./")
    if name.isprintable():
        assert unquote(link)[2:] == name + hostile


def test_the_page_asks_nobody(tmp_path: Path) -> None:
    text = page(tmp_path, run_of(tmp_path, result("a"), result("b", "failed")))
    assert "default-src 'none'" in unescape(text)
    assert not re.search(r'(?:src|href)="(?!data:|\./)', text)


def test_a_picture_comes_from_the_report(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    png = io.BytesIO()
    image.new("L", (300, 200), 90).save(png, "PNG")
    picture = base64.b64encode(png.getvalue()).decode()
    text = f'<img id="print-after" src="data:image/png;base64,{picture}" alt="">'
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "b.html").write_text(text.replace(picture, "bm90IGEgUE5H"))
    pages = [result(key, outputs=(OutputFile(f"{key}.html", "0" * 64, 900),)) for key in "abc"]
    [(_, shown)] = [t for t in Page(page(tmp_path, run_of(tmp_path, *pages))).tags if t[0] == "img"]
    small = image.open(io.BytesIO(base64.b64decode((shown["src"] or "").partition(",")[2])))
    assert small.size == (96, 64)


def test_many_items_are_cut_and_that_is_said(tmp_path: Path) -> None:
    run = run_of(tmp_path, *(result(f"item-{number}") for number in range(MOST_ROWS + 5)))
    text = page(tmp_path, run)
    assert "5 more that are done stand in the JSON document only." in text
    assert len(text) < 3_000_000


def test_a_shard_has_a_summary_of_its_own(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, name="ledger-3-of-64") as ledger:
        made = write_summary(tmp_path, run_of(tmp_path, result("a")), ledger)
    assert [path.name for path in made] == ["summary-3-of-64.json", "summary-3-of-64.html"]


def test_earlier_summaries_are_replaced_and_a_strangers_file_is_not(tmp_path: Path) -> None:
    write_summary(tmp_path, run_of(tmp_path, result("a")))
    document, html = write_summary(tmp_path, run_of(tmp_path, result("b")))
    assert json.loads(document.read_text())["results"][0]["key"] == "b"
    assert "b.fits" in html.read_text()
    document.write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="exists already"):
        write_summary(tmp_path, run_of(tmp_path, result("c")))
    assert document.read_text() == '{"mine": 1}'
    document.unlink()
    document.symlink_to(html)
    with pytest.raises(UsageError):
        write_summary(tmp_path, run_of(tmp_path, result("c")))
    assert "c.fits" not in html.read_text()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.44, "0.4 s"), (44, "44 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_time(seconds) == words

"""The documentation holds to the code: settings, commands, targets and links that it names are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

from accounts.permissions import ALL_PERMISSIONS
from runs.protocol.classic import STREAM_MODES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TARGET = re.compile(r"`make ([a-z]+)\b")
_TARGET_IN_BLOCK = re.compile(r"^(?:[A-Z_]+=\S* )*make ([a-z]+)\b", re.MULTILINE)
_COMMAND = re.compile(r"manage\.py ([a-z_]+)")
_MACHINE = re.compile(r"/(?:work|tmp|root|home|opt|Users)/[\w.-]+")
_REGISTRY = re.compile(r"pypi\.|registry\.|\bindex-url\b|npmjs|ghcr\.io|docker\.io|artifactory", re.IGNORECASE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def row_of(page: str, name: str) -> str:
    """The first row of a table that `name` begins."""
    rows = [line for line in text_of(ROOT / page).splitlines() if line.startswith(f"| `{name}` |")]
    assert rows, f"{page} has no row for {name}"
    return rows[0]


def settings_read() -> list[tuple[str, str]]:
    """Each variable that the settings read, with its default where that is a number or a word."""
    source = (ROOT / "deerflow_site" / "settings.py").read_text(encoding="utf-8")
    read = re.findall(r'\benv\.\w+\("([A-Z_]+)"(?:, (?:(\d+)\b|"([^"]+)"))?', source)
    return [(name, number or word) for name, number, word in read]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = _HEADING.findall(_FENCED.sub("", text_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> Iterator[tuple[Path, str]]:
    for link in _LINK.findall(_FENCED.sub("", text_of(page))):
        target, _, anchor = link.partition("#")
        if "://" not in target:
            yield (page.parent / target).resolve() if target else page, anchor


def test_there_are_settings_to_document() -> None:
    assert len(settings_read()) > 30


@pytest.mark.parametrize(("name", "default"), settings_read())
def test_a_setting_has_its_row_with_its_default(name: str, default: str) -> None:
    row = row_of("docs/reference/settings.md", name)
    assert not default or f"`{default}`" in row


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links_of(page):
        assert target.exists(), f"{page.name} links to {target.relative_to(ROOT)}, which is not there"
        assert not anchor or anchor in anchors_of(target), f"{target.name} has no heading #{anchor}"


@EACH_PAGE
def test_make_targets_exist(page: Path) -> None:
    makefile = text_of(ROOT / "Makefile")
    blocks = "\n".join(_FENCED.findall(text_of(page)))
    for target in _TARGET.findall(text_of(page)) + _TARGET_IN_BLOCK.findall(blocks):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name} names `make {target}`"


@EACH_PAGE
def test_commands_exist(page: Path) -> None:
    for command in _COMMAND.findall(text_of(page)):
        assert command in {*get_commands(), "help"}, f"{page.name} names manage.py {command}"


@EACH_PAGE
def test_no_page_knows_the_machine_it_was_written_on(page: Path) -> None:
    assert not _MACHINE.findall(text_of(page))
    assert not _REGISTRY.findall(text_of(page))


def test_every_make_target_is_explained() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", text_of(ROOT / "Makefile"), re.MULTILINE)
    assert targets
    for target in targets:
        row_of("docs/reference/commands.md", f"make {target}")


def test_every_page_is_in_the_index() -> None:
    listed = {target for target, _ in links_of(ROOT / "docs" / "index.md")}
    assert set((ROOT / "docs").glob("*/*.md")) <= listed


@pytest.mark.parametrize("mode", sorted(STREAM_MODES))
def test_a_stream_mode_has_its_row(mode: str) -> None:
    row_of("docs/reference/streams.md", mode)


def test_the_page_on_tenancy_names_the_permissions() -> None:
    page = text_of(ROOT / "docs" / "explanation" / "tenancy.md")
    missing = {name for name in ALL_PERMISSIONS if f"`{name}`" not in page}
    assert missing == {"feedback:write", "workflows:read", "workflows:write"}

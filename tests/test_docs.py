"""The documents tell the truth: tree, commands, members, messages, links."""

import ast
import re
import tomllib

import pytest

from terraloom import families
from terraloom.settings import settings_from


def _first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


def tree_lines(root):
    """The annotated tree of the package: every module with the first line of its docstring."""
    lines = ["src/terraloom/"]

    def walk(folder, indent):
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        folders = [p for p in folder.iterdir() if (p / "__init__.py").exists()]
        for path in sorted([*files, *folders], key=lambda p: p.name):
            name = path.name + "/" if path.is_dir() else path.name
            told = _first_line(path / "__init__.py" if path.is_dir() else path)
            lines.append(f"{indent}{name:<{28 - len(indent)}}{told}")
            if path.is_dir():
                walk(path, indent + "  ")

    walk(root, "  ")
    return lines


def test_readme_tree_matches_the_disk(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    block = readme.split("## The tree", 1)[1].split("```", 2)[1].strip("\n").splitlines()
    # To renew the block after a change: print the lines that this function returns.
    assert block == tree_lines(repository / "src" / "terraloom")


def test_every_command_stands_in_the_readme(repository):
    from terraloom.cli import app

    readme = (repository / "README.md").read_text(encoding="utf-8")
    names = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
    assert len(names) >= 15
    for name in names:
        assert re.search(rf"`(terraloom )?{name}\b", readme), f"command {name} is undocumented"


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_member_stands_in_the_docs_with_its_description(repository, family):
    text = (repository / "docs" / "adding-a-member.md").read_text(encoding="utf-8")
    for name in families.members(family):
        line = f"| {family} | `{name}` | {families.description(family, name)} |"
        assert line in text, f"docs/adding-a-member.md lacks the line: {line}"


def test_troubleshooting_quotes_messages_that_the_code_can_say(repository):
    text = (repository / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    source = "\n".join(
        p.read_text(encoding="utf-8") for p in (repository / "src" / "terraloom").rglob("*.py")
    )
    # Messages are written as adjacent string pieces: joined before they are searched.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = [
        piece
        for row in text.splitlines()
        if row.startswith("| `")
        for piece in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert len(quoted) >= 20
    for piece in quoted:
        for part in piece.split("…"):
            words = part.strip()
            known = words in source or all(w in source for w in words.split(" without "))
            assert known, f"no message says {words!r}"


def test_relative_links_lead_somewhere(repository):
    for page in [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_example_settings_validate(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("TERRALOOM_WORLDCOVER_PAIRS", str(tmp_path))
    monkeypatch.setenv("TERRALOOM_MANUAL_PAIRS", str(tmp_path))
    monkeypatch.setenv("TERRALOOM_ARAS400K", str(tmp_path))
    examples = sorted((repository / "examples").glob("*.toml"))
    assert len(examples) == 6
    for path in [*examples, repository / "src" / "terraloom" / "demo.toml"]:
        settings = settings_from(tomllib.loads(path.read_text(encoding="utf-8")))
        # Folds bring seeds of the whole chain with them.
        assert settings.benchmark.seeds >= 3 or settings.split.folds


def test_documented_columns_are_those_of_the_schemas(repository):
    from terraloom.captioning import CAPTION_SCHEMA, ERROR_SCHEMA
    from terraloom.claiming import CLAIM_SCHEMA
    from terraloom.curation import VERDICT_SCHEMA
    from terraloom.labelling import LABEL_SCHEMA
    from terraloom.repairing import REPAIR_SCHEMA
    from terraloom.samples import SAMPLE_SCHEMA

    text = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    for schema in (
        SAMPLE_SCHEMA,
        LABEL_SCHEMA,
        CAPTION_SCHEMA,
        CLAIM_SCHEMA,
        VERDICT_SCHEMA,
        ERROR_SCHEMA,
        REPAIR_SCHEMA,
    ):
        for name in schema.names:
            assert f"`{name}`" in text, f"docs/formats.md lacks the column {name}"

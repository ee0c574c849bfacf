"""The commands in the documents are commands of the program, with options that it knows."""

import re
from pathlib import Path

import pytest
from shown import bench_commands, options_of, parse

ROOT = Path(__file__).parents[1]
TEMPLATES = "bench/earbench/scaffold/templates"
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "results/README.md", "benchmarks/README.md"),
    *("tasks/earbench_tasks/README.md", "upstreams/earbench_upstreams/README.md"),
    *(f"{TEMPLATES}/{kind}/README.md.template" for kind in ("upstream", "task")),
)
FENCED = re.compile(r"^```(?:sh)?\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
OTHER = re.compile(r"^```\w+\n.*?^```\n", re.MULTILINE | re.DOTALL)


def text_of(document):
    """Its text without code of other kinds."""
    return OTHER.sub("", (ROOT / document).read_text("utf-8").replace("```sh\n", "```\n"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_a_block_would_be_taken(document):
    """Output that is shown below a command is passed over: there, commands stand behind a prompt."""
    for block in FENCED.findall(text_of(document)):
        shown = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        for words in bench_commands("\n".join(shown) if shown else block):
            parse(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_a_line_and_its_options_exist(document):
    for line in re.findall(r"`(bench [^`]+)`", FENCED.sub("", text_of(document)).replace("\n", " ")):
        words = [word.split("\\|")[0] for word in line.split()[1:]]  # of `ls|verify` the first
        if words[0].startswith("-") or not words[0].isalpha():
            continue
        assert {word for word in words if word.startswith("--")} <= options_of(words), line


@pytest.mark.parametrize("document", [one for one in DOCUMENTS if not one.endswith(".template")])
def test_files_that_a_document_links_to_exist(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text("utf-8")):
        assert (ROOT / document).parent.joinpath(target).exists(), target

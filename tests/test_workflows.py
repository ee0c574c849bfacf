"""What the workflows promise: a stranger's pull request is looked at as data, and none of it is run with any right.

They cannot be run here; what they say can be read, and the steps that look at results are run as they stand.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scored import hits, store
from shown import bench_commands, parse

FOLDER = Path(__file__).parents[1] / ".github/workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = {f"{name}/{key}": job for name, one in WORKFLOWS.items() for key, job in one["jobs"].items()}
GROUPS = 40


def triggers(name):
    """What a workflow runs on. YAML 1.1 reads the key `on` as true."""
    return WORKFLOWS[name][True]


def steps(job, key):
    """What the steps of a job have under `key`."""
    return [step[key] for step in JOBS[job]["steps"] if key in step]


def script(job):
    return "\n".join(steps(job, "run"))


def rights(job):
    """The permissions of a job, its own or those of its workflow."""
    return JOBS[job].get("permissions", WORKFLOWS[job.partition("/")[0]]["permissions"])


STRANGERS = ["leaderboard/look", *(job for job in JOBS if job.startswith("ci/"))]
"""The jobs that run on a pull request."""
WRITING = [job for job in JOBS if "write" in rights(job).values()]


def test_every_workflow_is_known_here():
    assert set(WORKFLOWS) == {"ci", "comment", "leaderboard"}
    assert set(triggers("comment")) == {"workflow_run"}
    assert set(triggers("leaderboard")) == set(triggers("ci")) == {"push", "pull_request"}


def test_no_workflow_runs_for_a_pull_request_with_the_rights_of_the_repository():
    assert not [name for name in WORKFLOWS if "pull_request_target" in triggers(name)]


@pytest.mark.parametrize("job", STRANGERS)
def test_a_job_that_sees_a_pull_request_may_only_read_and_knows_no_secret(job):
    assert rights(job) == {"contents": "read"}
    assert "secrets." not in yaml.safe_dump(JOBS[job])
    assert "environment" not in JOBS[job]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_gives_all_its_jobs_more_than_reading(name):
    assert set(WORKFLOWS[name]["permissions"].items()) <= {("contents", "read")}


@pytest.mark.parametrize("job", WRITING)
def test_a_job_that_may_write_never_holds_a_pull_request(job):
    workflow = job.partition("/")[0]
    if workflow == "comment":
        assert not [action for action in steps(job, "uses") if "checkout" in action]
        assert not re.search(r"\b(pip|python|bench|git)\b", script(job))
    else:
        assert JOBS[job].get("if") == "github.event_name == 'push'" or JOBS[job]["needs"] == "boards"
        assert triggers(workflow)["push"]["branches"] == ["main"]


def test_the_jobs_that_may_write_are_these_and_may_no_more():
    assert {job: rights(job) for job in WRITING} == {
        "comment/comment": {"actions": "read", "pull-requests": "write"},
        "leaderboard/boards": {"contents": "write"},
        "leaderboard/publish": {"pages": "write", "id-token": "write"},
    }


def test_what_was_submitted_is_never_installed_and_its_checkout_holds_no_token():
    checkouts = [step["with"] for step in JOBS["leaderboard/look"]["steps"] if "checkout" in step.get("uses", "")]
    assert [one["path"] for one in checkouts] == ["base", "submitted"]
    assert [one["persist-credentials"] for one in checkouts] == [False, False]
    assert checkouts[0]["ref"] == "${{ github.base_ref }}"
    installs = [line for line in script("leaderboard/look").splitlines() if re.search(r"\bpip\b|\buv\b", line)]
    assert installs == ["pip install --constraint base/constraints.txt ./base"]
    assert not re.search(r"\bpython\b|\bsource\b|\bcd\b|submitted/\S+\.(py|sh)", script("leaderboard/look"))


@pytest.mark.parametrize("job", JOBS)
def test_no_script_has_text_of_an_event_pasted_into_it(job):
    """An expression in a script is replaced before the shell reads it: a branch called `$(…)` would be run."""
    assert not [found for found in re.findall(r"\$\{\{(.*?)\}\}", script(job)) if not found.strip().startswith("vars.")]


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_githubs_own_at_a_tagged_version(job):
    assert [action for action in steps(job, "uses") if not re.fullmatch(r"actions/[a-z-]+@v\d+", action)] == []


@pytest.mark.parametrize("job", JOBS)
def test_scripts_are_shell_and_their_commands_are_those_of_the_program(job):
    subprocess.run(["bash", "-n"], input=script(job), text=True, check=True)
    for words in bench_commands(script(job)):
        parse(words)


def test_ci_runs_what_developers_run():
    assert ".ci/run" in script("ci/tested")
    calls = (FOLDER.parents[1] / ".ci/run").read_text("utf-8")
    assert re.findall(r"^make (\w+)$", calls, re.MULTILINE) == ["check", "demo", "test"]


# ---- the steps themselves --------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path):
    """What the job finds once it has checked out both: two results folders, the submitted one with a new record."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/bench.toml").write_text("")
    for name, share in (("good", 0.8), ("bad", 0.2)):
        store(tmp_path / "base/results", name, folds=[hits([share] * GROUPS)])
    shutil.copytree(tmp_path / "base/results", tmp_path / "submitted/results")
    store(tmp_path / "submitted/results", "between", folds=[hits([0.5] * GROUPS)])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bench").write_text(f'#!/bin/sh\nexec {sys.executable} -m earbench.cli "$@"\n')
    (tmp_path / "bin/bench").chmod(0o755)
    return tmp_path


def look(workspace, name):
    """One step of the job that looks, run in the workspace."""
    return run("leaderboard/look", name, workspace, workspace)


def run(job, name, home, folder):
    """One step of a job, run in a folder as GitHub's shell runs it, with the `bench` of `home`."""
    (step,) = [step for step in JOBS[job]["steps"] if step.get("name") == name]
    places = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(home / "summary")}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    given = os.environ | places | {"GITHUB_REPOSITORY": "ear/bench", "HOME": str(home)}
    return subprocess.run(words, cwd=folder, env=given, capture_output=True, text=True)


def test_boards_that_were_not_rebuilt_are_refused_and_what_changes_is_told(workspace):
    done = look(workspace, "boards are those of the records")
    assert done.returncode == 1
    assert "boards differ from their records" in done.stderr
    for name in ("new bundles hold, and their records join the others", "what changes on the boards"):
        done = look(workspace, name)
        assert done.returncode == 0, done.stderr
    text = (workspace / "changes.md").read_text("utf-8")
    assert "### superb" in text
    assert re.search(r"\| between .* \| - .*#2 \|$", text, re.MULTILINE)
    assert (workspace / "summary").read_text("utf-8") == text


ADDITIONS = "only additions, new records whole, nobody vouches for records of their own"


def test_a_new_record_is_let_through_and_one_that_is_not_valid_is_not(workspace):
    assert look(workspace, ADDITIONS).returncode == 0
    (path,) = (workspace / "submitted/results/records").glob("between-*/*/*[0-9].json")
    path.write_text(path.read_text("utf-8").replace('"unit": "%"', '"unit": 7'), "utf-8")
    done = look(workspace, ADDITIONS)
    assert done.returncode == 1, done.stdout
    assert "valid record" in done.stdout


def test_what_was_sent_is_looked_at_before_anything_else_reads_it():
    assert [step.get("name") for step in JOBS["leaderboard/look"]["steps"] if "bench " in step.get("run", "")] == [
        ADDITIONS,
        "boards are those of the records",
        "new bundles hold, and their records join the others",
        "what changes on the boards",
    ]


def test_a_bundle_that_was_tampered_with_is_refused(workspace):
    (workspace / "submitted/results/submissions").mkdir()
    (workspace / "submitted/results/submissions/pebble.zip").write_bytes(b"PK\x03\x04 not a bundle")
    done = look(workspace, "new bundles hold, and their records join the others")
    assert done.returncode == 1
    assert "refused" in done.stdout


@pytest.fixture
def main(tmp_path):
    """Adds a bundle to main and lets the job on it keep what came since the last time; the bundles that it verified."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bench").write_text('#!/bin/sh\necho "$@" >> results/verified\n')
    (tmp_path / "bin/bench").chmod(0o755)
    folder = tmp_path / "checkout"
    anna = {f"GIT_{who}_{what}": "anna" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    given = os.environ | anna | {"HOME": str(tmp_path)}

    def git(*words):
        subprocess.run(["git", *words], cwd=folder, env=given, check=True, capture_output=True)

    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", tmp_path / "remote"], check=True)
    subprocess.run(["git", "clone", "--quiet", tmp_path / "remote", folder], check=True, capture_output=True)

    def add(name, job=True):
        path = folder / "results/submissions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        git("add", "results")
        git("commit", "--message", f"Add {name}")
        git("push", "origin", "HEAD:main")
        if not job:
            return None
        for step in ("the records of bundles that came since the last time", "keep what was rebuilt"):
            done = run("leaderboard/boards", step, tmp_path, folder)
            assert done.returncode == 0, done.stderr
        git("fetch")
        git("diff", "--exit-code", "HEAD", "origin/main")
        return (folder / "results/verified").read_text().splitlines()

    return add


def test_every_bundle_on_main_is_verified_once_also_after_a_run_that_was_left_out(main):
    one = "verify results/submissions/one.zip --import --by ear/bench"
    assert main("one.zip") == [one]
    main("left out.zip", job=False)
    said = [one.replace("one.zip", name) for name in ("left out.zip", "two.zip")]
    assert main("two.zip") == [one, *said]

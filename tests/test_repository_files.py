"""What the repository says about the package outside of it agrees with the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"dask[array]": "dask-core", "matplotlib": "matplotlib-base"}
"""Packages whose names differ on conda-forge."""
MAKE_VARIABLES = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV", "PYTHON", "JOBS"}


def load(path: str) -> Any:  # noqa: ANN401
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def split(requirement: str) -> tuple[str, str]:
    """Split a requirement into name and range."""
    parts = re.fullmatch(r"([\w.\-\[\]]+)\s*(.*)", requirement)
    assert parts, requirement
    return parts[1], parts[2]


def test_the_recipe_has_the_facts_and_dependencies_of_the_project(project: dict[str, Any]) -> None:
    recipe = load("recipe/recipe.yaml")
    context = recipe["context"]
    assert context["name"] == project["name"]
    assert context["version"] == project["version"]
    assert f">={context['python_min']}" == project["requires-python"]
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"] == project["license"]
    commands = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands
    wanted = dict(split(line) for line in project["dependencies"])
    renamed = {CONDA_NAMES.get(name, name): version for name, version in wanted.items()}
    found = dict(split(line) for line in recipe["requirements"]["run"])
    found.pop("python")
    assert found == renamed
    with (ROOT / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file)["build-system"]["requires"]
    host = dict(split(line) for line in recipe["requirements"]["host"])
    assert dict(split(tool) for tool in tools).items() <= host.items()


def test_the_citation_is_of_this_version(project: dict[str, Any]) -> None:
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert set(citation["keywords"]) == set(project["keywords"])


def test_the_page_on_installation_names_this_wheel_and_every_extra(project: dict[str, Any]) -> None:
    page = (ROOT / "docs/how-to/install.md").read_text("utf-8")
    wheels = set(re.findall(r"[\w.\-]+\.whl", page))
    assert wheels == {f"{project['name']}-{project['version']}-py3-none-any.whl"}
    named = set(re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE))
    extras = {extra for cell in named for extra in re.findall(r"`(\w+)`", cell)}
    assert extras == set(project["optional-dependencies"]) - {"all"}
    used = re.findall(r"\[([a-z,]+)\]'", page)
    assert used
    assert {extra for extras in used for extra in extras.split(",")} <= extras


def test_installation_is_told_on_one_page() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    built = {"_build", "api", "gallery"}
    telling = {
        page.name
        for page in pages
        if built.isdisjoint(page.relative_to(ROOT).parts) and "pip install" in page.read_text()
    }
    assert telling == {"install.md"}


def test_workflows_make_targets_on_the_first_and_the_last_python(project: dict[str, Any]) -> None:
    jobs = load(".github/workflows/checks.yml")["jobs"]
    (job,) = jobs.values()
    matrix = job["strategy"]["matrix"]
    versions = [
        classifier.rsplit(" ", 1)[1]
        for classifier in project["classifiers"]
        if re.search(r":: 3\.\d+$", classifier)
    ]
    assert matrix["python"] == [versions[0], versions[-1]]
    assert f">={versions[0]}" == project["requires-python"]
    assert {"lint", "test", "docs", "dist"} == set(matrix["target"])
    require_targets(matrix["target"])
    assert any("make ${{ matrix.target }}" in step.get("run", "") for step in job["steps"])


def require_targets(targets: Iterable[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def commands(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_what_is_published_was_made_and_checked_before() -> None:
    workflow = load(".github/workflows/publish.yml")
    jobs = workflow["jobs"]
    uploads = {name: job for name, job in jobs.items() if "write" in str(job.get("permissions"))}
    makes = {name: job for name, job in jobs.items() if name not in uploads}
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in uploads.items():
        # Only of a release, and of what the job before it has made.
        assert job["if"] == "github.event_name == 'release'", name
        assert job["needs"] in makes, name
        assert job["permissions"]["id-token"] == "write"
        assert not commands(job).strip(), name
    targets = [re.findall(r"make (\w+)", commands(job)) for job in makes.values()]
    assert sorted(target for found in targets for target in found) == ["dist", "docs"]
    require_targets(["dist", "docs"])
    checked = load(".github/workflows/checks.yml")["jobs"]["make"]["strategy"]["matrix"]["target"]
    assert {"dist", "docs"} <= set(checked)
    assert "\ntarget dist\n" in (ROOT / ".ci/run").read_text("utf-8")


def test_a_release_is_named_after_the_version(project: dict[str, Any]) -> None:
    job = load(".github/workflows/publish.yml")["jobs"]["dist"]
    (script,) = (step["run"] for step in job["steps"] if "GITHUB_REF_NAME" in step.get("run", ""))
    for name, code in ((f"v{project['version']}", 0), ("v99.0", 1)):
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-euc", script],
            cwd=ROOT,
            env=os.environ | {"GITHUB_REF_NAME": name},
            check=False,
        )
        assert done.returncode == code, name


def test_read_the_docs_makes_targets_that_exist() -> None:
    jobs = load(".readthedocs.yaml")["build"]["jobs"]
    made = re.findall(r"make (\S+)", "\n".join([*jobs["install"], *jobs["build"]["html"]]))
    assert made == [".venv/.installed-docs", "docs"]
    # A `make` around the tests hands its own variables down, VENV among them.
    others = {key: value for key, value in os.environ.items() if key not in MAKE_VARIABLES}
    done = subprocess.run(
        [shutil.which("make") or "make", "--dry-run", *made, f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env=others,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-m sphinx -W" in done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=str)
def test_issue_forms_have_what_the_site_needs(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.name == "config.yml":
        assert isinstance(form["blank_issues_enabled"], bool)
        return
    assert {"name", "description", "body"} <= set(form)
    identifiers = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))
    for field in form["body"]:
        text = "value" if field["type"] == "markdown" else "label"
        assert field["attributes"][text]


def test_the_source_distribution_has_the_files_of_the_repository() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/CITATION.cff", "/CODE_OF_CONDUCT.md", "/recipe"} <= set(listed)
    for name in listed:
        assert (ROOT / name.lstrip("/")).exists(), name

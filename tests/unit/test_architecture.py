"""The rules of docs/architecture.md: who may know whom."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import featherface

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "featherface": ROOT / "layers/inference/featherface",
    "functions": ROOT / "functions",
    "featherface_batch": ROOT / "batch/featherface_batch",
    "featherface_training": ROOT / "training/featherface_training",
    "featherface_benchmarks": ROOT / "benchmarks/featherface_benchmarks",
}
LAMBDA = {"detect", "ingest", "jobs", "shared"}
OURS = {*PACKAGES, *LAMBDA} - {"functions"}

FORBIDDEN = {
    "featherface": OURS - {"featherface"},
    "functions": {*OURS, "ray", "torch"} - LAMBDA - {"featherface"},
    "featherface_batch": {*OURS, "torch", "aws_lambda_powertools"} - {"featherface", "featherface_batch"},
    "featherface_training": {*OURS, "boto3", "botocore", "ray"} - {"featherface", "featherface_training"},
    "featherface_benchmarks": set[str](),
}
"""What a package must not import."""

ALLOWED_OUTSIDE = {"featherface": {"numpy", "onnxruntime", "PIL", "yaml"}}
"""Third-party packages that a package may import, where the list is closed."""


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            roots.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            roots.add(node.module.partition(".")[0])
    return roots


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_imports_what_they_must_not_know(package: str) -> None:
    broken = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _sources(PACKAGES[package])
        for name in _imports(path) & FORBIDDEN[package]
    }
    assert not broken


@pytest.mark.parametrize("package", ALLOWED_OUTSIDE)
def test_third_party_imports_are_the_listed_ones(package: str) -> None:
    broken = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _sources(PACKAGES[package])
        for name in _imports(path) - set(sys.stdlib_module_names) - {package} - ALLOWED_OUTSIDE[package]
        if name != "__future__"
    }
    assert not broken


@pytest.mark.parametrize(
    ("heading", "package"),
    [
        ("## The inference package", "featherface"),
        ("## The bulk job", "featherface_batch"),
        ("## The functions", "functions"),
    ],
)
def test_a_package_s_modules_are_the_documented_ones(heading: str, package: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.partition(f"{heading}\n")[2].partition("```")[2].partition("```")[0]
    documented = re.findall(r"^([\w/]+\.py) +\S", section, flags=re.MULTILINE)
    folder = PACKAGES[package]
    found = {path.relative_to(folder).as_posix() for path in _sources(folder) if path.name != "__init__.py"}
    assert sorted(documented) == sorted(found)


def test_the_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == featherface.__version__


def test_the_inference_package_is_typed() -> None:
    assert (PACKAGES["featherface"] / "py.typed").is_file()


@pytest.mark.parametrize("path", _sources(PACKAGES["featherface"]), ids=lambda path: path.name)
def test_modules_say_what_they_export(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in names

"""The package itself: what it holds, and how fast it starts."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
import sarheight_kernels

import sarheight
from sarheight.errors import EXTRAS, ProductError

ROOT = Path(__file__).parents[1]

LEARNING = ("models", "predict", "training")
"""Modules that need the extra ``learn``."""
HEAVY = ("numba", "numpy", "scipy", "xarray", "rasterio", "matplotlib", "torch")


GEOMETRY = "sarheight.layover, sarheight.geometry, sarheight.illumination"
CORE = ", ".join(name for name in sarheight.__all__ if name not in LEARNING)


@pytest.fixture(scope="module")
def loaded() -> list[set[str]]:
    """List the modules of a new interpreter after each of three imports: more and more of us."""
    imports = ("import sarheight", f"import {GEOMETRY}", f"from sarheight import {CORE}")
    script = "import sys\n" + "".join(f"{each}\nprint(*sys.modules)\n" for each in imports)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_import_loads_nothing_heavy(loaded: list[set[str]]) -> None:
    assert loaded[0].isdisjoint(HEAVY)


def test_import_of_the_geometry_loads_only_what_it_stands_on(loaded: list[set[str]]) -> None:
    """What else it may need is loaded where it is used: each of these takes long."""
    unwanted = {"dask.array", "matplotlib", "netCDF4", "rioxarray", "scipy.sparse", "zarr"}
    assert loaded[1].isdisjoint({*unwanted, "scipy.ndimage", "scipy.special", "skimage", "torch"})
    assert {"numba", "xarray", "sarheight._runtime"} <= loaded[1]


def test_no_module_of_the_core_needs_torch(loaded: list[set[str]]) -> None:
    assert "sarheight.geometry" in loaded[2]
    assert "torch" not in loaded[2]


MODULES = {
    "google-crc32c": "google_crc32c",
    "lazy-loader": "lazy_loader",
    "netcdf4": "netCDF4",
    "odc-geo": "odc",
}
"""Modules whose distributions have other names, among the core dependencies."""
OF_OTHERS = {
    "affine": "rasterio",
    "click": "typer",
    "numcodecs": "zarr",
    "pandas": "xarray",
    "PIL": "matplotlib",
}
"""Modules that come with a core dependency, of whose interface they are part."""
INSTEAD = {"richdem", "_typeshed"}
"""Modules that are used where they are installed, or by type checkers only."""


def third_party_imports() -> set[str]:
    """Return the modules of others that the code imports anywhere."""
    folder = Path(sarheight.__file__).parent
    kernels = Path(sarheight_kernels.__file__).parent
    found: set[str] = set()
    for path in (*folder.rglob("*.py"), *kernels.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"sarheight", "sarheight_kernels"}


def test_core_dependencies_are_what_the_core_imports() -> None:
    """None is there for nothing; what else is imported belongs to an extra, which errors name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.split(r"[\[<>=]", each, maxsplit=1)[0] for each in project["dependencies"]]
    core = {MODULES.get(name, name) for name in names}
    extra = {module for modules in EXTRAS.values() for module in modules}
    found = third_party_imports()
    assert core <= found
    brought = {name for name, owner in OF_OTHERS.items() if owner in core}
    assert found - core - brought - INSTEAD <= extra


def test_every_public_module_is_in_the_namespace() -> None:
    found = {module.name for module in pkgutil.iter_modules(sarheight.__path__)}
    public = {name for name in found if not name.startswith("_")}
    assert public - {"cli"} == set(sarheight.__all__) - set(sarheight.WORKFLOWS)
    assert set(sarheight.__all__) <= set(dir(sarheight))


@pytest.mark.parametrize("name", sarheight.WORKFLOWS)
def test_workflows_are_functions_of_the_package(name: str) -> None:
    assert getattr(sarheight, name) is getattr(sarheight.workflow, name)
    assert name in dir(sarheight)


@pytest.mark.parametrize("name", sorted(set(sarheight.__all__) - set(sarheight.WORKFLOWS)))
def test_a_module_loads_at_first_use_and_names_what_it_offers(name: str) -> None:
    module = getattr(sarheight, name)
    assert module is importlib.import_module(f"sarheight.{name}")
    for member in module.__all__:
        assert hasattr(module, member)
    assert dir(module) == sorted(module.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unfold'"):
        _ = sarheight.unfold


def test_the_version_is_that_of_the_distribution() -> None:
    assert sarheight.__version__ == version("sarheight")


def test_the_core_does_not_require_torch() -> None:
    required = metadata("sarheight").get_all("Requires-Dist") or []
    core = {re.match(r"[\w-]+", line)[0] for line in required if "extra ==" not in line}
    assert core.isdisjoint({"torch", "lightning", "torchmetrics"})


def test_messages_have_one_line_whatever_a_file_names() -> None:
    error = ProductError("found 'a\n\x06b\x1b[31m' in 'x\r\ny'", "rename it\nnow")
    assert str(error) == "found 'a b [31m' in 'x y'; rename it now"
    assert "\n" not in error.found


FAULTS = """
import resource, numpy, sarheight._runtime
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.empty(64 << 20, numpy.uint8)[:] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), *(faults() for _ in range(3)))
"""
"""Page faults of writing a large array, and of doing so again once it is freed."""


def page_faults(**own: str) -> tuple[int, int]:
    """Return the faults of the first array, and the fewest of those that follow."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=plain | own
    )
    first, *again = map(int, done.stdout.split())
    return first, min(again)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="set in the GNU C library only")
def test_memory_of_freed_arrays_serves_the_next() -> None:
    first, again = page_faults()
    assert again <= first // 4
    for own in ({"MALLOC_TOP_PAD_": "0"}, {"SARHEIGHT_KEEP_MEMORY": "0"}):
        first, again = page_faults(**own)
        assert again >= first // 2, f"{own} was overruled"

"""Many jobs: lists of them, a manifest that survives kills, and what is done again and what not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sarheight.errors import JobListError, ManifestError
from sarheight.output import open_result, provenance, write
from sarheight.output.radar_images import write_scene
from sarheight.workflow.batch import Entry, Manifest, estimate, run
from sarheight.workflow.config import ReconstructConfig, ResultOutput
from sarheight.workflow.jobs import Job, jobs_of_files, read_jobs
from tests.cli import commands
from tests.mountains import mountain, raster, scene_of

TOML = """
[defaults]
dem = "dem.tif"
method = "one-step"
[[job]]
image = "first.nc"
output = "out/first.tif"
[[job]]
image = "https://example.org/second.zip"
dem = "auto"
output = "out/{image}.tif"
"""


def job(folder: Path, name: str = "a.tif", **options: Any) -> Job:  # noqa: ANN401
    """Make a job; `copying` replaces its work."""
    settings = ReconstructConfig(
        image=str(folder / "image.nc"), **({"dem": ("dem.tif",)} | options)
    )
    return Job(settings=settings, result=ResultOutput(output=folder / name))


def copying(configuration: str) -> tuple[list[str], str]:
    """Return a command that writes a file, unless it exists and may not be replaced.

    It fails for an image with HH.
    """
    code = (
        "import pathlib, sys, tomllib\n"
        "job = tomllib.loads(sys.stdin.read())['reconstruct']\n"
        "if job['polarisations'] == ['HH']: sys.exit('the reason')\n"
        "path = pathlib.Path(job['output'])\n"
        "if path.exists() and not job['overwrite']: sys.exit('it exists already')\n"
        "if path.suffix == '.zarr': path.mkdir(); path = path / 'x'\n"
        "path.write_text(job['method'])\n"
    )
    return [sys.executable, "-c", code], configuration


# --- lists -------------------------------------------------------------------------------------


def test_lists_of_all_kinds_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(TOML)
    table = tomllib.loads(TOML)
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": table.pop("job"), **table}))
    (tmp_path / "jobs.csv").write_text(
        "image,output,dem,method\nfirst.nc,out/first.tif,dem.tif,one-step\n"
        "https://example.org/second.zip,out/{image}.tif,auto,one-step\n"
    )
    by_toml, by_json, by_csv = (
        read_jobs(tmp_path / f"jobs.{kind}") for kind in ("toml", "json", "csv")
    )
    assert by_toml == by_json == by_csv
    images = [str(tmp_path / "first.nc"), "https://example.org/second.zip"]
    assert [each.settings.image for each in by_toml] == images
    assert [each.settings.method for each in by_toml] == ["one-step", "one-step"]
    assert [each.settings.dem for each in by_toml] == [(str(tmp_path / "dem.tif"),), ("auto",)]
    assert by_toml[1].output == tmp_path / "out" / "second.tif"


def test_each_tile_makes_a_job(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(
        "image,output,tiles,bounds\na.nc,{image}_{dem}.nc,n46.tif;n47.tif,10;46;11;47\n"
    )
    jobs = read_jobs(tmp_path / "jobs.csv", {"method": "one-step"})
    assert [each.output.name for each in jobs] == ["a_n46.nc", "a_n47.nc"]
    assert jobs[1].settings.bounds == (10.0, 46.0, 11.0, 47.0)
    assert jobs[1].settings.dem == (str(tmp_path / "n47.tif"),)
    assert jobs[1].settings.method == "one-step"
    made = jobs_of_files(["x/a.SAFE.zip", "x/b.nc"], "out", ".nc", {"tiles": ["n.tif", "m.tif"]})
    assert [each.output.name for each in made] == ["a_n.nc", "a_m.nc", "b_n.nc", "b_m.nc"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("jobs.txt", "", "expected a list of jobs in .toml, .json, .csv"),
        ("jobs.toml", "[[job]\n", "is not TOML"),
        ("jobs.toml", "[[jobs]]\nimage = 'a'\n", "expected 'defaults' and 'job' only"),
        ("jobs.toml", "job = [1]\n", "expected a table in .* and a list of tables"),
        ("jobs.toml", "", "found no job"),
        ("jobs.json", '{"jobs": [{"image": "a.nc"}]}', "job 1 .* has no 'output'"),
        ("jobs.json", '[{"output": "a.nc"}]', "has no 'image'"),
        ("jobs.json", '"jobs"', "found str, expected"),
        ("jobs.csv", "image,output\na.nc\n", "line 2 has not as many fields"),
        ("jobs.csv", "image,output,dem\na,x.nc,d\nb,x.nc,d\n", "two jobs .* write to"),
        ("jobs.csv", "image,output\na,x.nc\n", "job 1 .*: dem: "),
        ("jobs.csv", "image,output,dem,method\na,x.nc,d,magic\n", "job 1 .*: method: .*magic"),
        ("jobs.csv", "image,output,dem,law\na,x.nc,d,gauss\n", "law: .*one of gamma"),
        ("jobs.csv", "image,output,dem,multilook,spacing\na,x.nc,d,2;2,20\n", "not both"),
        ("jobs.toml", "[[job]]\nimage='a'\noutput='x.nc'\ndem='d'\nlaws=1\n", "option 'laws'"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(JobListError, match=message):
        read_jobs(tmp_path / name)


# --- manifest ----------------------------------------------------------------------------------


def test_what_is_complete_is_skipped_until_something_changes(tmp_path: Path) -> None:
    (tmp_path / "image.nc").write_text("image")
    task = job(tmp_path)
    with Manifest(tmp_path / "m.jsonl") as kept:
        assert kept.pending([task]) == [task]
        assert [each.failed for each in run([task], kept, command=copying)] == [False]
    with Manifest(tmp_path / "m.jsonl") as kept:
        assert kept.pending([task]) == []
        assert kept.pending([job(tmp_path, method="one-step")]) != []
        task.output.write_text("y")
        assert kept.pending([task]) == [task], "damaged"
        assert [each.failed for each in run([task], kept, command=copying)] == [False]
        assert kept.pending([task]) == []
        time.sleep(0.01)
        (tmp_path / "image.nc").write_text("an image that changed")
        assert kept.pending([task]) == [task], "another input"
        task.output.unlink()
        assert kept.pending([task]) == [task], "gone"
        folder = job(tmp_path, "a.zarr")
        list(run([folder], kept, command=copying))
        assert kept.pending([folder]) == []
        (folder.output / "x").write_text("2")
        assert kept.pending([folder]) == [folder]


def test_a_result_without_its_line_counts_by_the_settings_that_it_holds(tmp_path: Path) -> None:
    (tmp_path / "image.nc").write_text("image")
    task = job(tmp_path, "a.nc")
    result = raster(mountain(4, 5)).to_dataset(name="gamma0")
    result.attrs["provenance"] = provenance({}, {"settings": task.settings.record()})
    write(result, task.output)
    with Manifest(tmp_path / "m.jsonl") as kept:
        assert kept.pending([job(tmp_path, "a.nc", method="one-step")]) != []
        assert not kept.entries
        later = task.output.stat().st_mtime + 10.0
        os.utime(tmp_path / "image.nc", (later, later))
        assert kept.pending([task]) == [task], "an input that changed since"
        os.utime(tmp_path / "image.nc", (later - 20.0, later - 20.0))
        assert kept.pending([task]) == []
        assert kept.entries[str(task.output)].status == "done"


def test_a_failure_is_recorded_and_stops_nothing(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name) for name in ("a.tif", "c.tif")]
    jobs.insert(1, job(tmp_path, "b.tif", polarisations=("HH",)))
    with Manifest(tmp_path / "m.jsonl") as kept:
        outcomes = {each.output: each for each in run(jobs, kept, command=copying, workers=2)}
        assert [outcomes[str(each.output)].failed for each in jobs] == [False, True, False]
        assert outcomes[str(jobs[1].output)].error == "the reason"
        assert kept.pending(jobs) == [jobs[1]]


def test_a_result_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    task = job(tmp_path)
    task.output.write_text("precious")
    with Manifest(tmp_path / "m.jsonl") as kept:
        for _ in range(2):
            (outcome,) = run([task], kept, command=copying)
            assert "exists already" in outcome.error
            assert task.output.read_text() == "precious"
        (outcome,) = run([task], kept, command=copying, overwrite=True)
        assert not outcome.failed


def test_a_result_of_a_batch_that_was_killed_alone_counts(folder: Path, tmp_path: Path) -> None:
    """Its last job goes on without it, and ends while or after the next batch does the same."""
    settings = ReconstructConfig(
        image=str(folder / "image0.nc"), dem=(str(folder / "dem.tif"),), method="rtc"
    )
    task = Job(settings=settings, result=ResultOutput(output=tmp_path / "a.tif"))
    for path in settings.files().values():
        os.utime(path, (time.time() - 60.0,) * 2)  # a result is younger, by whole seconds
    record = provenance({}, {"command": "reconstruct", "settings": settings.record()})
    result = raster(mountain(30, 40)).to_dataset(name="gamma0").assign_attrs(provenance=record)

    def overtaken(configuration: str) -> tuple[list[str], str]:
        write(result, task.output)
        return copying(configuration)

    with Manifest(tmp_path / "m.jsonl") as kept:
        (outcome,) = run([task], kept, command=overtaken)
        assert (outcome.failed, kept.pending([task])) == (False, [])
        kept.add(Entry("failed", str(task.output), task.fingerprint(), error="exists already"))
        assert kept.pending([task]) == []
        # What existed before, and failed again, stays a failure.
        (outcome,) = run([task], kept, command=lambda text: ([sys.executable, "-c", "1/0"], text))
        assert outcome.failed


def test_a_torn_last_line_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    jobs = [job(tmp_path, "a.tif"), job(tmp_path, "b.tif")]
    with Manifest(path) as kept:
        list(run(jobs, kept, command=copying))
    whole = path.read_bytes()
    for cut in range(1, 40, 7):
        path.write_bytes(whole[:-cut])
        with Manifest(path) as kept:
            left = kept.pending(jobs)
            assert [each.output.name for each in left] == ["b.tif"]
            kept.add(Entry("failed", "x", "y"))
        with Manifest(path) as kept:
            assert kept.entries["x"].status == "failed"


def test_what_is_no_manifest_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for text in ("my diary\n", '{"a": 1}\n', '{"status": "x", "output": "", "fingerprint": ""}\n'):
        path.write_text(text)
        with pytest.raises(ManifestError, match=r"line 1 .* not a line of a manifest"):
            Manifest(path)
        assert path.read_text() == text
    with pytest.raises(ManifestError, match="cannot write the manifest"):
        Manifest(tmp_path / "nowhere" / "m.jsonl")


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_two_batches_do_not_share_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Manifest(path), pytest.raises(ManifestError, match="in use by another batch"):
        Manifest(path)


def test_the_time_is_estimated_from_earlier_jobs(tmp_path: Path) -> None:
    raster(mountain(50, 40)).rio.to_raster(tmp_path / "dem.tif")
    known = job(tmp_path, dem=(str(tmp_path / "dem.tif"),), polarisations=("VV", "VH"))
    unsized = job(tmp_path, "b.tif", dem=("auto",))
    with Manifest(tmp_path / "m.jsonl") as kept:
        first = estimate([known, unsized], kept)
        size = 2000 * (3 * 8 + 2 * 4 + 2 * 1)
        assert (first.cells, first.unknown, first.bytes) == (2000, 1, size)
        kept.add(Entry("done", "c", "", seconds=60.0, cells=1000))
        assert estimate([known], kept).seconds == pytest.approx(120.0)
        assert estimate([known], kept, workers=2).seconds == pytest.approx(60.0)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images and an elevation model."""
    made = tmp_path_factory.mktemp("batch")
    dem = raster(mountain(30, 40))
    dem.rio.to_raster(made / "dem.tif")
    for seed in range(3):
        write_scene(scene_of(dem, seed=seed, lines=160, samples=200), made / f"image{seed}.nc")
    return made


def arguments(folder: Path, out: Path) -> list[str]:
    given = ["batch", str(folder / "image?.nc"), "--dem", str(folder / "dem.tif"), "-o", str(out)]
    for setting in ("vertical=ellipsoidal", "method=one-step", "law=cosine"):
        given += ["--set", setting]
    return given


def test_a_dry_run_says_what_it_takes(folder: Path, tmp_path: Path) -> None:
    done = commands.passing(*arguments(folder, tmp_path / "out"), "--dry-run")
    assert "3 jobs, 0 complete, 3 to do: 3,600 cells, up to 79,200 bytes, about" in done.stderr
    assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.slow
def test_a_killed_batch_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sarheight", *arguments(folder, out)]
    with subprocess.Popen(command, start_new_session=True) as running:
        deadline = time.monotonic() + 120.0
        while not list(out.glob("*.tif")) and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
    complete = {path: path.stat().st_mtime_ns for path in out.glob("*.tif")}
    assert 1 <= len(complete) < 3
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"{len(complete)} complete, {3 - len(complete)} to do" in done.stderr
    results = sorted(out.glob("*.tif"))
    assert len(results) == 3
    assert not list(out.glob(".*.partial"))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in complete.items())
    for path in results:
        assert np.isfinite(open_result(path).gamma0.values).mean() > 0.5
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "3 jobs, all complete" in again.stderr


@pytest.mark.slow
def test_a_cluster_does_the_jobs(folder: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0"
    ) as cluster:
        given = [*arguments(folder, tmp_path / "out"), "--scheduler", cluster.scheduler_address]
        done = commands.passing(*given)
    assert len(list((tmp_path / "out").glob("*.tif"))) == 3
    assert done.stderr.count("done (") == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--set", "brightness=3"], "found the option 'brightness', expected some of"),
        (["--set", "method=magic"], "method: "),
        (["--set", "method"], "expected NAME=VALUE"),
        (["--tiles", "nothing*.tif"], "found no file that matches"),
        (["--suffix", ".jpg"], "found '.jpg', expected one of .tif"),
    ],
)
def test_a_wrong_command_is_reported_in_one_line(
    folder: Path, tmp_path: Path, changed: list[str], message: str
) -> None:
    assert message in commands.failing(2, *arguments(folder, tmp_path / "out"), *changed)
    without = ["batch", folder / "*.nc", "-o", tmp_path / "out"]
    assert "dem: " in commands.failing(2, *without)
    assert not (tmp_path / "out").exists()

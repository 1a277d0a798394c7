"""Where a product's files come from, what is read of them, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import pickle
import re
import stat
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.acquisition import SOURCE
from sarheight.errors import ProductError
from sarheight.product import is_product
from sarheight.sentinel1 import _files, _ranges, open_product
from sarheight.sentinel1._files import ProductFiles
from sarheight.sentinel1._manifest import MANIFEST, require_safe_name
from sarheight.sentinel1._ranges import DeflatedMember, Extent
from tests.servers import Site, running
from tests.worlds.annotations import LINES_PER_BURST
from tests.worlds.products import NAME, Made, drawn_scene, grd_product, slc_product, write_product
from tests.worlds.safe import pack, tiff

MEASUREMENT = "measurement/s1a-iw-grd-vv-20240101t055958-20240101t060002-051919-0645f1-001.tiff"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return grd_product(tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def zips(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zips")
    methods = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}
    return {
        name: pack(made.path, folder / f"{name}.zip", method) for name, method in methods.items()
    }


def window(files: ProductFiles, first: int, last: int) -> NDArray[np.uint16]:
    with files.raster(MEASUREMENT) as raster:
        found: NDArray[np.uint16] = raster.read(1, window=((first, last), (10, 200)))
    return found


# ------------------------------------------------------------------------------- where they lie


def test_a_folder_its_manifest_and_the_folder_around_it_are_one_product(made: Made) -> None:
    path = made.path
    for source in (path, path / MANIFEST, path.parent, str(path), f"{path}/"):
        files = ProductFiles.open(source)
        assert files.name == NAME
        assert len(files.names) == 9
        assert all("/" in name or name == MANIFEST for name in files.names)
        np.testing.assert_array_equal(window(files, 20, 30), made.numbers["VV"][20:30, 10:200])


@pytest.mark.parametrize("method", ["stored", "deflated"])
def test_a_zip_is_read_without_unpacking_it(made: Made, zips: dict[str, Path], method: str) -> None:
    files = ProductFiles.open(zips[method])
    assert files.name == NAME
    assert files.names == ProductFiles.open(made.path).names
    for name in files.names:
        assert files.read(name) == (made.path / name).read_bytes()
    np.testing.assert_array_equal(window(files, 150, 200), made.numbers["VV"][150:200, 10:200])
    assert [path.name for path in zips[method].parent.iterdir()] == ["stored.zip", "deflated.zip"]


def test_a_product_at_the_top_of_a_zip_is_named_after_the_zip(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "S1A_IW_GRDH_X.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in made.path.rglob("*"):
            archive.write(file, file.relative_to(made.path))
    assert ProductFiles.open(path).name == "S1A_IW_GRDH_X.SAFE"


def test_urls_of_every_kind_read_the_same(made: Made, zips: dict[str, Path]) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(made.path), f"/archive/{NAME}", recursive=True)
    for name, path in zips.items():
        memory.pipe_file(f"/archive/{name}.zip", path.read_bytes())
    sources = {
        f"memory://archive/{NAME}": True,
        "memory://archive/stored.zip": True,
        "memory://archive/deflated.zip": False,
        made.path.as_uri(): True,
        zips["stored"].as_uri(): True,
    }
    for source, direct in sources.items():
        files = ProductFiles.open(source)
        assert files.name == NAME
        np.testing.assert_array_equal(window(files, 0, 40), made.numbers["VV"][:40, 10:200])
        if direct:  # read line by line, without GDAL
            found = files.window(MEASUREMENT, (20, 90), (30, 50))
            np.testing.assert_array_equal(found, made.numbers["VV"][20:90, 30:50])


def requested(site: Site) -> int:
    """Count the bytes that were requested of a server."""
    count = 0
    for request in site.requests:
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if ranged is not None:
            count += int(ranged[2]) - int(ranged[1]) + 1
        elif request.method != "HEAD":
            count += len(site.document(request.path).body)
    return count


def test_of_a_zip_on_a_server_only_parts_are_fetched(tmp_path: Path) -> None:
    numbers = np.arange(4000 * 600, dtype=np.uint32).reshape(4000, 600).astype(np.uint16)
    made = large(tmp_path, numbers)
    body = pack(made, tmp_path / "large.zip", zipfile.ZIP_STORED).read_bytes()
    with running() as site:
        files = ProductFiles.open(f"{site.add('/large.zip', body)}?signature=secret")
        assert "secret" not in files.label
        with files.raster("measurement/a.tiff") as raster:
            found = raster.read(1, window=((3000, 3040), (0, 600)))
        np.testing.assert_array_equal(found, numbers[3000:3040])
        assert len(body) > 4_800_000
        assert requested(site) < 1_300_000


def add_folder(site: Site, folder: Path) -> str:
    """Put a product on a server; return its address."""
    for file in (each for each in folder.rglob("*") if each.is_file()):
        site.add(f"/{file.relative_to(folder.parent).as_posix()}", file.read_bytes())
    return f"{site.url}/{folder.name}"


def test_a_folder_on_a_server_is_read_by_its_manifest(made: Made) -> None:
    with running() as site:
        url = add_folder(site, made.path)
        product = open_product(f"{url}/")
        assert product.polarisations == ("VV", "VH")
        product.verify()
        whole = open_product(made.path).scene(polarisations=("VV",)).image
        found = product.scene(polarisations=("VV",)).image
        np.testing.assert_array_equal(found.values, whole.values)
        site.pages.pop(f"/{NAME}/{MEASUREMENT}")
        with pytest.raises(ProductError, match=r"incomplete|missing"):
            open_product(f"{url}/{MANIFEST}").scene()


def large(folder: Path, numbers: NDArray[np.uint16]) -> Path:
    """A folder with a measurement alone, and a manifest that nobody reads."""
    path = folder / "LARGE.SAFE"
    tiff(path / "measurement/a.tiff", numbers)
    (path / MANIFEST).touch()
    return path


def test_threads_read_a_deflated_measurement_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By GDAL, and by lines; of the scratch file, which has no name, nothing is left behind."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(_ranges, "REMAINDER", 2**17)
    monkeypatch.setattr(_ranges, "STEP", 2**15)
    numbers = np.random.default_rng(3).integers(0, 500, (2000, 300)).astype(np.uint16)
    files = ProductFiles.open(pack(large(tmp_path, numbers), tmp_path / "large.zip"))

    def by_gdal(first: int) -> NDArray[np.uint16]:
        with files.raster("measurement/a.tiff") as raster:
            found: NDArray[np.uint16] = raster.read(1, window=((first, first + 50), (7, 290)))
        return found

    def by_lines(first: int) -> Any:  # noqa: ANN401  # of the numbers of the file, or None
        return files.window("measurement/a.tiff", (first, first + 50), (7, 290))

    firsts = [int(each) for each in np.random.default_rng(4).permutation(np.arange(0, 2000, 50))]
    with ThreadPoolExecutor(8) as pool:
        for read in (by_gdal, by_lines):
            for first, found in zip(firsts, pool.map(read, firsts), strict=True):
                np.testing.assert_array_equal(found, numbers[first : first + 50, 7:290])
    assert list((tmp_path / "scratch").iterdir()) == []


WINDOWS = [((0, 200), (0, 250)), ((199, 200), (249, 250)), ((37, 141), (10, 200))]


@pytest.mark.parametrize("place", ["folder", "stored", "deflated"])
def test_windows_are_those_that_gdal_reads(
    made: Made, zips: dict[str, Path], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ranges, "REMAINDER", 2**10)  # a scratch file for this one, too
    files = ProductFiles.open(zips.get(place, made.path))
    with files.raster(MEASUREMENT):
        pass
    for lines, samples in WINDOWS:
        found = files.window(MEASUREMENT, lines, samples)
        assert found is not None
        with files.raster(MEASUREMENT) as raster:
            np.testing.assert_array_equal(found, raster.read(1, window=(lines, samples)))
    assert files.window(MEASUREMENT, (5, 5), (0, 10)) is None
    if place == "deflated":  # without scratch files it is left to GDAL
        expected = open_product(zips[place]).scene().image.values
        monkeypatch.setattr(_ranges, "unnamed_file", lambda *_: None)
        assert ProductFiles.open(zips[place]).window(MEASUREMENT, (0, 9), (0, 9)) is None
        found = open_product(zips[place]).scene().image.values
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "direct"),
    [
        ({"blockysize": 7}, True),
        ({"bigtiff": "yes"}, True),
        ({"compress": "deflate"}, False),
        ({"endianness": "big"}, False),
        ({"tiled": True, "blockxsize": 16, "blockysize": 16}, False),
    ],
)
def test_windows_of_other_layouts_are_left_to_gdal(
    tmp_path: Path,
    options: dict[str, object],
    direct: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    made = grd_product(tmp_path, tiff_options=options)
    files = ProductFiles.open(made.path)
    found = files.window(MEASUREMENT, (3, 90), (20, 25))
    assert (found is not None) == direct
    if found is not None:
        np.testing.assert_array_equal(found, made.numbers["VV"][3:90, 20:25])
    np.testing.assert_array_equal(window(files, 3, 90), made.numbers["VV"][3:90, 10:200])


def test_a_measurement_cut_short_on_the_disk_is_refused(tmp_path: Path) -> None:
    made = grd_product(tmp_path)
    scene = open_product(made.path).scene(polarisations=("VV",))
    path = made.path / MEASUREMENT
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ProductError, match="fetch"):
        scene.image.values  # noqa: B018


DATA = np.random.default_rng(5).integers(0, 40, 300_000).astype(np.uint8)


@pytest.fixture(scope="module")
def member() -> Callable[[], DeflatedMember]:
    """Open a file that is deflated in a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", DATA.tobytes())
        (info,) = archive.infolist()
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/packed", packed.getvalue())
    extent = Extent.whole(memory, "/packed", "x.zip").member(info)
    return lambda: DeflatedMember(extent, info)


@given(
    st.sampled_from(["scratch", "full", "stream", "once"]),
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 90_000)), max_size=8),
)
@settings(max_examples=120)
def test_any_part_of_a_deflated_member_is_found(
    member: Callable[[], DeflatedMember], place: str, parts: list[tuple[int, int]]
) -> None:
    """It comes from a scratch file, one on a disk that fills up, from none, or from memory."""
    data = DATA.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ranges, "STEP", 2**14)
        patch.setattr(_ranges, "REMAINDER", 2**20 if place == "once" else 2**15)
        if place == "stream":
            patch.setattr(_ranges, "unnamed_file", lambda *_: None)
        if place == "full":
            patch.setattr(_ranges, "unnamed_file", lambda *_: FullDisk())
        file = member().open()
        for begin, size in parts:
            file.seek(begin)
            assert file.read(size) == data[begin : begin + size]
            assert file.tell() == min(begin + size, max(begin, len(data)))
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 40), st.integers(1, 900), st.integers(0, 1)),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_any_rows_of_a_deflated_member_are_found(
    member: Callable[[], DeflatedMember],
    windows: list[tuple[int, int, int, int]],
    together: bool,  # noqa: FBT001
) -> None:
    """They are decompressed for it, or were before, one by one or side by side."""
    found = member()

    def check(window: tuple[int, int, int, int]) -> None:
        first, count, width, gap = window
        begins = [1000 * first + row * (width + 50 * gap) for row in range(count)]
        rows = np.zeros((count, width), np.uint8)
        assert found.read_rows(begins, rows) == (begins[-1] + width <= DATA.size)
        if begins[-1] + width <= DATA.size:
            expected = [DATA[begin : begin + width] for begin in begins]
            np.testing.assert_array_equal(rows, expected)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4 if together else 1) as pool:
        patch.setattr(_ranges, "STEP", 2**12)
        patch.setattr(_ranges, "REMAINDER", 2**15)
        list(pool.map(check, windows))


class FullDisk(io.BytesIO):
    """A scratch file on a disk that has room for 100 kB."""

    def write(self, data: Any) -> int:  # noqa: ANN401  # a buffer
        if self.tell() > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("method", ["stored", "deflated", "folder"])
def test_an_image_can_be_sent_to_another_process(
    made: Made, zips: dict[str, Path], method: str
) -> None:
    scene = open_product(zips.get(method, made.path)).scene(polarisations=("VV",))
    again = pickle.loads(pickle.dumps(scene))  # noqa: S301  # our own
    np.testing.assert_array_equal(again.image.values, scene.image.values)
    assert again.grid.shape == scene.grid.shape


def test_what_is_a_product_is_told_by_its_name(made: Made, tmp_path: Path) -> None:
    zarr = tmp_path / "image.zarr"
    zarr.mkdir()
    for source in (made.path, made.path.parent, "X.zip", "s3://bucket/X.SAFE", "https://x.org/y"):
        assert is_product(source)
    for source in (zarr, "gone.zarr", "image.tif", "s1a-iw-grd-vv.xml", "image.nc"):
        assert not is_product(source)


# -------------------------------------------------------------------------------------- bad input


def cut(kept: float) -> Callable[[Made, Path], Path]:
    """Cut a zip short."""

    def make(made: Made, folder: Path) -> Path:
        path = pack(made.path, folder / "cut.zip")
        body = path.read_bytes()
        path.write_bytes(body[: int(kept * len(body))])
        return path

    return make


def two_zipped(_: Made, folder: Path) -> Path:
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        for name in ("A.SAFE", "B.SAFE"):
            archive.writestr(f"{name}/{MANIFEST}", "")
    return folder / "two.zip"


def two_folders(_: Made, folder: Path) -> Path:
    for name in ("A.SAFE", "B.SAFE"):
        (folder / name).mkdir()
        (folder / name / MANIFEST).touch()
    return folder


def hostile(name: str) -> Callable[[Made, Path], Path]:
    """Put a member of a name that leads out of the product into a zip."""

    def make(_: Made, folder: Path) -> Path:
        path = folder / "hostile.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"X.SAFE/{MANIFEST}", "")
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            archive.writestr(info, b"payload")
        return path

    return make


def twice(made: Made, folder: Path) -> Path:
    path = pack(made.path, folder / "twice.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(f"{NAME}/{MEASUREMENT}", b"another")
    return path


def image_alone(_: Made, folder: Path) -> Path:
    (folder / "image.tif").write_bytes(b"II*\x00")
    return folder / "image.tif"


HOSTILE = [
    "../evil",
    "X.SAFE/../../evil",
    "/etc/passwd",
    "X.SAFE\\..\\evil",
    "C:/evil",
    "a//b",
    "./a",
]
REFUSALS: list[tuple[Callable[[Made, Path], Path | str], type[Exception], str]] = [
    (lambda _, folder: folder / "gone.SAFE", FileNotFoundError, r"no '.*gone\.SAFE'; expected"),
    (
        lambda _, folder: folder,
        ProductError,
        r"has no manifest\.safe; expected a Sentinel-1 product",
    ),
    (image_alone, ProductError, "expected a Sentinel-1 product"),
    *(
        (cut(kept), ProductError, r"cut\.zip is cut short, damaged, or not a zip .* fetch")
        for kept in (0.0, 0.3, 0.9, 0.999)
    ),
    (two_zipped, ProductError, r"found 2 products .*A\.SAFE, B\.SAFE\), expected one"),
    (two_folders, ProductError, r"found 2 products .*A\.SAFE, B\.SAFE\), expected one"),
    *(
        (hostile(name), ProductError, r"leads out of the product .* was not opened")
        for name in HOSTILE
    ),
    (twice, ProductError, "two files of one name"),
    (
        lambda made, folder: pack(made.path, folder / "odd.zip", zipfile.ZIP_BZIP2),
        ProductError,
        "compressed by method 12",
    ),
    (
        lambda *_: "klingon://user:word@host/x.zip",
        ProductError,
        "klingon://host/x.zip cannot be op",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSALS)
def test_what_is_no_whole_product_is_refused(
    made: Made,
    tmp_path: Path,
    make: Callable[[Made, Path], Path | str],
    error: type[Exception],
    message: str,
) -> None:
    source = make(made, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        ProductFiles.open(source)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked


def test_a_zip_whose_middle_is_missing_is_refused(zips: dict[str, Path], tmp_path: Path) -> None:
    body = zips["stored"].read_bytes()
    path = tmp_path / "hollow.zip"
    path.write_bytes(body[: len(body) // 3] + body[len(body) // 2 :])
    with pytest.raises(ProductError, match=r"hollow\.zip"):
        open_product(path).verify()


@pytest.mark.parametrize("remainder", [2**10, 2**22])
def test_a_damaged_measurement_is_refused_again_and_again(
    zips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remainder: int
) -> None:
    """The same holds for a scratch file that contains it."""
    monkeypatch.setattr(_ranges, "REMAINDER", remainder)
    with zipfile.ZipFile(zips["deflated"]) as archive:
        info = archive.getinfo(f"{NAME}/{MEASUREMENT}")
    body = bytearray(zips["deflated"].read_bytes())
    middle = info.header_offset + info.compress_size // 2
    body[middle : middle + 2000] = bytes(each ^ 0x5A for each in body[middle : middle + 2000])
    (tmp_path / "damaged.zip").write_bytes(body)
    files = ProductFiles.open(tmp_path / "damaged.zip")
    for read in (lambda: window(files, 0, 200),) * 2 + (lambda: files.read(MEASUREMENT),):
        with pytest.raises(ProductError, match=r"damaged"):
            read()


@given(st.text(min_size=1, max_size=20))
def test_a_safe_name_stays_inside(name: str) -> None:
    try:
        require_safe_name(name, "X")
    except ProductError:
        return
    assert not name.startswith("/")
    assert not {"..", "."} & set(name.split("/"))


def test_a_link_inside_a_zip_is_just_a_file(made: Made, tmp_path: Path) -> None:
    path = pack(made.path, tmp_path / "link.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(f"{NAME}/support/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert ProductFiles.open(path).read("support/link") == b"/etc/passwd"


def test_a_member_that_unpacks_without_end_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(made.path, tmp_path / "bomb.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}/annotation/bomb.xml", bytes(2**23))
    monkeypatch.setattr(_files, "LARGEST_READ", 2**20)
    with pytest.raises(ProductError, match=r"bomb\.xml in .* holds more than 1 MiB"):
        ProductFiles.open(path).read("annotation/bomb.xml")
    monkeypatch.setattr(_files, "LARGEST_MEMBER", 2**20)
    with pytest.raises(ProductError, match=r"bomb\.xml in .* said to decompress to"):
        ProductFiles.open(path)


def test_no_more_is_unpacked_than_the_directory_says(made: Made, tmp_path: Path) -> None:
    path = pack(made.path, tmp_path / "liar.zip")
    body = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(f"{NAME}/{MANIFEST}").file_size
    told = size.to_bytes(4, "little")
    # The last mention is that of the directory.
    place = body.rindex(told)
    path.write_bytes(body[:place] + (100).to_bytes(4, "little") + body[place + 4 :])
    with pytest.raises(ProductError, match="differs from its checksum"):
        ProductFiles.open(path).read(MANIFEST)


def test_a_file_that_is_not_there_is_named(made: Made) -> None:
    files = ProductFiles.open(made.path)
    with pytest.raises(ProductError, match=r"has no annotation/x\.xml: it is incomplete, fetch"):
        files.read("annotation/x.xml")
    with pytest.raises(ProductError, match=r"has no measurement/x\.tiff"):
        files.raster("measurement/x.tiff").__enter__()
    with pytest.raises(ProductError, match=r"has no measurement/x\.tiff"):
        files.window("measurement/x.tiff", (0, 1), (0, 1))


def test_only_tiffs_are_opened_as_measurements(tmp_path: Path) -> None:
    (tmp_path / "X.SAFE/measurement").mkdir(parents=True)
    (tmp_path / "X.SAFE" / MANIFEST).touch()
    virtual = "<VRTDataset rasterXSize='1' rasterYSize='1'/>"
    (tmp_path / "X.SAFE/measurement/a.tiff").write_text(virtual)
    with pytest.raises(ProductError, match=r"a\.tiff in .* cannot be read"):
        ProductFiles.open(tmp_path / "X.SAFE").raster("measurement/a.tiff").__enter__()


def test_a_server_that_sends_no_parts_is_refused(zips: dict[str, Path]) -> None:
    with running() as site:
        url = site.add("/x.zip", zips["stored"].read_bytes(), ranges=False)
        with pytest.raises(ProductError, match=r"x\.zip gave \d+ bytes where \d+ were requested"):
            open_product(url)


@pytest.mark.parametrize("name", ["x.zip", "x.SAFE", "x"])
def test_what_a_server_does_not_have_or_give_is_said_without_secrets(name: str) -> None:
    with running() as site:
        secret = f"{site.url.replace('://', '://user:password@')}/{name}?signature=secret"
        with pytest.raises((FileNotFoundError, ProductError), match=rf"{name}") as caught:
            open_product(secret)
        site.add(f"/{name}", b"PK", authorisation="Basic never")
        with pytest.raises((FileNotFoundError, ProductError)) as refused:
            open_product(secret)
    for error in (caught, refused):
        assert "secret" not in str(error.value)
        assert "password" not in str(error.value)
        assert error.value.__cause__ is None


def flipped(made: Made, folder: Path, method: int, seed: int) -> Path:
    """Change a byte in the middle of a measurement in a zip, so that it still decompresses."""
    path = folder / "damaged.zip"
    with zipfile.ZipFile(path, "w", method, compresslevel=0) as archive:
        for file in sorted(made.path.rglob("*")):
            archive.write(file, file.relative_to(made.path.parent))
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{NAME}/{MEASUREMENT}")
    data = bytearray(path.read_bytes())
    # The pixels of the file, in blocks of deflate that hold them as they are.
    place = np.random.default_rng(seed).integers(20_000, 60_000)
    data[info.header_offset + int(place)] ^= 0x55
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_measurement_in_a_zip_is_refused(
    made: Made, tmp_path: Path, method: int, seed: int
) -> None:
    product = open_product(flipped(made, tmp_path, method, seed))
    with pytest.raises(ProductError, match=r"tiff in .* differs from its checksum \(CRC-32\)"):
        product.scene(polarisations=("VV",)).image.compute()
    checks = dict(product.summary())["checks"]
    assert "measurements only where" in checks
    assert "--verify" in checks
    with pytest.raises(ProductError, match=r"is not as it was delivered.*-vv-.*tiff"):
        product.verify()


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_parts_of_a_stored_measurement_are_noted(tmp_path: Path, kind: str) -> None:
    """The note stays until all of it is read, which compares it, or `verify` compared all files."""
    made = grd_product(tmp_path).path if kind == "GRD" else slc_product(tmp_path)[0]
    path = pack(made, tmp_path / "stored.zip", zipfile.ZIP_STORED)
    product, again = open_product(path), open_product(path)
    image = product.scene(polarisations=("VV",), swaths=(product.swaths[0],)).image
    assert "only where all pixels" in json.loads(image.attrs[SOURCE])["checks"]
    assert product.unverified == ()
    image[20:40, 10:50].compute()
    (name,) = product.unverified
    assert name.startswith("measurement/")
    image.compute()
    assert product.unverified == ()
    again.scene(polarisations=("VV",)).image[20:40].compute()
    assert again.unverified != ()
    again.verify()
    assert again.unverified == ()


def test_a_damaged_manifest_in_a_zip_is_refused(made: Made, tmp_path: Path) -> None:
    path = pack(made.path, tmp_path / "x.zip", zipfile.ZIP_STORED)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        place = data.index(archive.read(f"{NAME}/{MANIFEST}"))
    end = data.index(b"ascending", place) if b"ascending" in data[place:] else place + 200
    path.write_bytes(data[:end] + bytes([data[end] ^ 0x20]) + data[end + 1 :])
    with pytest.raises(ProductError, match=r"manifest\.safe in .* differs from its checksum"):
        open_product(path)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SLC of three bursts, each of two megabytes."""
    folder = tmp_path_factory.mktemp("wide")
    return write_product(drawn_scene("SLC", samples=8000), folder / "wide.SAFE")


@pytest.mark.parametrize("zipped", [True, False])
def test_of_a_burst_on_a_server_only_its_lines_are_requested(
    wide: Path,
    tmp_path: Path,
    zipped: bool,  # noqa: FBT001
) -> None:
    whole = sum(file.stat().st_size for file in wide.rglob("*") if file.is_file())
    burst_bytes = LINES_PER_BURST * 8000 * 4
    others = whole - 3 * burst_bytes
    with running() as site:
        if zipped:
            path = pack(wide, tmp_path / "product.zip", zipfile.ZIP_STORED)
            url = site.add("/product.zip", path.read_bytes())
        else:
            url = add_folder(site, wide)
        found, expected = (open_product(each).scene(burst=1).image.values for each in (url, wide))
        np.testing.assert_array_equal(found, expected)
        # XML files, the directory of the zip, the offsets of the lines, and what is read ahead.
        assert burst_bytes < requested(site) < 1.5 * burst_bytes + others
        assert requested(site) < 0.6 * whole

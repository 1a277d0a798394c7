"""The page on security states what tests hold: a test for each statement, or no promise."""

from __future__ import annotations

import ast
import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio

import sarheight
from sarheight import _files
from sarheight._files import DEEPEST_KEY, LARGEST_TEXT, parse_toml, read_text
from sarheight.errors import AnnotationError, DamagedFileError
from sarheight.sentinel1 import read_annotation
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"

ADVICE = (
    "`sarheight` reads files and addresses from elsewhere",
    "This page says what is trusted",
    "**The user and the command line",
    "Paths, addresses, settings and `--config` files may name any file",
    "A product or DEM at an address that the user gives",
    "**Nothing inside a file or a reply",
    "**The cache of compiled kernels**",
    "Whoever has an account on the machine can open the page",
    "Keep the SHA-256 of results that matter",
    "Mutants are drawn at random",
    "Files from a source that is not trusted at all",
    "Open a private security advisory",
    "Please do not attach it to a public issue",
)
"""Statements that say what is trusted, or what to do: they promise nothing."""

HELD: dict[str, tuple[str, ...]] = {
    "A test belongs to each statement": ("test_security::test_each_statement_has_a_test",),
    "A file is data: no code of it is run": (
        "test_security::test_the_code_runs_nothing_of_a_file",
        "test_zarr::test_pickled_arrays_are_checked",
    ),
    "Weights are safetensors": (
        "test_security::test_the_code_runs_nothing_of_a_file",
        "buildings/test_networks::test_files_that_would_run_code_are_refused",
    ),
    "XML with a document type or entities": (
        "sentinel1/test_annotation::test_a_foreign_or_hostile_file_is_refused",
        "sentinel1/test_product::test_a_spoilt_product_is_refused",
        "sicd/test_product::test_entities_are_not_expanded",
        "dem/test_open::test_files_that_are_no_dem",
    ),
    "| raster of any kind |": (
        "robustness/test_sidecars::test_files_beside_a_raster_change_nothing",
        "robustness/test_sidecars::test_no_format_takes_values_from_files_beside_it",
        "robustness/test_sidecars::test_rasters_are_opened_by_one_module",
    ),
    "| DEM, other map, raster for zones |": (
        "dem/test_open::test_files_that_are_no_dem",
        "robustness/test_sidecars::test_rasters_are_opened_by_one_module",
        "fetch/test_elevation::test_a_tile_that_is_really_a_vrt_reads_no_local_file",
    ),
    "| image, result, terrain-flattened product |": (
        "robustness/test_input::test_a_virtual_raster_under_another_name_reads_no_other_file",
        "sentinel1/test_files::test_only_tiffs_are_opened_as_measurements",
        "fetch/test_remote::test_the_driver_is_that_of_the_name",
    ),
    "| `.vrt` |": (
        "dem/test_open::test_vrt_with_external_sources_is_refused",
        "dem/test_open::test_other_elements_of_a_vrt_refer_to_no_file",
        "dem/test_open::test_external_sources_on_request",
        "robustness/test_sidecars::test_a_source_of_a_vrt_that_gdal_takes_for_a_vrt_is_refused",
    ),
    "| HDF5 and NetCDF: DEM, image, result, product |": (
        "robustness/test_input::test_values_in_other_files_are_refused",
        "dem/test_open::test_files_that_are_no_dem",
        "robustness/test_sidecars::test_hdf5_is_opened_where_references_to_other_files_are_refused",
    ),
    "| STAC item |": (
        "archives/test_open_rtc::test_hostile_items_lead_nowhere",
        "buildings/test_configuration::test_an_image_is_a_file_in_the_folder_of_its_catalogue",
        "output/test_layers::test_an_item_that_names_another_file_is_refused_at_once",
    ),
    "| static STAC catalogue |": (
        "buildings/test_configuration::test_a_static_catalogue_is_not_followed_out_of_its_folder",
    ),
    "| address in a reply or an item |": (
        "fetch/test_http::test_a_hostile_address_is_refused",
        "fetch/test_http::test_a_name_that_changes_between_look_up_and_connection_is_found_out",
        "fetch/test_http::test_a_redirection_to_such_an_address_is_refused",
        "fetch/test_catalogues::test_a_catalogue_cannot_send_us_to_the_inside",
    ),
    "| image on a server that is read in parts |": (
        "fetch/test_remote::test_a_redirect_to_the_inside_is_not_followed",
        "fetch/test_remote::test_gdal_is_given_no_address",
        "fetch/test_remote::test_gdal_sends_no_request_where_it_opens_files_of_others",
    ),
    "| name of a download or of a zip's member |": (
        "fetch/test_http::test_a_name_that_is_let_through_stays_in_its_folder",
        "fetch/test_http::test_a_name_that_is_a_path_or_worse_is_refused",
        "sentinel1/test_files::test_a_safe_name_stays_inside",
        "sentinel1/test_files::test_a_link_inside_a_zip_is_just_a_file",
    ),
    "| account |": (
        "fetch/test_http::test_each_host_of_a_redirection_gets_its_own_account",
        "fetch/test_http::test_signatures_and_accounts_are_in_no_error_and_no_log",
        "fetch/test_products::test_a_signature_is_not_given_to_other_hosts",
    ),
    "| input of a command |": (
        "dem/test_open::test_a_pipe_is_refused_at_once",
        "robustness/test_commands::test_an_input_that_is_no_file_is_refused_at_once",
    ),
    "`sarheight view` listens on 127.0.0.1 only": (
        "view/test_view::test_only_this_machine_is_served_and_no_file_by_name",
    ),
    "A request, and the reading of its answer": (
        "view/test_view::test_many_requests_and_slow_clients_hold_up_nobody",
        "test_security::test_the_page_of_a_result_has_the_limits_that_are_stated",
    ),
    "Names and attributes of the result reach the page": (
        "view/test_view::test_names_are_text_and_never_markup",
    ),
    "Each limit is named in the message": (
        "fetch/test_http::test_an_announced_size_above_the_limit_is_refused_before_the_body",
        "robustness/test_input::test_an_orbit_file_of_too_many_elements_is_refused_before_it_is_parsed",
        "sentinel1/test_files::test_a_member_that_unpacks_without_end_is_refused",
        "test_security::test_texts_have_a_largest_size",
    ),
    "| reply of a catalogue |": (
        "fetch/test_http::test_a_reply_without_end_is_left_at_the_limit",
        "fetch/test_http::test_a_reply_that_unpacks_to_gigabytes_is_left_at_the_limit",
        "fetch/test_http::test_a_reply_that_trickles_meets_a_deadline",
    ),
    "| downloaded file |": (
        "fetch/test_transfer::test_another_file_than_was_announced_leaves_nothing",
        "fetch/test_elevation::test_srtm_of_another_size_or_too_large_is_refused",
        "fetch/test_products::test_what_is_no_product_is_thrown_away",
    ),
    "| redirects, pages, retries |": (
        "fetch/test_http::test_redirections_without_end_are_given_up",
        "fetch/test_catalogues::test_pages_without_end_are_left_at_the_limit",
        "fetch/test_transfer::test_a_busy_server_is_requested_again_and_given_up",
    ),
    "| XML | 64 MiB": (
        "sentinel1/test_annotation::test_a_file_that_unpacks_without_end_is_refused",
        "robustness/test_input::test_an_orbit_file_of_too_many_elements_is_refused_before_it_is_parsed",
        "test_security::test_xml_that_is_nested_deeply_is_one_error",
        "test_security::test_an_xz_file_that_needs_much_memory_is_refused",
    ),
    "| XML and text in a product |": (
        "sentinel1/test_files::test_a_member_that_unpacks_without_end_is_refused",
    ),
    "| JSON, TOML, CSV lists |": (
        "test_security::test_texts_have_a_largest_size",
        "test_security::test_keys_have_a_largest_depth",
        "robustness/test_input::test_lists_of_jobs_of_another_kind_are_one_error",
    ),
    "| configuration of a network |": (
        "learning/test_networks::test_damaged_and_excessive_checkpoints_are_refused_at_once",
    ),
    "A reader returns what the file held when it was whole": (
        "robustness/test_mutants::test_few_mutants_are_refused_or_harmless",
        "robustness/test_mutants::test_the_judge_finds_each_breach",
    ),
    "Where a format has a checksum": (
        "robustness/test_mutants::test_few_mutants_are_refused_or_harmless",
    ),
    "| Sentinel-1 product, zipped |": (
        "sentinel1/test_files::test_a_damaged_measurement_in_a_zip_is_refused",
        "sentinel1/test_files::test_parts_of_a_stored_measurement_are_noted",
        "cli/test_products::test_what_was_read_in_part_is_told_by_result_warning_and_exit_code",
        "cli/test_products::test_a_damaged_product_is_refused_with_verify",
        "cli/test_products::test_other_commands_that_read_products_in_part_tell_it_too",
    ),
    "| Sentinel-1 product, folder |": (
        "sentinel1/test_product::test_all_files_are_verified_on_demand",
        "sentinel1/test_product::test_a_spoilt_product_is_refused",
    ),
    "| annotation |": (
        "sentinel1/test_annotation::test_a_grid_that_contradicts_its_geolocation_points_is_refused",
        "test_grid::test_an_annotation_with_damaged_records_is_refused",
        "robustness/test_mutants::test_few_mutants_are_refused_or_harmless",
    ),
    "| state vectors |": (
        "test_orbit::test_one_wrong_state_vector_is_refused_and_named",
        "test_orbit::test_a_wrong_state_vector_is_refused_whatever_the_file",
        "nisar/test_product::test_damage_is_named",
        "sentinel1/test_product::test_an_orbit_beside_that_of_the_annotation_is_refused",
    ),
    "| Zarr |": (
        "test_zarr::test_chunks_of_another_length_are_refused",
        "test_zarr::test_headers_that_disagree_are_refused",
    ),
    "| Zarr of this library |": (
        "output/test_stores::test_a_damaged_chunk_is_found_by_its_checksum",
        "output/test_stores::test_a_deleted_file_does_not_open_as_void",
        "output/test_stores::test_a_chunk_that_a_shard_does_not_hold_is_missing",
        "output/test_stores::test_a_shard_that_was_cut_short_is_named_when_the_store_is_opened",
        "output/test_stores::test_metadata_that_contradict_their_copy_are_refused",
    ),
    "| folder of layers |": (
        "output/test_layers::test_a_layer_with_other_values_is_found_however_it_is_opened",
        "output/test_layers::test_incomplete_and_damaged_folders_are_refused",
    ),
    "| NetCDF of this library |": (
        "output/test_stores::test_the_numbers_of_a_netcdf_file_have_checksums",
        "output/test_stores::test_a_netcdf_file_without_a_chunk_is_refused",
    ),
    "| image in radar geometry |": (
        "robustness/test_input::test_changed_sampling_in_a_file_differs_from_its_checksum",
    ),
    "| weights |": (
        "learning/test_networks::test_damaged_and_excessive_checkpoints_are_refused_at_once",
        "learning/test_networks::test_a_model_is_a_folder_that_may_lack_a_checksum",
        "learning/test_networks::test_weights_that_are_no_numbers_are_neither_read_nor_written",
    ),
    "| `.xz`, `.zip` |": (
        "sentinel1/test_annotation::test_a_foreign_or_hostile_file_is_refused",
        "sentinel1/test_files::test_no_more_is_unpacked_than_the_directory_says",
    ),
    "Nothing protects **the pixels of a plain GeoTIFF**": (
        "test_security::test_bytes_of_a_plain_geotiff_are_other_numbers",
    ),
    "Most damage to the blocks of a GeoTIFF": (
        "test_security::test_most_damage_to_a_deflated_geotiff_is_an_error",
    ),
    "`sarheight batch` has it in its manifest": (
        "workflow/test_batch::test_what_is_complete_is_skipped_until_something_changes",
        "cli/test_commands::test_reconstruct_needs_no_annotation_for_it",
    ),
    "Results appear complete or not at all": (
        "output/test_files::test_a_failure_while_computing_leaves_no_new_file",
        "robustness/test_faults::test_a_full_disk_keeps_the_earlier_result",
    ),
    "They are written in a hidden folder": (
        "robustness/test_faults::test_a_kill_at_any_rename_leaves_one_of_both_results",
        "output/test_files::test_a_failure_while_renaming_leaves_no_new_file",
    ),
    "Where a folder is replaced": (
        "robustness/test_faults::test_a_kill_leaves_a_result_and_its_own_item",
    ),
    "If the process is killed between two of them": (
        "robustness/test_faults::test_a_kill_at_any_rename_leaves_one_of_both_results",
        "robustness/test_faults::test_what_a_killed_process_had_complete_takes_its_place_if_it_is_free",
    ),
    "Hidden folders of processes that died": (
        "robustness/test_faults::test_only_folders_of_dead_processes_are_removed",
    ),
    "Ctrl-C and SIGTERM leave no partial file": (
        "output/test_files::test_an_interruption_leaves_no_file",
        "robustness/test_termination::test_a_netcdf_file_that_is_being_written_is_left_at_once",
        "robustness/test_termination::test_a_second_termination_ends_what_does_not_come_to_its_end",
    ),
    "`tests/robustness/` mutates each kind of file": (
        "robustness/test_mutants::test_few_mutants_are_refused_or_harmless",
        "robustness/test_mutants::test_few_mutants_end_commands_with_one_line",
    ),
    "It kills the process at each rename": (
        "robustness/test_faults::test_a_kill_at_any_rename_leaves_one_of_both_results",
        "robustness/test_faults::test_a_full_disk_keeps_the_earlier_result",
        "robustness/test_faults::test_two_writers_leave_one_whole_result",
    ),
    "`tests/fetch/` runs a hostile server": (
        "fetch/test_http::test_a_reply_without_end_is_left_at_the_limit",
    ),
    "Tests search the code for other ways": (
        "robustness/test_sidecars::test_rasters_are_opened_by_one_module",
        "robustness/test_sidecars::test_the_search_finds_an_opening",
        "fetch/test_remote::test_gdal_is_given_no_address",
    ),
    "`python -m benchmarks.robustness` reads more": (
        "robustness/test_mutants::test_many_mutants_are_refused_or_harmless",
    ),
    "| read | {figure}": ("test_figures::test_pages_quote_figures_on_record",),
    "| of these, by whole commands |": ("test_figures::test_pages_quote_figures_on_record",),
    "| that raised anything but one line": ("test_figures::test_pages_quote_figures_on_record",),
    "| that took longer than ten seconds": (
        "test_figures::test_pages_quote_figures_on_record",
        "robustness/test_mutants::test_readers_have_ten_seconds_and_commands_forty",
    ),
    "| that changed a protected value": ("test_figures::test_pages_quote_figures_on_record",),
    "| that changed a value that nothing protects": (
        "test_figures::test_pages_quote_figures_on_record",
    ),
}
"""The beginning of each other statement, and the tests that hold it."""


def statements(text: str) -> Iterator[str]:
    """Divide a page into sentences and rows of tables; without headings."""
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().splitlines()
        if not lines or lines[0].startswith("#"):
            continue
        if lines[0].startswith("|"):
            yield from lines[2:]
            continue
        joined = " ".join(line.strip() for line in lines)
        for item in re.split(r"(?:^|\s)- (?=\*\*)", joined):
            yield from filter(str.strip, re.split(r"(?<=[.:])(?:\*\*)? (?=[A-Z`*])", item))


@cache
def names_of(module: str) -> frozenset[str]:
    """Return the names of the tests of a module."""
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text("utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return frozenset(name for name in names if name.startswith("test_"))


def test_each_statement_has_a_test() -> None:
    found = list(statements(PAGE.read_text("utf-8")))
    known = [*ADVICE, *HELD]
    for statement in found:
        matching = [begin for begin in known if statement.startswith(begin)]
        assert len(matching) == 1, f"{statement!r}: expected one of the beginnings, {matching}"
    for begin in known:
        assert any(each.startswith(begin) for each in found), f"the page says no more: {begin!r}"


def test_the_tests_of_the_page_exist() -> None:
    for test in {test for tests in HELD.values() for test in tests}:
        module, _, name = test.partition("::")
        assert name in names_of(module), test


# --- what no other test holds ------------------------------------------------------------------

RUNNING = {"eval", "exec", "compile", "__import__"}


def test_the_code_runs_nothing_of_a_file() -> None:
    """No pickle is read, and PyTorch reads weights only."""
    for path in Path(sarheight.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            where = f"{path}:{node.lineno}"
            assert called not in RUNNING, where
            assert not re.search(r"(pickle|joblib|dill)\.loads?$", called), where
            assert given.get("allow_pickle", "False") == "False", where
            if called == "torch.load":
                assert given.get("weights_only") == "True", where


def test_texts_have_a_largest_size(tmp_path: Path) -> None:
    assert LARGEST_TEXT == 64 << 20
    path = tmp_path / "list.json"
    path.write_bytes(b" " * 2000)
    with pytest.raises(DamagedFileError, match="holds more than 0 MiB of text, expected JSON"):
        read_text(path, "JSON", largest=1000)
    with path.open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    with pytest.raises(DamagedFileError, match="holds more than 64 MiB of text"):
        _files.read_json(path)


def test_keys_have_a_largest_depth() -> None:
    assert DEEPEST_KEY == 32
    assert parse_toml("a." * 31 + "b = 1", "few") != {}
    with pytest.raises(DamagedFileError, match="more than 32 parts"):
        parse_toml("a." * 32 + "b = 1", "many")


def test_xml_that_is_nested_deeply_is_one_error() -> None:
    text = annotation_xml(*synthetic_grid(lines=40, samples=50))
    deep = text.replace("<adsHeader>", "<a>" * 50_000 + "</a>" * 50_000 + "<adsHeader>", 1)
    assert deep != text
    try:
        read_annotation(deep.encode())
    except AnnotationError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_an_xz_file_that_needs_much_memory_is_refused() -> None:
    """The header asks for a dictionary of 1 GiB."""
    packed = bytearray(lzma.compress(b"<Earth_Explorer_File/>" * 100))
    begin, size = 12, (packed[12] + 1) * 4
    place = packed.index(bytes([0x21, 0x01]), begin) + 2
    packed[place] = 36
    checksum = zlib.crc32(bytes(packed[begin : begin + size - 4]))
    packed[begin + size - 4 : begin + size] = struct.pack("<I", checksum)
    with pytest.raises(AnnotationError, match=r"[Mm]emory"):
        read_annotation(bytes(packed))


def test_the_page_of_a_result_has_the_limits_that_are_stated() -> None:
    from sarheight.view import _page

    text = " ".join(PAGE.read_text("utf-8").split())
    assert f"may take {_page.SLOWEST:.0f} seconds each" in text
    assert f"waits at most {_page.BUSIEST:.0f} seconds" in text
    assert f"more than {_page.MOST_CONNECTIONS} connections" in text


def flips(tmp_path: Path, **options: object) -> list[str]:
    """Flip a bit at many places of the block of a GeoTIFF; tell what becomes of the numbers."""
    values = np.random.default_rng(1).gamma(4.0, 0.1, (64, 64)).astype(np.float32)
    path, mutant = tmp_path / "whole.tif", tmp_path / "mutant.tif"
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "float32"}
    place = rasterio.Affine(30.0, 0.0, 5e5, 0.0, -30.0, 5e6)
    profile |= {"crs": "EPSG:32632", "transform": place, "tiled": True, **options}
    with rasterio.open(path, "w", blockxsize=64, blockysize=64, **profile) as file:
        file.write(values, 1)
    with rasterio.open(path) as file:
        begin, size = (
            int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    data, found = path.read_bytes(), []
    for step in range(0, size, size // 200):
        body = bytearray(data)
        body[begin + step] ^= 1 << (step % 8)
        mutant.write_bytes(body)
        try:
            with rasterio.open(mutant) as file:
                found.append("same" if (file.read(1) == values).all() else "other")
        except rasterio.errors.RasterioIOError:
            found.append("error")
    return found


def test_bytes_of_a_plain_geotiff_are_other_numbers(tmp_path: Path) -> None:
    assert set(flips(tmp_path)) == {"other"}


def test_most_damage_to_a_deflated_geotiff_is_an_error(tmp_path: Path) -> None:
    found = flips(tmp_path, compress="deflate", predictor=3)
    assert found.count("error") > 0.8 * len(found)
    assert "other" in found

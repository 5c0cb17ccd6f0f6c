from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import analysis
from analysis import schema
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError, load_run


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(run_folder, folder)
    return folder


def test_tables_are_frames_with_the_columns_of_the_schema(run: Run) -> None:
    assert list(run.routing.columns) == schema.ROUTING.names
    assert list(run.experts.columns) == schema.EXPERTS.names
    assert list(run.examples.columns) == schema.EXAMPLES.names
    assert {"key", "epoch", "split", "share"} <= set(run.reports.columns)


def test_searched_settings_are_found_between_the_fixed_columns(run: Run) -> None:
    assert run.settings == ("alpha", "beta")


def test_a_table_is_read_once(run: Run) -> None:
    assert run.trials is run.trials


def test_cost_vectors_come_back_as_they_were(run: Run) -> None:
    vector = run.cost_vector()
    assert (vector.name, vector.router, vector.experts) == ("constants", 0.3, (2.0, 7.0, 13.0))
    assert run.cost_vector("mpc_seconds_as_if").as_if


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: nothing there; name the folder"):
        load_run(tmp_path / "nowhere")


def test_a_folder_that_is_no_run_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"provenance.json: missing"):
        load_run(tmp_path)


@pytest.mark.parametrize("table", sorted({*schema.TABLES} - {"routing"}))
def test_a_missing_table_is_named_with_its_cure(table: str, copy: Path) -> None:
    (copy / schema.table_file(table)).unlink()
    with pytest.raises(RunError, match=rf"{table}.parquet: this table is missing.*--resume"):
        load_run(copy)


def test_a_run_without_a_routing_table_opens_and_says_so_when_routes_are_asked_for(
    copy: Path,
) -> None:
    assert load_run(copy).routed
    (copy / schema.table_file("routing")).unlink()
    run = load_run(copy)
    assert not run.routed
    with pytest.raises(RunError, match=r"routing.parquet: this table is missing.*--resume"):
        _ = run.routing


@pytest.mark.parametrize("table", schema.TABLES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_table_is_named_with_its_cure(table: str, kept: float, copy: Path) -> None:
    path = copy / schema.table_file(table)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RunError, match=rf"{table}.parquet: truncated or damaged.*--resume"):
        load_run(copy)


def test_damage_inside_a_table_is_found_when_it_is_read(copy: Path) -> None:
    path = copy / schema.table_file("trials")
    whole = bytearray(path.read_bytes())
    whole[4:400] = b"\xff" * 396
    path.write_bytes(whole)
    run = load_run(copy)
    with pytest.raises(RunError, match=r"trials.parquet: truncated or damaged"):
        _ = run.trials


def test_a_table_of_another_schema_version_is_refused(copy: Path) -> None:
    path = copy / schema.table_file("reports")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"7"}), path)
    with pytest.raises(
        RunError, match=r"reports.parquet was written in version 7 of the tables, .* reads 1"
    ):
        load_run(copy)


def test_provenance_of_another_schema_version_is_refused(copy: Path) -> None:
    path = copy / schema.PROVENANCE_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    with pytest.raises(RunError, match=r"provenance.json was written in version 99"):
        load_run(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_provenance_that_is_none_is_refused(text: str, copy: Path) -> None:
    (copy / schema.PROVENANCE_FILE).write_text(text)
    with pytest.raises(RunError, match=r"provenance.json: not readable"):
        load_run(copy)


def test_a_study_that_is_no_mapping_is_refused(copy: Path) -> None:
    (copy / schema.STUDY_FILE).write_text("- a\n- b\n")
    with pytest.raises(RunError, match=r"study.yaml: found list"):
        load_run(copy)


def test_a_column_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(RunError, match="no column wishes"):
        run.table("trials", ["key", "wishes"])


def test_experts_cut_from_one_model_are_named_by_their_layers(run: Run) -> None:
    experts = [
        {"expert": k, "name": "org/mini", "layers": layers, "stand_in": None}
        for k, layers in enumerate((2, 4, 6))
    ]
    cut = Run(path=run.path, provenance=run.provenance | {"experts": experts}, study={})
    assert cut.expert_names == ("2 layers", "4 layers", "6 layers")


def test_a_run_of_the_first_version_is_read_and_has_no_paths() -> None:
    recorded = Path(analysis.__file__).parent / "notebooks" / "recorded" / "grid"
    written = pq.read_schema(recorded / schema.table_file("trials"))
    assert (written.metadata or {})[schema.VERSION_KEY] == b"1"
    assert "paths_id" not in written.names
    old = load_run(recorded)
    assert old.trials["paths_id"].isna().all()
    assert alternatives(old).names == old.expert_names
    assert "paths_id" not in old.settings

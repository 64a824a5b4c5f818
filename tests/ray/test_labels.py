"""Labels of nodes say where workers train and where readers decode, and change nothing else.

Takes a minute or two, so it runs by `pytest -m cluster` alone.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phiray.config.training import ClusterConfig
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import METRICS_NAME
from tests.ray.run_builders import LOSS, Inputs, build_align, read_lines, shared_out
from tests.stage_builders import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
PATIENCE_SECONDS = 400
RELATIVE_TOLERANCE = 1e-5
ROLES = {"worker": "train", "reader": "decode"}


def test_workers_train_and_readers_decode_where_labels_say(inputs: Inputs, tmp_path: Path) -> None:
    config = shared_out(build_align(inputs, tmp_path / "labelled"), workers=1, accumulation=2)
    labels = {f"{name}_labels": {"phiray/role": role} for name, role in ROLES.items()}
    cluster = ClusterConfig.model_validate({"cpus_per_worker": 1, **labels})
    config = config.model_copy(update={"cluster": cluster})
    assert (config.data.decode, config.data.readers) == ("tasks", 2)  # type: ignore[union-attr]  # a stage of pictures
    file, out = tmp_path / "config.yaml", tmp_path / "told.json"
    file.write_text(config_yaml(config))
    words = ["-m", "tests.ray.labelled_run", str(file), str(out)]
    subprocess.run([sys.executable, *words], timeout=PATIENCE_SECONDS, check=True)
    told = json.loads(out.read_text())
    places = told["places"]
    readers = [node for name, ids in places.items() if "RowReader" in name for node in ids]
    assert readers == [told["nodes"]["decode"]] * 2, places
    assert places["RayTrainWorker"] == [told["nodes"]["train"]], places
    for text, wanted in zip(
        told["said"],
        ("waiting for workers; they need 1 CPUs", "waiting for readers; they need 2 CPUs"),
        strict=True,
    ):
        assert wanted in text
        assert text.endswith("of which there are 0 on nodes with the labels phiray/role=nowhere")
    whole = config.model_copy(
        update={
            "cluster": ClusterConfig(),
            "run": config.run.model_copy(update={"output_dir": str(tmp_path / "whole")}),
        }
    )
    train(whole)
    found, wanted_records = (read_lines(run_folder(run) / METRICS_NAME) for run in (config, whole))
    assert [sorted(r["row_ids"]) for r in found] == [sorted(r["row_ids"]) for r in wanted_records]
    losses = [
        torch.tensor([record[LOSS] for record in records]).double()
        for records in (found, wanted_records)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=RELATIVE_TOLERANCE, atol=0)

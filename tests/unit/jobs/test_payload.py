import json
from dataclasses import asdict

from phiray.config.presets import preset
from phiray.config.stages import STAGE_ADAPTER
from phiray.jobs.payload import TrainedRun, WorkerPayload


def test_worker_payload_survives_json() -> None:
    config = preset("tiny", "align")
    payload: WorkerPayload = {
        "config": config.model_dump(mode="json"),
        "run_dir": "runs/a",
        "manifest": "{}",
        "rows": "",
        "features": None,
        "start": "first",
        "node": "here",
    }
    received = json.loads(json.dumps(payload))
    assert received == payload
    assert STAGE_ADAPTER.validate_python(received["config"]) == config


def test_trained_run_survives_json() -> None:
    run = TrainedRun(steps=3, loop_seconds=1.5)
    assert TrainedRun(**json.loads(json.dumps(asdict(run)))) == run

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phiray.config.model import PhiConfig
from phiray.planning.given import GivenModel
from phiray.planning.memory import Setup, estimate_memory
from phiray.planning.parameters import Tower, count_language_model

ROOT = Path(__file__).resolve().parents[3]
PHI_2 = GivenModel(PhiConfig())
TOTAL = count_language_model(PHI_2.language_model).total
SETUP = Setup(
    trains_language_model=True, rows=1, row_tokens=2048, labels=2047, is_bf16=True, on_gpu=True
)


def test_parts_add_up_to_the_total() -> None:
    memory = estimate_memory(PHI_2, SETUP)
    parts = (memory.weights, memory.copies, memory.gradients, memory.optimizer)
    rest = (memory.activations, memory.logits, memory.cache, memory.workspace, memory.heap)
    assert memory.total == sum(parts) + sum(rest)


def test_training_all_of_phi_2_holds_sixteen_bytes_a_weight() -> None:
    memory = estimate_memory(PHI_2, replace(SETUP, accumulates=True))
    assert (memory.weights, memory.optimizer) == (4 * TOTAL, 8 * TOTAL)
    head = 51_200 * 2560
    # while the head's pieces are added up: all gradients, two buffers of its own, one in bf16
    assert memory.gradients == 4 * TOTAL + (2 * 4 + 2) * head


def test_frozen_language_model_has_no_gradients_and_no_moments() -> None:
    memory = estimate_memory(PHI_2, replace(SETUP, trains_language_model=False))
    assert (memory.gradients, memory.optimizer) == (0, 0)
    assert memory.weights == 4 * TOTAL


def test_short_rows_are_largest_at_the_end() -> None:
    memory = estimate_memory(PHI_2, replace(SETUP, row_tokens=64, labels=63))
    assert memory.moment == "end of the backward"
    assert memory.gradients == 4 * TOTAL


def test_twice_the_rows_keep_twice_the_activations() -> None:
    one, two = (
        estimate_memory(PHI_2, replace(SETUP, rows=rows, labels=rows * 2047)) for rows in (1, 2)
    )
    assert two.activations == pytest.approx(2 * one.activations)
    assert two.logits == one.logits  # pieces of a set size


def test_fsdp2_shares_weights_gradients_and_moments_out() -> None:
    shared = estimate_memory(PHI_2, replace(SETUP, strategy="fsdp2", workers=8))
    whole = estimate_memory(PHI_2, replace(SETUP, workers=8))
    assert shared.weights == whole.weights // 8
    assert shared.optimizer == whole.optimizer // 8
    assert shared.total < whole.total


def test_lora_trains_few_weights() -> None:
    memory = estimate_memory(PHI_2, replace(SETUP, strategy="lora"))
    low_rank = 32 * 64 * (8 * 2560 + 2 * (2560 + 10_240))
    assert memory.optimizer == 8 * low_rank
    assert memory.weights == 2 * TOTAL + 4 * low_rank  # the frozen ones in bf16


def test_rollout_that_goes_token_by_token_holds_a_cache() -> None:
    setup = replace(
        SETUP,
        trains_language_model=False,
        row_tokens=2048,
        labels=8,
        rollout_labels=200_000,
        rollout_caches=True,
    )
    memory = estimate_memory(PHI_2, setup)
    assert memory.moment == "rollout"
    assert memory.cache == 2048 * 32 * 2 * 2560 * 2
    assert estimate_memory(PHI_2, replace(setup, rollout_caches=False)).cache == 0


def test_gpu_holds_the_workspace_of_its_library() -> None:
    cpu, gpu = (estimate_memory(PHI_2, replace(SETUP, on_gpu=on)) for on in (False, True))
    assert gpu.workspace - cpu.workspace == 32 * 2**20


def test_heap_of_a_cpu_keeps_what_is_freed_but_no_large_blocks() -> None:
    small = replace(SETUP, on_gpu=False, is_bf16=False, row_tokens=256, labels=255)
    memory = estimate_memory(PHI_2, small)
    assert memory.heap == pytest.approx(1.4 * (memory.activations + memory.logits), rel=1e-6)
    large = estimate_memory(PHI_2, replace(small, row_tokens=2048, labels=2047))
    assert large.heap == pytest.approx(1.4 * large.logits, rel=1e-6)
    assert estimate_memory(PHI_2, SETUP).heap == 0


def test_every_committed_measurement_is_within_fifteen_percent() -> None:
    record = json.loads((ROOT / "bench/results/memory.json").read_text())
    assert len(record["cases"]) == 11
    assert record["largest_difference"] <= 0.15


def test_a_tower_that_does_not_run_has_no_moment_of_its_own() -> None:
    tower = Tower(336, 14, 1024, 24, 4096, 768)
    small = PhiConfig(
        vocab_size=64,
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        partial_rotary_factor=0.5,
    )
    given = GivenModel(small, tower=tower)
    setup = replace(SETUP, row_tokens=8, labels=7)
    assert estimate_memory(given, setup).moment == "forward of the tower"
    cached = estimate_memory(given, replace(setup, caches_features=True))
    assert cached.moment != "forward of the tower"
    assert cached.weights == estimate_memory(given, setup).weights  # it belongs to the checkpoint

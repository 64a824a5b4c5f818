"""Put a plan together: parameters, memory, FLOPs, time, data and cost of one stage.

    build_plan(config, PlanOptions(...), devices=read_devices()) -> Plan

Source: DESIGN 4; each figure's own file.
Limits: time is that of computing alone: no start, no data wait, no validation, no checkpoints.
"""

from dataclasses import asdict, dataclass, replace

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.config.training import ScheduledSamplingMethod
from phiray.errors import ConfigError, ExitCode
from phiray.planning.devices import Device
from phiray.planning.given import GivenModel, find_given_model
from phiray.planning.memory import BF16, Memory, Setup, Strategy, estimate_memory
from phiray.planning.parameters import count_language_model, count_projector, count_tower
from phiray.planning.workload import (
    Flops,
    Rows,
    caches_features,
    count_flops,
    estimate_rows,
)

STRATEGIES: tuple[Strategy, ...] = ("ddp", "fsdp2", "lora")
GIB = 2**30
ASSUMED_MFU = 0.4
"""Of a well-fed GPU; nothing here measured it."""
USABLE_FRACTION = 0.92
"""Share of a GPU's memory that torch can fill; the rest is its context, and holes in between."""
_COUNTS = (1, 2, 4, 8)
"""Workers that a suggestion tries: GPUs of one machine."""
TOKEN_BYTES = 2
"""uint16 in prepared shards; Phi-2's ids fit."""
JPEG_BYTES = 163_000
"""A picture of COCO's train2017 on average: 19.3 GB of 118,287."""
_STATE_BYTES = 12
"""A trained weight in a checkpoint: itself and two moments, in fp32."""


@dataclass(frozen=True)
class PlanOptions:
    """What a user may say beside the settings."""

    stand_in: str = "phi-2"
    """Preset whose models stand in for those that are not there yet."""
    device: str | None = None
    """Kind of GPU; none plans without time and cost unless `flops_per_second` is given."""
    mfu: float | None = None
    """Share (0..1) of the GPU's peak that training reaches."""
    flops_per_second: float | None = None
    """What one worker reaches, where it was measured."""
    longest_row: int | None = None
    """Tokens of the longest row."""


@dataclass(frozen=True)
class Parameters:
    """How many, and how many of them are trained."""

    embedding: int
    attention: int
    mlp: int
    moe: int
    norms: int
    head: int
    projector: int
    tower: int
    total: int
    trained: int


@dataclass(frozen=True)
class Pace:
    """How long it takes and what it costs, on so many workers."""

    flops_per_second: float
    """Of one worker."""
    basis: str
    """Where that comes from."""
    step_seconds: float
    samples_per_second: float
    tokens_per_second: float
    hours: float
    usd: float | None


@dataclass(frozen=True)
class Suggestion:
    """A set-up that fits, or why none does."""

    device: str | None
    workers: int
    gradient_accumulation_steps: int
    memory_gib: float
    usd_per_hour: float
    told: str


@dataclass(frozen=True)
class Plan:
    """All of it, as JSON has it."""

    stage: str
    parameters: Parameters
    workers: int
    rows_per_micro_batch: int
    memory: dict[str, Memory]
    """One worker's, by strategy; phiray trains with the first."""
    rows: Rows
    flops_per_row: Flops
    flops: float
    """Of the whole run."""
    tokens: float
    """Of the whole run, padding apart."""
    data_bytes: float
    feature_bytes: float
    """Of the cache of features on disk; 0 without one."""
    checkpoint_bytes: int
    """Of one checkpoint; frozen weights are kept once beside them."""
    pace: Pace | None
    suggestion: Suggestion | None
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        memory = {name: asdict(part) | {"total": part.total} for name, part in self.memory.items()}
        return asdict(self) | {"memory": memory}


def build_plan(config: AnyStageConfig, options: PlanOptions, *, devices: dict[str, Device]) -> Plan:
    """Plan a stage from its settings; no weight is made and nothing is run.

    Args:
        config: of the stage.
        options: what the user adds.
        devices: the table of GPUs.

    Raises:
        ConfigError: if the device is not in the table, or cannot compute in the precision.
        CheckpointError: if a model that the settings name cannot be read.
    """
    given = find_given_model(config, stand_in=options.stand_in)
    rows = estimate_rows(config, given, longest=options.longest_row)
    device = None if options.device is None else _find_device(options.device, devices)
    flops = count_flops(config, given, rows)
    training = config.training
    num_rows = training.max_steps * training.global_batch_size
    setup = _setup(config, rows, workers=config.cluster.workers, device=device)
    parameters = _parameters(config, given)
    return Plan(
        stage=config.stage,
        parameters=parameters,
        workers=config.cluster.workers,
        rows_per_micro_batch=setup.rows,
        memory={name: estimate_memory(given, replace(setup, strategy=name)) for name in STRATEGIES},
        rows=rows,
        flops_per_row=flops,
        flops=flops.total * num_rows,
        tokens=rows.mean_tokens * num_rows,
        data_bytes=_data_bytes(config, rows, num_rows=num_rows),
        feature_bytes=_feature_bytes(config, given, num_rows=num_rows),
        checkpoint_bytes=_STATE_BYTES * parameters.trained,
        pace=_pace(config, options, flops=flops, rows=rows, device=device),
        suggestion=_suggest(config, given, rows, devices) if config.cluster.use_gpu else None,
        assumptions=(*given.assumptions, *rows.assumptions),
    )


def _find_device(name: str, devices: dict[str, Device]) -> Device:
    if name not in devices:
        raise ConfigError(
            f"--device {name} is not in the table. It must be one of {', '.join(devices)}. Add it "
            "to a copy of the table, and give that with --devices.",
            exit_code=ExitCode.USAGE,
        )
    return devices[name]


def _parameters(config: AnyStageConfig, given: GivenModel) -> Parameters:
    counts = count_language_model(given.language_model)
    projector = tower = 0
    if given.projector is not None and given.vision is not None and given.tower is not None:
        projector = count_projector(
            given.projector,
            vision_hidden_size=given.vision.hidden_size,
            hidden_size=given.language_model.hidden_size,
        )
        tower = count_tower(given.tower)
    language = 0 if isinstance(config, AlignConfig) else counts.total
    return Parameters(
        **asdict(counts),
        projector=projector,
        tower=tower,
        total=counts.total + projector + tower,
        trained=language + projector,
    )


def _setup(
    config: AnyStageConfig,
    rows: Rows,
    *,
    workers: int,
    accumulation: int | None = None,
    device: Device | None,
) -> Setup:
    training = config.training
    steps = accumulation or training.gradient_accumulation_steps
    micro_rows = -(-training.global_batch_size // (steps * workers))
    labels = round(micro_rows * rows.most_labels)
    filled = 0
    caches = False
    if isinstance(config, AlignConfig | InstructConfig):
        method = config.method
        if isinstance(method, ScheduledSamplingMethod):
            filled = round(labels * (1 - method.end))
            caches = method.rollout == "exact"
    return Setup(
        trains_language_model=not isinstance(config, AlignConfig),
        rows=micro_rows,
        row_tokens=rows.longest_tokens,
        labels=labels,
        is_bf16=training.precision == "bf16",
        accumulates=steps > 1 or workers > 1,
        on_gpu=config.cluster.use_gpu or device is not None,
        workers=workers,
        rollout_labels=filled,
        rollout_caches=caches,
        caches_features=caches_features(config),
    )


def _pace(
    config: AnyStageConfig,
    options: PlanOptions,
    *,
    flops: Flops,
    rows: Rows,
    device: Device | None,
) -> Pace | None:
    is_bf16 = config.training.precision == "bf16"
    if options.flops_per_second is not None:
        reached, basis = options.flops_per_second, "as given"
    elif device is not None:
        peak = device.flops_per_second(is_bf16=is_bf16)
        if peak == 0:
            raise ConfigError(
                f"--device {device.name} has no bf16, but training.precision is bf16. Set "
                "training.precision=fp32, or take another device."
            )
        mfu = options.mfu or ASSUMED_MFU
        told = "as given" if options.mfu else "assumed"
        reached = peak * mfu
        basis = f"{mfu:.0%} ({told}) of {peak / 1e12:.4g} TFLOP/s"
    else:
        return None
    workers, training = config.cluster.workers, config.training
    most_rows = -(-training.global_batch_size // workers)  # of a worker; all wait for that one
    seconds = flops.total * most_rows / reached
    hours = seconds * training.max_steps / 3600
    return Pace(
        flops_per_second=reached,
        basis=basis,
        step_seconds=seconds,
        samples_per_second=training.global_batch_size / seconds,
        tokens_per_second=training.global_batch_size * rows.mean_tokens / seconds,
        hours=hours,
        usd=None if device is None else hours * workers * device.usd_per_hour,
    )


def _data_bytes(config: AnyStageConfig, rows: Rows, *, num_rows: int) -> float:
    if isinstance(config.data, TextDataConfig):
        tokens = num_rows * rows.mean_tokens
        return TOKEN_BYTES * min(tokens, config.data.max_train_tokens or tokens)
    return float(JPEG_BYTES * min(num_rows, config.data.max_images or num_rows))


def _feature_bytes(config: AnyStageConfig, given: GivenModel, *, num_rows: int) -> float:
    if not caches_features(config) or given.vision is None:
        return 0.0
    assert isinstance(config.data, ImageDataConfig)
    num_images = min(num_rows, config.data.max_images or num_rows)
    picture_bytes = given.vision.num_patches * given.vision.hidden_size * BF16
    return float(num_images * picture_bytes)


def _suggest(
    config: AnyStageConfig, given: GivenModel, rows: Rows, devices: dict[str, Device]
) -> Suggestion:
    """Find the cheapest GPUs of one machine that hold a micro-batch under DDP."""
    is_bf16 = config.training.precision == "bf16"
    able = [d for d in devices.values() if d.flops_per_second(is_bf16=is_bf16) > 0]
    offers = sorted(
        ((device.usd_per_hour * count, count, device) for device in able for count in _COUNTS),
        key=lambda offer: offer[:2],
    )
    for price, workers, device in offers:
        found = _fewest_micro_batches(config, given, rows, device=device, workers=workers)
        if found is not None:
            steps, memory = found
            return Suggestion(
                device=device.name,
                workers=workers,
                gradient_accumulation_steps=steps,
                memory_gib=memory.total / GIB,
                usd_per_hour=price,
                told=f"{workers} x {device.name}: --set cluster.workers={workers} "
                f"--set training.gradient_accumulation_steps={steps} takes "
                f"{memory.total / GIB:.1f} of {device.memory_gib:g} GiB",
            )
    return _nothing_fits(config, given, rows, able)


def _fewest_micro_batches(
    config: AnyStageConfig, given: GivenModel, rows: Rows, *, device: Device, workers: int
) -> tuple[int, Memory] | None:
    """Return the fewest micro-batches of which one fits, and what it takes; none if none does."""
    share = -(-config.training.global_batch_size // workers)
    if share * workers != config.training.global_batch_size:
        return None
    for steps in (steps for steps in range(1, share + 1) if share % steps == 0):
        setup = _setup(config, rows, workers=workers, accumulation=steps, device=device)
        memory = estimate_memory(given, setup)
        if memory.total <= USABLE_FRACTION * device.memory_gib * GIB:
            return steps, memory
    return None


def _nothing_fits(
    config: AnyStageConfig, given: GivenModel, rows: Rows, able: list[Device]
) -> Suggestion:
    share = config.training.global_batch_size
    setup = _setup(config, rows, workers=1, accumulation=share, device=None)
    least = estimate_memory(given, setup)
    largest = max((device.memory_gib for device in able), default=0.0)
    fixed = least.weights + least.copies + least.optimizer + least.gradients
    if fixed > least.total / 2:
        mend = (
            "Weights, gradients and moments are most of it: take a smaller model, or wait for "
            "FSDP2 and LoRA, which phiray does not train with yet"
        )
    else:
        mend = "Activations are most of it: shorten the rows (data.sequence_length or max_length)"
    return Suggestion(
        device=None,
        workers=1,
        gradient_accumulation_steps=share,
        memory_gib=least.total / GIB,
        usd_per_hour=0.0,
        told=f"nothing in the table fits: one row takes {least.total / GIB:.1f} GiB, the largest "
        f"GPU has {largest:g}. {mend}",
    )

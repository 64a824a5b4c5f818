"""A run's metrics for Prometheus, through Ray's own exporter on each node.

    StepGauges(run, flops_per_row=...)(metrics)

Source: `ray.util.metrics`; Ray puts `ray_` in front of each name, and its own labels beside `run`.
Limits: the last value of each; the whole history is in the run's folder. MFU is model FLOP/s over
the peak of the GPUs, which the dashboard asks for.
"""

from ray.util.metrics import Gauge

from phiray.training.metrics_log import LOSS_METRIC, Metrics

_NAMES = {
    LOSS_METRIC: ("phiray_loss_nats_per_token", "Training loss of the last step."),
    "validation/loss_nats_per_token": (
        "phiray_validation_loss_nats_per_token",
        "Loss on the validation part at the last checkpoint.",
    ),
    "step": ("phiray_step", "Optimizer steps done."),
    "learning_rate": ("phiray_learning_rate", "Learning rate of the last step."),
    "grad_norm": ("phiray_grad_norm", "Norm of the gradient before clipping."),
    "tokens_per_second": ("phiray_tokens_per_second", "Label tokens of the last step by its time."),
    "samples_per_second": ("phiray_rows_per_second", "Rows of the last step by its time."),
    "bad_rows": ("phiray_bad_rows", "Rows that could not be read so far."),
    "balance": ("phiray_router_balance", "Balance term of the routers; 1 is an even load."),
}
"""Metrics of a step, with the name and help of their gauges."""
_WAIT = "phiray_data_wait_fraction"
_FLOPS = "phiray_model_flops_per_second"


class StepGauges:
    """Exports what each step measured."""

    def __init__(self, run: str, *, flops_per_row: float) -> None:
        """Make the gauges.

        Args:
            run: its name, the value of the label `run`.
            flops_per_row: model FLOPs of a row, forward and backward.
        """
        self._tags = {"run": run}
        self._flops_per_row = flops_per_row
        self._gauges = {key: _gauge(name, told) for key, (name, told) in _NAMES.items()}
        self._wait = _gauge(_WAIT, "Share of the last step's time spent waiting for data.")
        self._flops = _gauge(_FLOPS, "Model FLOP/s over all workers; with their peak, the MFU.")

    def __call__(self, metrics: Metrics) -> None:
        """Set the gauges to a step's metrics."""
        for key, gauge in self._gauges.items():
            if key in metrics:
                gauge.set(metrics[key], tags=self._tags)
        waited, whole = metrics["data_wait_seconds"], metrics["step_seconds"]
        self._wait.set(min(1.0, waited / whole) if whole else 0.0, tags=self._tags)
        rate = metrics["samples_per_second"] * self._flops_per_row
        self._flops.set(rate, tags=self._tags)


def _gauge(name: str, description: str) -> Gauge:
    return Gauge(name, description=description, tag_keys=("run",))

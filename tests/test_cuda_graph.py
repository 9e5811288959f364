"""The training step as a CUDA graph: the same training as without, and no difference where there is no GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils.data import DataLoader

from scripts.cuda_graph import WARM_UP, GraphedStep
from scripts.handlers import SeedIterations
from scripts.inferers import PrecisionInferer, tensor_float_32
from scripts.losses import weighted_bce

BATCHES, EPOCHS = 7, 2


def network() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)]
    return nn.Sequential(*body, nn.Linear(8, 1))


def trained(device: str, step: GraphedStep | None, precision: str = "fp32") -> tuple[list[float], dict[str, Any]]:
    """Train on seven batches, the last of them short, twice; return the losses and the weights."""
    made = network().to(device)
    generator = torch.Generator().manual_seed(1)
    data = [
        {"image": torch.rand(3, 16, 16, generator=generator), "label": torch.tensor([float(number % 2)])}
        for number in range(8 * BATCHES - 3)
    ]
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=EPOCHS,
        train_data_loader=DataLoader(data, batch_size=8),
        network=made,
        optimizer=torch.optim.Adam(made.parameters(), 0.01, fused=device == "cuda"),
        loss_function=weighted_bce().to(device),
        inferer=PrecisionInferer(precision),
        iteration_update=step,
        train_handlers=[SeedIterations(3)],
        decollate=False,
        optim_set_to_none=True,
    )
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].detach())
    )
    with tensor_float_32(False):
        trainer.run()
    return [float(loss) for loss in losses], {name: one.cpu() for name, one in made.state_dict().items()}


def test_on_a_cpu_the_step_is_that_of_monai():
    step = GraphedStep()
    losses, weights = trained("cpu", step)
    expected, plain = trained("cpu", None)
    assert losses == expected
    assert len(losses) == BATCHES * EPOCHS
    assert all(torch.equal(value, plain[name]) for name, value in weights.items())
    assert step.graph is None


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-4), ("bf16", 2e-2)])
def test_a_graph_trains_as_the_steps_it_was_captured_from(precision, apart):
    """Dropout included: it has half of the features, so another seed would give other losses at once."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    step = GraphedStep()
    losses, weights = trained("cuda", step, precision)
    assert step.graph is not None
    assert step.warm == WARM_UP
    expected, plain = trained("cuda", None, precision)
    assert losses == pytest.approx(expected, abs=apart)
    assert len({round(loss, 5) for loss in losses}) > BATCHES
    for name, value in plain.items():
        assert torch.allclose(weights[name].float(), value.float(), atol=10 * apart), name

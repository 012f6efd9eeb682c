"""Muon for matrices (Jordan et al. 2024, "Muon: an optimizer for hidden layers"), AdamW for the rest."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)

Kind = tuple[tuple[int, ...], float]  # a shape, and the part of the rate that its matrices learn at


class Muon:
    """Momentum, made orthogonal by five Newton-Schulz steps in bf16; matrices of one shape and factor are stacked."""

    def __init__(
        self, parameters: Iterable[tuple[nn.Parameter, float]], momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[Kind, list[nn.Parameter]] = {}
        for parameter, factor in parameters:
            self.groups.setdefault((tuple(parameter.shape), factor), []).append(parameter)
        self.velocity = {
            kind: torch.zeros(len(group), *kind[0], device=group[0].device) for kind, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for (shape, factor), group in self.groups.items():
            gradient = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in group])
            velocity = self.velocity[shape, factor].lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(velocity, self.momentum)) * (0.2 * max(shape) ** 0.5 * rate * factor)
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - rate * factor * self.decay).sub_(change)

    def state_dict(self) -> dict[str, Tensor]:
        return {_name(kind): velocity for kind, velocity in self.velocity.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for kind, velocity in self.velocity.items():
            velocity.copy_(state[_name(kind)])


def _name(kind: Kind) -> str:
    return f"{'x'.join(map(str, kind[0]))} at {kind[1]}"


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices to a stack [N, rows, columns], roughly."""
    x: Tensor = matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    a, b, c = COEFFICIENTS
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    x = x.mT if tall else x
    return x.float()


class Optimizer:
    """Both together, with one learning rate; what `slow` names learns at that part of it."""

    def __init__(self, model: nn.Module, slow: Mapping[str, float] | None = None) -> None:
        named = [
            (name, parameter, next((factor for start, factor in (slow or {}).items() if name.startswith(start)), 1.0))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        matrices = [
            (parameter, factor)
            for name, parameter, factor in named
            if parameter.ndim == 2 and "tok_embeddings" not in name and not name.startswith("aux_")
        ]
        chosen = {id(parameter) for parameter, _ in matrices}
        others = [(parameter, factor) for _, parameter, factor in named if id(parameter) not in chosen]
        self.others = [parameter for parameter, _ in others]
        self.muon = Muon(matrices)
        groups = [
            {"params": [p for p, f in others if f == factor], "factor": factor}
            for factor in sorted({f for _, f in others})
        ]
        self.adam = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.97), weight_decay=0, foreach=True)

    def step(self, rate: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = rate * group["factor"]
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.step()
        self.muon.step(rate)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])

"""The fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

from blockforge.ops.base import Argument, Call, Op, Shape, expect_rank, sole, whole


@dataclass(frozen=True)
class Linear(Op):
    """A fully connected layer: (C,) to (out_features,), weight (out_features, C)."""

    out_features: int
    bias: bool = True

    def __post_init__(self) -> None:
        """Check what can be checked without an input."""
        whole(self, 1, "out_features")

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape, `(out_features,)`."""
        x = sole(self, inputs)
        if len(x) != 1:
            expect_rank(self, x, 1)
        return (self.out_features,)

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """`weight`, and `bias` unless it is switched off."""
        weight = (self.out_features, inputs[0][0])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def params(self, *inputs: Shape) -> int:
        """The number of trainable parameters."""
        return (inputs[0][0] + self.bias) * self.out_features

    def params_formula(self, *inputs: Shape) -> str:
        """`(400+1)*120`: (input features + bias) * output features."""
        features = inputs[0][0]
        return f"({features}+1)*{self.out_features}" if self.bias else f"{features}*{self.out_features}"

    def macs(self, *inputs: Shape) -> int:
        """Input features times output features."""
        return inputs[0][0] * self.out_features

    def call(self, *inputs: Shape) -> Call:
        """`nn.Linear(400, 120)`."""
        return Call(
            "nn.Linear",
            (
                Argument("in_features", inputs[0][0], positional=True),
                Argument("out_features", self.out_features, positional=True),
                Argument("bias", self.bias, True),
            ),
        )

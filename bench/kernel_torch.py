"""The scoring of a map in plain torch, operation by operation: a rival of the fused kernel's selftest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import MissingDependencyError, UsageError, import_extra
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.scoring.scorer import Scorer
from edgeosr.verdict import FLOOR

PARTS = ("log_jacobian", "discriminator", "movr_loss", "max_logit", "log_norm", "raw_jacobian")


class TorchChain:
    """ReLU or ReLU6 map, cosine head and ``PARTS`` to unknown scores; matrices fp16 or all in fp32."""

    def __init__(self, torch: Any, scorer: Scorer, *, half: bool, device: str):
        """Move the weights.

        Raises:
            UsageError: the scorer is not of the kind above.
        """
        closed_form, head = scorer.closed_form, scorer.head
        known = closed_form is not None and closed_form.activation in ("relu", "clip")
        if closed_form is None or not known or head.kind != "cosine" or head.margin:
            raise UsageError(
                "unfused torch is written for a ReLU map or a clipped one, and a cosine head without a margin"
            )
        strange = [name for name in scorer.fusion.parts if name not in PARTS]
        if strange:
            words = f"the parts {', '.join(PARTS)}; the scorer has {', '.join(strange)}"
            raise UsageError(f"unfused torch is written for {words}")
        self._torch = torch
        self._dtype = torch.float16 if half else torch.float32
        radius = int(np.abs(closed_form.offsets).max())
        size = 2 * radius + 1
        kernel = np.zeros((scorer.dimension, 1, size, size), np.float32)
        for tap, (down, right) in enumerate(closed_form.offsets):
            kernel[:, 0, radius + down, radius + right] = closed_form.table[:, tap]

        def moved(array: NDArray[Any], dtype: Any) -> Any:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        self._radius, self._channels = radius, scorer.dimension
        clipped = closed_form.activation == "clip"
        self._low, self._high = (
            (float(number) for number in closed_form.parameters) if clipped else (0.0, float("inf"))
        )
        self._kernel = moved(kernel, self._dtype)
        self._head = moved(head.weight, self._dtype)
        self._layers = [(moved(w, self._dtype), moved(b, self._dtype)) for w, b in scorer.layers]
        self._slope, self._temperature, self._threshold = scorer.slope, head.temperature, scorer.threshold
        self._parts, fusion = scorer.fusion.parts, scorer.fusion
        numbers = (np.array(list_, np.float32) for list_ in (fusion.means, fusion.stds, fusion.weights))
        self._fusion = [moved(array, torch.float32) for array in numbers]

    def __call__(self, y: Any) -> tuple[Any, Any, Any]:
        """Return score float32, label int64 and accepted bool, each ``[B]``, of y ``[B, D, H, W]``."""
        torch = self._torch
        nn = torch.nn.functional
        positions = y.shape[2] * y.shape[3]
        clipped = self._high < float("inf")
        z = (y.clamp(self._low, self._high) if clipped else torch.relu(y)).mean(dim=(2, 3))
        mask = (((y > self._low) & (y < self._high)) if clipped else y > 0).to(self._dtype)
        near = nn.conv2d(mask, self._kernel, padding=self._radius, groups=self._channels)
        square = (near * mask).sum(dim=(1, 2, 3), dtype=torch.float32) / positions**2
        norm = z.float().norm(dim=1).clamp_min(FLOOR)
        jacobian = square.clamp_min(0).sqrt() / norm
        logits = nn.linear(z, self._head).float() / norm[:, None]
        top, label = logits.max(dim=1)
        scaled = self._temperature * logits
        most = self._temperature * top
        loss = nn.softplus(scaled).sum(dim=1) - nn.softplus(most) + nn.softplus(-most)
        hidden = z
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                hidden = nn.leaky_relu(hidden, self._slope)
            hidden = nn.linear(hidden, weight, bias)
        known = hidden[:, 0].float() if self._layers else torch.zeros_like(norm)
        raw = (jacobian * norm).clamp_min(FLOOR).log()
        found = (jacobian.clamp_min(FLOOR).log(), -known, loss, -top, -norm.log(), raw)
        values = dict(zip(PARTS, found, strict=True))
        listed = torch.stack([values[name] for name in self._parts], dim=1)
        means, stds, weights = self._fusion
        score = ((listed - means) / stds) @ weights
        return score, label, score <= self._threshold


class UnfusedTorch:
    """The chain, captured in one CUDA graph: no launch of Python's is in the time."""

    device = "cuda"

    def __init__(self, case: SelftestCase, driver: Driver, stream: int):
        """Warm up and capture.

        Raises:
            MissingDependencyError: torch is not installed.
            UsageError: it sees no device, or the case is not one that the chain is written for.
        """
        try:
            torch = import_extra("torch", extra="train", purpose="timing unfused torch")
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"{error} (Jetson: torch comes from NVIDIA's index of its JetPack)"
            ) from error
        if not torch.cuda.is_available():
            raise UsageError(
                f"torch {torch.__version__} sees no CUDA device; install a build for this CUDA version"
            )
        chain = TorchChain(torch, case_scorer(case), half=case.half_weights, device=self.device)
        self._torch = torch
        self._y = torch.from_numpy(case_inputs(case)["map"]).to(self.device)
        torch.cuda.synchronize()
        self._before = torch.cuda.current_stream()
        self._stream = torch.cuda.ExternalStream(stream)
        torch.cuda.set_stream(self._stream)  # replay() uses the current stream
        try:
            with torch.inference_mode():
                for _ in range(3):
                    chain(self._y)
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph, stream=self._stream):
                    self._score, *_ = chain(self._y)
        except BaseException:
            torch.cuda.set_stream(self._before)
            raise
        precision = "fp16" if case.half_weights else "fp32"
        self.conditions = f"torch {torch.__version__}, eager operations in one CUDA graph, {precision}"

    def launch(self) -> None:
        """See ``Contender``."""
        self._graph.replay()

    def scores(self) -> NDArray[np.float32]:
        """See ``Contender``."""
        self._stream.synchronize()
        return np.asarray(self._score.cpu().numpy(), np.float32)

    def close(self) -> None:
        """See ``Contender``."""
        self._torch.cuda.set_stream(self._before)
        del self._graph, self._score, self._y

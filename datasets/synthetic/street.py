"""The ground: a curved road at height 0, raised sidewalks, possibly a crossing road, and wavy terrain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.classes import Raw
from datasets.synthetic.primitives import Floats

KERB = 0.15
"""Height of the sidewalk, metres."""


@dataclass(frozen=True)
class Street:
    """Ground of one scene, in scene coordinates: x along the street, y to its left, z up, metres."""

    bend: tuple[float, float, float]
    """Centre line y = a sin(x / b + c)."""
    half_width: float
    """From the centre line to the kerb."""
    parking: float
    """Width of the parking strips at both kerbs; 0 if there are none."""
    sidewalk: float
    """Width of the sidewalk."""
    crossing: tuple[float, float] | None
    """(x, half width) of a crossing road, if there is one."""
    waves: NDArray[np.float32]
    """[K, 4] of the terrain: wave numbers along x and y (1/m), phase, amplitude (m)."""

    @property
    def lane(self) -> float:
        """Distance of the middle of either lane from the centre line."""
        return (self.half_width - self.parking) / 2

    def centre(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """y of the centre line at x."""
        a, b, c = self.bend
        return a * np.sin(x * (1 / b) + c)

    def heading(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """Yaw of the street at x, radians."""
        a, b, c = self.bend
        return np.arctan(a / b * np.cos(x / b + c))

    def beyond(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Metres from the road's edge: negative on the road, above `sidewalk` on the terrain."""
        edge = np.abs(y - self.centre(x)) - self.half_width
        if self.crossing is None:
            return edge
        return np.minimum(edge, np.abs(x - self.crossing[0]) - self.crossing[1])

    def height(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """z of the ground; the terrain's waves grow with the distance from the sidewalk."""
        return np.where(self.beyond(x, y) < 0, 0, self._upper(x, y)).astype(x.dtype)

    def _upper(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """The continuous part of the ground: as if the road were as high as the sidewalk."""
        wave = sum(amp * np.sin(kx * x + ky * y + phase) for kx, ky, phase, amp in self.waves.tolist())
        return KERB + np.clip((self.beyond(x, y) - self.sidewalk) * 0.2, 0, 1) * wave

    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the ground's height off the road."""
        amplitude = float(self.waves[:, 3].sum())
        return KERB - amplitude, KERB + amplitude

    def raw(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Raw class of the ground."""
        beyond = self.beyond(x, y)
        kinds = np.array([Raw.ROAD, Raw.SIDEWALK, Raw.TERRAIN], np.uint8)
        return kinds[(beyond >= 0).astype(np.intp) + (beyond >= self.sidewalk)]

    def enter(self, origin: NDArray[np.float64], rays: Floats, far: float) -> Floats:
        """t at which rays [3, N] from `origin` meet the ground; inf beyond `far`.

        First the continuous part, then, where that is over the road, the road 15 cm below or the kerb's face.
        """
        t = np.full(rays.shape[1], np.inf, np.float32)
        down = np.flatnonzero(rays[2] < -(origin[2] - self.bounds()[1]) / far)
        ray = rays[:, down]
        upper = self._enter_upper(origin, ray, far)
        road = np.float32(-origin[2]) / ray[2]
        before, after = self._beyond_at(origin, ray, upper), self._beyond_at(origin, ray, road)
        share = before / np.minimum(before - after, -1e-6)
        face = upper + np.clip(share, 0, 1) * (road - upper) + np.float32(0.002)
        t[down] = np.where(before >= 0, upper, np.where(after < 0, road, face))
        return np.where(t < far, t, np.float32(np.inf))

    def _beyond_at(self, origin: NDArray[np.float64], ray: Floats, t: Floats) -> NDArray[np.floating]:
        ox, oy, _ = (np.float32(value) for value in origin)
        return self.beyond(ox + t * ray[0], oy + t * ray[1])

    def _enter_upper(self, origin: NDArray[np.float64], ray: Floats, far: float) -> Floats:
        """Bracketed by the bounds; six bisections and a linear step are accurate to centimetres. `far`: no hit."""
        low, high = self.bounds()
        ox, oy, oz = (np.float32(value) for value in origin)

        def above(t: Floats) -> NDArray[np.floating]:
            return oz + t * ray[2] - self._upper(ox + t * ray[0], oy + t * ray[1])

        start = (high - oz) / ray[2]
        end = np.minimum((low - oz) / ray[2], np.float32(far))
        for _ in range(6):
            middle = (start + end) / 2
            over = above(middle) > 0
            start, end = np.where(over, middle, start), np.where(over, end, middle)
        first, last = above(start), above(end)
        share = np.clip(first / np.maximum(first - last, 1e-6), 0, 1)
        return np.where(last <= 0, start + share * (end - start), np.float32(far)).astype(np.float32)


def draw_street(rng: np.random.Generator) -> Street:
    """A random street."""
    bend = (rng.uniform(0, 6), rng.uniform(20, 45), rng.uniform(0, 2 * np.pi))
    angles, lengths = rng.uniform(0, 2 * np.pi, 4), rng.uniform(9, 40, 4)
    numbers = 2 * np.pi / lengths
    waves = np.stack(
        (
            numbers * np.cos(angles),
            numbers * np.sin(angles),
            rng.uniform(0, 2 * np.pi, 4),
            rng.uniform(0.03, 0.16, 4) * lengths / 25,
        ),
        1,
    )
    crossing = (rng.uniform(15, 45), rng.uniform(3, 5)) if rng.random() < 0.4 else None
    parking = 2.5 if rng.random() < 0.6 else 0.0
    half_width, sidewalk = parking + rng.uniform(3.2, 4.6), rng.uniform(1.8, 4.5)
    return Street(bend, half_width, parking, sidewalk, crossing, waves.astype(np.float32))

"""Building a scene at random: traffic, parked vehicles, road works, people, and the street's surroundings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datasets.synthetic import objects
from datasets.synthetic.classes import Raw
from datasets.synthetic.config import KEYFRAME_INTERVAL, WorldConfig
from datasets.synthetic.objects import Part, Rng
from datasets.synthetic.scene import Look, Scene, Thing, stream, yaw_pose
from datasets.synthetic.street import Street, draw_street

VEHICLES: dict[Raw, Callable[[Rng], list[Part]]] = {
    Raw.CAR: objects.car,
    Raw.BUS: objects.bus,
    Raw.TRUCK: objects.truck,
}
EARLIEST = -0.5
"""Seconds before the first keyframe that sweeps and cameras may need."""


def build(config: WorldConfig, name: str) -> Scene:
    """The scene of a name; depends on the seed, the name, and the number of frames alone."""
    rng = stream(config.seed, name)
    street, look = draw_street(rng), draw_look(rng)
    ego = Thing(Raw.CAR, [], 0.0, -street.lane, vx=rng.uniform(3, 9))
    plan = _Plan(rng, street, ego, KEYFRAME_INTERVAL * (config.frames_per_scene - 1))
    plan.fill()
    x, y, yaw = rng.uniform((200, 200, -np.pi), (1800, 1800, np.pi))
    return Scene(name, street, look, plan.things, ego, yaw_pose(x, y, 0.0, yaw))


def draw_look(rng: Rng) -> Look:
    """Light, weather and ground colors; road, sidewalk and walls share the same greys."""
    height, azimuth = rng.uniform(0.3, 1.3), rng.uniform(0, 2 * np.pi)
    sun = [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
    cloudy = rng.random()
    horizon = np.array([0.78, 0.82, 0.86]) * (1 - 0.15 * cloudy)
    zenith = (1 - cloudy) * np.array([0.35, 0.55, 0.85]) + cloudy * np.array([0.6, 0.62, 0.65])
    road, walk = rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.65)
    terrain = objects.foliage(rng) if rng.random() < 0.6 else objects.masonry(rng)
    ground = np.array([[road] * 3, [walk] * 3, terrain]) * rng.uniform(0.93, 1.07, (3, 3))
    yellow = rng.random() < 0.3
    return Look(
        sun=np.array(sun, np.float32),
        ambient=0.42 + 0.3 * cloudy,
        brightness=rng.uniform(0.8, 1.2),
        tint=rng.uniform(0.93, 1.07, 3).astype(np.float32),
        fog=float(rng.choice([0.0005, 0.002, 0.008])) * rng.uniform(0.5, 1.5),
        sky=np.array([horizon, zenith], np.float32),
        ground=ground.astype(np.float32),
        marking=np.array([0.85, 0.7, 0.2] if yellow else [0.85, 0.85, 0.85], np.float32),
        blotch=rng.uniform(0.03, 0.15),
    )


class _Plan:
    """A scene under construction: the things so far, and the occupied ground."""

    def __init__(self, rng: Rng, street: Street, ego: Thing, duration: float):
        self.rng, self.street, self.ego, self.duration = rng, street, ego, duration
        self.end = ego.vx * duration
        """x of the ego vehicle at the last keyframe."""
        self.things: list[Thing] = []
        self._taken: list[tuple[float, float, float, float]] = []
        self._lane = (-6.0, self.end + 7.0, ego.u - 1.5, ego.u + 1.5)

    def fill(self) -> None:
        """Add rare things first, so that they find room."""
        self._featured()
        self._road_works()
        self._traffic()
        for side in (-1, 1):
            self._parked(side)
            self._driveways(side)
            self._fence_row(side)
        self._people()
        for side in (-1, 1):
            self._furniture(side)
            self._front(side)
            self._garden(side)

    def add(self, raw: Raw, parts: list[Part], x: float, u: float, gap: float = 0.3, **motion: float) -> bool:
        """Place a thing unless its path, widened by `gap`, meets occupied ground; True if it is placed."""
        thing = Thing(raw, parts, x, u, shine=float(self.rng.lognormal(0, 0.3)), **motion)
        way = self._way(thing, gap)
        escorts = abs(u - self.ego.u) < 1 and thing.vx > 0  # drives in the ego lane, ahead or behind
        taken = self._taken if escorts else [*self._taken, self._lane]
        if any(_overlap(way, other) for other in taken):
            return False
        self.things.append(thing)
        self._taken.append(way)
        return True

    def _way(self, thing: Thing, gap: float) -> tuple[float, float, float, float]:
        """Ground (x and u ranges) that a thing covers from before the first keyframe to the last."""
        reach = np.array([[abs(p.centre[i]) + p.size[i] / 2 for i in (0, 1)] for p in thing.parts]).max(0)
        cos, sin = abs(np.cos(thing.yaw)), abs(np.sin(thing.yaw))
        rx, ru = cos * reach[0] + sin * reach[1] + gap, sin * reach[0] + cos * reach[1] + gap
        times = (EARLIEST, self.duration)
        xs = [thing.x + thing.vx * time for time in times]
        us = [thing.u + thing.vu * time for time in times]
        return min(xs) - rx, max(xs) + rx, min(us) - ru, max(us) + ru

    def _near(self, before: float, after: float) -> float:
        """A random x from `before` metres behind the start to `after` metres beyond the end of the drive."""
        return float(self.rng.uniform(-before, self.end + after))

    def _count(self, per_metre: float, before: float, after: float) -> int:
        """Number of things along the drive, given their density."""
        return int(self.rng.poisson(per_metre * (before + self.end + after)))

    def _vehicle(self, raw: Raw, spot: int, x: float) -> bool:
        """Put a vehicle at a spot: 0, 1 parked right, left; 2 oncoming; 3 ahead or behind the ego one."""
        parts = VEHICLES[raw](self.rng)
        if spot < 2:
            side = 2 * spot - 1
            if self._crosses(x, 4):
                return False
            inwards = 1.3 if self.street.parking else -1.2  # on the sidewalk without a strip
            turn = 0.0 if self.rng.random() < 0.7 else np.pi
            jitter = float(self.rng.normal(0, 0.02))
            return self.add(raw, parts, x, side * (self.street.half_width - inwards), yaw=turn + jitter)
        if spot == 2:
            return self.add(raw, parts, x, -self.ego.u, yaw=np.pi, vx=-float(self.rng.uniform(2, 9)))
        ahead = 1 if self.rng.random() < 0.65 else -1
        x, speed = ahead * self.rng.uniform(11, 21), self.ego.vx * (1 + ahead * self.rng.uniform(0, 0.1))
        return self.add(raw, parts, float(x), self.ego.u, gap=1.0, vx=float(speed))

    def _crosses(self, x: float, margin: float) -> bool:
        """Whether x is within `margin` of the crossing road."""
        crossing = self.street.crossing
        return crossing is not None and abs(x - crossing[0]) < crossing[1] + margin

    def _featured(self) -> None:
        """Nearly every scene has a bus and a truck near the ego vehicle; long drives have more."""
        for _ in range(1 + int(self.end // 60)):
            for raw in self.rng.permutation(np.array([Raw.BUS, Raw.TRUCK])):
                tries = 12 if self.rng.random() < 0.9 else 0
                spots = self.rng.choice([0, 0, 1, 1, 2, 2, 3], tries).tolist()
                any(self._vehicle(Raw(raw), spot, self._near(16, 30)) for spot in spots)

    def _traffic(self) -> None:
        for _ in range(self._count(0.06, 40, 50)):
            self._vehicle(Raw.CAR, int(self.rng.choice([2, 2, 3])), self._near(40, 50))

    def _parked(self, side: int) -> None:
        """A row of parked vehicles with gaps, of random density."""
        density, x = self.rng.uniform(0.2, 0.7) * (1 if self.street.parking else 0.4), -45.0
        while x < self.end + 55:
            x += self.rng.uniform(5.5, 7.5)
            if self.rng.random() < density:
                raw = Raw(self.rng.choice([Raw.CAR] * 18 + [Raw.BUS, Raw.TRUCK]))
                self._vehicle(raw, (side + 1) // 2, x)

    def _road_works(self) -> None:
        """A closed stretch of one side: a taper of cones, then a row of barriers and cones."""
        for _ in range(1 + int(self.end // 60)):
            side = int(self.rng.choice([-1, 1])) if self.street.parking else 1
            x, length = self._near(0, 12), self.rng.uniform(6, 16)
            inner = side * (self.street.half_width - self.rng.uniform(2.2, 2.7))
            color = objects.paint(self.rng) if self.rng.random() < 0.4 else (0.9, 0.35, 0.1)
            for step in range(5):
                u = inner + side * 0.55 * (4 - step)
                self.add(Raw.CONE, objects.cone(self.rng, color), x - 1.3 * (5 - step), u, 0.05)
            self._barriers(x + 1.3, x + length, inner)
            for _ in range(int(self.rng.integers(3, 9))):
                where = self.rng.uniform(x, x + length)
                u = inner + side * self.rng.uniform(0.6, 2.0)
                self.add(Raw.CONE, objects.cone(self.rng, color), float(where), float(u), 0.05)
            if self.rng.random() < 0.5:
                self.add(Raw.PEDESTRIAN, objects.pedestrian(self.rng), x + 2, inner + side * 1.2, 0.05)

    def _barriers(self, start: float, end: float, u: float) -> None:
        """A row of barriers of one style."""
        style = int(self.rng.integers(3))
        orange = self.rng.random() < 0.35
        colors = (
            ((0.85, 0.25, 0.12), (0.3, 0.3, 0.3)) if orange else (objects.paint(self.rng), (0.3, 0.3, 0.3))
        )
        for x in np.arange(start, end, 2.25):
            jitter = float(self.rng.normal(0, 0.03))
            self.add(Raw.BARRIER, objects.barrier(self.rng, style, colors), float(x), u, 0.0, yaw=jitter)

    def _driveways(self, side: int) -> None:
        """Cars before the houses, across the street's heading."""
        edge = self.street.half_width + self.street.sidewalk
        for _ in range(self._count(0.025, 30, 40)):
            u, turn = side * (edge + self.rng.uniform(2.7, 5.0)), float(self.rng.choice([-1, 1]) * np.pi / 2)
            x, parts = self._near(30, 40), objects.car(self.rng)
            if not self._crosses(x, 1.5):
                self.add(Raw.CAR, parts, x, float(u), yaw=turn)

    def _fence_row(self, side: int) -> None:
        """Barriers between sidewalk and road."""
        if self.rng.random() < 0.3:
            x = self._near(10, 15)
            self._barriers(x, x + self.rng.uniform(5, 12), side * (self.street.half_width + 0.5))

    def _people(self) -> None:
        """People alone or in groups, most on the sidewalks, some on the road."""
        for _ in range(self._count(0.32, 12, 25)):
            side, x = int(self.rng.choice([-1, 1])), self._near(12, 25)
            walks = self.rng.random() < 0.7
            speed = float(self.rng.choice([-1, 1]) * self.rng.uniform(0.7, 1.6)) if walks else 0.0
            u = side * (self.street.half_width + self.rng.uniform(0.4, self.street.sidewalk - 0.2))
            across = self.rng.random() < 0.2
            if across:
                u = side * (self.street.half_width - self.rng.uniform(0.5, 3.0))
            yaw = float(self.rng.uniform(-np.pi, np.pi)) if not walks else (np.pi / 2 if across else 0.0)
            motion = {"vu": speed} if across else {"vx": speed}
            for _ in range(1 if self.rng.random() < 0.6 else int(self.rng.integers(2, 5))):
                dx, du = self.rng.uniform(-1.0, 1.0, 2) * (1.0, 0.5)
                parts = objects.pedestrian(self.rng)
                self.add(Raw.PEDESTRIAN, parts, x + float(dx), float(u + du), 0.02, yaw=yaw, **motion)

    def _furniture(self, side: int) -> None:
        """Poles and trees along the kerb, bins and posts between them."""
        half, walk = self.street.half_width, self.street.sidewalk
        spacing, leafy = self.rng.uniform(9, 20), self.rng.random()
        for x in np.arange(-55, self.end + 65, spacing):
            raw, parts = (
                (Raw.VEGETATION, objects.tree(self.rng))
                if self.rng.random() < leafy * 0.7
                else (Raw.MANMADE, objects.pole(self.rng))
            )
            yaw = 0.0 if side < 0 else np.pi
            self._stand(raw, parts, float(x + self.rng.normal(0, 1)), side * (half + 0.6), yaw)
        for _ in range(self._count(0.06, 30, 40)):
            u = side * (half + self.rng.uniform(0.6, walk))
            self._stand(Raw.MANMADE, objects.furniture(self.rng), self._near(30, 40), float(u), 0.0)

    def _stand(self, raw: Raw, parts: list[Part], x: float, u: float, yaw: float, gap: float = 0.1) -> bool:
        """Add something that must not be on the road or the crossing road."""
        reach = parts[0].size[0] / 2
        ends = np.array([x - reach, x, x + reach])
        if (self.street.beyond(ends, self.street.centre(ends) + u) < 0.3).any():
            return False
        trunk = [parts[0]] if len(parts) > 1 and raw is Raw.VEGETATION else parts
        if not self.add(raw, trunk, x, u, gap, yaw=yaw):  # crowns may overhang; only trunks occupy ground
            return False
        self.things[-1] = Thing(raw, parts, x, u, yaw, shine=self.things[-1].shine)
        return True

    def _front(self, side: int) -> None:
        """Houses beyond the sidewalk, with gaps for gardens."""
        edge = self.street.half_width + self.street.sidewalk
        setback, dense, x = self.rng.uniform(0.5, 9), self.rng.uniform(0.4, 0.95), -65.0
        while x < self.end + 75:
            length, depth = self.rng.uniform(7, 18), self.rng.uniform(6, 12)
            if self.rng.random() < dense:
                u = side * (edge + setback + self.rng.uniform(0, 1.5) + depth / 2)
                parts = objects.building(self.rng, length, depth)
                self._stand(Raw.MANMADE, parts, x + length / 2, float(u), 0.0)
            x += length + self.rng.uniform(0.0, 6)

    def _garden(self, side: int) -> None:
        """Hedges and walls along the sidewalk, trees and bushes behind them."""
        edge = self.street.half_width + self.street.sidewalk
        for _ in range(self._count(0.05, 45, 55)):
            length, u = self.rng.uniform(2, 9), side * (edge + self.rng.uniform(0.4, 3.0))
            green = self.rng.random() < 0.55
            parts = objects.hedge(self.rng, length) if green else objects.wall(self.rng, length)
            yaw = 0.0 if self.rng.random() < 0.8 else np.pi / 2
            raw = Raw.VEGETATION if green else Raw.MANMADE
            self._stand(raw, parts, self._near(45, 55), float(u), yaw)
        for _ in range(self._count(0.3, 55, 65)):
            u = side * (edge + 0.3 + self.rng.gamma(1.5, 5))
            parts = objects.tree(self.rng) if self.rng.random() < 0.45 else objects.bush(self.rng)
            self._stand(Raw.VEGETATION, parts, self._near(55, 65), float(u), 0.0)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]

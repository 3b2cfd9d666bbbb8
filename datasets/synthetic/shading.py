"""Colors of a camera's hits: textures, light, cast shadows, fog."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from datasets.synthetic.objects import Texture
from datasets.synthetic.primitives import Floats, Solids, normals
from datasets.synthetic.render import GROUND, SKY, Hits
from datasets.synthetic.scene import Look
from datasets.synthetic.street import Street

_GLASS = np.array([0.12, 0.14, 0.17], np.float32)
_TYRE = np.array([0.06, 0.06, 0.06], np.float32)
_PALE = np.array([0.88, 0.88, 0.86], np.float32)


def color(hits: Hits) -> Floats:
    """[H, W, 3] colors, about 0..1, without the sensor's noise."""
    look = hits.scene.look
    image = _sky(look, hits.rays)
    ground, solid = hits.part == GROUND, hits.part >= 0
    image[ground] = _ground(hits, ground)
    image[solid] = _solid(hits, solid)
    met = hits.part != SKY
    distance = hits.t[met] * np.sqrt((hits.rays[:, met] ** 2).sum(0))
    haze = np.exp(-look.fog * distance)[:, None]
    image[met] = image[met] * haze + look.sky[0] * (1 - haze)
    return image * (look.brightness * look.tint)


def _sky(look: Look, rays: Floats) -> Floats:
    up = np.clip(rays[2] / np.sqrt((rays**2).sum(0)) * 3, 0, 1)[..., None]
    return look.sky[0] * (1 - up) + look.sky[1] * up


def _light(look: Look, facing: Floats, lit: Floats | float = 1.0) -> Floats:
    """[N, 1] light on surfaces whose normal has this cosine to the sun [N]."""
    direct = (1 - look.ambient) * 1.25 * np.maximum(facing, 0) * lit
    return (look.ambient + direct).astype(np.float32)[:, None]


def _ground(hits: Hits, where: NDArray[np.bool_]) -> Floats:
    look, street = hits.scene.look, hits.scene.street
    position = hits.positions(where)
    x, y, _ = position.T + hits.pose.translation.astype(np.float32)[:, None]
    beyond = street.beyond(x, y)
    on_road, on_walk = beyond < 0, (beyond >= 0) & (beyond < street.sidewalk)
    base = look.ground[(beyond >= 0).astype(np.intp) + (beyond >= street.sidewalk)]
    patches = (
        np.sin(0.9 * x + 1.3 * np.sin(0.31 * y))
        + np.sin(1.1 * y - 0.7 * x)
        + np.sin(3.1 * x) * np.sin(2.7 * y)
    )
    grain = np.where(on_road | on_walk, 0.5, 1.3)
    base = base * (1 + look.blotch * grain * patches * 0.6)[:, None]
    joints = on_walk & ((x % 1.5 < 0.07) | (beyond % 1.5 < 0.07))
    base = np.where(joints[:, None], base * 0.8, base)
    base = np.where((on_road & _marked(street, x, y, beyond))[:, None], look.marking, base)
    facing = np.full(len(x), look.sun[2], np.float32)
    return base * _light(look, facing, 1 - shadows(hits.solids, look, position))


def _marked(street: Street, x: Floats, y: Floats, beyond: Floats) -> NDArray[np.bool_]:
    """Centre line (dashed), edge lines, and the stripes before a crossing."""
    u = y - street.centre(x)
    edge = street.half_width - max(street.parking, 0.3)
    lines = ((np.abs(u) < 0.09) & (x % 6 < 3)) | (np.abs(np.abs(u) - edge) < 0.06)
    if street.crossing is None:
        return lines
    away = np.abs(x - street.crossing[0]) - street.crossing[1]
    stripes = (away > 0.8) & (away < 3.6) & (u % 1.1 < 0.55) & (np.abs(u) < street.half_width - 0.3)
    return (lines & (away > 4)) | stripes


_FACES = np.array([[4, 5, 7, 6], [2, 3, 7, 6], [1, 3, 7, 5], [0, 1, 3, 2], [0, 1, 5, 4], [0, 2, 6, 4]])
"""[6, 4] corners of the faces towards +x, +y, +z, -x, -y, -z, numbered as `Solids.corners` does."""
_CELL, _REACH = 0.15, 48.0
"""Size of a cell of the shadow map and half its side, metres."""


def shadows(solids: Solids, look: Look, ground: Floats) -> Floats:
    """[N] 1 where ground points [N, 3] (from the sensor) lie in a cast shadow, else 0.

    Each box's three faces towards the sun are projected along the sunlight into a map seen from above.
    """
    level = float(np.median(ground[:, 2])) if len(ground) else 0.0
    near = np.flatnonzero(np.abs(solids.centre[:, :2]).max(1) < _REACH)
    corners = solids.corners()[near]
    slide = (corners[..., 2:] - level) / look.sun[2]
    flat = (corners[..., :2] - slide * look.sun[:2] + _REACH) / _CELL
    sun = solids.to_local(np.broadcast_to(look.sun, (len(near), 3)), near)
    side = int(2 * _REACH / _CELL)
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for points, towards in zip(flat, (sun > 0).tolist(), strict=True):
        for axis in range(3):
            pen.polygon(points[_FACES[axis if towards[axis] else axis + 3]].ravel().tolist(), fill=1)
    cells = ((ground[:, :2] + _REACH) / _CELL).astype(np.intp)
    inside = (cells.min(1) >= 0) & (cells.max(1) < side)
    cells = np.where(inside[:, None], cells, 0)
    return np.asarray(canvas)[cells[:, 1], cells[:, 0]].astype(np.float32) * inside


def _solid(hits: Hits, where: NDArray[np.bool_]) -> Floats:
    scene, solids = hits.scene, hits.solids
    part = hits.part[where]
    half = solids.half[part]
    local = solids.to_local(hits.positions(where) - solids.centre[part], part)
    normal = normals(solids.kind[part], local, half)
    sun = solids.to_local(np.broadcast_to(scene.look.sun, local.shape), part)
    base = scene.color[part].copy()
    texture = scene.texture[part]
    for kind in np.unique(texture):
        if kind != Texture.PLAIN:
            chosen = texture == kind
            base[chosen] = _textured(Texture(kind), base[chosen], local[chosen], half[chosen], normal[chosen])
    return base * _light(scene.look, (normal * sun).sum(1))


def _textured(texture: Texture, base: Floats, local: Floats, half: Floats, normal: Floats) -> Floats:
    """[N, 3] colors of surface points of one texture, from their position on the part (metres)."""
    unit, high = local / half, local[:, 2] + half[:, 2]
    upright = np.abs(normal[:, 2]) < 0.5
    along = np.where(np.abs(normal[:, 0]) > 0.5, local[:, 1], local[:, 0])
    height = unit[:, 2]
    if texture is Texture.LEAVES:
        return base * (0.7 + 0.6 * _speckle(local * 4))[:, None]
    if texture is Texture.FACADE:
        pane = upright & (along % 2.6 > 0.8) & (along % 2.6 < 2.0) & (high % 3 > 1.1) & (high % 3 < 2.4)
        return np.where(pane[:, None], base * 0.35 + _GLASS * 0.5, base)
    if texture is Texture.STRIPES:
        return np.where((along % 0.8 < 0.4)[:, None], base, _PALE)
    if texture is Texture.BANDS:
        return np.where(((height + 0.35) % 0.9 < 0.5)[:, None], base, base * 0.25 + _PALE * 0.75)
    return _vehicle(texture, base, local, half, normal, along, high)


def _speckle(points: Floats) -> Floats:
    """[N] 0..1, a random value for each unit cube that points [N, 3] lie in."""
    x, y, z = np.floor(points).astype(np.int64).T
    mixed = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed >> 8) & 1023).astype(np.float32) / 1023


def _vehicle(
    texture: Texture, base: Floats, local: Floats, half: Floats, normal: Floats, along: Floats, high: Floats
) -> Floats:
    upright, height = np.abs(normal[:, 2]) < 0.5, local[:, 2] / half[:, 2]
    front, side = normal[:, 0] > 0.5, np.abs(normal[:, 1]) > 0.5
    if texture is Texture.GLASS:
        pane = upright & (np.abs(height) < 0.8) & (along % 1.1 > 0.12)
    elif texture is Texture.BUS:
        pane = (upright & (height > 0.02) & (height < 0.7) & (along % 1.5 > 0.12)) | (
            front & (np.abs(height) < 0.7)
        )
    elif texture is Texture.CAB:
        ahead = local[:, 0] > half[:, 0] - 1.2
        pane = (front | (side & ahead)) & (height > 0.1) & (height < 0.8)
    else:
        pane = np.zeros(len(base), bool)
    base = np.where(pane[:, None], _GLASS, base)
    if texture is Texture.CARGO:
        return np.where((upright & (along % 0.7 < 0.12))[:, None], base * 0.85, base)
    if texture is Texture.GLASS:
        return base
    lamps = ~side & upright & (np.abs(local[:, 1]) > 0.6 * half[:, 1]) & (np.abs(high - 0.5) < 0.12)
    lamp = np.where(local[:, :1] > 0, _PALE, np.array([0.7, 0.08, 0.08], np.float32))
    base = np.where(lamps[:, None], lamp, base)
    radius = np.where(half[:, 2] > 1, 0.45, 0.32)
    axle = np.where(half[:, 0] > 1.5, 0.64 * half[:, 0], 0)
    wheel = side & (np.hypot(np.abs(local[:, 0]) - axle, high - 0.15) < radius)
    return np.where(wheel[:, None], _TYRE, base)

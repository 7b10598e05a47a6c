"""Painters of static things in a street: sky, ground, houses, fences, trees, poles and signs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from qat.data.streets.canvas import Block, Canvas, Color, Outline, Quad, draw_block, mixed, panels, scaled, within
from qat.data.streets.scene import STREET_END_M, Cls, Scene, Street, Thing

_Z = np.array((1.0, 2.0, 3.5, 6.0, 10.0, 16.0, 25.0, 40.0, 60.0, STREET_END_M))
_PLATES: tuple[Outline, ...] = (
    ((-1, -0.8), (1, -0.8), (0, 1.0)),
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((-1.5, -0.7), (1.5, -0.7), (1.5, 0.7), (-1.5, 0.7)),
)
_LIT_WINDOW: Color = (255, 214, 140)


def paint_sky(canvas: Canvas, clouds: NDArray[np.float32], cover: float) -> None:
    """A gradient from zenith to horizon with clouds; `clouds` is smooth noise (H, W) of unit variance."""
    rows = min(canvas.camera.height_px, int(canvas.camera.horizon_px) + 2)
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    zenith, air = (np.array(color, np.float32) for color in (canvas.light.zenith, canvas.light.haze))
    sky = zenith + (air - zenith) * share
    amount = np.clip((clouds[:rows] - 1.0 + 2.0 * cover) * 0.5, 0, 0.9)[..., None]
    cloud = np.minimum(air * 1.12, 255)
    canvas.image[:rows] = sky + (cloud - sky) * amount
    canvas.label[:rows] = Cls.SKY


def paint_ground(canvas: Canvas, scene: Scene, rng: Generator) -> None:
    """Verges, pavements, road, its markings, and the shadows that houses, trees and cars throw on it."""
    street = scene.street
    _strip(canvas, -130.0, 130.0, street.verge, Cls.TREE)
    for side in (-1, 1):
        # Pavement runs on under the fronts of houses, so that no verge shows where a house stands at the pavement.
        _strip(canvas, street.kerb(side), street.pavement_end(side) + side * 0.8, street.pavement, Cls.PAVEMENT)
    half = street.half_road_m
    _strip(canvas, -half, half, street.road, Cls.ROAD)
    for side in (-1, 1):
        kerb_stone = scaled(street.pavement, 1.12)
        _strip(canvas, street.kerb(side), street.kerb(side) + side * 0.14, kerb_stone, Cls.PAVEMENT)
    _mark(canvas, street, rng)
    _shadows(canvas, scene)


def _strip(canvas: Canvas, x0: float, x1: float, color: Color, class_id: int, z: NDArray[np.float64] = _Z) -> None:
    """A band along the street, in pieces so that it follows the bend and fades with depth."""
    pieces = np.zeros((len(z) - 1, 4, 3))
    pieces[..., 0] = (x0, x1, x1, x0)
    pieces[..., 2] = np.column_stack((z[:-1], z[:-1], z[1:], z[1:]))
    canvas.pieces(pieces[::-1], color, class_id)


def _mark(canvas: Canvas, street: Street, rng: Generator) -> None:
    worn = rng.uniform(0.55, 1.0)
    white = mixed(street.road, (225, 225, 225), worn)
    if street.centre_line == 1:
        for start in np.arange(rng.uniform(1.5, 5), 60, 6.0):
            _strip(canvas, -0.07, 0.07, white, Cls.ROAD, np.array((start, start + 2.5)))
    elif street.centre_line == 2:
        _strip(canvas, -0.08, 0.08, white, Cls.ROAD)
    if street.edge_lines:
        yellow = mixed(street.road, (206, 178, 70), worn)
        for side in (-1, 1):
            _strip(canvas, street.kerb(side) - side * 0.25, street.kerb(side) - side * 0.37, yellow, Cls.ROAD)
    if street.crossing_z is not None:
        for x in np.arange(-street.half_road_m + 0.3, street.half_road_m - 0.5, 1.1):
            _strip(canvas, x, x + 0.55, white, Cls.ROAD, np.array((street.crossing_z, street.crossing_z + 3.0)))


def _shadows(canvas: Canvas, scene: Scene) -> None:
    """Darkened ground: a soft patch under every car, cast shadows on the side away from the sun."""
    ground = np.full((canvas.camera.height_px, canvas.camera.width_px), 255, np.uint8)
    for thing in scene.things:
        x0 = x1 = thing.x
        strength = 150
        if thing.kind == "car":
            x0, x1, strength = thing.x - 1.0, thing.x + 1.0, 90
        elif scene.light.sun and thing.kind in ("building", "tree"):
            towards = -scene.light.sun
            if np.sign(thing.x) == towards:
                continue  # its shadow falls away from the street
            reach = min(thing.height * 0.7, abs(thing.x) + 3.0)
            x1 = thing.x + towards * reach
        elif scene.light.sun and thing.kind in ("pedestrian", "bicyclist", "lamp"):
            x1 = thing.x - scene.light.sun * thing.height * 0.8
        else:
            continue
        length = thing.length or (2.5 if thing.kind == "tree" else 0.15)
        corners = ((x0, 0, thing.z), (x1, 0, thing.z), (x1, 0, thing.z + length), (x0, 0, thing.z + length))
        cv2.fillConvexPoly(ground, canvas.camera.project(np.array(corners, np.float64)), strength)
    soft = np.array(cv2.blur(ground, (3, 3)))
    soft[canvas.label == Cls.SKY] = 255
    np.copyto(canvas.image, cv2.multiply(canvas.image, cv2.merge((soft, soft, soft)), scale=1 / 255))


def paint_street_end(canvas: Canvas, scene: Scene, rng: Generator) -> None:
    """Houses and trees that close the view at the end of the street."""
    x = -130.0
    while x < 130.0:
        width = rng.uniform(9, 30)
        height = rng.uniform(4, 13)
        if rng.random() < 0.55:
            block = Block((x, x + width), (0, height), (STREET_END_M, STREET_END_M + 5))
            grey = rng.uniform(90, 190)
            canvas.polygon(block.near_face(), (grey, grey * 0.94, grey * 0.88), Cls.BUILDING)
        else:
            canvas.disc(
                x + width / 2, 0.3 * height, STREET_END_M, (width * 0.62, height * 0.7), scene.street.verge, Cls.TREE
            )
        x += width


def paint_building(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    side = 1 if thing.x > 0 else -1
    depth = thing.x + side * 9.0
    block = Block((min(thing.x, depth), max(thing.x, depth)), (0, thing.height), (thing.z, thing.z + thing.length))
    draw_block(canvas, block, thing.color, Cls.BUILDING, 0.82 if canvas.light.sun == side else 0.97)
    if thing.variant < 2:  # pitched roof, its ridge along the street
        eaves, ridge = thing.x, thing.x + side * 4.0
        z0, z1, top = thing.z, thing.z + thing.length, thing.height + 2.6
        tiles = ((104, 66, 54), (84, 84, 92))[thing.variant]
        roof = ((eaves, thing.height, z0), (eaves, thing.height, z1), (ridge, top, z1), (ridge, top, z0))
        canvas.polygon(roof, tiles, Cls.BUILDING)
        gable = ((thing.x, thing.height, z0), (thing.x + side * 8.0, thing.height, z0), (ridge, top, z0))
        canvas.polygon(gable, thing.color, Cls.BUILDING, 0.9)
    front = block.side_face(canvas.camera)
    if canvas.camera.size_px(1.0, thing.z) < 2.5:
        return
    _windows(canvas, thing, front, rng)


def _windows(canvas: Canvas, thing: Thing, front: Quad, rng: Generator) -> None:
    columns, floors = max(2, round(thing.length / rng.uniform(2.2, 3.4))), max(2, round(thing.height / 3.0))
    width, height = rng.uniform(0.4, 0.6) / columns, rng.uniform(0.45, 0.62) / floors
    left = np.repeat((np.arange(columns) + 0.25) / columns, floors)
    low = np.tile((np.arange(floors) + 0.3) / floors, columns)
    panes = panels(front, np.column_stack((left, left + width)), np.column_stack((low, low + height)))
    glass = (52, 60, 72) if rng.random() < 0.6 else (136, 150, 164)
    canvas.polygons(panes, glass, Cls.BUILDING)
    if canvas.light.lamps:
        canvas.polygons(panes[rng.random(len(panes)) < 0.3], scaled(_LIT_WINDOW, 1.6), Cls.BUILDING)
    door = (rng.integers(columns) + 0.2) / columns
    canvas.polygon(within(front, (door, door + 0.45 / columns), (0, 2.1 / thing.height)), (70, 48, 42), Cls.BUILDING)
    if thing.variant == 3:  # shop front
        canvas.polygon(
            within(front, (0.02, 0.98), (2.5 / thing.height, 3.1 / thing.height)), (120, 60, 50), Cls.BUILDING
        )


def paint_fence(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    block = Block((thing.x - 0.04, thing.x + 0.04), (0, thing.height), (thing.z, thing.z + thing.length))
    face = block.side_face(canvas.camera)
    canvas.polygon(face, thing.color, Cls.FENCE)
    gaps = round(thing.length / (0.22 if thing.variant < 2 else 0.6))
    starts = (np.arange(gaps) + 0.25) / gaps
    low, high = (0.12, 0.86) if thing.variant % 2 else (0.05, 0.97)
    slits = panels(face, np.column_stack((starts, starts + 0.5 / gaps)), np.tile((low, high), (gaps, 1)))
    dark = rng.uniform(0.55, 0.8)
    canvas.polygons(slits, scaled(thing.color, dark), Cls.FENCE)


def paint_tree(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    trunk = rng.uniform(0.12, 0.3)
    crown_y, radius = thing.height * rng.uniform(0.6, 0.7), thing.height * rng.uniform(0.22, 0.36)
    bark = (78, 66, 54)
    canvas.upright(
        ((-trunk, 0), (trunk, 0), (trunk * 0.6, crown_y), (-trunk * 0.6, crown_y)), thing.x, thing.z, bark, Cls.TREE
    )
    blobs = 16 if canvas.camera.size_px(radius, thing.z) > 8 else 6
    places = rng.normal(0, 0.45, (blobs, 2)).clip(-0.9, 0.9).tolist()
    lights, sizes = rng.normal(0.95, 0.1, blobs).tolist(), (radius * rng.uniform(0.3, 0.6, blobs)).tolist()
    for (across, up), light, size in zip(places, lights, sizes, strict=True):
        leaf = scaled(thing.color, light + 0.3 * up)
        canvas.disc(thing.x + across * radius, crown_y + up * radius, thing.z, (size, size * 0.85), leaf, Cls.TREE)


def paint_hedge(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    side = 1 if thing.x > 0 else -1
    far = thing.x + side * 0.8
    block = Block(
        (min(thing.x, far), max(thing.x, far)), (0, thing.height), (thing.z, thing.z + thing.length), 0.1, 0.1
    )
    draw_block(canvas, block, thing.color, Cls.TREE, rng.uniform(0.75, 0.95))


def paint_lamp(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    side = 1 if thing.x > 0 else -1
    top, tip = (thing.x, thing.height, thing.z), (thing.x - side * 1.1, thing.height + 0.15, thing.z)
    canvas.stroke((thing.x, 0, thing.z), top, 0.13, thing.color, Cls.POLE)
    if thing.variant < 3:
        canvas.stroke(top, tip, 0.1, thing.color, Cls.POLE)
    glow = scaled(_LIT_WINDOW, 2.0) if canvas.light.lamps else (170, 172, 168)
    head = tip if thing.variant < 3 else top
    canvas.disc(head[0], head[1], thing.z, (0.3, 0.12) if thing.variant < 3 else (0.22, 0.28), glow, Cls.POLE)


def paint_sign(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    canvas.stroke((thing.x, 0, thing.z), (thing.x, thing.height, thing.z), 0.09, (118, 120, 120), Cls.POLE)
    size = rng.uniform(0.32, 0.48)
    if thing.variant == 3:
        canvas.disc(thing.x, thing.height, thing.z, (size, size), thing.color, Cls.SIGN)
        canvas.disc(thing.x, thing.height, thing.z, (size * 0.68, size * 0.68), (214, 212, 206), Cls.SIGN)
        return
    for part, color in ((size, thing.color), (size * 0.6, (214, 212, 206))):
        outline = [(across * part, thing.height + up * part) for across, up in _PLATES[thing.variant]]
        canvas.upright(outline, thing.x, thing.z, color, Cls.SIGN)


def paint_signal(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A traffic light; CamVid's 11 classes count it as a sign."""
    canvas.stroke((thing.x, 0, thing.z), (thing.x, thing.height, thing.z), 0.13, thing.color, Cls.POLE)
    top, bottom = thing.height, thing.height - 0.95
    canvas.upright(
        ((-0.22, bottom), (0.22, bottom), (0.22, top), (-0.22, top)), thing.x, thing.z, (24, 24, 26), Cls.SIGN
    )
    lit = rng.integers(3)
    for place, color in enumerate(((250, 60, 50), (250, 190, 60), (70, 230, 140))):
        shown = color if place == lit else (48, 44, 42)
        canvas.disc(thing.x, thing.height - 0.18 - 0.29 * place, thing.z, (0.12, 0.12), shown, Cls.SIGN)


def paint_bin(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Bins and letter boxes belong to none of the 11 classes."""
    half = rng.uniform(0.22, 0.35)
    block = Block((thing.x - half, thing.x + half), (0, thing.height), (thing.z, thing.z + thing.length))
    draw_block(canvas, block, thing.color, Cls.VOID)

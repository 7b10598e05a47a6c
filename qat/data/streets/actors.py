"""Painters of moving things in a street: cars, pedestrians, bicyclists."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from qat.data.streets.canvas import Block, Canvas, Color, Outline, draw_block, panels, scaled, within
from qat.data.streets.scene import Cls, Thing

_GLASS: Color = (58, 66, 76)
_TYRE: Color = (26, 26, 28)
_SKIN: tuple[Color, ...] = ((206, 160, 132), (160, 112, 82), (104, 74, 58))
_WHEEL = tuple((math.cos(0.2 * math.pi * step), math.sin(0.2 * math.pi * step)) for step in range(10))


def paint_car(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A car, van or lorry, by its height; variant 0 is seen from behind, 1 from the front."""
    half, z0, z1 = 0.86 if thing.height < 2.5 else 1.1, thing.z, thing.z + thing.length
    x = (thing.x - half, thing.x + half)
    if thing.height < 1.8:
        waist, slope, cabin = 0.58 * thing.height, 0.16, (z0 + 0.12 * thing.length, z1 - 0.2 * thing.length)
    else:
        waist, slope, cabin = 0.5 * thing.height, 0.06, (z0, z1 - 0.12 * thing.length)
    body = Block(x, (0.24, waist), (z0, z1), 0.03, 0.05)
    upper = Block((x[0] + 0.04, x[1] - 0.04), (waist, thing.height), cabin, slope, slope * 2.2)

    for left in (x[0] + 0.1, x[1] - 0.3):  # the near pair of tyres
        tyre = ((left, 0, z0 + 0.2), (left + 0.2, 0, z0 + 0.2), (left + 0.2, 0.4, z0 + 0.2), (left, 0.4, z0 + 0.2))
        canvas.polygon(tyre, _TYRE, Cls.CAR)
    draw_block(canvas, upper, thing.color, Cls.CAR)
    draw_block(canvas, body, thing.color, Cls.CAR, 0.86)
    _car_glass(canvas, upper, lorry=thing.height > 2.5)
    _car_wheels(canvas, body)

    near = body.near_face()
    lamps = ((226, 222, 200), (150, 24, 24))[thing.variant == 0]
    lamp_level = 2.0 if canvas.light.lamps else 1.0
    for across in ((0.04, 0.2), (0.8, 0.96)):
        canvas.polygon(within(near, across, (0.55, 0.82)), scaled(lamps, lamp_level), Cls.CAR)
    plate = (206, 178, 60) if thing.variant == 0 else (206, 206, 200)
    canvas.polygon(within(near, (0.36, 0.64), (0.28, 0.46)), plate, Cls.CAR)
    canvas.polygon(within(near, (0.0, 1.0), (0.0, 0.16)), (44, 44, 46), Cls.CAR)


def _car_glass(canvas: Canvas, cabin: Block, lorry: bool) -> None:
    if lorry:
        return
    canvas.polygon(within(cabin.near_face(), (0.07, 0.93), (0.14, 0.88)), _GLASS, Cls.CAR)
    side = cabin.side_face(canvas.camera)
    panes = panels(side, np.array(((0.08, 0.47), (0.53, 0.9))), np.array(((0.12, 0.86), (0.12, 0.86))))
    canvas.polygons(panes, _GLASS, Cls.CAR)


def _car_wheels(canvas: Canvas, body: Block) -> None:
    x = body.side_face(canvas.camera)[0][0]
    for z in (body.z[0] + 0.75, body.z[1] - 0.8):
        for radius, color in ((0.33, _TYRE), (0.18, (130, 132, 134))):
            rim = [(x, 0.33 + up * radius, z + along * radius) for along, up in _WHEEL]
            canvas.polygon(rim, color, Cls.CAR)


def paint_pedestrian(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A person on foot; odd variants walk across the picture, even ones along the street."""
    x, z, size = thing.x, thing.z, thing.height / 1.75
    width = size * (0.8 if thing.variant % 2 else 1.0)
    stride = rng.uniform(0.1, 0.32) if thing.variant % 2 else rng.uniform(0.06, 0.14)
    trousers = _shade(((44, 48, 66), (60, 56, 52), (110, 104, 92))[rng.integers(3)], rng)
    skin = _SKIN[rng.integers(3)]

    def part(outline: Outline, color: Color) -> None:
        canvas.upright([(across * width, up * size) for across, up in outline], x, z, color, Cls.PEDESTRIAN)

    for foot in (-stride, stride):
        part(((-0.1, 0.86), (0.1, 0.86), (foot + 0.07, 0), (foot - 0.07, 0)), trousers)
    hand = rng.uniform(0.2, 0.38)
    part(((-0.2, 1.42), (-0.12, 1.42), (-hand + 0.06, 0.8), (-hand - 0.04, 0.8)), _shade(thing.color, rng))
    part(((0.12, 1.42), (0.2, 1.42), (hand + 0.04, 0.8), (hand - 0.06, 0.8)), _shade(thing.color, rng))
    hem = 0.5 if thing.variant == 2 else 0.8  # a coat
    part(((-0.21, 1.45), (0.21, 1.45), (0.19, hem), (-0.19, hem)), thing.color)
    canvas.disc(x, 1.61 * size, z, (0.115 * width, 0.14 * size), skin, Cls.PEDESTRIAN)
    canvas.disc(
        x, 1.68 * size, z, (0.12 * width, 0.09 * size), ((40, 32, 28), (120, 96, 66))[rng.integers(2)], Cls.PEDESTRIAN
    )


def paint_bicyclist(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A rider with the bicycle; odd variants ride across the picture, even ones along the street."""
    if thing.variant % 2:
        _rider_from_the_side(canvas, thing, rng)
    else:
        _rider_along_the_street(canvas, thing, rng)


def _rider_from_the_side(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    x, z, size = thing.x, thing.z, thing.height / 1.75
    ahead = 1 if thing.variant == 1 else -1
    frame = _shade(((150, 40, 40), (44, 60, 110), (36, 36, 38), (170, 172, 172))[rng.integers(4)], rng)

    def at(forward: float, up: float) -> tuple[float, float, float]:
        return x + ahead * forward * size, up * size, z

    for forward in (-0.52, 0.52):
        canvas.ring(*at(forward, 0.34), 0.34 * size, 0.08, _TYRE, Cls.BICYCLIST)
    for start, end in (
        ((-0.52, 0.34), (-0.2, 0.88)),
        ((-0.2, 0.8), (0.42, 0.8)),
        ((-0.05, 0.3), (0.42, 0.8)),
        ((0.52, 0.34), (0.4, 0.98)),
    ):
        canvas.stroke(at(*start), at(*end), 0.06, frame, Cls.BICYCLIST)
    trousers = _shade((52, 52, 64), rng)
    canvas.stroke(at(-0.15, 0.98), at(0.18, 0.62), 0.17, trousers, Cls.BICYCLIST)
    canvas.stroke(at(0.18, 0.62), at(0.0, 0.22), 0.13, trousers, Cls.BICYCLIST)
    canvas.stroke(at(-0.15, 1.0), at(0.16, 1.42), 0.3, thing.color, Cls.BICYCLIST)
    canvas.stroke(at(0.16, 1.38), at(0.42, 1.02), 0.1, thing.color, Cls.BICYCLIST)
    head = at(0.27, 1.62)
    canvas.disc(head[0], head[1], z, (0.12 * size, 0.14 * size), _SKIN[rng.integers(3)], Cls.BICYCLIST)
    helmet = thing.color if rng.random() < 0.5 else (50, 44, 40)
    canvas.disc(head[0], head[1] + 0.07 * size, z, (0.13 * size, 0.09 * size), helmet, Cls.BICYCLIST)


def _rider_along_the_street(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    x, z, size = thing.x, thing.z, thing.height / 1.75

    def part(outline: Outline, color: Color) -> None:
        canvas.upright([(across * size, up * size) for across, up in outline], x, z, color, Cls.BICYCLIST)

    part(((-0.04, 0), (0.04, 0), (0.04, 0.7), (-0.04, 0.7)), _TYRE)
    trousers = _shade((52, 52, 64), rng)
    part(((-0.17, 1.0), (-0.04, 1.0), (-0.09, 0.3), (-0.2, 0.3)), trousers)
    part(((0.04, 1.0), (0.17, 1.0), (0.2, 0.45), (0.09, 0.45)), trousers)
    canvas.stroke((x - 0.3 * size, 1.05 * size, z), (x + 0.3 * size, 1.05 * size, z), 0.05, (60, 60, 62), Cls.BICYCLIST)
    part(((-0.22, 1.42), (0.22, 1.42), (0.18, 0.92), (-0.18, 0.92)), thing.color)
    for side in (-1, 1):
        part(
            ((side * 0.2, 1.42), (side * 0.12, 1.3), (side * 0.27, 1.02), (side * 0.34, 1.06)), _shade(thing.color, rng)
        )
    canvas.disc(x, 1.57 * size, z, (0.11 * size, 0.14 * size), _SKIN[rng.integers(3)], Cls.BICYCLIST)
    helmet = thing.color if rng.random() < 0.5 else (50, 44, 40)
    canvas.disc(x, 1.65 * size, z, (0.13 * size, 0.09 * size), helmet, Cls.BICYCLIST)


def _shade(color: Color, rng: Generator) -> Color:
    return scaled(color, rng.uniform(0.8, 1.15))

"""Layout of a generated street: positions of all things, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator

from qat.data.streets.camera import Camera
from qat.data.streets.canvas import Color, Light

STREET_END_M = 95.0


class Cls(IntEnum):
    """The 11 CamVid classes, in SegNet's order, and void."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    VOID = 255


@dataclass(frozen=True)
class Thing:
    """One thing on the ground.

    Attributes:
        kind: selects the painter that draws it.
        x, z: position of its near end, in metres; `x` is its middle, for facades and fences the plane of the front.
        length: extent along the street in metres.
        height: in metres.
        color: main colour, unlit.
        variant: distinguishes things of one kind (roof, view, sign shape …), 0..3.
    """

    kind: str
    x: float
    z: float
    length: float
    height: float
    color: Color
    variant: int


@dataclass(frozen=True)
class Street:
    """Ground plan: half the road's width and the pavements' widths (left, right) in metres, and surface colours."""

    half_road_m: float
    pavement_m: tuple[float, float]
    road: Color
    pavement: Color
    verge: Color
    centre_line: int  # 0 none, 1 dashed, 2 solid
    edge_lines: bool
    crossing_z: float | None

    def kerb(self, side: int) -> float:
        return side * self.half_road_m

    def pavement_end(self, side: int) -> float:
        return side * (self.half_road_m + self.pavement_m[0 if side < 0 else 1])


@dataclass(frozen=True)
class Scene:
    """All parts of a picture; `things` are in drawing order, far to near."""

    camera: Camera
    light: Light
    street: Street
    things: tuple[Thing, ...]
    blur_px: float
    noise: float


# Palettes overlap across classes on purpose: colour alone must not give the class away.
_WALLS: tuple[Color, ...] = (
    (150, 92, 74),
    (186, 168, 138),
    (128, 124, 120),
    (206, 200, 190),
    (104, 84, 70),
    (168, 140, 96),
)
_CARS: tuple[Color, ...] = (
    (178, 180, 184), (120, 122, 126), (34, 36, 40), (150, 34, 36), (36, 58, 110), (214, 214, 210),
    (44, 84, 60), (168, 150, 110)
)  # fmt: skip
_CLOTHES: tuple[Color, ...] = (
    (40, 42, 52), (96, 98, 104), (150, 60, 52), (60, 80, 130), (190, 186, 176), (96, 112, 70),
    (170, 130, 80), (208, 180, 60)
)  # fmt: skip
_LEAVES: tuple[Color, ...] = ((70, 92, 44), (92, 104, 52), (58, 76, 50), (118, 108, 52), (104, 84, 58))
_FENCES: tuple[Color, ...] = ((112, 84, 60), (134, 132, 128), (66, 88, 62), (46, 46, 48), (188, 184, 174))
_METALS: tuple[Color, ...] = ((92, 96, 98), (50, 54, 54), (142, 144, 142), (96, 82, 66))
_SIGNS: tuple[Color, ...] = ((186, 40, 40), (40, 76, 160), (216, 214, 206), (208, 172, 50), (44, 110, 70))
_BINS: tuple[Color, ...] = ((44, 60, 48), (160, 40, 38), (90, 90, 94))


def sample_scene(rng: Generator, height_px: int, width_px: int) -> Scene:
    """Draw a random street for an image of `height_px` x `width_px`."""
    street = _street(rng)
    camera = Camera(
        height_px=height_px,
        width_px=width_px,
        focal_px=width_px * rng.uniform(0.72, 1.0),
        center_x_px=width_px * rng.uniform(0.38, 0.62),
        horizon_px=height_px * rng.uniform(0.42, 0.54),
        x_m=rng.uniform(-0.65, 0.2) * street.half_road_m,
        y_m=rng.uniform(1.25, 1.9),
        bend_per_m=rng.normal(0.0, 0.0009),
    )
    things = [*_built(rng, street), *_planted(rng, street), *_street_furniture(rng, street), *_traffic(rng, street)]
    things += _people(rng, street)
    things.sort(key=lambda thing: -_drawing_depth(thing))
    return Scene(camera, _light(rng), street, tuple(things), rng.uniform(0.35, 0.8), rng.uniform(1.5, 6.0))


def _drawing_depth(thing: Thing) -> float:
    """The depth to sort by: the far end of things that line the street, which stay behind all things alongside."""
    return thing.z + (thing.length if thing.kind in ("building", "fence", "hedge") else 0.0)


def _street(rng: Generator) -> Street:
    grey = rng.uniform(72, 124)
    return Street(
        half_road_m=rng.uniform(3.2, 5.5),
        pavement_m=(rng.uniform(1.8, 4.0), rng.uniform(1.8, 4.0)),
        road=_near(rng, (grey, grey, grey + 3), 5),
        pavement=_near(rng, _pick(rng, ((132, 130, 126), (150, 142, 132), (136, 112, 100), (112, 112, 114))), 9),
        verge=_near(rng, _pick(rng, _LEAVES), 9),
        centre_line=int(rng.integers(3)),
        edge_lines=rng.random() < 0.5,
        crossing_z=rng.uniform(8, 26) if rng.random() < 0.3 else None,
    )


def _light(rng: Generator) -> Light:
    warm = rng.uniform(-0.05, 0.05)
    kind = rng.random()
    if kind < 0.45:  # clear day
        level = rng.uniform(0.9, 1.25)
        gain = (level * (1 + warm), level, level * (1 - warm))
        zenith = _near(rng, (92, 138, 204), 18)
        return Light(gain, _near(rng, (196, 210, 226), 12), zenith, rng.uniform(120, 400), _side(rng), False)
    if kind < 0.8:  # overcast
        level = rng.uniform(0.65, 0.95)
        air = _near(rng, (206, 208, 212), 14)
        zenith = _near(rng, (150, 154, 162), 20)
        return Light((level, level, level * 1.03), air, zenith, rng.uniform(60, 220), 0, rng.random() < 0.2)
    level = rng.uniform(0.34, 0.6)  # dusk
    air = _near(rng, (206, 150, 112), 24)
    return Light((level * 1.1, level, level * 0.98), air, _near(rng, (66, 78, 122), 16), rng.uniform(160, 400), 0, True)


def _built(rng: Generator, street: Street) -> list[Thing]:
    """Houses on both sides with gaps between them, and fences in front of some."""
    things = []
    for side in (-1, 1):
        z = rng.uniform(1.0, 6.0)
        row = _pick(rng, _WALLS)
        set_back = rng.uniform(0.0, 3.5) if rng.random() < 0.6 else 0.0
        while z < STREET_END_M:
            length = rng.uniform(7, 18)
            front = street.pavement_end(side) + side * (set_back + rng.uniform(0, 0.6))
            if rng.random() < 0.78:
                color = _near(rng, row if rng.random() < 0.5 else _pick(rng, _WALLS), 14)
                things.append(_thing(rng, "building", front, z, length, rng.uniform(4.5, 12.0), color))
                fence_chance = 0.4 if set_back > 0.8 else 0.0
            else:
                fence_chance = 0.75
            if rng.random() < fence_chance:
                line = street.pavement_end(side) + side * 0.15
                things.append(_fence(rng, line, z, min(length, 12.0)))
            z += length + (rng.uniform(1, 7) if rng.random() < 0.35 else 0.0)
        if rng.random() < 0.25:  # railings at the kerb
            line = street.kerb(side) + side * 0.3
            things.append(_fence(rng, line, rng.uniform(6, 24), rng.uniform(5, 14), kind="railing"))
    return things


def _fence(rng: Generator, x: float, z: float, length: float, kind: str = "fence") -> Thing:
    return _thing(rng, kind, x, z, length, rng.uniform(0.8, 1.7), _near(rng, _pick(rng, _FENCES), 12))


def _planted(rng: Generator, street: Street) -> list[Thing]:
    things = []
    for side in (-1, 1):
        for _ in range(rng.integers(1, 7)):
            at_kerb = rng.random() < 0.35
            x = street.kerb(side) + side * 0.9 if at_kerb else street.pavement_end(side) + side * rng.uniform(0.5, 4)
            color = _near(rng, _pick(rng, _LEAVES), 10)
            things.append(_thing(rng, "tree", x, rng.uniform(5, 50), 0.0, rng.uniform(3.5, 10.5), color))
        if rng.random() < 0.3:
            x = street.pavement_end(side) + side * 0.2
            color = _near(rng, _pick(rng, _LEAVES), 10)
            things.append(_thing(rng, "hedge", x, rng.uniform(4, 30), rng.uniform(4, 12), rng.uniform(0.7, 1.8), color))
    return things


def _street_furniture(rng: Generator, street: Street) -> list[Thing]:
    things = []
    for side in (-1, 1):
        kerb_x = street.kerb(side) + side * 0.45
        spacing = rng.uniform(16, 32)
        if rng.random() < 0.75:
            metal, height = _near(rng, _pick(rng, _METALS), 8), rng.uniform(4.5, 8.0)
            for z in np.arange(rng.uniform(5, 18), STREET_END_M, spacing):
                things.append(_thing(rng, "lamp", kerb_x, float(z), 0.0, height, metal))
        for _ in range(rng.integers(0, 3)):
            color = _near(rng, _pick(rng, _SIGNS), 10)
            things.append(_thing(rng, "sign", kerb_x, rng.uniform(4, 26), 0.0, rng.uniform(2.1, 3.0), color))
        if rng.random() < 0.25:
            things.append(_thing(rng, "signal", kerb_x, rng.uniform(7, 30), 0.0, rng.uniform(2.9, 3.7), (40, 40, 42)))
        if rng.random() < 0.2:
            x = street.pavement_end(side) - side * 0.5
            things.append(_thing(rng, "bin", x, rng.uniform(6, 25), 0.5, rng.uniform(0.9, 1.5), _pick(rng, _BINS)))
    return things


def _traffic(rng: Generator, street: Street) -> list[Thing]:
    """Parked cars at both kerbs, and moving ones in both lanes; variant 0 shows its rear, 1 its front."""
    things = []
    for side in (-1, 1):
        if rng.random() < 0.7:
            z = rng.uniform(4, 18)
            for _ in range(rng.integers(1, 6)):
                things.append(_car(rng, street.kerb(side) - side * 1.05, z, variant=int(rng.random() < 0.3)))
                z += rng.uniform(5.4, 11)
        lane = side * street.half_road_m * 0.42
        if rng.random() < 0.5:
            things.append(_car(rng, lane + rng.normal(0, 0.15), rng.uniform(7, 40), variant=int(side > 0)))
    return things


def _car(rng: Generator, x: float, z: float, variant: int) -> Thing:
    body = rng.random()
    length, height = (4.1, 1.48) if body < 0.75 else ((4.9, 2.1) if body < 0.92 else (7.5, 3.1))
    size = rng.uniform(0.93, 1.07)
    return _thing(rng, "car", x, z, length * size, height * size, _near(rng, _pick(rng, _CARS), 12), variant)


def _people(rng: Generator, street: Street) -> list[Thing]:
    """Pedestrians on pavements, some crossing; cyclists on the road. Variants are the ways they face."""
    things = []
    for _ in range(rng.integers(0, 8)):
        side = _side(rng)
        x = street.kerb(side) + (street.pavement_end(side) - street.kerb(side)) * rng.uniform(0.1, 0.9)
        if rng.random() < 0.15:
            x = rng.uniform(-1, 1) * street.half_road_m
        things.append(
            _thing(rng, "pedestrian", x, rng.uniform(4, 26), 0.4, rng.uniform(1.5, 1.9), _pick(rng, _CLOTHES))
        )
    for _ in range(rng.choice(4, p=(0.4, 0.35, 0.15, 0.1))):
        x = rng.uniform(-0.9, 0.9) * street.half_road_m
        z = rng.uniform(5.5, 24)
        things.append(_thing(rng, "bicyclist", x, z, 1.7, rng.uniform(1.6, 1.85), _pick(rng, _CLOTHES)))
    return things


def _thing(
    rng: Generator,
    kind: str,
    x: float,
    z: float,
    length: float,
    height: float,
    color: Color,
    variant: int | None = None,
) -> Thing:
    chosen = int(rng.integers(4)) if variant is None else variant
    return Thing(kind, x, z, length, height, color, chosen)


def _pick(rng: Generator, palette: tuple[Color, ...]) -> Color:
    return palette[int(rng.integers(len(palette)))]


def _near(rng: Generator, color: Color, spread: float) -> Color:
    red, green, blue = np.clip(
        np.asarray(color) + rng.normal(0, spread, 3) * 0.5 + rng.normal(0, spread), 5, 250
    ).tolist()
    return red, green, blue


def _side(rng: Generator) -> int:
    return -1 if rng.random() < 0.5 else 1

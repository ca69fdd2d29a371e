"""The fast renderer: a rasteriser with soft shadows, about six times as fast as the path tracer (``render``).

    stage -> triangles and curves in a depth buffer -> colour and relief -> light -> light under the skin -> exposure

What is computed: light from all around with the shadows that head, hair and things throw (a few dozen directions),
lamps with soft shadow maps, bumps, shine, skin scattering by a filter, hair as curves. What is not: light that bounces
more than once, refraction, shadows of lenses.

Shapes: S pixels a side, R = 2 S samples a side, V packed vertices, N vertices, T triangles, C curves, K points a curve,
L lamps, D directions, M texels of a shadow map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.faces import rasteriser, shading
from semeia.data.synthetic.faces.appearance import canvas
from semeia.data.synthetic.faces.brows import BROW_RADIUS
from semeia.data.synthetic.faces.figure import Figure
from semeia.data.synthetic.faces.light import Camera, Sky
from semeia.data.synthetic.faces.rasteriser import EMPTY
from semeia.data.synthetic.faces.scene import REGIONS, Exposure, Surface
from semeia.data.synthetic.faces.shadows import ambient, shadow_maps
from semeia.data.synthetic.faces.stage import Mesh, Stage, coarse_skin, plain_look
from semeia.data.synthetic.faces.topology import load_topology, vertex_normals
from semeia.data.synthetic.faces.truth import openings

OVERSAMPLING = 2
_UNDER_SKIN = np.array([1.25, 0.95, 0.85]) / 150  # spread of light under the skin in picture widths, by channel
_LASH_COVER = 0.35
_INSIDE = {"cavity": 0.25, "upper_teeth": 1.3, "lower_teeth": 1.0, "tongue": 0.7}
"""How much of the light from all around reaches what lies inside an open mouth; wet enamel shines."""
_HALF_SMILE = 0.19  # decimetres aside of the middle from which on teeth lie in the shadow of the cheeks
_OPEN_MOUTH = 0.07  # gap between the lips, in decimetres, from which on the mouth counts as open


@dataclass(frozen=True)
class _Drawn:
    """All triangles of a shot in one array, with what is known at their corners.

    ``corner`` (N, 11): normal, texture coordinates, colour, ambient irradiance. ``part`` (T,) numbers ``names``.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    corner: np.ndarray
    part: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Sight:
    """A camera with the samples that it is asked for: ``size`` R, and ``scale`` in samples a unit slope."""

    camera: Camera
    size: int
    scale: float

    @classmethod
    def through(cls, camera: Camera) -> _Sight:
        size = camera.size * OVERSAMPLING
        return cls(camera, size, float(size / 2 / np.tan(np.radians(camera.angle / 2))))

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) samples and nearness of points (..., 3)."""
        right, up, backwards = np.moveaxis((points - self.camera.place) @ self.camera.axes.T, -1, 0)
        nearness = 1 / np.maximum(-backwards, 1e-3)
        across, down = self.scale * right * nearness, self.scale * up * nearness
        return np.stack([self.size / 2 + across, self.size / 2 - down, nearness], -1)

    def places(self, nearness: np.ndarray) -> np.ndarray:
        """(R, R, 3) points in space under the samples."""
        depth = 1 / np.maximum(nearness, 1e-6)
        across = (np.arange(self.size) + 0.5 - self.size / 2) / self.scale
        x, y = np.meshgrid(across, -across)
        return np.stack([x * depth, y * depth, -depth], -1) @ self.camera.axes + self.camera.place


@dataclass(frozen=True)
class _Samples:
    """The depth buffer: (R, R) nearness and owner of each sample, and (R, R, 2) its place on the owner."""

    nearness: np.ndarray
    owner: np.ndarray
    share: np.ndarray

    @classmethod
    def empty(cls, size: int) -> _Samples:
        return cls(np.zeros((size, size)), np.full((size, size), EMPTY, np.int32), np.zeros((size, size, 2)))

    def draw(self, place: np.ndarray, triangles: np.ndarray, opacity: np.ndarray) -> None:
        """Draw triangles (T, 3) of projected points (N, 3)."""
        rasteriser.draw_triangles(place, triangles, opacity, self.nearness, self.owner, self.share, 0)


@dataclass(frozen=True)
class _Surfaces:
    """What lies under each sample (R, R): normals, texture coordinates, colour, ambient light, kind, roughness."""

    normal: np.ndarray
    uv: np.ndarray
    albedo: np.ndarray
    ambient: np.ndarray
    kind: np.ndarray
    roughness: np.ndarray


class RasterStudio:
    """One person before the fast renderer."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def expose(self, stage: Stage, camera: Camera, sky: Sky) -> Exposure:
        """Render one shot."""
        sight = _Sight.through(camera)
        solid = [thing for thing in stage.things if thing.opacity >= 1]
        drawn = _assemble(stage, solid, camera, sky)
        seen = _Samples.empty(sight.size)
        opacity = np.where(drawn.part == drawn.names.index("lash"), _LASH_COVER, 1.0)
        seen.draw(sight.project(drawn.vertices), drawn.triangles, opacity)
        curves, colours, radii, gloss, brows = self._curves(stage)
        place = sight.project(curves)
        width = 2 * radii * sight.scale * place[:, 0, 2]
        rasteriser.draw_curves(place, width, seen.nearness, seen.owner, seen.share, 0)

        part = np.where(seen.owner >= 0, drawn.part[np.maximum(seen.owner, 0)], -1)
        surface = self._surface(stage, drawn, seen, sight, part)
        lamps, flux = _lamps(camera, sky)
        frames, depths = shadow_maps(stage, solid, lamps)
        irradiance, shine = np.zeros((2, sight.size, sight.size, 3))
        around = np.stack([sky.above, sky.below])
        view = (camera.place, camera.axes, sight.scale, around, lamps, flux, frames, depths)
        shading.shade_surfaces(
            seen.owner, seen.nearness, surface.kind, surface.roughness, surface.normal, surface.albedo,
            surface.ambient, *view, irradiance, shine,
        )  # fmt: skip
        shading.shade_curves(
            seen.owner, seen.share, seen.nearness, curves, colours, gloss, *view, surface.albedo, irradiance, shine
        )
        skin = part == drawn.names.index("skin")
        light = surface.albedo * _under_skin(irradiance, skin) / np.pi + shine
        regions = self._regions(drawn.names, part, seen.owner, surface.uv, brows)
        for thing in stage.things:
            if thing.opacity < 1:
                _lay_over(thing, sight, sky, seen, light=light, regions=regions)
        return Exposure(_shrink(light), _shrink((seen.owner != EMPTY).astype(float)), regions[1::2, 1::2].copy())

    def _curves(self, stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """Hair and brows as one set of curves (C, K, 3), colours (C, 3), radii (C,), gloss (C,), count of brows."""
        figure = self.figure
        points = stage.strands.shape[1]
        brows = _resampled(stage.brows, points)
        tint = np.broadcast_to(figure.brow_colour, (len(brows), 3))
        curves = np.concatenate([brows, stage.strands])
        colours = np.concatenate([tint, figure.strand_colour])
        radii = np.concatenate([np.full(len(brows), BROW_RADIUS), figure.strand_radius])
        gloss = np.concatenate([np.full(len(brows), 0.2), np.full(len(stage.strands), 1.0)])
        return curves, np.ascontiguousarray(colours), radii, gloss, len(brows)

    def _surface(self, stage: Stage, drawn: _Drawn, seen: _Samples, sight: _Sight, part: np.ndarray) -> _Surfaces:
        """What the samples (R, R) of ``part`` see: textures painted, normals tilted by the skin's relief."""
        corner = np.zeros((sight.size, sight.size, drawn.corner.shape[1]))
        rasteriser.gather(seen.owner, seen.share, drawn.triangles, drawn.corner, corner)
        normal, uv, albedo, ambient_light = (
            np.ascontiguousarray(corner[..., a:b]) for a, b in ((0, 3), (3, 5), (5, 8), (8, 11))
        )
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
        skin = part == drawn.names.index("skin")
        rasteriser.paint(skin, uv, stage.colour, albedo)
        for side in ("eye_left", "eye_right"):
            rasteriser.paint(part == drawn.names.index(side), uv, self.figure.eye, albedo)
        relief = np.zeros((*skin.shape, 1))
        rasteriser.paint(skin, uv, stage.relief[..., None], relief)
        rasteriser.bump(skin, sight.places(seen.nearness), relief[..., 0], normal, 1.0)
        kinds = {"skin": shading.SKIN, "eye_left": shading.EYE, "eye_right": shading.EYE}
        kind = np.array([*(kinds.get(name, shading.PLAIN) for name in drawn.names), 0])[part]
        figure = self.figure
        rough = [figure.roughness if name == "skin" else plain_look(figure, name)[1] for name in drawn.names]
        return _Surfaces(normal, uv, albedo, ambient_light, kind, np.array([*rough, 0])[part])

    def _regions(
        self, names: tuple[str, ...], part: np.ndarray, owner: np.ndarray, uv: np.ndarray, brows: int
    ) -> np.ndarray:
        """(R, R) uint8 numbers of ``REGIONS``."""
        region_of = np.array([REGIONS.index("teeth" if n.endswith("teeth") else n) for n in names] + [0])
        regions = region_of[part]
        curve = -2 - owner
        regions = np.where(
            owner < EMPTY, np.where(curve < brows, REGIONS.index("brow"), REGIONS.index("hair")), regions
        )
        skin = part == names.index("skin")
        ground = skin_regions(self.figure)
        column, row = np.moveaxis(np.clip((uv[skin] * len(ground)).astype(int), 0, len(ground) - 1), -1, 0)
        regions[skin] = ground[row, column]
        return regions.astype(np.uint8)


def skin_regions(figure: Figure) -> np.ndarray:
    """(H, W) region numbers on the skin's texture: skin, lips, nose, and cloth below the neckline."""
    ground = canvas()
    table = np.where(ground.nose_region, REGIONS.index("nose"), REGIONS.index("skin"))
    table = np.where(ground.lips > 0.5, REGIONS.index("lips"), table)
    return np.where(ground.height < figure.neckline, REGIONS.index("cloth"), table)


def _lamps(camera: Camera, sky: Sky) -> tuple[np.ndarray, np.ndarray]:
    """(L, 4) directions in head coordinates with narrowness, and (L, 3) irradiance of a surface that faces the lamp."""
    rows = [[*(camera.axes.T @ lamp.direction), lamp.narrow] for lamp in sky.lamps]
    flux = [lamp.radiance * 2 * np.pi * (1 - np.exp(-2 * lamp.narrow)) / lamp.narrow for lamp in sky.lamps]
    return np.array(rows), np.array(flux)


def _assemble(stage: Stage, solid: list[Surface], camera: Camera, sky: Sky) -> _Drawn:
    """All triangles of a shot with their ambient light."""
    topology = load_topology()
    normals = vertex_normals(stage.acting, coarse_skin())
    balls = [stage.meshes["eye_left"], stage.meshes["eye_right"]]
    bodies: list[Mesh | Surface] = [*balls, *solid]
    points = np.concatenate([stage.acting, *(body.vertices for body in bodies)])
    facing = np.concatenate([normals, *(body.normals for body in bodies)])
    lit = ambient(points, facing, stage=stage, solid=solid, camera=camera, sky=sky)
    ends = np.cumsum([len(stage.acting), *(len(body.vertices) for body in bodies)])
    of_balls = dict(zip(("eye_left", "eye_right"), np.split(lit, ends)[1:3], strict=True))
    of_things = np.split(lit, ends)[3:-1]

    free = sky.diffuse(np.array([0.0, 0.2, 0.98]) @ camera.axes.T) * np.pi
    gap = openings(stage.acting).lips["middle"] / _OPEN_MOUTH
    inside = {name: share * float(np.clip(gap, 0.15, 1)) for name, share in _INSIDE.items()}
    rows: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
    for name, mesh in stage.meshes.items():
        if name in ("skin", "cloth"):
            light = topology.smooth[name].matrix @ lit[: len(stage.acting)]
        elif name in of_balls:
            light = of_balls[name]
        else:
            deep = np.exp(-((mesh.vertices[:, :1] / _HALF_SMILE) ** 2)) if name in inside else 1.0
            light = np.broadcast_to(free * inside.get(name, 0.6) * deep, mesh.vertices.shape)
        colour = np.broadcast_to(plain_look(stage.figure, name)[0], mesh.vertices.shape)
        uv = np.zeros((len(mesh.vertices), 2)) if mesh.uv is None else mesh.uv
        rows.append((name, mesh.vertices, mesh.triangles, np.c_[mesh.normals, uv, colour, light]))
    for thing, light in zip(solid, of_things, strict=True):
        colour = np.broadcast_to(thing.colour, thing.vertices.shape)
        uv = np.zeros((len(thing.vertices), 2))
        rows.append((thing.region, thing.vertices, thing.triangles, np.c_[thing.normals, uv, colour, light]))
    starts = np.cumsum([0, *(len(vertices) for _, vertices, _, _ in rows)])
    return _Drawn(
        vertices=np.concatenate([vertices for _, vertices, _, _ in rows]),
        triangles=np.concatenate(
            [triangles + start for (_, _, triangles, _), start in zip(rows, starts, strict=False)]
        ),
        corner=np.concatenate([corner for _, _, _, corner in rows]),
        part=np.concatenate([np.full(len(triangles), k) for k, (_, _, triangles, _) in enumerate(rows)]),
        names=tuple(name for name, _, _, _ in rows),
    )


def _resampled(curves: np.ndarray, points: int) -> np.ndarray:
    """(C, points, 3) from (C, K, 3), linearly."""
    at = np.linspace(0, curves.shape[1] - 1, points)
    low = np.minimum(at.astype(int), curves.shape[1] - 2)
    part = (at - low)[None, :, None]
    return np.asarray(curves[:, low] * (1 - part) + curves[:, low + 1] * part)


def _under_skin(irradiance: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Irradiance (R, R, 3) as it leaves the skin: spread under it, red farthest; elsewhere unchanged."""
    out = irradiance.copy()
    mask = skin.astype(np.float32)
    for channel, spread in enumerate(_UNDER_SKIN * len(skin)):
        weight = ndimage.gaussian_filter(mask, spread, truncate=2.5)
        light = ndimage.gaussian_filter((irradiance[..., channel] * mask).astype(np.float32), spread, truncate=2.5)
        out[..., channel][skin] = (light / np.maximum(weight, 1e-4))[skin]
    return out


def _lay_over(
    thing: Surface, sight: _Sight, sky: Sky, seen: _Samples, *, light: np.ndarray, regions: np.ndarray
) -> None:
    """Blend a translucent surface over what lies behind it, with the sky and the lamps mirrored in it."""
    camera = sight.camera
    own = replace(_Samples.empty(sight.size), nearness=seen.nearness.copy())
    own.draw(sight.project(thing.vertices), thing.triangles, np.ones(len(thing.triangles)))
    covered = own.owner != EMPTY
    normal = np.zeros((sight.size, sight.size, 3))
    normals = np.ascontiguousarray(thing.normals, np.float64)
    rasteriser.gather(own.owner, own.share, thing.triangles, normals, normal)
    n = normal[covered] / (np.linalg.norm(normal[covered], axis=1, keepdims=True) + 1e-12)
    view = camera.place - sight.places(own.nearness)[covered]
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    n *= np.where((n * view).sum(1, keepdims=True) < 0, -1, 1)
    cos = (n * view).sum(1, keepdims=True)
    mirrored = (2 * cos * n - view) @ camera.axes.T
    bright = sky.diffuse(mirrored)
    for lamp in sky.lamps:
        bright = bright + lamp.radiance * np.exp(lamp.narrow * ((mirrored @ lamp.direction)[:, None] - 1))
    fresnel = 0.04 + 0.96 * (1 - cos) ** 5
    colour = np.broadcast_to(thing.colour, (3,)) if np.ndim(thing.colour) == 1 else thing.colour.mean(0)
    own_light = colour * sky.diffuse(n @ camera.axes.T) * 0.5
    light[covered] = (
        light[covered] * (1 - thing.opacity) + own_light * thing.opacity + np.minimum(fresnel * bright, 1.5)
    )
    seen.owner[covered & (seen.owner == EMPTY)] = 0
    if thing.opacity > 0.5:
        regions[covered] = REGIONS.index(thing.region)


def _shrink(samples: np.ndarray) -> np.ndarray:
    """Mean over the samples of each pixel."""
    k = OVERSAMPLING
    return np.asarray(sum(samples[row::k, column::k] for row in range(k) for column in range(k)) / k**2)

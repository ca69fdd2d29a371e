"""The fast renderer: a rasteriser with soft shadows, about ten times as fast as the path tracer (``render``).

    stage -> triangles and curves in a depth buffer -> colour and relief -> light -> light under the skin -> exposure

What is computed: light from all around with the shadows that head, hair and things throw (a few dozen directions),
lamps with soft shadow maps, bumps, shine, skin scattering by a filter, hair as curves. What is not: light that bounces
more than once, refraction, shadows of lenses.

Shapes: S pixels a side, R = 2 S samples a side, V packed vertices, N vertices, T triangles, C curves, K points a curve,
L lamps, D directions, M texels of a shadow map.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.faces import rasteriser, shading
from semeia.data.synthetic.faces.appearance import canvas
from semeia.data.synthetic.faces.brows import BROW_RADIUS
from semeia.data.synthetic.faces.figure import Figure
from semeia.data.synthetic.faces.light import Camera, Sky
from semeia.data.synthetic.faces.rasteriser import EMPTY
from semeia.data.synthetic.faces.scene import REGIONS, Exposure, Surface
from semeia.data.synthetic.faces.stage import Stage, coarse_skin, plain_look
from semeia.data.synthetic.faces.topology import load_topology, vertex_normals
from semeia.data.synthetic.faces.truth import openings

OVERSAMPLING = 2
_AROUND = 32  # directions of the light from all around
_AMBIENT_TEXELS, _SHADOW_TEXELS = 96, 224
_REACH = 1.75  # decimetres from the middle of the head that shadow maps cover
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


class RasterStudio:
    """One person before the camera; what all shots share is computed once."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def expose(self, stage: Stage, camera: Camera, sky: Sky) -> Exposure:
        """Render one shot."""
        size = camera.size * OVERSAMPLING
        solid = [thing for thing in stage.things if thing.opacity >= 1]
        drawn = _assemble(stage, solid, camera, sky)
        owner = np.full((size, size), EMPTY, np.int32)
        share, nearness = np.zeros((size, size, 2)), np.zeros((size, size))
        scale = size / 2 / np.tan(np.radians(camera.angle / 2))
        opacity = np.where(drawn.part == drawn.names.index("lash"), _LASH_COVER, 1.0)
        place = _project(drawn.vertices, camera, scale, size)
        rasteriser.draw_triangles(place, drawn.triangles, opacity, nearness, owner, share, 0)
        curves, colours, radii, gloss, brows = self._curves(stage)
        _draw_curves(curves, radii, camera, scale, nearness, owner, share)

        part = np.where(owner >= 0, drawn.part[np.maximum(owner, 0)], -1)
        corner = np.zeros((size, size, drawn.corner.shape[1]))
        rasteriser.gather(owner, share, drawn.triangles, drawn.corner, corner)
        normal, uv, albedo, ambient = (
            np.ascontiguousarray(corner[..., a:b]) for a, b in ((0, 3), (3, 5), (5, 8), (8, 11))
        )
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
        skin = part == drawn.names.index("skin")
        self._paint(stage, camera, scale, drawn.names, part, nearness, uv, normal, albedo)
        kind, roughness = self._kinds(drawn.names, part)
        lamps, flux = _lamps(camera, sky)
        frames, depths = self._shadow_maps(stage, solid, lamps)
        irradiance, shine = np.zeros((2, size, size, 3))
        view = (camera.place, camera.axes, scale, np.stack([sky.above, sky.below]), lamps, flux, frames, depths)
        shading.shade_surfaces(owner, nearness, kind, roughness, normal, albedo, ambient, *view, irradiance, shine)
        shading.shade_curves(owner, share, nearness, curves, colours, gloss, *view, albedo, irradiance, shine)
        light = albedo * _under_skin(irradiance, skin) / np.pi + shine
        regions = self._regions(stage, drawn.names, part, owner, uv, brows)
        for thing in stage.things:
            if thing.opacity < 1:
                _lay_over(thing, camera, scale, sky, nearness, owner, light, regions)
        return Exposure(_shrink(light), _shrink((owner != EMPTY).astype(float)), regions[1::2, 1::2].copy())

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

    def _paint(
        self,
        stage: Stage,
        camera: Camera,
        scale: float,
        names: tuple[str, ...],
        part: np.ndarray,
        nearness: np.ndarray,
        uv: np.ndarray,
        normal: np.ndarray,
        albedo: np.ndarray,
    ) -> None:
        """Put the textures on skin and eyes, and tilt the skin's normals by its relief."""
        skin = part == names.index("skin")
        rasteriser.paint(skin, uv, stage.colour, albedo)
        for side in ("eye_left", "eye_right"):
            rasteriser.paint(part == names.index(side), uv, self.figure.eye, albedo)
        relief = np.zeros((*skin.shape, 1))
        rasteriser.paint(skin, uv, stage.relief[..., None], relief)
        rasteriser.bump(skin, _places(nearness, camera, scale), relief[..., 0], normal, 1.0)

    def _kinds(self, names: tuple[str, ...], part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(R, R) kind and roughness of the surface under each sample."""
        kind_of = [
            shading.SKIN if n == "skin" else shading.EYE if n.startswith("eye") else shading.PLAIN for n in names
        ]
        rough_of = [self.figure.roughness if n == "skin" else plain_look(self.figure, n)[1] for n in names]
        return (np.array([*table, 0])[part] for table in (kind_of, rough_of))  # type: ignore[return-value]

    def _shadow_maps(self, stage: Stage, solid: list[Surface], lamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(L, 4, 3) frames and (L, M, M) depths of the lamps' shadow maps."""
        middle = _middle(stage.acting)
        frames = np.zeros((len(lamps), 4, 3))
        depths = np.full((len(lamps), _SHADOW_TEXELS, _SHADOW_TEXELS), -1e9)
        meshes = [stage.meshes["skin"], stage.meshes["cloth"], *solid]
        for k, lamp in enumerate(lamps):
            frames[k] = _frame(lamp[:3], middle, _SHADOW_TEXELS)
            for mesh in meshes:
                rasteriser.draw_depth(_seen(mesh.vertices, frames[k]), mesh.triangles, depths[k])
            rasteriser.draw_depth_of_curves(_seen(stage.strands, frames[k]), 1, depths[k])
        return frames, depths

    def _regions(
        self,
        stage: Stage,
        names: tuple[str, ...],
        part: np.ndarray,
        owner: np.ndarray,
        uv: np.ndarray,
        brows: int,
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


@functools.cache
def _around() -> np.ndarray:
    """(D, 3) even directions in head coordinates (Fibonacci spiral), without those from far behind."""
    k = np.arange(_AROUND) + 0.5
    height, turn = 1 - 2 * k / _AROUND, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - height**2)
    rays = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1)
    return rays[rays[:, 2] > -0.45]


def _middle(acting: np.ndarray) -> np.ndarray:
    point = acting[load_topology().landmarks]
    return np.asarray(point[27] - [0, 0.25, 0.75])


def _frame(direction: np.ndarray, middle: np.ndarray, texels: int) -> np.ndarray:
    """(4, 3) axes of a shadow map across, down and towards the lamp in texels, then its origin."""
    helper = np.array([0.0, 0, 1]) if abs(direction[1]) > 0.9 else np.array([0.0, 1, 0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(across, direction), direction]) * (texels / 2 / _REACH)
    return np.vstack([axes, [texels / 2 - axes[0] @ middle, texels / 2 - axes[1] @ middle, 0]])


def _seen(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(..., 3) texels and nearness of points (..., 3) in a shadow map."""
    return np.asarray(points @ frame[:3].T.astype(points.dtype) + frame[3].astype(points.dtype))


def _project(points: np.ndarray, camera: Camera, scale: float, size: int) -> np.ndarray:
    """(..., 3) samples and nearness of points (..., 3)."""
    right, up, backwards = np.moveaxis((points - camera.place) @ camera.axes.T, -1, 0)
    nearness = 1 / np.maximum(-backwards, 1e-3)
    return np.stack([size / 2 + scale * right * nearness, size / 2 - scale * up * nearness, nearness], -1)


def _places(nearness: np.ndarray, camera: Camera, scale: float) -> np.ndarray:
    """(R, R, 3) points in space under the samples."""
    size = len(nearness)
    depth = 1 / np.maximum(nearness, 1e-6)
    across = (np.arange(size) + 0.5 - size / 2) / scale
    x, y = np.meshgrid(across, -across)
    return np.stack([x * depth, y * depth, -depth], -1) @ camera.axes + camera.place


def _lamps(camera: Camera, sky: Sky) -> tuple[np.ndarray, np.ndarray]:
    """(L, 4) directions in head coordinates with narrowness, and (L, 3) irradiance of a surface that faces the lamp."""
    rows = [[*(camera.axes.T @ lamp.direction), lamp.narrow] for lamp in sky.lamps]
    flux = [lamp.radiance * 2 * np.pi * (1 - np.exp(-2 * lamp.narrow)) / lamp.narrow for lamp in sky.lamps]
    return np.array(rows), np.array(flux)


def _ambient(
    points: np.ndarray, normals: np.ndarray, stage: Stage, solid: list[Surface], camera: Camera, sky: Sky
) -> np.ndarray:
    """(N, 3) irradiance without the lamps at points (N, 3), shadowed by head, hair and solid things."""
    middle = _middle(stage.acting)
    rays = _around()
    radiance = sky.diffuse(rays @ camera.axes.T) * 4 * np.pi / _AROUND
    total, lit = np.zeros_like(points), np.zeros(len(points))
    raised = points + 0.02 * normals
    strands = np.ascontiguousarray(stage.strands[::3, ::2], np.float32)
    head, raised = stage.acting.astype(np.float32), raised.astype(np.float32)
    for ray, light in zip(rays, radiance, strict=True):
        frame = _frame(ray, middle, _AMBIENT_TEXELS)
        depth = np.full((_AMBIENT_TEXELS, _AMBIENT_TEXELS), -1e9)
        rasteriser.draw_depth(_seen(head, frame), coarse_skin(), depth)
        for thing in solid:
            rasteriser.draw_depth(_seen(thing.vertices, frame), thing.triangles, depth)
        rasteriser.draw_depth_of_curves(_seen(strands, frame), 1, depth)
        rasteriser.lit_vertices(_seen(raised, frame), depth, 0.8, lit)
        total += np.maximum(normals @ ray, 0)[:, None] * lit[:, None] * light
    return total


def _assemble(stage: Stage, solid: list[Surface], camera: Camera, sky: Sky) -> _Drawn:
    """All triangles of a shot with their ambient light."""
    topology = load_topology()
    normals = vertex_normals(stage.acting, coarse_skin())
    balls = [stage.meshes["eye_left"], stage.meshes["eye_right"]]
    points = np.concatenate([stage.acting, *(b.vertices for b in balls), *(t.vertices for t in solid)])
    facing = np.concatenate([normals, *(b.normals for b in balls), *(t.normals for t in solid)])
    ambient = _ambient(points, facing, stage, solid, camera, sky)
    ends = np.cumsum([len(stage.acting), *(len(m.vertices) for m in (*balls, *solid))])
    of_balls = dict(zip(("eye_left", "eye_right"), np.split(ambient, ends)[1:3], strict=True))
    of_things = np.split(ambient, ends)[3:-1]

    free = sky.diffuse(np.array([0.0, 0.2, 0.98]) @ camera.axes.T) * np.pi
    gap = openings(stage.acting).lips["middle"] / _OPEN_MOUTH
    inside = {name: share * float(np.clip(gap, 0.15, 1)) for name, share in _INSIDE.items()}
    rows: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
    for name, mesh in stage.meshes.items():
        if name in ("skin", "cloth"):
            light = topology.smooth[name].matrix @ ambient[: len(stage.acting)]
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


def _draw_curves(
    curves: np.ndarray,
    radii: np.ndarray,
    camera: Camera,
    scale: float,
    nearness: np.ndarray,
    owner: np.ndarray,
    share: np.ndarray,
) -> None:
    place = _project(curves, camera, scale, len(owner))
    width = 2 * radii * scale * place[:, 0, 2]
    rasteriser.draw_curves(place, width, nearness, owner, share, 0)


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
    thing: Surface,
    camera: Camera,
    scale: float,
    sky: Sky,
    nearness: np.ndarray,
    owner: np.ndarray,
    light: np.ndarray,
    regions: np.ndarray,
) -> None:
    """Blend a translucent surface over what lies behind it, with the sky and the lamps mirrored in it."""
    size = len(owner)
    own, share, near = np.full((size, size), EMPTY, np.int32), np.zeros((size, size, 2)), nearness.copy()
    place = _project(thing.vertices, camera, scale, size)
    rasteriser.draw_triangles(place, thing.triangles, np.ones(len(thing.triangles)), near, own, share, 0)
    seen = own != EMPTY
    normal = np.zeros((size, size, 3))
    rasteriser.gather(own, share, thing.triangles, np.ascontiguousarray(thing.normals, np.float64), normal)
    n = normal[seen] / (np.linalg.norm(normal[seen], axis=1, keepdims=True) + 1e-12)
    view = camera.place - _places(near, camera, scale)[seen]
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
    light[seen] = light[seen] * (1 - thing.opacity) + own_light * thing.opacity + np.minimum(fresnel * bright, 1.5)
    owner[seen & (owner == EMPTY)] = 0
    if thing.opacity > 0.5:
        regions[seen] = REGIONS.index(thing.region)


def _shrink(samples: np.ndarray) -> np.ndarray:
    """Mean over the samples of each pixel."""
    k = OVERSAMPLING
    return np.asarray(sum(samples[row::k, column::k] for row in range(k) for column in range(k)) / k**2)

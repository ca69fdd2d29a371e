"""The only file that talks to the renderer (Mitsuba 3): from a figure and a shot to light, surfaces and regions.

``llvm_ad_rgb`` renders all pixels at once and needs libLLVM 19 or newer; ``scalar_rgb`` needs nothing and is slower.

Shapes: S pixels a side, V packed vertices, W smooth vertices, T triangles.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semeia.data.synthetic.faces.appearance import EYE_TEXTURE_ANGLE, TEXTURE, canvas
from semeia.data.synthetic.faces.figure import Figure
from semeia.data.synthetic.faces.hair import BROW_HAIRS, BROW_RADIUS, ribbons
from semeia.data.synthetic.faces.light import Camera
from semeia.data.synthetic.faces.topology import (
    SMOOTH_PARTS,
    fit_sphere,
    load_topology,
    texture_coordinates,
    vertex_normals,
)
from semeia.data.synthetic.faces.truth import eye_rotation, openings

REGIONS = (
    "background", "skin", "cloth", "cavity", "teeth", "tongue", "eye_left", "eye_right", "brow", "hair", "lash",
    "lips", "nose",
)  # fmt: skip
"""Names of the numbers in a region mask; sides are the subject's own."""

FAST_VARIANT, PLAIN_VARIANT = "llvm_ad_rgb", "scalar_rgb"
BOUNCES = 3
_OLDEST_LLVM = 19  # older ones cannot compile the renderer's minimum and maximum
_LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
    "/usr/lib/llvm-*/lib", "/usr/local/opt/llvm*/lib",
)  # fmt: skip


_SHARED_MATERIAL = {"eye_left": "eye", "eye_right": "eye", "upper_teeth": "teeth", "lower_teeth": "teeth"}


@dataclass(frozen=True)
class Exposure:
    """What reached the camera.

    Attributes:
        light: (S, S, 3) linear radiance, black where nothing was hit.
        coverage: (S, S) share of each pixel that a surface covers.
        normal: (S, S, 3) mean shading normal in head coordinates.
        uv: (S, S, 2) mean texture coordinates.
        regions: (S, S) uint8 numbers of ``REGIONS``.
    """

    light: np.ndarray
    coverage: np.ndarray
    normal: np.ndarray
    uv: np.ndarray
    regions: np.ndarray


def find_llvm() -> str | None:
    """Path of the oldest libLLVM that is new enough, or None; ``DRJIT_LIBLLVM_PATH`` overrides the search."""
    chosen = os.environ.get("DRJIT_LIBLLVM_PATH")
    if chosen:
        return chosen
    found: dict[int, str] = {}
    for pattern in _LIBRARY_FOLDERS:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            for file in sorted(folder.glob("libLLVM*")):
                version = re.fullmatch(r"libLLVM(?:-(\d+)\.(?:so|dylib).*|\.so\.(\d+)[.\d]*)", file.name)
                if version:
                    found.setdefault(int(version[1] or version[2]), str(file))
    usable = [version for version in found if version >= _OLDEST_LLVM]
    return found[min(usable)] if usable else None


def choose_variant() -> str:
    """The fast variant where a usable libLLVM is found, else the plain one."""
    return FAST_VARIANT if find_llvm() else PLAIN_VARIANT


def _mitsuba(variant: str) -> Any:
    """The renderer, set to a variant and to one thread a process so that sums are always taken in one order."""
    llvm = find_llvm()
    if llvm:
        os.environ["DRJIT_LIBLLVM_PATH"] = llvm
    import drjit
    import mitsuba

    if mitsuba.variant() != variant:
        mitsuba.set_variant(variant)
        drjit.set_thread_count(1)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


def _bitmap(mi: Any, picture: np.ndarray) -> dict[str, Any]:
    values = np.ascontiguousarray(picture, np.float32)
    return {"type": "bitmap", "bitmap": mi.Bitmap(values), "raw": True, "wrap_mode": "clamp"}


def _plain(colour: np.ndarray | float) -> dict[str, Any]:
    value = np.broadcast_to(np.clip(colour, 0, 0.99), 3)
    return {"type": "rgb", "value": [float(channel) for channel in value]}


def _principled(colour: dict[str, Any], **settings: float) -> dict[str, Any]:
    return {"type": "principled", "base_color": colour} | settings


def _two_sided(material: dict[str, Any]) -> dict[str, Any]:
    return {"type": "twosided", "material": material}


@functools.cache
def _eyeball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A unit eyeball that looks along z, with a bulging cornea: vertices, triangles, texture coordinates."""
    around, rings = 40, 24
    angle = np.linspace(0, np.pi * 0.62, rings)[1:, None]
    turn = np.arange(around) / around * 2 * np.pi
    ring = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn], -1)
    sphere = np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3)])
    degrees = np.degrees(np.arccos(np.clip(sphere[:, 2], -1, 1)))
    out = sphere[:, :2] / np.maximum(np.hypot(sphere[:, 0], sphere[:, 1]), 1e-9)[:, None]
    uv = 0.5 + 0.5 * out * np.minimum(degrees / EYE_TEXTURE_ANGLE, 1)[:, None]
    k = np.arange(around)
    following = (k + 1) % around
    triangles = [np.stack([0 * k, 1 + k, 1 + following], 1)]
    for ring_start in 1 + np.arange(rings - 2) * around:
        a, b = ring_start + k, ring_start + following
        triangles += [np.stack([a, a + around, b + around], 1), np.stack([a, b + around, b], 1)]
    return sphere * (1 + 0.045 * np.exp(-((degrees / 17) ** 2)))[:, None], np.concatenate(triangles), uv


class Studio:
    """One person before the camera; materials and textures are loaded once and used for all shots."""

    def __init__(self, figure: Figure, *, variant: str) -> None:
        self.figure = figure
        self.variant = variant
        self.mi = _mitsuba(variant)
        person = figure.person
        old = float(np.clip((person.age - 45) / 35, 0, 1))
        skin = _principled(
            _bitmap(self.mi, figure.skin.colour), roughness=figure.roughness, specular=0.45, sheen=0.25, sheen_tint=0.6
        )
        lash = {"type": "diffuse", "reflectance": _plain(np.minimum(figure.brow_colour, 0.02))}
        materials = {
            "skin": {
                "type": "bumpmap",
                "arbitrary": _bitmap(self.mi, figure.skin.relief[..., None]),
                "scale": 1.0,
                "bsdf": skin,
            },
            "cloth": {"type": "diffuse", "reflectance": _plain(figure.cloth_colour)},
            "cavity": _principled(_plain(np.array([0.22, 0.05, 0.045])), roughness=0.35),
            "teeth": _principled(_plain(np.array([0.90, 0.87, 0.78]) * (1 - 0.15 * old)), roughness=0.25, specular=0.5),
            "tongue": _principled(_plain(np.array([0.42, 0.12, 0.11])), roughness=0.3),
            "eye": _principled(
                _bitmap(self.mi, figure.eye), roughness=0.12, specular=0.6, clearcoat=1.0, clearcoat_gloss=0.98
            ),
            "hair": _two_sided(_principled(_plain(figure.hair_colour), roughness=0.38, specular=0.55)),
            "brow": _two_sided(_principled(_plain(figure.brow_colour), roughness=0.5, specular=0.2)),
            "lash": {
                "type": "mask",
                "opacity": 0.25 + 0.25 * (1 - person.male),
                "material": _two_sided(lash),
            },
        }
        self.materials = {name: self.mi.load_dict(material) for name, material in materials.items()}
        self.skin_uv = texture_coordinates(load_topology().smooth["skin"].template)

    def expose(self, acting: np.ndarray, camera: Camera, sky: np.ndarray, *, samples: int, seed: int) -> Exposure:
        """Render one shot.

        Args:
            acting: (V, 3) vertices of the shot.
            camera: its camera.
            sky: (H, W, 3) environment map in camera axes.
            samples: light paths a pixel.
            seed: of the light paths, below 2**32.
        """
        mi, size = _mitsuba(self.variant), camera.size
        scene = mi.load_dict(
            {
                "type": "scene",
                "integrator": {
                    "type": "aov",
                    "aovs": "normal:sh_normal,uv:uv",
                    "light": {"type": "path", "max_depth": BOUNCES, "hide_emitters": True},
                },
                "sensor": {
                    "type": "perspective",
                    "fov": camera.angle,
                    "to_world": _transform(
                        mi, np.column_stack([-camera.axes[0], camera.axes[1], -camera.axes[2]]), camera.place
                    ),
                    "film": {
                        "type": "hdrfilm",
                        "width": size,
                        "height": size,
                        "pixel_format": "rgba",
                        "component_format": "float32",
                        "rfilter": {"type": "box"},
                    },
                    "sampler": {"type": "independent", "sample_count": samples},
                },
                "sky": {"type": "envmap", "bitmap": mi.Bitmap(sky), "to_world": _transform(mi, camera.axes.T)},
            }
            | self._shapes(acting, camera.place)
        )
        raw = np.array(mi.render(scene, spp=samples, seed=seed))
        return Exposure(
            light=raw[..., :3],
            coverage=np.clip(raw[..., 3], 0, 1),
            normal=raw[..., 4:7],
            uv=raw[..., 7:9] / np.maximum(raw[..., 3:4], 1e-3),
            regions=self._regions(scene, camera),
        )

    def _shapes(self, acting: np.ndarray, camera: np.ndarray) -> dict[str, Any]:
        """All meshes of the shot by name."""
        topology, figure = load_topology(), self.figure
        shapes, surfaces = {}, {}
        for name in SMOOTH_PARTS:
            part = topology.smooth[name]
            vertices = part.matrix @ acting
            if name == "upper_teeth":
                vertices = vertices + _lowered_teeth(acting)
            surfaces[name] = vertices, vertex_normals(vertices, part.triangles)
            uv = self.skin_uv if name == "skin" else None
            shapes[name] = self._mesh(name, vertices, part.triangles, surfaces[name][1], uv)
        ball, triangles, uv = _eyeball()
        for side in ("left", "right"):
            centre, radius = fit_sphere(acting[topology.eyeballs[side]])
            vertices = (ball * radius * 0.995) @ eye_rotation(figure.neutral, acting, side).T + centre
            shapes[f"eye_{side}"] = self._mesh(
                f"eye_{side}", vertices, triangles, vertex_normals(vertices, triangles), uv
            )
        brows = figure.brows.points(*surfaces["skin"])
        for name, curves, widths in (
            ("brow", brows, np.full(BROW_HAIRS, BROW_RADIUS)),
            ("hair", figure.strands, figure.strand_radius),
        ):
            vertices, triangles, normals = ribbons(curves, widths, camera)
            shapes[name] = self._mesh(name, vertices, triangles, normals)
        lashes, local = np.unique(topology.lashes, return_inverse=True)
        vertices, triangles = acting[lashes], local.reshape(-1, 3)
        shapes["lash"] = self._mesh("lash", vertices, triangles, vertex_normals(vertices, triangles))
        return shapes

    def _mesh(
        self,
        name: str,
        vertices: np.ndarray,
        triangles: np.ndarray,
        normals: np.ndarray,
        uv: np.ndarray | None = None,
    ) -> Any:
        properties = self.mi.Properties()
        properties["material"] = self.materials[_SHARED_MATERIAL.get(name, name)]
        mesh = self.mi.Mesh(
            name,
            len(vertices),
            len(triangles),
            has_vertex_normals=True,
            has_vertex_texcoords=uv is not None,
            props=properties,
        )
        values = self.mi.traverse(mesh)
        values["vertex_positions"] = np.ascontiguousarray(vertices, np.float32).ravel()
        values["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
        values["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
        if uv is not None:
            values["vertex_texcoords"] = np.ascontiguousarray(uv, np.float32).ravel()
        values.update()
        return mesh

    def _regions(self, scene: Any, camera: Camera) -> np.ndarray:
        """(S, S) region seen through the centre of each pixel; skin is divided by the canvas into skin, lips, nose."""
        hit = _first_hits_at_once if self.variant == FAST_VARIANT else _first_hits_one_by_one
        region, uv = hit(self.mi, scene, camera)
        skin = np.flatnonzero(region == REGIONS.index("skin"))
        column, row = np.clip((uv[skin] * TEXTURE).astype(int), 0, TEXTURE - 1).T
        region[skin[canvas().nose_region[row, column]]] = REGIONS.index("nose")
        region[skin[canvas().lips[row, column] > 0.5]] = REGIONS.index("lips")
        return region.reshape(camera.size, camera.size)


def _transform(mi: Any, axes: np.ndarray, place: np.ndarray | None = None) -> Any:
    """Rotation with the given columns, and a place."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = 0 if place is None else place
    return mi.ScalarTransform4f(matrix.tolist())


def _lowered_teeth(acting: np.ndarray) -> np.ndarray:
    """(3,) shift of the upper teeth: those of the base mesh stay hidden behind the lip of an open-mouthed smile."""
    gap = openings(acting).lips["middle"]
    return np.array([0.0, -float(np.clip(0.45 * gap, 0, 0.06)), 0.02])


def _region_number(mesh: str) -> int:
    return REGIONS.index("teeth" if mesh.endswith("teeth") else mesh)


def _first_hits_at_once(mi: Any, scene: Any, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(S * S,) region numbers and (S * S, 2) texture coordinates of the first surface on every ray."""
    import drjit as dr

    directions = np.ascontiguousarray(camera.rays().T, np.float32)
    origin = mi.Point3f(*(float(value) for value in camera.place))
    rays = mi.Ray3f(origin, mi.Vector3f(*(mi.Float(row) for row in directions)))
    surface = scene.ray_intersect(rays, mi.RayFlags.Minimal | mi.RayFlags.UV, True)
    shape = np.array(dr.reinterpret_array(mi.UInt32, surface.shape))
    region = np.zeros(len(shape), np.uint8)
    for candidate in scene.shapes():
        number = np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(candidate)))[0]
        region[shape == number] = _region_number(candidate.id())
    region[~np.array(surface.is_valid())] = 0
    return region, np.stack([np.array(surface.uv.x), np.array(surface.uv.y)], 1)


def _first_hits_one_by_one(mi: Any, scene: Any, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The same for the plain variant, ray by ray."""
    origin = mi.Point3f(*(float(value) for value in camera.place))
    rays = camera.rays()
    region, uv = np.zeros(len(rays), np.uint8), np.zeros((len(rays), 2))
    for k, direction in enumerate(rays):
        surface = scene.ray_intersect(mi.Ray3f(origin, mi.Vector3f(*(float(value) for value in direction))))
        if surface.is_valid():
            region[k] = _region_number(surface.shape.id())
            uv[k] = surface.uv.x, surface.uv.y
    return region, uv

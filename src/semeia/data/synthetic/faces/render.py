"""The path tracer, and the only file that talks to it (Mitsuba 3).

It is the reference for the fast ``raster``, and the renderer of the other-looking world.

``llvm_ad_rgb`` renders all pixels at once and needs libLLVM 19 or newer; ``scalar_rgb`` needs nothing and is slower.

Shapes: S pixels a side, V packed vertices, W smooth vertices, T triangles.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.faces.appearance import TEXTURE
from semeia.data.synthetic.faces.brows import BROW_RADIUS
from semeia.data.synthetic.faces.figure import Figure
from semeia.data.synthetic.faces.hair import ribbons
from semeia.data.synthetic.faces.light import Camera, Sky
from semeia.data.synthetic.faces.raster import skin_regions
from semeia.data.synthetic.faces.scene import REGIONS, SKIN_LIKE, Exposure
from semeia.data.synthetic.faces.stage import Mesh, Stage, plain_look

FAST_VARIANT, PLAIN_VARIANT = "llvm_ad_rgb", "scalar_rgb"
BOUNCES = 3
_OLDEST_LLVM = 19  # older ones cannot compile the renderer's minimum and maximum
_LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
    "/usr/lib/llvm-*/lib", "/usr/local/opt/llvm*/lib",
)  # fmt: skip


_SHARED_MATERIAL = {"eye_left": "eye", "eye_right": "eye", "upper_teeth": "teeth", "lower_teeth": "teeth"}
_SPREAD = np.array([1.25, 0.95, 0.85]) / 140  # of light under the skin, in picture widths; red goes farthest
_ENAMEL = 2.2  # wet enamel shines out of the mouth's shadow as the plain teeth of the mesh do not


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


class PathStudio:
    """One person before the path tracer; plain materials are loaded once and used for all shots.

    Args:
        figure: the person.
        variant: of the renderer.
    """

    def __init__(self, figure: Figure, *, variant: str) -> None:
        self.figure = figure
        self.variant = variant
        self.mi = _mitsuba(variant)
        plain = {}
        for name in ("cloth", "cavity", "teeth", "tongue"):
            colour, roughness = plain_look(figure, name)
            plain[name] = _principled(_plain(colour), roughness=roughness, specular=0.5 if name == "teeth" else 0.3)
        lash = {"type": "diffuse", "reflectance": _plain(plain_look(figure, "lash")[0])}
        materials = plain | {
            "eye": _principled(
                _bitmap(self.mi, figure.eye), roughness=0.12, specular=0.6, clearcoat=1.0, clearcoat_gloss=0.98
            ),
            "hair": _two_sided(_principled(_plain(figure.strand_colour.mean(0)), roughness=0.38, specular=0.55)),
            "brow": _two_sided(_principled(_plain(figure.brow_colour), roughness=0.5, specular=0.2)),
            "lash": {
                "type": "mask",
                "opacity": 0.25 + 0.25 * (1 - figure.person.male),
                "material": _two_sided(lash),
            },
        }
        self.materials = {name: self.mi.load_dict(material) for name, material in materials.items()}

    def expose(self, stage: Stage, camera: Camera, sky: Sky, *, samples: int, seed: int) -> Exposure:
        """Render one shot.

        Args:
            stage: what stands before the camera.
            camera: its camera.
            sky: its light.
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
                "sky": {"type": "envmap", "bitmap": mi.Bitmap(sky.texels()), "to_world": _transform(mi, camera.axes.T)},
            }
            | self._shapes(stage, camera.place)
        )
        raw = np.array(mi.render(scene, spp=samples, seed=seed))
        coverage, regions = np.clip(raw[..., 3], 0, 1), self._regions(scene, camera)
        uv = raw[..., 7:9] / np.maximum(raw[..., 3:4], 1e-3)
        is_skin = np.isin(regions, SKIN_LIKE) & (coverage > 0.98)
        light = smooth_skin_light(raw[..., :3], normal=raw[..., 4:7], uv=uv, painted=stage.colour, is_skin=is_skin)
        light[regions == REGIONS.index("teeth")] *= _ENAMEL
        return Exposure(light, coverage, regions)

    def _shapes(self, stage: Stage, camera: np.ndarray) -> dict[str, Any]:
        """All meshes of the shot by name; the skin's material is that of the shot, with its wrinkles."""
        colour = _bitmap(self.mi, stage.colour)
        skin = _principled(colour, roughness=self.figure.roughness, specular=0.45, sheen=0.25, sheen_tint=0.6)
        relief = _bitmap(self.mi, stage.relief[..., None])
        bumped = self.mi.load_dict({"type": "bumpmap", "arbitrary": relief, "scale": 1.0, "bsdf": skin})
        materials = self.materials | {"skin": bumped}
        shapes = {}
        for name, mesh in stage.meshes.items():
            material = materials[_SHARED_MATERIAL.get(name, name)]
            shapes[name] = self._mesh(name, mesh, material)
        for name, curves, widths in (
            ("brow", stage.brows, np.full(len(stage.brows), BROW_RADIUS)),
            ("hair", stage.strands, self.figure.strand_radius),
        ):
            shapes[name] = self._mesh(name, Mesh(*ribbons(curves, widths, camera)), materials[name])
        for number, thing in enumerate(stage.things):
            tint = thing.colour if np.ndim(thing.colour) == 1 else thing.colour.mean(0)
            of_thing = _two_sided(_principled(_plain(tint), roughness=thing.roughness))
            if thing.opacity < 1:
                of_thing = {"type": "mask", "opacity": float(thing.opacity), "material": of_thing}
            mesh = Mesh(thing.vertices, thing.triangles, thing.normals)
            name = f"{thing.region}-{number}"
            shapes[name] = self._mesh(name, mesh, self.mi.load_dict(of_thing))
        return shapes

    def _mesh(self, name: str, part: Mesh, material: Any) -> Any:
        properties = self.mi.Properties()
        properties["material"] = material
        mesh = self.mi.Mesh(
            name,
            len(part.vertices),
            len(part.triangles),
            has_vertex_normals=True,
            has_vertex_texcoords=part.uv is not None,
            props=properties,
        )
        values = self.mi.traverse(mesh)
        values["vertex_positions"] = np.ascontiguousarray(part.vertices, np.float32).ravel()
        values["faces"] = np.ascontiguousarray(part.triangles, np.uint32).ravel()
        values["vertex_normals"] = np.ascontiguousarray(part.normals, np.float32).ravel()
        if part.uv is not None:
            values["vertex_texcoords"] = np.ascontiguousarray(part.uv, np.float32).ravel()
        values.update()
        return mesh

    def _regions(self, scene: Any, camera: Camera) -> np.ndarray:
        """(S, S) region seen through the centre of each pixel; skin is divided by the canvas into skin, lips, nose."""
        hit = _first_hits_at_once if self.variant == FAST_VARIANT else _first_hits_one_by_one
        region, uv = hit(self.mi, scene, camera)
        skin = np.flatnonzero(region == REGIONS.index("skin"))
        column, row = np.clip((uv[skin] * TEXTURE).astype(int), 0, TEXTURE - 1).T
        region[skin] = skin_regions(self.figure)[row, column]
        return region.reshape(camera.size, camera.size)


def _transform(mi: Any, axes: np.ndarray, place: np.ndarray | None = None) -> Any:
    """Rotation with the given columns, and a place."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = 0 if place is None else place
    return mi.ScalarTransform4f(matrix.tolist())


def smooth_skin_light(
    light: np.ndarray, *, normal: np.ndarray, uv: np.ndarray, painted: np.ndarray, is_skin: np.ndarray
) -> np.ndarray:
    """(S, S, 3) radiance with the light on skin filtered, edge- and colour-preserving.

    Radiance is divided by the painted colour, filtered by a joint bilateral filter that heeds normals and brightness,
    and multiplied again: path-tracing noise goes, painted detail stays, and light seems to travel under the skin.

    Args:
        light: (S, S, 3) radiance.
        normal: (S, S, 3) mean shading normals.
        uv: (S, S, 2) mean texture coordinates.
        painted: (H, W, 3) the skin's texture.
        is_skin: (S, S) pixels that show nothing but skin.
    """
    size = len(light)
    column, row = np.moveaxis(np.clip((uv * TEXTURE).astype(int), 0, TEXTURE - 1), -1, 0)
    seen = ndimage.gaussian_filter(painted, (0.8, 0.8, 0))[row, column]
    colour = np.where(is_skin[..., None], seen, 1.0) + 1e-3
    free = light / colour
    brightness = np.log(free + 1e-3)
    radius = max(2, round(size / 75))
    pad = ((radius, radius), (radius, radius), (0, 0))
    far_light, far_brightness, far_normal = (np.pad(a, pad) for a in (free, brightness, normal))
    far_skin = np.pad(is_skin, radius)
    total, weights = np.zeros_like(free), np.zeros_like(free)
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            window = slice(down, down + size), slice(right, right + size)
            tilt = np.maximum(0, 1 - (far_normal[window] * normal).sum(-1))
            steps = (down - radius) ** 2 + (right - radius) ** 2
            near = np.exp(-steps / (2 * (_SPREAD * size) ** 2))
            alike = np.exp(-((far_brightness[window] - brightness) ** 2) / (2 * 0.45**2))
            weight = (np.exp(-14 * tilt) * far_skin[window])[..., None] * near * alike
            total += weight * far_light[window]
            weights += weight
    return np.where(is_skin[..., None], total / np.maximum(weights, 1e-6), free) * colour


def _region_number(mesh: str) -> int:
    return REGIONS.index("teeth" if mesh.endswith("teeth") else mesh.partition("-")[0])


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

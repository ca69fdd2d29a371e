"""A world of rendered faces whose labels are true by construction (docs/face_world.md).

    spec -> figure (identity, appearance, hair) -> action_units -> stage (wrinkles, things)
    -> light -> raster or render -> develop -> truth -> make

Needs the extra ``semeia[synthetic]``.
"""

from importlib.util import find_spec

from semeia.records import SemeiaError

for _package in ("numba", "scipy"):
    if find_spec(_package) is None:
        raise SemeiaError(
            f"the face world needs {_package}, which is not installed; install it with: pip install 'semeia[synthetic]'"
        )

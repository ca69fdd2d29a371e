"""A world of CT slabs with lesions whose labels are true by construction (docs/ct_world.md).

    person -> canvas (walls, bones, chest, belly, pelvis, vessels) -> lesions -> scanner -> slab -> make

Needs the extra ``semeia[synthetic]``.
"""

from importlib.util import find_spec

from semeia.records import SemeiaError

if find_spec("numba") is None:
    raise SemeiaError(
        "the CT world needs numba, which is not installed; install it with: pip install 'semeia[synthetic]'"
    )

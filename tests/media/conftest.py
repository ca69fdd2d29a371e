import pytest

from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, ActionUnit, Box, FaceReading, Pose


@pytest.fixture
def make_face():
    """Makes a happy face; keywords replace fields."""

    def make(*, present=("AU06", "AU12"), box=(10.0, 20.0, 60.0, 80.0), pose=(30.0, -10.0, 5.0), sides=True, **fields):
        units = {
            name: ActionUnit(0.9, 3.0, 4.0 if sides else None, 2.0 if sides else None)
            if name in present
            else ActionUnit(0.1, 0.25, 0.25 if sides else None, 0.25 if sides else None)
            for name in ACTION_UNITS
        }
        expression = dict.fromkeys(EXPRESSIONS, 0.02) | {"happiness": 0.88}
        values = {"score": 0.98, "age": 34.5, "attributes": dict.fromkeys(ATTRIBUTES, 0.25) | {"Smiling": 0.9}}
        values |= {"valence": 0.6, "arousal": 0.25}
        return FaceReading(
            box=Box(*box), pose=Pose(*pose), expression=expression, action_units=units, **values | fields
        )

    return make

"""Pictures that steer those of `render`: which of a folder belongs to a layout."""

from argparse import Namespace

import pytest

from instance_composer.cli.render_steering import steering_pictures


@pytest.mark.parametrize("ending", [".png", ".JPG", ".JPEG", ".WEBP"])
def test_endings_count_in_any_case(tmp_path, ending):
    (tmp_path / "below").mkdir()
    for name in ("cat", "cat.old", "below/cat"):
        (tmp_path / f"{name}{ending}").touch()
        (tmp_path / f"{name}.txt").touch()
    asked = Namespace(control_image=tmp_path, ip_image=None)
    for name in ("cat", "cat.old", "below/cat"):
        assert steering_pictures(asked, name) == {"control": tmp_path / f"{name}{ending}"}
    for name in ("dog", "none/cat", "old"):
        with pytest.raises(ValueError, match=f"has no picture {name}.png"):
            steering_pictures(asked, name)

"""Files of `render`: what a picture carries."""

import json

from PIL import Image

from instance_composer.cli.render_files import write_picture
from instance_composer.layout import Layout


def test_names_of_any_bytes_are_carried(tmp_path):
    """As Python has names of files that are no UTF-8: written, and the same when it is read again."""
    settings = {"model": "caf\udce9", "adapter": "画.bin", "seed": 3}
    write_picture(tmp_path / "a.png", Image.new("RGB", (8, 8)), Layout(), settings)
    with Image.open(tmp_path / "a.png") as picture:
        assert json.loads(picture.text["instance-composer"]) == settings

"""`python -m instance_composer.cli`, the same as `instance-composer`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())

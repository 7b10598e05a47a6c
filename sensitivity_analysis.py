"""Finds the layers of a network that suffer from INT8, and the layers that must stay float to keep its accuracy.

python sensitivity_analysis.py --config config.yaml
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from qat.sensitivity.__main__ import main

if __name__ == "__main__":
    sys.exit(main())

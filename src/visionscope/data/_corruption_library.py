"""What the server of worker processes imports before it forks, so that a worker need not wait for it."""

import importlib.util

from visionscope.data.corruptions import library

if importlib.util.find_spec("torch_uncertainty") is not None:
    library()

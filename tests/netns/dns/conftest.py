"""The same world and API as the proxy's tests."""

import importlib.util
import sys
from pathlib import Path

if "moorings_proxy_conftest" not in sys.modules:
    spec = importlib.util.spec_from_file_location("moorings_proxy_conftest", Path(__file__).parents[1] / "proxy" / "conftest.py")
    assert spec and spec.loader
    sys.modules["moorings_proxy_conftest"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["moorings_proxy_conftest"])

lab = sys.modules["moorings_proxy_conftest"].lab
client = sys.modules["moorings_proxy_conftest"].client

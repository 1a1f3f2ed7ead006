"""What every test runs under: its own kernel cache, verified IR, reproducible hypothesis.

The variables are set before graphc reads its configuration, and before pytest-xdist starts its workers, which
inherit them: all workers share one cache folder that is empty when the run begins and removed when it ends.
"""

import os
import shutil
import tempfile

import hypothesis
import pytest

hypothesis.settings.register_profile("graphc", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("graphc")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error::graphc.errors.GraphcWarning")  # a warning is expected or a bug
    if hasattr(config, "workerinput"):
        return  # a worker: the variables below came with its environment
    for name in [name for name in os.environ if name.startswith("GRAPHC_")]:
        del os.environ[name]
    os.environ["GRAPHC_CACHE_DIR"] = tempfile.mkdtemp(prefix="graphc-tests-")
    os.environ["GRAPHC_VERIFY"] = "1"


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["GRAPHC_CACHE_DIR"], ignore_errors=True)

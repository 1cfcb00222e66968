"""Rules for the comparisons with PyTorch in tests/parity/, and for Hypothesis.

Every test in tests/parity/ is marked `parity`. Without PyTorch its modules are skipped, with a
reason, before they are imported, so they may import torch at the top. With
JAXINTERP_REQUIRE_PARITY=1, as `make parity` sets it, a comparison that was skipped is a failure,
and so is a run in which none passed.
"""

import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

# The same examples in every run; compiling takes longer than Hypothesis lets an example take.
hypothesis.settings.register_profile("jaxinterp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("jaxinterp")

PARITY_FOLDER = Path(__file__).parent / "parity"
PARITY_IS_REQUIRED = os.environ.get("JAXINTERP_REQUIRE_PARITY") == "1"
PARITY_PASSES = pytest.StashKey[int]()


class SkippedParityModule(pytest.Module):
    """A module of comparisons on a machine without PyTorch."""

    def collect(self):
        pytest.skip("needs PyTorch: run `make parity`", allow_module_level=True)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test reads or fills the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXINTERP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_configure(config):
    config.stash[PARITY_PASSES] = 0


def pytest_pycollect_makemodule(module_path, parent):
    if PARITY_FOLDER in module_path.parents and importlib.util.find_spec("torch") is None:
        return SkippedParityModule.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest selects by `-m parity`
def pytest_collection_modifyitems(items):
    for item in items:
        if PARITY_FOLDER in item.path.parents:
            item.add_marker(pytest.mark.parity)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if PARITY_FOLDER in collector.path.parents:
        forbid_skipping(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if item.get_closest_marker("parity"):
        forbid_skipping(report)
        item.config.stash[PARITY_PASSES] += call.when == "call" and report.passed
    return report


def forbid_skipping(report):
    """Turn a skip into a failure if comparisons are required; an expected failure stays one."""
    if PARITY_IS_REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a comparison with PyTorch must not be skipped ({reason})"


def no_comparison_passed(config):
    return PARITY_IS_REQUIRED and config.stash[PARITY_PASSES] == 0


def pytest_sessionfinish(session, exitstatus):
    if no_comparison_passed(session.config) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if no_comparison_passed(config):
        terminalreporter.write_line("no comparison with PyTorch passed", red=True)

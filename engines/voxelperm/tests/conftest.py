"""Shared fixtures: programs to compare with, which may be absent, and Ctrl-C as in a terminal."""

import signal

import pytest


@pytest.fixture(scope="session")
def oracle():
    """Import a module to compare with, or skip the test and say why."""

    def load(module):
        package = module.partition(".")[0]
        reason = f"{package} is not installed: pip install 'voxelperm[test]'"
        return pytest.importorskip(module, reason=reason)

    return load


@pytest.fixture
def interruptible():
    """Ctrl-C works as in a terminal: a shell starts jobs in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

"""Unit tests import the code as plain Python and put their own dunders in.

A module that Salt's loader would load is imported as it stands; the test module says what its dunders hold:

    from _modules import fanatico_rpc

    @pytest.fixture
    def configure_loader_modules():
        return {fanatico_rpc: {"__pillar__": {"plan": ...}}}

(`configure_loader_modules` is picked up by pytest-salt-factories and undone after each test.)
"""

import pytest
import yaml

from tests.support import REPO


@pytest.fixture(scope="session")
def plan():
    """The committed plan, as Salt's pillar key `plan` holds it."""
    return yaml.safe_load((REPO / "pillar" / "plan.sls").read_text())["plan"]

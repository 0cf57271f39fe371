"""
Command line and settings of a chain node's programs, from plan and pillar.
"""

import fanatico_rpc_plan

__virtualname__ = "fanatico_rpc"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def command(home: str) -> str:
    """
    Return the command line of this node's program for its unit.

    home
        The directory of installed artifacts.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.command /opt/fanatico/rpc
    """
    return fanatico_rpc_plan.command(__pillar__, _me(), home)


def agent_settings(drained: str) -> dict:
    """
    Return the settings of this node's agent.

    drained
        The file that marks the node as drained.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.agent_settings /var/lib/fanatico-rpc-agent/drained
    """
    return fanatico_rpc_plan.agent(__pillar__, _me(), drained)


def websocket_proxy_settings() -> dict:
    """
    Return the settings of this node's WebSocket filter proxy.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.websocket_proxy_settings
    """
    return fanatico_rpc_plan.websocket_proxy(__pillar__, _me())

"""
What the programs of a chain node are started with, by its plan and pillar.
"""

import fanatico_rpc_plan

__virtualname__ = "fanatico_rpc"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def command(home):
    """
    Return the command line of this node's program as its unit has it.

    home
        Where artefacts are installed.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.command /opt/fanatico/rpc
    """
    return fanatico_rpc_plan.command(__pillar__, _me(), home)


def agent_settings(drained):
    """
    Return the settings of this node's agent, by its plan and pillar.

    drained
        The file that says that a person has taken the node out.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.agent_settings /var/lib/fanatico-rpc-agent/drained
    """
    return fanatico_rpc_plan.agent(__pillar__, _me(), drained)


def door_settings():
    """
    Return the settings of what stands before this node's WebSocket, by its plan and pillar.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.door_settings
    """
    return fanatico_rpc_plan.websocket_proxy(__pillar__, _me())

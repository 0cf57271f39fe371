"""The master's configuration as Salt itself reads it."""

import salt.config


def test_an_orchestration_imports_what_the_tree_has(make_node, tmp_path):
    """Without a folder of the master's own it finds first what the minion of the same host was handed out, of an earlier tree."""
    node = make_node("default", "salt")
    (chunk,) = (
        one
        for one in node.compile("master.configured")
        if one.get("name") == "/etc/salt/master.d/fanatico.conf"
    )
    path = tmp_path / "master"
    path.write_text(node.render(chunk))
    # What salt.config.mminion_config makes of it for an orchestration, and puts into the search path.
    folders = salt.config.minion_config(str(path), role="master")["utils_dirs"]
    assert folders == ["/var/cache/salt/master/extmods/utils"]

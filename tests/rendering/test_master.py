"""The master's configuration, read by Salt itself."""

import salt.config


def test_an_orchestration_imports_the_modules_of_the_tree(make_node, tmp_path):
    """Without its own directory the master would first find the modules in the minion's cache, of an earlier tree."""
    node = make_node("default", "salt")
    (chunk,) = (
        one
        for one in node.compile("master.configured")
        if one.get("name") == "/etc/salt/master.d/fanatico.conf"
    )
    path = tmp_path / "master"
    path.write_text(node.render(chunk))
    # The options that salt.config.mminion_config makes for an orchestration, with its search path.
    folders = salt.config.minion_config(str(path), role="master")["utils_dirs"]
    assert folders == ["/var/cache/salt/master/extmods/utils"]

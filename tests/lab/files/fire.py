"""Fire events at the Salt master as a minion that somebody has taken over: what standard input says, as often as it says.

Input: `[{"tag", "data", "times"}, ...]`. Each event goes in the list form, in which the sender chooses the id in `data`.
"""

import json
import sys

import salt.channel.client
import salt.config
import salt.crypt

opts = salt.config.minion_config("/etc/salt/minion")
opts["master_uri"] = f"tcp://{opts['master']}:4506"
opts["master_ip"] = opts["master"]
token = salt.crypt.SAuth(opts).gen_token(b"salt")
with salt.channel.client.ReqChannel.factory(opts) as channel:
    fired = 0
    for event in json.load(sys.stdin):
        for number in range(event.get("times", 1)):
            data = json.loads(json.dumps(event["data"]).replace("NUMBER", str(number)))
            load = {
                "cmd": "_minion_event",
                "id": opts["id"],
                "tok": token,
                "events": [{"tag": event["tag"].replace("NUMBER", str(number)), "data": data}],
            }
            channel.send(load, timeout=30)
            fired += 1
print(fired)

"""Run on a lab machine: send messages to the Salt master, as its minion. Prints {"taken": n, "refused": n}.

Standard input: a JSON list of messages without `id` and token. A message without a valid answer counts as refused.
"""

import json
import sys

import salt.channel.client
import salt.config
import salt.crypt
import salt.exceptions

opts = salt.config.minion_config("/etc/salt/minion")
opts["master_uri"] = f"tcp://{opts['master']}:4506"
opts["master_ip"] = opts["master"]
token = salt.crypt.SAuth(opts).gen_token(b"salt")
counted = {"taken": 0, "refused": 0}
channel = salt.channel.client.ReqChannel.factory(opts)
for load in json.load(sys.stdin):
    try:
        channel.send({"id": opts["id"], "tok": token, **load}, timeout=10, tries=1)
        counted["taken"] += 1
    except (
        salt.exceptions.SaltException,
        OSError,
        ValueError,
        LookupError,
        TypeError,
    ):  # the client also fails on answers that it cannot read
        counted["refused"] += 1
        channel.close()
        channel = salt.channel.client.ReqChannel.factory(opts)
print(json.dumps(counted))

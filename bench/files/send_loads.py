"""Run on a lab machine: send the Salt master what standard input says, as its minion. Prints {"taken": n, "refused": n}.

Input: a list of messages without `id` and token. One that the master refuses to answer counts as refused.
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
    ):  # answers that its client cannot read
        counted["refused"] += 1
        channel.close()
        channel = salt.channel.client.ReqChannel.factory(opts)
print(json.dumps(counted))

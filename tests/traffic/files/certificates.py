"""HAProxy with the tree's configuration, whose certificate the module of the balancers replaces.

Told by /mnt/text, as JSON: ``{"addresses": [this machine's], "port": of the statistics, "folder": where certificates lie,
"steps": [{file: text}]}``. Prints, as JSON, the state before the first step and after each: ``{"took": what the module
returned, "stale": [files that are others on disk], "shown": the certificate (PEM) that a client sees, "process": who serves}``.
"""

import importlib.util
import json
import pathlib
import socket
import ssl
import subprocess
import time


def module():
    spec = importlib.util.spec_from_file_location("fanatico_haproxy", "/root/fanatico_haproxy.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    found.__opts__ = {"id": "haproxy1"}
    return found


def shown(address):
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 5) as raw, tls.wrap_socket(raw) as spoken:
        return ssl.DER_cert_to_PEM_cert(spoken.getpeercert(True))


def wait_for(address):
    end = time.monotonic() + 30
    while True:
        try:
            return shown(address)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def seen(haproxy, took, address):
    stale = [path for path, one in haproxy.certificates().items() if one["runs"] != one["disk"]]
    return {"took": took, "stale": stale, "shown": shown(address), "process": haproxy.info()["Pid"]}


def main():
    told = json.loads(pathlib.Path("/mnt/text").read_text())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in told["addresses"]:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["mkdir", "-p", "/run/haproxy", "/var/lib/haproxy"], check=True)
    with open("/run/haproxy.log", "w") as log:
        running = subprocess.Popen(
            ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"], stdout=log, stderr=log
        )
    try:
        haproxy, address = module(), (told["addresses"][0], told["port"])
        wait_for(address)
        found = [seen(haproxy, {}, address)]
        for step in told["steps"]:
            for name, text in step.items():
                pathlib.Path(told["folder"], name).write_text(text)
            found.append(seen(haproxy, haproxy.update_certificates(), address))
    finally:
        running.terminate()
        running.wait(10)
    print(json.dumps(found))


main()

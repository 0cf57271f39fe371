"""Steps with sessions that stay open: all connection slots of PostgreSQL, or some clients that wait for answers."""

import json
import subprocess

from lab.errors import LabError


def crowd(seconds):
    """Open sessions from a balancer until PostgreSQL refuses more, and keep them open for ``seconds``."""

    def step(scene):
        (holder,) = scene.struck["holder"]
        settings = {
            "host": scene.address(scene.leader),
            "port": scene.lab.plan["ports"]["postgres"],
            "user": "fanatico",
            "sslmode": "require",
        }
        program = (
            "import psycopg, sys, time\n"
            "password, crowd = sys.stdin.readline().strip(), []\n"
            "try:\n"
            "    while len(crowd) < 5000:\n"
            f"        crowd.append(psycopg.connect(password=password, **{settings!r}))\n"
            "except psycopg.OperationalError:\n"
            f"    time.sleep({seconds})\n"
        )
        scene.lab.machine(holder).exec(
            ["/opt/salt/bin/python", "-c", program], text_input=scene.password + "\n", timeout=120
        )

    return step


# Sends a query twice a second in each session until the session ends, without a timeout; prints the longest wait in seconds.
PATIENT = """
import json, sys, threading, time
import psycopg

settings, password = json.loads(sys.argv[1]), sys.stdin.readline().strip()
sessions = [psycopg.connect(password=password, autocommit=True, **settings) for _ in range(int(sys.argv[2]))]
longest, over = [0.0] * len(sessions), threading.Event()

def ask(number):
    while not over.wait(0.5):
        sent = time.monotonic()
        try:
            sessions[number].execute("SELECT 1")
        except psycopg.Error:
            over_now = True
        else:
            over_now = False
        longest[number] = max(longest[number], time.monotonic() - sent)
        if over_now:
            return

threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(sessions))]
for thread in threads:
    thread.start()
print("open", flush=True)
sys.stdin.read()
over.set()
for thread in threads:
    thread.join(5)
print(json.dumps(max(longest)))
"""


def patient(count):
    """Open sessions through the virtual IP whose clients wait for answers without a timeout."""

    def step(scene):
        settings = {
            "host": scene.lab.plan["virtual_ip"]["address"],
            "port": scene.lab.plan["ports"]["postgres_primary"],
            "user": "fanatico",
            "sslmode": "require",
        }
        argv = ["/opt/salt/bin/python", "-c", PATIENT, json.dumps(settings), str(count)]
        scene.patient = subprocess.Popen(
            scene.lab.machine(scene.struck["spare"][0]).exec_argv(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        scene.patient.stdin.write(scene.password + "\n")
        scene.patient.stdin.flush()
        if scene.patient.stdout.readline() != "open\n":
            raise LabError(f"The drill could not open {count} sessions through the virtual IP.")

    return step


def waited(scene):
    """End those sessions and record the longest time that a session waited for an answer or for its end."""
    if scene.patient:
        longest, _ = scene.patient.communicate(timeout=60)
        scene.noted["waited"] = round(float(longest), 2)
        scene.patient = None

# What every host can do before any other host is ready: the base, the firewall, the minion, the packages of its components and
# their certificates (`prepared` in _utils/fanatico_components.py).
include: {{ salt["fanatico_plan.includes"]("prepared") | json }}

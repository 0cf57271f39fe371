# The components of every machine, whatever its roles (_utils/fanatico_components.py).
include: {{ salt["fanatico_plan.includes"]("every") | json }}

# The components of every host, whatever its roles (_utils/fanatico_components.py).
include: {{ salt["fanatico_plan.includes"]("every") | json }}

# The certificates of this node's components, taken up by the daemons that read them. Every night the minion does it by itself.
include: {{ salt["fanatico_plan.includes"]("certified") | json }}

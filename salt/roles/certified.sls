# The certificates of this node's components, loaded into their daemons. The minion also runs this every night.
include: {{ salt["fanatico_plan.includes"]("certified") | json }}

#!yaml
# Certificates. The authorities themselves are the master's (salt-run fanatico.ca_status).
pki:
  days: 90                        # how long a node's certificate is good
  renew_days: 30                  # replaced when it has fewer days left: by any highstate, and by a job of every night
